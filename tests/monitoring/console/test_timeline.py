"""The model over time: the chart, its ranges, and the list of checkpoints."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from monitoring.audit import reviews
from monitoring.console.data import timeline_data
from monitoring.console.data.timeline_data import N_BUCKETS, Range
from monitoring.models import AutoFreeze, Finding
from recommender.core.state_versions import FOLD_VERSION
from recommender.models import Checkpoint, Learner, Step, Watched
from tests.help.console_pages import page, signed_in

pytestmark = pytest.mark.django_db
NOW_MS = int(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp() * 1000)
ZERO = {
    field.name: 0
    for field in Watched._meta.concrete_fields
    if field.name not in ("id", "shard", "step", "stream_ms", "at")
}


def watch(n, *, every_ms=5000, rate=0.5, events=100, end_ms=NOW_MS):
    """Write so many figures up to a time, each after a step of so many events."""
    Learner.objects.get_or_create(shard=0)
    begins_ms = end_ms - n * every_ms
    for number in range(1, n + 1):
        at_ms = begins_ms + number * every_ms
        Step.objects.create(
            **dict.fromkeys(("from_xid", "from_seq", "n_admitted", "n_predicted", "n_hits", "reciprocal_ranks"), 0),
            **{"shard": 0, "number": number, "to_xid": number, "to_seq": number * events, "n_events": events},
            **{"stream_ms": at_ms, "duration_ms": 1.0, "first_ordinal": 0},
        )
        row = ZERO | {"hit_rate": rate, "n_predictions": 10, "trusted_hit_rate": 0.9, "n_trusted": 1}
        Watched.objects.create(shard=0, step=number, stream_ms=at_ms, **row)


def keep(step, *, stream_ms=NOW_MS, **more):
    return Checkpoint.objects.create(
        **{"shard": 0, "step": step, "xid": step, "seq": step, "digest": f"{step:064x}", "n_bytes": 1, "data": b"x"},
        **{"stream_ms": stream_ms, "n_events": 100 * step, **more},
    )


def ask(n_ms, end_ms=NOW_MS + 1):
    return timeline_data.get_timeline(range_=Range.between(end_ms - n_ms, end_ms))


def series(shown, label):
    return next(each["y"] for each in shown.chart["series"] if each["label"] == label)


def chart_of(text):
    found = re.search(r'<script id="model-over-time-data" type="application/json">(.*?)</script>', text)
    return json.loads(found.group(1))


def test_quality_is_shown_by_population_and_events_by_the_second():
    watch(10)
    shown = ask(60_000)
    assert series(shown, "all readers") == [0.5] * 10
    assert series(shown, "trusted readers") == [0.9] * 10
    assert series(shown, "secret panel") == [None] * 10
    assert series(shown, "events/s") == [None] + [20.0] * 9
    assert shown.n_steps == 10


def test_whatever_the_range_there_are_at_most_so_many_points():
    watch(1500)
    shown = ask(1500 * 5000)
    assert N_BUCKETS / 2 < shown.n_points <= N_BUCKETS
    assert set(series(shown, "all readers")) == {0.5}
    assert set(series(shown, "events/s")[1:]) == {20.0}


def test_the_weight_of_figures_is_the_predictions_they_stand_on():
    watch(2)
    Watched.objects.filter(step=2).update(hit_rate=0.1, n_predictions=30)
    assert series(ask(400 * 86_400_000), "all readers") == [pytest.approx((0.5 * 10 + 0.1 * 30) / 40)]


@pytest.mark.parametrize(("first", "end"), [(5, 5), (9, 5), (0, 10**17), (-10, -5)])
def test_a_range_is_put_right(first, end):
    range_ = Range.between(first, end)
    assert 10_000 <= range_.to_ms - range_.from_ms <= 400 * 86_400_000
    assert range_.from_ms >= 0


def test_a_page_is_a_bounded_number_of_reads(accounts, django_assert_max_num_queries):
    watch(50)
    for step in range(1, 60):
        keep(step)
    client = signed_in(accounts["operator"])
    page(client, reverse("console:timeline"))
    with CaptureQueriesContext(connection) as few:
        page(client, reverse("console:timeline"))
    for step in range(60, 90):
        keep(step, is_pinned=True)
    with CaptureQueriesContext(connection) as more:
        text = page(client, reverse("console:timeline"))
    assert len(more) <= len(few) + 1
    assert text.count("Go back to here") == 25 + 30


def test_decisions_and_alarms_are_marked_with_where_they_lead():
    begins_ms = int(datetime.now(UTC).timestamp() * 1000)
    watch(5, end_ms=begins_ms)
    Step.objects.filter(number=2).update(alarm=2)
    fell = Finding.objects.create(
        kind="drift", title="x", first_ms=1, last_ms=Step.objects.get(number=2).stream_ms, is_stale=False
    )
    with transaction.atomic():
        reviews.record(by="policy", action="freeze", note="x", subject={})
        reviews.record(
            by="policy", action="revert", note="x", subject={"revert": 7, "checkpoint": 3, "state": "queued"}
        )
        reviews.record(
            by="policy", action="revert", note="x", subject={"revert": 8, "checkpoint": 4, "preview": True}
        )
    end_ms = int(datetime.now(UTC).timestamp() * 1000) + 1
    marks = {mark["label"]: mark for mark in ask(end_ms - begins_ms + 60_000, end_ms).chart["marks"]}
    assert set(marks) == {"freeze", "revert to 3", "quality fell"}
    assert marks["quality fell"]["href"] == reverse("console:finding", args=[fell.pk])
    assert marks["revert to 3"]["href"] == reverse("console:revert", args=[7])


def test_many_marks_of_one_kind_become_one_and_no_flood_of_them_is_shown():
    watch(400)
    Step.objects.update(alarm=1)
    (mark,) = ask(12 * 3_600_000 * 30).chart["marks"]
    assert mark["label"] == "quality may fall, 240 times"
    shown = ask(400 * 5000)
    assert len(shown.chart["marks"]) <= 60


def test_a_checkpoint_a_revert_left_behind_is_marked_as_abandoned(accounts):
    watch(1)
    for step in (1, 2, 3):
        keep(step)
    Learner.objects.update(recipe=[[1, 1, None, FOLD_VERSION], [4, None, None, FOLD_VERSION]], step=4, seq=500)
    points, has_more = timeline_data.list_points()
    assert [(each.step, each.is_on_way, each.n_since) for each in points] == [
        (3, False, 497),
        (2, False, 498),
        (1, True, 499),
    ]
    assert not has_more
    assert page(signed_in(accounts["viewer"]), reverse("console:timeline")).count("abandoned") == 2


def test_checkpoints_are_paged_by_their_number(accounts):
    watch(1)
    for step in range(1, 31):
        keep(step)
    first, has_more = timeline_data.list_points(limit=25)
    assert has_more
    rest, has_more = timeline_data.list_points(limit=25, before=first[-1].id)
    assert not has_more
    assert [each.step for each in [*first, *rest]] == list(range(30, 0, -1))
    text = page(signed_in(accounts["viewer"]), f"{reverse('console:timeline')}?before={first[-1].id}")
    assert "Older checkpoints" not in text


def test_a_zoomed_page_has_the_checkpoints_of_its_time_and_does_not_refresh(accounts):
    watch(3)
    keep(1, stream_ms=NOW_MS)
    keep(2, stream_ms=NOW_MS + 3_600_000)
    text = page(
        signed_in(accounts["viewer"]), f"{reverse('console:timeline')}?from={NOW_MS - 60_000}&to={NOW_MS + 60_000}"
    )
    assert "data-poll=" not in text
    assert chart_of(text)["from"] == NOW_MS - 60_000
    assert [tick["at"] for tick in chart_of(text)["ticks"]] == [NOW_MS]
    assert f'title="{1:064x}"' in text
    assert f'title="{2:064x}"' not in text


def test_times_may_be_typed_in_utc(accounts):
    watch(3)
    text = page(
        signed_in(accounts["viewer"]), f"{reverse('console:timeline')}?from=2026-03-01T11:00&to=2026-03-01T12:00:01"
    )
    assert chart_of(text)["from"] == NOW_MS - 3_600_000


@pytest.mark.parametrize("query", ["from=yesterday", "to=1e5", "from=99999-01-01", "to=999999999999999", "from=%00"])
def test_a_time_that_is_none_is_told(accounts, query):
    text = page(signed_in(accounts["viewer"]), f"{reverse('console:timeline')}?{query}", status=400)
    assert "is not a time" in text


def test_an_empty_model_says_what_to_do(accounts):
    text = page(signed_in(accounts["operator"]), reverse("console:timeline"))
    assert "POST /api/v1/events" in text
    assert "There is no checkpoint yet" in text


def test_the_poller_gets_the_part_alone(accounts):
    watch(2)
    text = page(signed_in(accounts["viewer"]), f"{reverse('console:timeline')}?part=1")
    assert "<html" not in text
    assert "model-over-time" in text


@pytest.mark.parametrize("role", ["viewer", "reviewer"])
def test_who_may_not_operate_sees_no_switch(accounts, role):
    watch(2)
    keep(1)
    text = page(signed_in(accounts[role]), reverse("console:timeline"))
    for label in ("Go back to here", ">Freeze</button>", ">Pin<"):
        assert label not in text
        assert label in page(signed_in(accounts["operator"]), reverse("console:timeline"))


def test_the_policys_proposal_is_offered_while_the_shard_is_frozen(accounts):
    watch(2)
    point, frozen_at = keep(1), datetime.now(UTC)
    Learner.objects.update(state="frozen", frozen_at=frozen_at)
    freeze = AutoFreeze.objects.create(
        **{"shard": 0, "frozen_at": frozen_at, "until": frozen_at + timedelta(minutes=5), "step": 2, "n_reverts": 0},
        **{"changed_ms": NOW_MS, "reason": "hit rate <b>fell</b>", "checkpoint_id": point.pk},
    )
    client = signed_in(accounts["operator"])
    assert "looking for suspected accounts" in page(client, reverse("console:timeline"))
    AutoFreeze.objects.update(suspects={"actors": [5], "prefixes": [], "windows": []}, n_suspects=1, n_suspected=3)
    text = page(client, reverse("console:timeline"))
    assert reverse("console:preview-proposal", args=[freeze.pk]) in text
    assert "hit rate &lt;b&gt;fell&lt;/b&gt;" in text
    Learner.objects.update(n_reverts=1)
    assert "Proposal" not in page(client, reverse("console:timeline"))
