"""The page of a finding, in a world with a real attack.

The tests check its texts, its permissions, and that its preview comes true.
"""

import html
import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from monitoring.findings import actor_history, collect_findings, finding_page
from monitoring.models import Finding, Review
from monitoring.operations import decide_finding, note_finding
from recommender.errors import Invalid, NotFound
from recommender.learning import learner
from recommender.log import event_log
from recommender.models import Item
from recommender.publishing import published_boards
from tests.help.attacked_site import learn_all, push, site, write
from tests.help.learner_process import restart
from tests.help.log_rows import events

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process"),
]


def signed_in(user):
    client = Client()
    client.force_login(user)
    return client


def attack(n=120, item="target", **more):
    write(push(site(), item, n, **more))
    learn_all()
    learner.learn(0)  # it publishes a list
    while collect_findings.gather():
        pass
    return Finding.objects.get(items__item=item)


def read(client, finding):
    answer = client.get(reverse("console:finding", args=[finding.pk]))
    assert answer.status_code == 200
    return " ".join(re.sub(r"<[^>]+>", " ", answer.content.decode()).split()), answer.content.decode()


def test_a_reviewer_reads_what_happened_and_who_did_it(accounts):
    finding = attack()
    text, page = read(signed_in(accounts["reviewer"]), finding)
    assert html.escape(finding.title) in text
    assert "almost none opened a second item" in text.lower()
    assert "fewer than 15% of the usual number opened another item within 60 s" in text
    assert "mal-" in text
    assert f"{finding.n_actors} new (first active day)" in text
    assert "acted on no other item 100.0 %" in text
    assert 'id="timeline-data"' in page


def test_the_timeline_has_every_event_of_the_item_once(accounts):
    finding = attack()
    data = finding_page.get_page(finding_id=finding.pk)["timeline"]["data"]
    admitted, held, quarantined = (sum(each["y"]) for each in data["series"])
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM recommender_event WHERE item = 'target'")
        (n_events,) = cursor.fetchone()
    assert (held, quarantined) == (finding.n_held, finding.n_quarantined)
    assert admitted == n_events - held - quarantined
    assert len(data["x"]) <= finding_page.SLOTS + 1


def test_where_too_much_happened_only_its_own_events_are_drawn(accounts, monkeypatch):
    finding = attack()
    monkeypatch.setattr(finding_page.lookups.count_around, "__kwdefaults__", {"at_most": 10})
    timeline = finding_page.get_page(finding_id=finding.pk)["timeline"]
    assert not timeline["is_whole"]
    assert sum(sum(each["y"]) for each in timeline["data"]["series"]) == finding.n_events


@pytest.mark.parametrize("columns", [{}, {"ip": "198.51.100.{n}"}, {"ip": "198.{n}.1.1"}])
def test_after_a_release_the_item_stands_where_the_preview_said(columns, accounts):
    stream = site()
    write(stream)
    learn_all()
    n = 60
    names = [f"mal-{number}" for number in range(n)]
    more = {name: [text.format(n=number) for number in range(n)] for name, text in columns.items()}
    event_log.append(events(names, ["target"] * n, **more))
    learn_all(per_step=20)
    learner.learn(0)
    while collect_findings.gather():
        pass
    finding = Finding.objects.get(items__item="target")
    assert finding.n_held + finding.n_quarantined >= n // 2
    (preview,) = finding_page.get_page(finding_id=finding.pk)["previews"]
    before = published_boards.read_board("")[0]
    assert preview.release.changes
    assert preview.release.place == (before.items.index("target") + 1 if "target" in before.items else None)
    decide_finding.release(by="policy", note="they are honest", finding_id=finding.pk)
    restart()
    learner.learn(0)
    after = published_boards.read_board("")[0]
    place = after.items.index("target")
    assert preview.release.best <= place + 1 <= (preview.release.worst or published_boards.BOARD_DEPTH)
    scale = after.unit / before.unit
    assert preview.release.least <= after.score(place) * scale <= preview.release.most
    assert preview.release.most <= 1.05 * preview.release.least or columns  # without networks both ends nearly meet


def test_after_a_confirmation_the_item_stands_where_the_preview_said(accounts, clock):
    finding = attack()
    decide_finding.release(by="policy", note="they are honest", finding_id=finding.pk)
    restart()
    learner.learn(0)
    clock.forward(published_boards.POLL_EVERY_S)
    (preview,) = finding_page.get_page(finding_id=finding.pk)["previews"]
    before = published_boards.read_board("")[0]
    decide_finding.confirm(by="policy", note="they are not", finding_id=finding.pk)
    restart()
    learner.learn(0)
    after = published_boards.read_board("")[0]
    place = after.items.index("target") if "target" in after.items else None
    score = after.score(place) * after.unit / before.unit if place is not None else 0.0
    assert preview.confirm.least <= score <= preview.confirm.most
    assert preview.confirm.best <= (place + 1 if place is not None else published_boards.BOARD_DEPTH)
    assert score < preview.confirm.score


