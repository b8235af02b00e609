"""The first page: the state of learning, stopped events, both lists, and advice."""

import re
from datetime import timedelta

import pytest
import redis
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from monitoring.console import overview
from monitoring.console.data import advice_data, flow_data, sources_data
from monitoring.models import AutoFreeze, Finding, Review
from monitoring.operations import stop_switch
from recommender import counters
from recommender.lab.demo.stage import CUE, PLAYING, Stage
from recommender.models import EventVerdict, Item, Learner, Step, Watched
from recommender.publishing import published_boards
from tests.monitoring.console.test_pages import signed_in
from tests.recommender.conftest import publish  # noqa: F401 (a fixture)
from tests.recommender.lab.demo.test_botnet import open_programme

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("view_store")]

NOW_MS = 1_800_000_000_000 // 60_000 * 60_000 + 30_000
FIGURES = dict.fromkeys(
    ("drift", "top_share", "gini", "low_trust_share", "least_trust", "held_share", "quarantine_share", "pressure"),
    0.0,
) | dict.fromkeys(("n_trusted", "n_canary", "level", "least_actors"), 0)


@pytest.fixture
def look(accounts):
    """Return a function that shows the overview as a role sees it: look("operator")."""

    def look(role="viewer", **query):
        answer = signed_in(accounts[role]).get(reverse("console:overview"), query)
        assert answer.status_code == 200
        return answer.content.decode()

    return look


def learner(shard=0, **more):
    return Learner.objects.create(shard=shard, stream_ms=NOW_MS, **more)


def step(number, at_ms, n_events=10, **more):
    return Step.objects.create(
        **{"shard": 0, "number": number, "stream_ms": at_ms, "n_events": n_events, "first_ordinal": 1000 * number},
        **dict.fromkeys(("from_xid", "from_seq", "to_xid", "to_seq"), number),
        **dict.fromkeys(("n_admitted", "n_predicted", "n_hits"), 0),
        **{"reciprocal_ranks": 0.0, "duration_ms": 1.0},
        **more,
    )


def watched(step, at_ms, hit_rate=0.5, n=100, **more):
    rates = {"hit_rate": hit_rate, "trusted_hit_rate": 0.6, "canary_hit_rate": 0.4, "steady_hit_rate": 0.1}
    row = {"shard": 0, "step": step, "stream_ms": at_ms, "lag_s": 0.1, "n_predictions": n}
    return Watched.objects.create(**FIGURES | rates | row | more)


def verdict(step, nth, verdict, *, was_held=False, reasons=24):
    return EventVerdict.objects.create(
        **{"shard": 0, "ordinal": 1000 * step + nth, "step": step, "xid": step, "seq": 1000 * step + nth},
        **{"verdict": verdict, "was_held": was_held, "reasons": reasons},
    )


def finding(title, *, severity=Finding.Severity.HIGH, exposure=2.0, state="open"):
    return Finding.objects.create(
        kind="campaign", state=state, severity=severity, exposure=exposure, title=title, first_ms=1, last_ms=NOW_MS
    )


# -- the boards -----------------------------------------------------------------------------------------------------


def test_what_only_the_shadow_board_has_is_marked_held_back_in_words(look, publish):  # noqa: F811
    Item.objects.create(id="push", title="You will not believe this")
    publish({"": [("story", 3000), ("vote", 2000)], "shadow": [("push", 9000), ("story", 5000)]}, fresh=50)
    page = look()
    live, shadow = page.split("Live board")[1].split("Shadow board")
    assert "held back" not in live
    assert live.index(">story<") < live.index(">vote<")
    assert "You will not believe this" in shadow
    assert shadow.count("held back</span>") == 1
    assert "place 1" in shadow
    assert f'href="{reverse("console:item", args=["push"])}"' in shadow


def test_each_live_place_has_its_price_in_new_accounts(publish):  # noqa: F811
    publish({"": [(f"item-{n}", 2000 - 100 * n) for n in range(11)]}, fresh=50)
    places = overview.boards_data.get_boards().live
    assert len(places) == 10
    assert [each["price"] for each in places[:2]] == [21, 19]
    assert places[0]["score"] == 2.0


