"""Olga freezes learning, previews a revert and carries it out. No one else may."""

import pytest
from django.contrib.messages import get_messages
from django.db.models.functions import Now
from django.urls import reverse

from monitoring.findings import collect_findings
from monitoring.models import AutoFreeze, Finding
from monitoring.operations import request_revert
from recommender.control import learning_switch, reverts
from recommender.core.state_versions import FOLD_VERSION
from recommender.core.trend import count_breakdowns
from recommender.learning import learner
from recommender.log import event_log
from recommender.models import Checkpoint, FrozenScope, Item, Learner, Revert, Step
from tests.help.attacked_site import learn_all, push, site, write
from tests.help.console_pages import decided, learn_twice, page, signed_in
from tests.help.learner_process import warm
from tests.help.log_rows import clicks

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process"),
]
FORM = "console:ask-revert"


@pytest.fixture
def client(accounts):
    return signed_in(accounts["operator"])


@pytest.fixture
def point(client):
    return learn_twice()


def said(answer):
    return " ".join(str(each) for each in get_messages(answer.wsgi_request))


def ask(client, point, **more):
    """Request a preview by the form, and compute it. Returns its page's address."""
    answer = client.post(reverse(FORM), {"checkpoint": point.pk, "mode": "replay"} | more)
    assert answer.status_code == 302, answer.content
    assert reverts.run_next()
    return answer["Location"]


def carry_out(client, preview=None, note="hit rate fell"):
    number = (preview or Revert.objects.get(is_preview=True)).pk
    return client.post(reverse("console:carry-out", args=[number]), {"note": note})


def test_learning_is_frozen_and_thawed_with_a_reason(client, point):
    answer = client.post(reverse("console:freeze"), {"note": "quality fell", "scope": ""})
    assert "New events wait" in said(answer)
    event_log.append(clicks(7, start=90))
    text = page(client, reverse("console:timeline"))
    assert "about 7 wait" in text
    assert "thaw" in text
    client.post(reverse("console:thaw"), {"note": "all is well"})
    assert Learner.objects.get().state == "learning"
    assert [each.note for each in decided()] == ["quality fell", "all is well"]


def test_a_refused_form_keeps_what_was_typed_and_says_why_beside_it(client, point):
    answer = client.post(reverse("console:freeze"), {"note": "<b>why</b>", "scope": "sports"})
    text = answer.content.decode()
    assert answer.status_code == 400
    assert "A scope is category:NAME or country:XX." in text
    assert 'value="&lt;b&gt;why&lt;/b&gt;"' in text
    assert 'value="sports"' in text
    assert not decided()


def test_freezing_what_is_frozen_is_told(client, point):
    learning_switch.freeze()
    answer = client.post(reverse("console:freeze"), {"note": "again"})
    assert answer.status_code == 409
    thawed = client.post(reverse("console:thaw"), {"note": ""})
    assert thawed.status_code == 400
    assert Learner.objects.get().state == "frozen"


def test_one_list_is_frozen_and_thawed(client, point):
    Item.objects.create(id="story", categories=["sports"])
    learner.learn(0)
    assert '<option value="category:sports">' in page(client, reverse("console:timeline"))
    client.post(reverse("console:freeze"), {"note": "x", "scope": "category:sports"})
    assert "Thaw this list" in page(client, reverse("console:timeline"))
    client.post(reverse("console:thaw"), {"note": "x", "scope": "category:sports"})
    assert not FrozenScope.objects.exists()


def test_a_checkpoint_that_cannot_be_written_is_told_with_its_cause(client, point):
    Learner.objects.update(checkpoint_error="No space left on device", checkpoint_failed_at=Now())
    text = page(client, reverse("console:timeline"))
    assert "cannot write a checkpoint since" in text
    assert "No space left on device" in text


