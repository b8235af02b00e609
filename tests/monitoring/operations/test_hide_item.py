"""An operator's word about an item outlasts the site's, on every list.

A deleted item stays out until it is described again.
"""

from urllib.parse import quote

import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse

from monitoring.models import Review
from recommender.control import reverts
from recommender.learning import learner
from recommender.log import event_log
from recommender.models import Checkpoint, Item
from recommender.publishing import published_boards
from tests.help.console_pages import decided, page, signed_in
from tests.help.learner_process import restart
from tests.help.listed_items import BEFORE, CATEGORY, LISTS, Lists, read_by_many
from tests.help.log_rows import clicks

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process"),
]
STORY = "story"
ODD = "a/b ü%2F?#'\"日本<b>\\x"


def described(item=STORY, **more):
    return {"id": item, "title": f"title of {item}", "categories": [CATEGORY]} | more


def path(item=STORY):
    return f"/api/v1/items/{quote(item)}"


def put(api, *items):
    answer = api.put("/api/v1/items", {"items": list(items)}, key="ingest")
    assert answer.status == 200, answer.body
    return answer.json


@pytest.fixture
def lists(api, clock, settings):
    """Describe a story and have it read, so that every list has it."""
    settings.EXPLORE_SHARE = 0.0
    put(api, described())
    read_by_many(STORY)
    lists = Lists(api, clock)
    assert lists.with_item(STORY) == LISTS
    return lists


@pytest.fixture
def client(accounts):
    return signed_in(accounts["operator"])


@pytest.fixture
def hidden(lists, client):
    client.post(reverse("console:hide"), {"item": STORY, "hidden": "1", "note": "libel"})
    assert lists.now_with(STORY) == set()  # before any learner has published
    assert lists.with_item(STORY) == set()
    return lists


# -- an operator's word ---------------------------------------------------------------------------------------------


def put_alone(api):
    assert api.put("/api/v1/items", described(title="new"), key="ingest").json["kept_hidden"] == [STORY]


def put_shown(api):
    assert put(api, described(title="new", is_hidden=False))["kept_hidden"] == [STORY]


def put_among_a_thousand(api):
    rows = [described(f"other-{n}") for n in range(999)]
    answer = put(api, *rows[:500], described(title="new"), *rows[500:])
    assert (answer["created"], answer["updated"], answer["rejected"]) == (999, 1, [])
    assert answer["kept_hidden"] == [STORY]
    assert Item.objects.filter(id__startswith="other-", is_described=True).count() == 999


def patch(api):
    answer = api.patch(path(), {"is_hidden": False, "title": "new"}, key="ingest")
    assert (answer.status, answer.json["hidden_by_operator"], answer.json["is_hidden"]) == (200, True, True)


def delete_and_put(api):
    assert api.delete(path(), key="ingest").status == 204
    answer = put(api, described(title="new"))
    assert (answer["created"], answer["kept_hidden"]) == (1, [STORY])


ATTEMPTS = [put_alone, put_shown, put_among_a_thousand, patch, delete_and_put]


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_nothing_the_site_sends_shows_an_item_that_an_operator_hides(hidden, api, client, attempt):
    attempt(api)
    shown = api.get(path(), key="read").json
    assert (shown["title"], shown["is_hidden"], shown["hidden_by_operator"]) == ("new", True, True)
    assert hidden.now_with(STORY) == hidden.with_item(STORY) == set()
    read_by_many(STORY, start=500)
    assert hidden.with_item(STORY) == set()
    restart()
    assert hidden.with_item(STORY) == set()
    (kept,) = api.get("/api/v1/hidden-items", key="admin").json["items"]
    assert (kept["item"], kept["n_attempts"], kept["hidden_by"], kept["note"]) == (STORY, 1, "otto", "libel")
    assert kept["attempted_at"]
    for address in (reverse("console:item", args=[STORY]), reverse("console:items")):
        assert "tried to show it 1 time" in (text := page(client, address)) or "<b>1</b>" in text


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_an_operator_lifts_it_and_every_list_has_the_item_again(hidden, api, client, attempt):
    attempt(api)
    client.post(reverse("console:hide"), {"item": STORY, "hidden": "0", "note": "settled"})
    assert hidden.with_item(STORY) >= LISTS - {"public"}
    assert "new" in page(client, "/")
    assert api.get(path(), key="read").json["hidden_by_operator"] is False
    assert [(each.subject["is_hidden"], each.note) for each in decided()] == [(True, "libel"), (False, "settled")]