def test_without_a_shadow_board_it_says_how_to_get_one(look, publish):  # noqa: F811
    publish({"": [("story", 3000)]})
    assert "SHADOW=true" in look()


def test_before_anything_is_published_the_page_opens_and_says_what_to_do(look):
    page = look()
    assert "The list is empty" in page
    assert "Groundswell has learned no events yet. Send one" in page
    assert "The charts begin with the first one" in page


def test_with_the_store_away_the_page_still_opens(look, monkeypatch):
    class Away:
        def __enter__(self):
            raise redis.ConnectionError

        def __exit__(self, *_):
            """Fail, because it is never entered."""

    monkeypatch.setattr(published_boards, "connect", Away)
    assert "the view store does not answer" in look()


# -- figures --------------------------------------------------------------------------------------------------------


def test_the_rate_is_of_the_last_seconds_and_of_five_minutes():
    learner()
    step(1, NOW_MS - 400_000, 9000)
    watched(1, NOW_MS - 400_000)
    step(2, NOW_MS - 60_000, 500)
    step(3, NOW_MS - 5_000, 100)
    found = flow_data.get_flow()
    assert found.rate_now == 10.0
    assert found.rate_lately == 2.0


def test_what_is_held_now_is_counted_over_the_newest_verdicts_only():
    learner()
    step(1, NOW_MS - 500_000)
    watched(1, NOW_MS - 500_000)
    step(2, NOW_MS - 20_000)
    verdict(1, 1, flow_data.HOLD, was_held=True)  # too long ago to be held still
    verdict(2, 1, flow_data.HOLD, was_held=True)
    verdict(2, 2, flow_data.QUARANTINE, was_held=True)
    assert flow_data.get_flow().n_held == 1


def test_the_hour_tells_by_the_minute_what_became_of_the_suspicious():
    learner()
    step(1, NOW_MS - 2 * flow_data.HOUR_MS)
    watched(1, NOW_MS - 2 * flow_data.HOUR_MS)
    step(2, NOW_MS - 90_000)
    step(3, NOW_MS - 10_000)
    verdict(1, 1, flow_data.QUARANTINE)  # before the hour
    verdict(2, 1, flow_data.ADMIT, was_held=True)
    verdict(2, 2, flow_data.QUARANTINE)
    verdict(3, 1, flow_data.HOLD, was_held=True)
    verdict(3, 2, flow_data.QUARANTINE, reasons=4)  # a declared crawler is not suspicious
    hour = flow_data.get_hour()
    assert (hour.n_let_in, hour.n_waiting, hour.n_out) == (1, 1, 1)
    assert hour.stopped["x"] == [NOW_MS - 90_000, NOW_MS - 30_000]
    assert [each["y"] for each in hour.stopped["series"]] == [[1, 0], [0, 1], [1, 0]]


def test_past_a_number_only_the_newest_verdicts_are_told(monkeypatch):
    monkeypatch.setattr(flow_data, "MAX_VERDICTS", 2)
    learner()
    step(1, NOW_MS - 90_000)
    for nth in range(5):
        verdict(1, nth, flow_data.QUARANTINE)
    assert flow_data.get_hour().n_out == 3  # including the one at the cut


def test_quality_is_told_for_all_trusted_and_panel_over_all_shards():
    learner()
    learner(1)
    watched(1, NOW_MS, hit_rate=0.5, n=100)
    watched(1, NOW_MS, hit_rate=0.8, n=300, shard=1, n_trusted=10)
    everybody, trusted, panel = flow_data.get_flow().quality
    assert (everybody["n"], everybody["rate"]) == (400, pytest.approx(0.725))
    assert (trusted["n"], trusted["rate"]) == (10, pytest.approx(0.6))
    assert panel["rate"] is None