def test_a_checkpoint_is_pinned_and_unpinned(client, point):
    client.post(reverse("console:pin"), {"checkpoint": point.pk, "pinned": "1"})
    assert Checkpoint.objects.get(pk=point.pk).is_pinned
    assert ">Pinned<" in page(client, reverse("console:timeline"))
    assert client.post(reverse("console:pin"), {"checkpoint": point.pk, "pinned": "1"}).status_code == 409
    client.post(reverse("console:pin"), {"checkpoint": point.pk, "pinned": "0"})
    assert not Checkpoint.objects.get(pk=point.pk).is_pinned
    for wrong in ("", "x", "9" * 30):
        assert client.post(reverse("console:pin"), {"checkpoint": wrong, "pinned": "1"}).status_code == 400


def test_a_preview_shows_both_lists_and_changes_nothing(client, point):
    before, digest = Learner.objects.values().get(), warm().digest()
    address = ask(client, point, mode="drop")
    text = page(client, address)
    assert "Now</h3>" in text
    assert "leaves" in text
    assert "You can undo a revert" in text
    assert Learner.objects.values().get() == before
    assert warm().digest() == digest
    assert [each.subject["preview"] for each in decided()] == [True]


def test_what_was_previewed_is_done_with_a_reason_and_its_outcome_shown(client, point):
    address = ask(
        client, point, mode="exclude", item="mal's", item_from="2000-01-01T00:00", item_to="2199-01-01T00:00"
    )
    text = page(client, address)
    assert "1 item window" in text
    assert "without 20 of them" in text
    done = carry_out(client)["Location"]
    assert "queued" in page(client, done)
    assert 'data-poll="1"' in page(client, done)
    assert reverts.run_next()
    learner.learn(0)
    request_revert.close_reverts()
    text = page(client, done)
    assert "data-poll=" not in text
    assert "Learning goes on from the new state" in text
    assert "After the revert" in text
    assert count_breakdowns.contributions(warm().trend, "mal's").size == 0
    assert count_breakdowns.contributions(warm().trend, "story").size == 20
    asked = [each for each in decided() if not each.subject.get("preview")]
    assert [each.note for each in asked] == ["hit rate fell", "hit rate fell"]
    assert asked[0].subject["as_previewed"] == Revert.objects.get(is_preview=True).pk


def test_a_revert_can_be_taken_back_by_the_link_it_offers(client, point):
    digest = warm().digest()
    ask(client, point, mode="drop")
    done = carry_out(client)["Location"]
    reverts.run_next()
    learner.learn(0)
    assert count_breakdowns.contributions(warm().trend, "mal's").size == 0
    text = page(client, done)
    assert "Undo this revert" in text
    before = Checkpoint.objects.get(digest=digest)
    assert f"?checkpoint={before.pk}&amp;mode=replay" in text
    assert "you undo that revert" in page(client, f"{reverse(FORM)}?checkpoint={before.pk}")
    ask(client, before)
    carry_out(client, Revert.objects.filter(is_preview=True).first())
    reverts.run_next()
    learner.learn(0)
    assert count_breakdowns.contributions(warm().trend, "mal's").size == 20


def test_a_finding_ticked_leaves_its_accounts_out(client):
    write(push(site(), "target", 100))
    learn_all()
    collect_findings.gather()
    finding = Finding.objects.get(item="target")
    text = page(client, f"{reverse(FORM)}?exclude_finding={finding.pk}")
    assert f'name="finding" value="{finding.pk}" checked' in text
    assert 'value="exclude" data-default required checked' in text
    start = Checkpoint.objects.order_by("step").first()
    address = ask(client, start, mode="exclude", finding=[finding.pk])
    text = page(client, address)
    assert "100 accounts" in text
    assert "without 100 of them" in text
    assert "mal-" not in text
    assert f"exclude_finding={finding.pk}" in text
    assert decided()[0].subject["excluded"]["findings"] == [finding.pk]