def test_a_deletion_alone_lifts_nothing(hidden, api, client):
    assert api.delete(path(), key="ingest").status == 204
    assert hidden.with_item(STORY) == set()
    client.post(reverse("console:hide"), {"item": STORY, "hidden": "0", "note": "settled"})
    assert hidden.with_item(STORY) == set()  # the site deleted it
    put(api, described())
    assert hidden.with_item(STORY) == LISTS


def test_a_revert_and_a_lost_store_lift_nothing(lists, api, client, view_store):
    checkpoint = Checkpoint.objects.order_by("-step")[0]  # from before the decision
    read_by_many("other")
    client.post(reverse("console:hide"), {"item": STORY, "hidden": "1", "note": "libel"})
    api.delete(path("other"), key="ingest")
    for mode in ("replay", "drop"):
        body = {"checkpoint": checkpoint.pk, "mode": mode, "note": "back"}
        assert api.post("/api/v1/model/revert", body, key="admin").status in (200, 202)
        assert reverts.run_next()
        assert lists.with_item(STORY) == set()
    restart()
    view_store.flushdb()
    assert lists.with_item(STORY) == set()
    assert lists.with_item(BEFORE)


def test_a_patch_of_other_fields_is_no_attempt(hidden, api):
    assert api.patch(path(), {"title": "new"}, key="ingest").status == 200
    put(api, described(is_hidden=True))
    assert Item.objects.get(id=STORY).n_show_attempts == 0


def test_both_may_hide_an_item_and_each_lifts_only_its_own_word(hidden, api, client):
    assert put(api, described(is_hidden=True))["kept_hidden"] == []
    address = reverse("console:item", args=[STORY])
    assert "Lift your decision: the site still hides it" in page(client, address)
    client.post(reverse("console:hide"), {"item": STORY, "hidden": "0", "note": "settled"})
    assert hidden.with_item(STORY) == set()
    put(api, described())
    assert hidden.with_item(STORY) == LISTS


def test_an_operator_shows_what_only_the_site_hides_until_the_site_hides_it_again(lists, api, client):
    put(api, described(is_hidden=True))
    assert lists.now_with(STORY) == lists.with_item(STORY) == set()
    client.post(reverse("console:hide"), {"item": STORY, "hidden": "0", "note": "a mistake"})
    assert lists.with_item(STORY) == LISTS
    put(api, described(is_hidden=True))
    assert lists.with_item(STORY) == set()


def test_the_list_of_items_in_the_admin_hides_as_an_operator_does(lists, api, client):
    for action, n in (("hide", 0), ("show", len(LISTS))):
        client.post("/admin/recommender/item/", {"action": action, "_selected_action": [STORY]})
        put(api, described())
        assert len(lists.with_item(STORY)) == n
    assert [each.subject["is_hidden"] for each in decided()] == [True, False]


def test_keys_of_operators_hide_and_show_by_the_api(lists, api):
    hide = f"/api/v1/hidden-items/{quote(STORY)}"
    for key, status in ((None, 401), ("read", 403), ("ingest", 403)):
        assert api.put(hide, {"note": "x"}, key=key).status == status
        assert api.delete(f"{hide}?note=x", key=key).status == status
        assert api.get("/api/v1/hidden-items", key=key).status == status
    assert api.put(hide, {}, key="admin").status == 400
    assert api.put(hide, {"note": "libel"}, key="admin").json["hidden_by_operator"] is True
    assert api.put(hide, {"note": "again"}, key="admin").status == 409
    assert lists.with_item(STORY) == set()
    assert api.delete(hide, key="admin").status == 400
    assert api.delete(f"{hide}?note=settled", key="admin").json["hidden_by_operator"] is False
    assert api.delete(f"{hide}?note=again", key="admin").status == 409
    assert lists.with_item(STORY) == LISTS
    assert [each.by for each in Review.objects.all()] == ["api:the admin client"] * 2


def test_hidden_items_are_listed_page_by_page(api):
    for n in range(5):
        assert api.put(f"/api/v1/hidden-items/story-{n}", {"note": "x"}, key="admin").status == 200
    seen, query = [], "?limit=2"
    while True:
        answer = api.get(f"/api/v1/hidden-items{query}", key="admin").json
        seen += [each["item"] for each in answer["items"]]
        if answer["after"] is None:
            break
        query = f"?limit=2&after={answer['after']}"
    assert seen == [f"story-{n}" for n in (4, 3, 2, 1, 0)]
    for wrong in ("limit=0", "after=nobody", "after=%00", f"after={'x' * 300}"):
        assert api.get(f"/api/v1/hidden-items?{wrong}", key="admin").status == 400