def test_neither_the_log_nor_all_of_its_verdicts_are_read(look, accounts):
    accounts["viewer"]  # made before its queries would count
    learner()
    for number in range(1, 4):
        step(number, NOW_MS - 60_000 * (4 - number))
        watched(number, NOW_MS - 60_000 * (4 - number))
    with CaptureQueriesContext(connection) as queries:
        look()
    of_the_log = [each["sql"] for each in queries if "recommender_event " in each["sql"]]
    assert all("LIMIT 1" in sql for sql in of_the_log)  # the oldest event that is not learned
    assert not any("count(" in sql.lower() and "recommender_event " in sql for sql in of_the_log)
    n_queries = len(queries)
    assert n_queries < 75


# -- advice ---------------------------------------------------------------------------------------------------------


def test_where_nothing_is_wrong_nothing_is_asked(look):
    learner(n_events=0)
    assert "Groundswell has learned no events yet" in look()
    Learner.objects.update(n_events=5, checkpoint=None)
    assert "no checkpoint to go back to yet" in look()


@pytest.mark.parametrize(("exposure", "is_advised"), [(1.5, True), (0.5, False)])
def test_what_could_have_reached_the_list_is_to_be_decided_though_it_is_not_serious(look, exposure, is_advised):
    learner(n_events=5)
    finding("a ring", exposure=exposure, severity=Finding.Severity.MEDIUM)
    assert ("An open finding would be enough for a place" in look()) is is_advised


def test_an_open_serious_finding_is_the_thing_to_do(look):
    least, most = finding("a lesser ring", exposure=1.1), finding("a larger ring", exposure=7.5)
    finding("decided", exposure=99.0, state="confirmed")
    page = look()
    assert "2 serious findings wait" in page
    assert f'href="{reverse("console:finding", args=[most.pk])}">Open it' in page
    assert page.index("a larger ring") < page.index("a lesser ring")
    assert reverse("console:finding", args=[least.pk]) in page
    assert "decided" not in page.split("Open findings")[1]


def test_serious_findings_come_first_whatever_is_at_stake(db):
    finding("crowd", severity=Finding.Severity.MEDIUM, exposure=9.0)
    finding("ring", exposure=1.2)
    found = advice_data.get_open_findings()
    assert [each["title"] for each in found.top] == ["ring", "crowd"]
    assert found.counts == [("high", 1), ("medium", 1), ("low", 0)]


def test_a_drift_alarm_comes_before_crowds_though_nothing_is_at_stake_by_it():
    for number in range(8):
        finding(f"crowd {number}", severity=Finding.Severity.MEDIUM, exposure=number)
    finding("The list got worse.", exposure=0.0)
    found = advice_data.get_open_findings()
    assert found.top[0]["title"] == "The list got worse."
    assert len(found.top) == advice_data.SHOWN


def test_past_a_number_open_findings_are_not_counted(monkeypatch, look):
    monkeypatch.setattr(advice_data, "COUNTED", 3)
    for number in range(5):
        finding(f"number {number}", exposure=number)
    found = advice_data.get_open_findings()
    assert (found.n, found.is_more) == (3, True)
    assert "of the first 3" in look()


def test_a_freeze_of_the_monitor_is_told_with_its_proposal(look):
    frozen_at = timezone.now()
    learner(state="frozen", frozen_at=frozen_at)
    AutoFreeze.objects.create(
        **{"shard": 0, "frozen_at": frozen_at, "until": frozen_at + timedelta(seconds=30), "step": 1, "n_reverts": 0},
        **{"changed_ms": 1, "reason": "The list got worse.", "checkpoint_id": 812, "suspects": {}, "n_suspects": 40},
        **{"n_suspected": 55, "n_since": 900},
    )
    page = look()
    assert "The policy froze learning: The list got worse." in page
    assert "checkpoint 812 without 40 suspected" in page
    assert "frozen" in page


# -- the stop switch and the demo -----------------------------------------------------------------------------------