def test_an_account_typed_is_left_out(client, point):
    ask(client, point, mode="exclude", actors="actor-20\r\n actor-21\r\n\r\n")
    assert Revert.objects.get().outcome["excluded"] == 1  # a space is a part of an id
    ask(client, point, mode="exclude", actors="actor-20\nactor-21")
    assert Revert.objects.first().outcome["excluded"] == 2


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ({"mode": "exclude"}, "Tick or type the events to leave out"),
        ({"mode": "exclude", "networks": "192.0.2.0/16"}, "is not a network"),
        ({"mode": "exclude", "item": "a", "item_from": "", "item_to": ""}, "type the item, the start and the end"),
        ({"mode": "exclude", "item": "a", "item_from": "x", "item_to": "y"}, "is not a time"),
        ({"mode": "exclude", "finding": "999"}, "There is no finding 999"),
        ({"mode": "sideways"}, "mode must be one of"),
        ({"checkpoint": ""}, "Choose the checkpoint"),
        ({"checkpoint": "123456789"}, "There is no checkpoint 123456789"),
        ({"checkpoint": "9" * 30}, "Choose the checkpoint"),
    ],
)
def test_what_cannot_be_asked_for_is_told_beside_the_form_with_what_was_typed(client, point, typed, why):
    values = {"checkpoint": point.pk, "mode": "replay", "actors": "<script>alert(1)</script>"} | typed
    if typed.get("mode") == "exclude":
        values["actors"] = ""
    answer = client.post(reverse(FORM), values)
    text = answer.content.decode()
    assert answer.status_code in (400, 404)
    assert why in text
    assert "<script>alert" not in text
    assert ("&lt;script&gt;alert(1)&lt;/script&gt;" in text) == bool(values["actors"])
    assert not Revert.objects.exists()


def test_looking_at_another_point_asks_for_nothing(client, point):
    answer = client.post(reverse(FORM), {"checkpoint": point.pk, "mode": "exclude", "actors": "mal", "look": "1"})
    text = answer.content.decode()
    assert answer.status_code == 200
    assert "About <b>20 events</b> have come since then" in text
    assert ">mal</textarea>" in text
    assert not Revert.objects.exists()


def test_a_preview_of_another_history_is_not_carried_out(client, point):
    ask(client, point)
    old = Revert.objects.get()
    request_revert.revert(by="shell:otto", note="x", checkpoint_id=point.pk, mode="drop")
    assert carry_out(client, old).status_code == 409  # another revert is running
    reverts.run_next()
    answer = carry_out(client, old)
    assert answer.status_code == 409
    assert "Preview again" in answer.content.decode()
    assert "cannot be carried out" in page(client, reverse("console:revert", args=[old.pk]))
    assert Revert.objects.filter(is_preview=False).count() == 1
    again = client.post(reverse("console:preview-again", args=[old.pk]))["Location"]
    reverts.run_next()
    assert "Go back to checkpoint" in page(client, again)


def test_done_twice_is_done_once(client, point):
    ask(client, point)
    assert carry_out(client).status_code == 302
    assert carry_out(client).status_code == 409
    assert Revert.objects.filter(is_preview=False).count() == 1


def test_without_a_reason_nothing_is_done(client, point):
    ask(client, point)
    answer = carry_out(client, note="  ")
    assert answer.status_code == 400
    assert "Give a reason" in answer.content.decode()
    assert not Revert.objects.filter(is_preview=False).exists()


def test_only_a_preview_that_is_done_is_carried_out(client, point):
    client.post(reverse(FORM), {"checkpoint": point.pk, "mode": "replay"})
    assert carry_out(client).status_code == 409
    assert client.post(reverse("console:carry-out", args=[999]), {"note": "x"}).status_code == 404


def test_a_failed_revert_says_why_and_what_to_do(client, point):
    ask(client, point)
    done = carry_out(client)["Location"]
    Step.objects.filter(number=2).delete()
    reverts.run_next()
    text = page(client, done)
    assert "nothing was changed" in text
    assert "not all of the steps" in text
    assert "Choose another checkpoint" in text