def test_the_command_hides_shows_and_lists(lists, api, capsys):
    call_command("item", "hide", STORY, "--note", "libel")
    put(api, described())
    assert lists.with_item(STORY) == set()
    call_command("item", "list")
    assert "libel; the site tried 1 times to show it" in capsys.readouterr().out
    with pytest.raises(CommandError, match="already hidden"):
        call_command("item", "hide", STORY, "--note", "again")
    call_command("item", "show", STORY, "--note", "settled")
    assert lists.with_item(STORY) == LISTS


@pytest.mark.parametrize("item", [ODD, "similar", "x/similar", "%", "x" * 256, "日" * 256])
def test_an_odd_id_is_hidden_deleted_and_shown_like_any_other(api, client, item):
    event_log.append(clicks(5, item=item))
    hide = f"/api/v1/hidden-items/{quote(item, safe='')}"
    assert api.put(hide, {"note": "x"}, key="admin").status == 200
    assert put(api, described(item))["kept_hidden"] == [item]
    assert page(client, reverse("console:items"))
    learner.learn(0)
    assert published_boards.read_board("")[0] is None
    assert api.delete(f"{hide}?note=y", key="admin").status == 200
    learner.learn(0)
    assert published_boards.read_board("")[0].items == [item]
    if not item.endswith("similar"):
        assert api.delete(path(item), key="ingest").status == 204
        learner.learn(0)
        assert published_boards.read_board("")[0] is None


@pytest.mark.parametrize("item", ["a\0b", "\n", "x" * 257, "\u202e"])
def test_what_is_no_id_is_refused(api, item):
    address = f"/api/v1/hidden-items/{quote(item)}"
    assert api.put(address, {"note": "x"}, key="admin").status in (400, 404)
    assert api.delete(f"{address}?note=x", key="admin").status in (400, 404)
    assert api.delete(path(item), key="ingest").status == 404
    assert not Item.objects.exists()


def test_a_note_that_cannot_be_stored_is_refused(api):
    for note in ("\0", "\ud800", " ", "x" * 2001):
        assert api.put("/api/v1/hidden-items/a", {"note": note}, key="admin").status == 400
    assert not Item.objects.exists()


# -- deleted items --------------------------------------------------------------------------------------------------


def test_a_deleted_item_leaves_every_list_and_no_click_brings_it_back(lists, api, client):
    assert api.delete(path(), key="ingest").status == 204
    assert lists.now_with(STORY) == set()
    assert lists.with_item(STORY) == set()
    read_by_many(STORY, start=1000)
    assert lists.with_item(STORY) == set()
    restart()
    assert lists.with_item(STORY) == set()
    assert api.get(path(), key="read").status == api.delete(path(), key="ingest").status == 404
    assert api.patch(path(), {"title": "x"}, key="ingest").status == 404
    assert "The site deleted this item" in page(client, reverse("console:item", args=[STORY]))
    assert "deleted" in page(client, reverse("console:items") + f"?q={STORY}")
    assert put(api, described())["created"] == 1
    assert lists.with_item(STORY) == LISTS


def test_a_deleted_item_leaves_the_lists_of_a_frozen_model(lists, api):
    assert api.post("/api/v1/model/freeze", {"note": "x"}, key="admin").status == 200
    learner.learn(0)
    assert api.delete(path(), key="ingest").status == 204
    assert lists.with_item(STORY) == set()


def test_an_item_that_was_never_known_is_listed_by_its_clicks(lists):
    read_by_many("unheard of")
    assert lists.with_item("unheard of") == LISTS - {"category"}


def test_an_item_that_is_deleted_and_sent_again_at_once_is_listed(lists, api):
    api.delete(path(), key="ingest")
    put(api, described())
    assert lists.now_with(STORY) == lists.with_item(STORY) == LISTS


def test_the_admin_deletes_as_the_site_does(lists, admin_client):
    admin_client.post(f"/admin/recommender/item/{STORY}/delete/", {"post": "yes"})
    assert Item.objects.get(id=STORY).deleted_at
    assert lists.with_item(STORY) == set()