def test_an_operator_freezes_and_thaws_from_here_and_comes_back(accounts, look):
    learner()
    client, here = signed_in(accounts["operator"]), reverse("console:overview")
    assert 'action="/admin/console/timeline/freeze"' in look("operator")
    answer = client.post(reverse("console:freeze"), {"note": "a raid", "next": here})
    assert answer["Location"] == here
    page = look("operator")
    assert re.search(r"Learning is frozen: [\d,]+ events wait", page)  # events of other tests count as well
    assert 'action="/admin/console/timeline/thaw"' in page
    client.post(reverse("console:thaw"), {"note": "over", "next": here})
    written = Review.objects.exclude(action="settings").order_by("id").values_list("action", "note")
    assert list(written) == [("freeze", "a raid"), ("thaw", "over")]


@pytest.mark.parametrize("role", ["viewer", "reviewer"])
def test_whoever_may_not_operate_sees_no_such_button(look, role, view_store):
    learner()
    Stage(open_programme(), view_store).attend()
    page = look(role)
    assert "<form" not in page.split('id="gs-main"')[1]
    assert "The demo is running" in page


def test_the_button_cues_the_demos_attack(accounts, look, view_store):
    Stage(open_programme(), view_store).attend()
    assert "Start the attack now" in look("operator")
    signed_in(accounts["operator"]).post(reverse("console:attack"))
    assert view_store.get(CUE) is not None


def test_where_no_demo_runs_there_is_no_button_and_a_forged_one_does_nothing(accounts, look, view_store):
    assert "Start the attack" not in look("operator")
    answer = signed_in(accounts["operator"]).post(reverse("console:attack"), follow=True)
    assert "No demo runs here" in answer.content.decode()
    assert view_store.get(CUE) is None


@pytest.mark.parametrize("role", ["viewer", "reviewer"])
def test_the_attack_is_an_operators_to_start(accounts, role, view_store):
    Stage(open_programme(), view_store).attend()
    assert signed_in(accounts[role]).post(reverse("console:attack")).status_code == 403
    assert view_store.get(CUE) is None
    assert view_store.get(PLAYING) is not None


def test_the_poller_gets_the_parts_alone(look):
    learner()
    assert "<html" not in look(part="1")
    hour = look(part="1", of="hour")
    assert "The last hour" in hour
    assert "Open findings" not in hour


def test_what_a_person_froze_is_no_freeze_of_the_monitor(accounts, look):
    learner()
    stop_switch.freeze(by=accounts["operator"], note="a raid")
    assert "The policy froze" not in look()


def test_an_hour_is_read_once_in_a_while(monkeypatch):
    learner()
    monkeypatch.setattr(flow_data, "KEPT_S", 60.0)
    flow_data.get_hour()
    with CaptureQueriesContext(connection) as queries:
        flow_data.get_hour()
    assert len(queries) == 0


class TestRecommended:
    """Clicks by source of recommendations."""

    @pytest.fixture
    def counted(self, monkeypatch):
        """Set the counts of the web processes: counted(similar=(shown, clicked), ...)."""

        def count(**by_source):
            told = [counters.Recommended(source, *n) for source, n in by_source.items()]
            monkeypatch.setattr(counters, "read_recommended", lambda: told)

        return count

    def test_shown_clicked_and_their_rate_are_told_by_source(self, look, counted):
        counted(similar=(2000, 85), trending=(10, 0), not_credited=(0, 3))
        page = look()
        row = re.search(r"is read together with items.*?</tr>", page, re.DOTALL)[0]
        assert re.findall(r">([^<>]+)</td>", row) == ["2,000", "85", "4.2 %"]
        assert "3 clicks did not count" in page

    def test_a_source_that_was_never_shown_has_no_rate(self, counted):
        counted(trending=(4, 1))
        told = {each.name: each.rate for each in sources_data.get_recommended().sources}
        assert told == {"similar": None, "trending": 0.25, "fresh": None, "steady": None}

    def test_before_anything_was_recommended_it_says_how(self, look, counted):
        counted()
        assert "/api/v1/recommendations?actor=" in look(part="1", of="hour")
