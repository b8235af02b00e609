"""The queue: filtered, in a stable order, by an index, and safe with any title."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from monitoring.findings import finding_queue
from monitoring.findings.finding_queue import ANY, NEWEST, Filter, list_queue
from monitoring.json_shapes import moment
from monitoring.models import Finding, FindingItem
from recommender import database_clock
from tests.help.made_findings import alarm, make_finding
from tests.monitoring.console.test_pages import signed_in

pytestmark = pytest.mark.django_db
HOSTILE = "<script>alert(1)</script>"


def numbers(**wanted):
    return [row.finding.pk for row in list_queue(Filter(**wanted)).rows]


def plan_of(query):
    """Return PostgreSQL's plan for the query, as if the table were large."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_sort = off")
    return query.explain()


def test_most_at_stake_stands_first_and_older_below_of_equals():
    small, old, new, large = (make_finding(exposure=each) for each in (0.5, 2.0, 2.0, 9.0))
    assert numbers() == [large.pk, new.pk, old.pk, small.pk]
    assert numbers(order=NEWEST) == sorted(numbers(), reverse=True)


def test_each_filter_leaves_what_it_says():
    target = make_finding()
    other = make_finding(item="other", title='8 accounts pushed "Other news" in 9 s.', severity=1)
    fell = alarm()
    done = make_finding(state="confirmed")
    assert numbers(kind="drift") == [fell.pk]
    assert numbers(severity=1) == [other.pk]
    assert numbers(item="other") == [other.pk]
    assert numbers(state="confirmed") == [done.pk]
    assert len(numbers(state=ANY)) == 4
    assert numbers(since=moment(other.last_ms), until=moment(other.first_ms)) == [other.pk]
    assert numbers(item="target", kind="campaign", severity=3) == [target.pk]


@pytest.mark.parametrize("text", ["other", "NEWS oth", "item-7", "7", "am's", "news/2024"])
def test_words_are_found_by_their_beginnings_in_sentence_and_item(text):
    make_finding()
    found = make_finding(item="item-7_news/2024", title='8 accounts pushed "Sam\'s Other news": hasty.')
    if text == "am's":  # the middle of a word is not its beginning
        assert numbers(text=text) == []
    else:
        assert numbers(text=text) == [found.pk]


@pytest.mark.parametrize("text", ["'", "\\", ":*", "%", "\0", " ", "(" * 300])
def test_signs_alone_are_no_words_and_leave_everything(text):
    found = make_finding()
    assert numbers(text=text) == [found.pk]


@pytest.mark.parametrize("text", ["a & | !b", "') OR 1=1 --", "“x”"])
def test_words_that_look_like_something_else_are_words(text):
    make_finding()
    assert numbers(text=text) == []
    found = make_finding(title=f"Some wrote {text} there")
    assert numbers(text=text) == [found.pk]


def test_pages_neither_overlap_nor_skip_while_findings_come(monkeypatch):
    monkeypatch.setattr(finding_queue, "PAGE", 3)
    made = {make_finding(exposure=each).pk for each in (1.1, 1.1, 0.1 + 0.2, 0.3, 5.0, 5.0, 5.0, 0.0)}
    seen, after, n_pages = [], "", 0
    while n_pages == 0 or after:
        page = list_queue(Filter(), after=after)
        seen += [row.finding.pk for row in page.rows]
        after, n_pages = page.after, n_pages + 1
        make_finding(exposure=99.0)  # it comes before the rows that were read
    assert len(seen) == len(set(seen))
    assert set(seen) == made
    assert n_pages == 3


@pytest.mark.parametrize(
    "after", ["x", ":", "nan:1", "inf:1", "1.0:x", "1.0:-1", "1.0:99999999999999999999", "1e999:3"]
)
def test_a_cursor_that_nobody_gave_out_breaks_nothing(after, accounts):
    make_finding()
    answer = signed_in(accounts["viewer"]).get(reverse("console:queue"), {"after": after})
    assert answer.status_code == 200