def test_confirming_what_counts_nowhere_changes_nothing(accounts):
    finding = attack()
    (preview,) = finding_page.get_page(finding_id=finding.pk)["previews"]
    assert finding.n_released_since == 0
    assert not preview.confirm.changes


def test_a_viewer_sees_what_happened_but_neither_ids_nor_buttons(accounts):
    finding = attack()
    text, page = read(signed_in(accounts["viewer"]), finding)
    assert html.escape(finding.title) in text
    assert "mal-" not in page
    shown = finding_page.get_page(finding_id=finding.pk)["actors"][0]["actor"]
    assert actor_history.pseudonym(shown) in text
    assert "<form" not in page.split('id="gs-main"')[1].split("</main>")[0]
    assert reverse("console:decide") not in page


def test_a_viewer_who_forges_a_note_is_refused(accounts):
    finding = attack(60)
    address = reverse("console:note", args=[finding.pk])
    assert signed_in(accounts["viewer"]).post(address, {"note": "x"}).status_code == 403
    assert not Review.objects.filter(action="note").exists()


def test_a_note_is_kept_and_shown_and_told_from_other_findings(accounts):
    finding = attack(60)
    client = signed_in(accounts["reviewer"])
    answer = client.post(
        reverse("console:note", args=[finding.pk]),
        {"note": "Looks like last week's <b>crowd</b>.", "next": reverse("console:finding", args=[finding.pk])},
    )
    assert answer["Location"] == reverse("console:finding", args=[finding.pk])
    review = Review.objects.get(action="note")
    assert (review.by, review.subject) == ("rita", {"finding": finding.pk})
    _, page = read(client, finding)
    assert "last week&#x27;s &lt;b&gt;crowd&lt;/b&gt;" in page
    with pytest.raises(Invalid):
        note_finding.note(by="policy", finding_id=finding.pk, note=" ")
    with pytest.raises(NotFound):
        note_finding.note(by="policy", finding_id=finding.pk + 1, note="which?")


def test_what_strangers_send_is_escaped(accounts):
    name, title = "<script>alert('actor')</script>", "<img src=x onerror=alert(1)>"
    Item.objects.create(id="target", title=title)
    write(push(site(), "target", 60, name=name))
    learn_all()
    learner.learn(0)
    while collect_findings.gather():
        pass
    _, page = read(signed_in(accounts["reviewer"]), Finding.objects.get(items__item="target"))
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert" in page


def test_the_number_of_queries_does_not_grow_with_the_finding(accounts):
    client = signed_in(accounts["reviewer"])

    def n_queries(finding):
        with CaptureQueriesContext(connection) as queries:
            read(client, finding)
        # the time is asked for whenever the machine's clock was set
        return sum("clock_timestamp()" not in query["sql"] for query in queries)

    few = attack(40, "few")
    read(client, few)  # the first request also looks up permissions
    n_of_few = n_queries(few)
    event_log.append(events([f"eve-{number}" for number in range(200)], ["target"] * 200))
    learn_all(per_step=20)
    while collect_findings.gather():
        pass
    many = Finding.objects.filter(items__item="target").latest("n_events")
    assert many.n_events > 2 * few.n_events
    assert n_queries(many) == n_of_few > 5


def test_the_verdicts_of_events_that_are_not_looked_at_are_known_too(monkeypatch):
    finding = attack(60)
    places, verdicts = finding_page._places(finding)
    assert len(places) == len(verdicts) == finding.n_events
    assert {each.verdict for each in places} <= {1, 2}
    monkeypatch.setattr(finding_page, "LOOKED_AT", 10)
    again, looked = finding_page._places(finding)
    assert again == places
    assert sorted(looked) == sorted(each.seq for each in places[:10])


def test_what_the_log_forgot_is_told_so(accounts):
    finding = attack(60)
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE recommender_event")
    text, _ = read(signed_in(accounts["reviewer"]), finding)
    assert "The log no longer holds these events" in text


def test_a_drift_alarm_has_a_page_without_events(accounts):
    alarm = Finding.objects.create(kind="drift", title="The quality of the list fell.", first_ms=1, last_ms=2)
    text, _ = read(signed_in(accounts["reviewer"]), alarm)
    assert "A drift alarm has no events" in text


def test_a_finding_that_is_not_there_is_not_found(accounts):
    client = signed_in(accounts["reviewer"])
    for number in (77, 2**70):
        assert client.get(reverse("console:finding", args=[number])).status_code == 404