def test_one_that_nobody_takes_on_says_what_to_start(client, point):
    address = client.post(reverse(FORM), {"checkpoint": point.pk, "mode": "replay"})["Location"]
    assert "No worker" not in page(client, address)
    Revert.objects.update(created_at="2026-01-01T00:00Z")
    assert "No worker has started this" in page(client, address)


def test_the_policys_proposal_is_previewed_as_it_is(client, point):
    learning_switch.freeze()
    row = Learner.objects.get()
    suspects = learning_switch.exclusion(actors=["actor-20", "actor-25"]).state()
    freeze = AutoFreeze.objects.create(
        **{"shard": 0, "frozen_at": row.frozen_at, "until": row.frozen_at, "step": row.step, "n_reverts": 0},
        **{"changed_ms": point.stream_ms, "reason": "hit rate fell", "checkpoint_id": point.pk},
    )
    address = reverse("console:preview-proposal", args=[freeze.pk])
    assert "no proposal" in said(client.post(address))
    AutoFreeze.objects.update(suspects=suspects, n_suspects=2)
    where = client.post(address)["Location"]
    reverts.run_next()
    assert "without 2 of them" in page(client, where)
    assert "Learning stays frozen" in page(client, where)
    assert client.post(reverse("console:preview-proposal", args=[999])).status_code == 302


@pytest.mark.parametrize("role", ["viewer", "reviewer"])
def test_nobody_but_an_operator_asks_previews_or_does(accounts, client, point, role):
    ask(client, point)
    number = Revert.objects.get().pk
    other = signed_in(accounts[role])
    assert "Carry out this revert" not in page(other, reverse("console:revert", args=[number]))
    assert page(other, reverse(FORM), status=403)
    for name, args in [
        ("ask-revert", []),
        ("carry-out", [number]),
        ("preview-again", [number]),
        ("preview-proposal", [1]),
        ("freeze", []),
        ("thaw", []),
        ("pin", []),
    ]:
        answer = other.post(reverse(f"console:{name}", args=args), {"note": "x", "checkpoint": point.pk})
        assert answer.status_code == 403
    assert Revert.objects.count() == 1
    assert Learner.objects.get().state == "learning"


def test_a_revert_that_never_was_is_told(client):
    assert "There is no revert 77" in page(client, reverse("console:revert", args=[77]), status=404)
    assert page(client, reverse("console:revert", args=[10**30]), status=404)


def test_an_empty_model_has_nothing_to_go_back_to(client):
    assert "There is no checkpoint yet" in page(client, reverse(FORM))


def test_a_revert_across_an_upgrade_says_so_in_form_preview_and_outcome(client, point, api):
    assert "before an upgrade" not in page(client, f"{reverse(FORM)}?checkpoint={point.pk}")
    Checkpoint.objects.filter(pk=point.pk).update(fold_version=FOLD_VERSION - 1)
    assert "It is from before an upgrade." in page(client, f"{reverse(FORM)}?checkpoint={point.pk}")
    told = "The present version learned the events since then again."
    assert told in page(client, ask(client, point))
    assert carry_out(client).status_code == 302
    assert reverts.run_next()
    done = Revert.objects.get(is_preview=False)
    assert told in page(client, reverse("console:revert", args=[done.pk]))
    outcome = api.get(f"/api/v1/model/reverts/{done.pk}", key="admin").json["outcome"]
    assert (outcome["upgrade"]["from_version"], outcome["upgrade"]["to_version"]) == (FOLD_VERSION - 1, FOLD_VERSION)


def test_every_page_shows_that_another_version_learns(client, point):
    assert "upgrade this node" not in page(client, reverse("console:timeline"))
    Learner.objects.update(fold_version=FOLD_VERSION + 1)
    assert "upgrade this node" in page(client, reverse("console:timeline"))