def test_open_findings_are_read_by_their_index_from_the_first_page_on():
    rows = finding_queue._filtered(Filter())
    for after in ("", "2.0:17"):
        following = finding_queue._following(rows, "exposure", after)
        plan = plan_of(following.order_by("-exposure", "-id")[:50])
        assert "finding_open_by_exposure" in plan
        assert "Sort" not in plan


def test_words_and_items_are_read_by_their_indexes():
    words = finding_queue._filtered(Filter(state=ANY, text="target"))
    assert "finding_words" in plan_of(words.order_by())
    assert "finding_of_an_item" in plan_of(FindingItem.objects.filter(item="target").values("finding"))


def test_a_page_takes_as_many_queries_for_fifty_findings_as_for_one(accounts):
    client, address = signed_in(accounts["reviewer"]), reverse("console:queue")
    make_finding()
    counts = []
    for n_more in (0, 60):
        for _ in range(n_more):
            make_finding()
        database_clock.learn()
        with CaptureQueriesContext(connection) as queries:
            client.get(address)
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_a_row_says_what_a_decision_needs(accounts):
    make_finding(exposure=2.345, n_held=4, reasons=256)
    shown = signed_in(accounts["viewer"]).get(reverse("console:queue")).content.decode()
    assert "2.3 times the score of place 10" in shown
    assert "almost none opened a second item" in shown
    assert "Campaign" in shown
    assert "<strong>4</strong> held" in shown


def test_whatever_a_finding_is_called_is_text(accounts):
    make_finding(title=HOSTILE, item=f"{HOSTILE}/../'\"")
    client = signed_in(accounts["reviewer"])
    for address in ({}, {"item": HOSTILE}, {"q": HOSTILE, "state": "any"}):
        shown = client.get(reverse("console:queue"), address).content.decode()
        assert HOSTILE not in shown
        assert "&lt;script&gt;" in shown


def test_a_viewer_sees_no_buttons_to_decide(accounts):
    make_finding()
    for role, is_shown in (("viewer", False), ("reviewer", True)):
        shown = signed_in(accounts[role]).get(reverse("console:queue")).content.decode()
        assert ('name="one"' in shown) is is_shown
        assert ('name="ruling"' in shown) is is_shown


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ({}, "There are no open findings"),
        ({"q": "x"}, "No findings match these filters"),
        ({"state": "released"}, "in this state"),
    ],
)
def test_an_empty_list_says_what_to_do(accounts, address, says):
    assert says in signed_in(accounts["viewer"]).get(reverse("console:queue"), address).content.decode()


def test_only_the_list_is_answered_to_the_poller(accounts):
    make_finding()
    part = signed_in(accounts["viewer"]).get(reverse("console:queue"), {"part": "1"}).content.decode()
    assert "<html" not in part
    assert "data-finding" in part


def test_a_glance_at_an_alarm_and_at_what_is_not_there(accounts):
    client = signed_in(accounts["viewer"])
    shown = client.get(reverse("console:glance", args=[alarm().pk])).content.decode()
    assert "A drift alarm has no actors" in shown
    assert client.get(reverse("console:glance", args=[10**9])).status_code == 404


def test_actors_are_told_by_what_they_do_together():
    def act(actor, second, **more):
        at = moment(1_700_000_000_000 + 1000 * second)
        nothing = dict.fromkeys(("ip", "network", "network_key", "user_agent", "agent_key"))
        return {"actor": actor, "item": "target", "received_at": at} | nothing | more

    one, other = {"network": "192.0.2.0/24", "network_key": "1"}, {"network_key": "2", "agent_key": "3"}
    events = [act("a", 0, **one), act("a", 30, **one), act("b", 5, **other), act("c", 6)]
    assert finding_queue._together(events) == (
        "In the newest 4 events: 2 of 3 actors acted only once, from 2 networks, with 1 user agent, within 30 s."
    )
    assert finding_queue._actors(events)[0] == {
        "actor": "a",
        "pattern": "2 acts on 1 item, within 30 s, from 192.0.2.0/24",
        "acts": 2,
    }
    assert finding_queue._actors(events)[1]["pattern"] == "1 act on 1 item, from 1 network"
    assert Finding.objects.count() == 0
