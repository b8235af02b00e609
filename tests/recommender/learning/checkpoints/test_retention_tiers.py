"""Recent checkpoints are kept close together, older ones further apart.

A checkpoint in use is never dropped.
"""

from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from recommender.control import learning_switch
from recommender.learning import learner
from recommender.learning.checkpoints import thinning
from recommender.learning.checkpoints.retention_tiers import Kept, Tier, choose, parse
from recommender.models import Checkpoint, Learner, Revert

SCHEDULE = (Tier(2, 20), Tier(10, 100), Tier(50, 400))
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
GAPS = st.lists(st.floats(0.01, 2.0), min_size=1, max_size=400)


def made(gaps):
    at_s, checkpoints = 1000.0, []
    for number, gap in enumerate(gaps, 1):
        at_s += gap
        checkpoints.append(Kept(number, at_s, 100))
    return checkpoints


def thinned(checkpoints, now_s, **more):
    kept = choose(checkpoints, schedule=SCHEDULE, now_s=now_s, **more)
    return [each for each in checkpoints if each.id in kept]


@given(GAPS, st.data())
def test_every_age_of_the_schedule_has_a_checkpoint_within_its_interval(gaps, data):
    checkpoints = made(gaps)
    now_s = checkpoints[-1].at_s
    kept = thinned(checkpoints, now_s)
    at_s = data.draw(st.floats(checkpoints[0].at_s, now_s))
    for tier in SCHEDULE:
        if now_s - at_s <= tier.age_s:
            assert min(abs(each.at_s - at_s) for each in kept) <= tier.interval_s
    assert len(kept) <= sum(tier.age_s / tier.interval_s + 2 for tier in SCHEDULE) + 1


@given(GAPS, st.sets(st.integers(1, 400)))
def test_thinning_more_often_keeps_the_same(gaps, moments):
    checkpoints = made(gaps)
    now_s = checkpoints[-1].at_s
    kept = []
    for each in checkpoints:
        kept.append(each)
        if each.id in moments:
            kept = thinned(kept, each.at_s)
    assert thinned(kept, now_s) == thinned(checkpoints, now_s)


@given(GAPS, st.integers(100, 5000))
def test_past_the_cap_the_finest_give_way_first(gaps, max_bytes):
    checkpoints = made(gaps)
    now_s = checkpoints[-1].at_s
    wanted, kept = thinned(checkpoints, now_s), thinned(checkpoints, now_s, max_bytes=max_bytes)
    assert sum(each.n_bytes for each in kept) <= max_bytes
    assert set(kept) <= set(wanted)
    coarse = {each.id for each in choose_by(checkpoints, now_s, SCHEDULE[-1:])}
    if any(each.id not in coarse and each != checkpoints[-1] for each in kept):
        assert coarse <= {each.id for each in kept}


def choose_by(checkpoints, now_s, schedule):
    kept = choose(checkpoints[:-1], schedule=schedule, now_s=now_s) if len(checkpoints) > 1 else set()
    newest = {each.id for each in checkpoints[-2:]}
    return [each for each in checkpoints if each.id in kept and each.id not in newest]


def test_the_protected_are_kept_whatever_their_age_and_size():
    checkpoints = [Kept(1, 0.0, 10**9), Kept(2, 1.0, 1), Kept(3, 10_000.0, 1)]
    assert choose(checkpoints, schedule=SCHEDULE, now_s=10_000.0, max_bytes=1, protected={1}) == {1, 3}


@pytest.mark.parametrize(
    "wrong", ["", "5", "5:", "5:300,", "five:300", "-5:300", "300:5", "5:300,5:600", "9:99,5:999"]
)
def test_a_schedule_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match=r"."):
        parse(wrong)


# -- in the database ---------------------------------------------------------------------------------------------


@pytest.fixture
def row(db, settings):
    settings.CHECKPOINT_SCHEDULE = SCHEDULE
    return learner.get_learner(0)


def written(n, *, every_s=1.0, parent=None, n_bytes=4):
    """Yield checkpoints up to NOW, each the parent of the next."""
    stored = []
    for number in range(n):
        each = Checkpoint.objects.create(
            shard=0,
            step=number + 1,
            xid=0,
            seq=0,
            digest=f"{number:064}",
            n_bytes=n_bytes,
            data=b"data",
            parent=parent,
        )
        Checkpoint.objects.filter(pk=each.pk).update(created_at=NOW - timedelta(seconds=every_s * (n - 1 - number)))
        stored.append(each)
        parent = each
    return stored


def thin():
    return thinning.thin_checkpoints(0, now_s=NOW.timestamp())


def test_children_of_what_is_dropped_get_the_next_one_kept(row):
    stored = written(60)
    assert thin() > 20
    kept = list(Checkpoint.objects.defer("data").filter(step__gt=0).order_by("step"))
    assert kept[-1] == stored[-1]
    assert [each.parent_id for each in kept[1:]] == [each.pk for each in kept[:-1]]
    assert thin() == 0


def test_pinned_active_and_asked_for_stay(row):
    pinned, active, asked_for, other, *_ = written(600)
    learning_switch.pin(checkpoint_id=pinned.pk, is_pinned=True)
    Learner.objects.update(checkpoint=active)
    learning_switch.ask_for_revert(checkpoint_id=asked_for.pk, mode="replay", exclusion=None, is_preview=True)
    thin()
    left = set(Checkpoint.objects.values_list("pk", flat=True))
    assert {pinned.pk, active.pk, asked_for.pk} <= left
    assert other.pk not in left
    Revert.objects.update(state=Revert.State.DONE)
    thin()
    assert not Checkpoint.objects.filter(pk=asked_for.pk).exists()


def test_thinning_thousands_loads_no_bytes_and_deletes_once(row):
    written(10)
    Checkpoint.objects.bulk_create(
        Checkpoint(shard=0, step=100, xid=0, seq=0, digest=f"{number:064}", n_bytes=1, data=b"")
        for number in range(2000)
    )
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert thin() > 1900
    assert sum("DELETE" in each["sql"] for each in queries) == 1
    assert not any('"data"' in each["sql"] for each in queries)
    assert len(queries) <= 9


def test_the_cap_is_kept(row, settings):
    settings.CHECKPOINTS_MAX_BYTES = 100
    written(50, n_bytes=10)
    thin()
    assert sum(Checkpoint.objects.filter(step__gt=0).values_list("n_bytes", flat=True)) <= 100


def test_the_list_says_what_a_checkpoint_is_worth(row, capsys):
    (first, second) = written(2)
    Checkpoint.objects.filter(pk=second.pk).update(
        stream_ms=1_777_636_800_000, hr20=0.6912, n_predicted=1234, is_pinned=True
    )
    call_command("checkpoint", "list")
    line = capsys.readouterr().out.splitlines()[0]
    for said in ("2026-05-01 12:00:00", "hr20 0.691 of 1,234", "pinned", f"after {first.pk}"):
        assert said in line
