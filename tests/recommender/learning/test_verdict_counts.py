"""Lookups of verdicts return those asked for and no others.

They are asked for by shard, step, reason or position.
"""

import re

import pytest
from django.db import connection

from recommender.core.vocabulary import ADMIT, HOLD, MINUTE_MS, QUARANTINE
from recommender.learning import verdict_counts
from recommender.learning.verdict_counts import StoppedCount, VerdictSums
from recommender.models import EventVerdict, Step

pytestmark = pytest.mark.django_db


def verdict(ordinal, said=QUARANTINE, *, shard=0, step=1, reasons=8, was_held=False, revised_in=None):
    return EventVerdict.objects.create(
        **{"shard": shard, "ordinal": ordinal, "step": step, "xid": 7, "seq": 1000 * shard + ordinal},
        **{"verdict": said, "reasons": reasons, "was_held": was_held, "revised_in": revised_in},
    )


def step(number, at_ms):
    return Step.objects.create(
        **{"shard": 0, "number": number, "stream_ms": at_ms, "n_events": 1},
        **dict.fromkeys(("from_xid", "from_seq", "to_xid", "to_seq"), number),
        **dict.fromkeys(("n_admitted", "n_predicted", "n_hits"), 0),
        **{"reciprocal_ranks": 0.0, "duration_ms": 1.0},
    )


def test_past_a_number_verdicts_are_counted_from_a_later_one_on():
    for ordinal in (10, 11, 15, 20):
        verdict(ordinal)
    verdict(99, shard=1)
    assert verdict_counts.keep_newest(shard=0, ordinal=5, limit=2) == 11
    assert verdict_counts.keep_newest(shard=0, ordinal=5, limit=4) == 5
    assert verdict_counts.keep_newest(shard=0, ordinal=15, limit=1) == 15


def test_what_was_stopped_is_counted_by_minute_and_last_word():
    step(1, 10 * MINUTE_MS)
    step(2, 11 * MINUTE_MS + 5)
    step(3, 12 * MINUTE_MS)
    verdict(1, step=1)  # of an earlier step
    verdict(2, step=2)
    verdict(3, ADMIT, step=2, was_held=True)
    verdict(4, ADMIT, step=2)  # removed and admitted again, but never held
    verdict(5, step=2, reasons=4)  # for another reason
    verdict(6, HOLD, step=3, was_held=True)
    verdict(7, step=3)
    counts = verdict_counts.count_stopped(shard=0, after_step=1, since_ms=0, ordinal=1, reasons=8 | 16)
    assert sorted(counts, key=lambda each: (each.at_ms, each.verdict)) == [
        StoppedCount(11 * MINUTE_MS, ADMIT, 1),
        StoppedCount(11 * MINUTE_MS, QUARANTINE, 1),
        StoppedCount(12 * MINUTE_MS, HOLD, 1),
        StoppedCount(12 * MINUTE_MS, QUARANTINE, 1),
    ]
    late = verdict_counts.count_stopped(shard=0, after_step=1, since_ms=12 * MINUTE_MS, ordinal=7, reasons=8)
    assert late == [StoppedCount(12 * MINUTE_MS, QUARANTINE, 1)]


def test_what_waits_is_counted_up_to_a_limit():
    for ordinal in range(5):
        verdict(ordinal, HOLD)
    verdict(5, QUARANTINE)
    verdict(6, HOLD, shard=1)
    assert verdict_counts.count_held(shard=0, ordinal=1, limit=100) == 4
    assert verdict_counts.count_held(shard=0, ordinal=0, limit=3) == 3


def test_what_is_said_of_events_is_read_and_summed_up_by_where_they_stand():
    verdict(1, ADMIT, reasons=1, was_held=True)
    verdict(2, HOLD, reasons=2)
    verdict(3, QUARANTINE, reasons=4)
    verdict(1, QUARANTINE, reasons=64, shard=1)
    xids, seqs = [7, 7, 7, 7, 7, 8], [3, 1, 2, 4, 1001, 3]
    assert verdict_counts.read_at(xids=xids, seqs=seqs) == [2, 0, 1, None, 2, None]
    assert verdict_counts.read_at(xids=[], seqs=[]) == []
    sums = verdict_counts.sum_up(shards=[0, 0, 0, 0, 1, 0], xids=xids, seqs=seqs)
    assert sums == VerdictSums(n_held=1, n_quarantined=2, n_admitted=1, reasons=71, reasons_against=68)
    assert verdict_counts.sum_up(shards=[0], xids=[7], seqs=[1001]) == VerdictSums(0, 0, 0, 0, 0)
    assert verdict_counts.sum_up(shards=[], xids=[], seqs=[]) == VerdictSums(0, 0, 0, 0, 0)


@pytest.mark.parametrize("part", [1, 2, 3, 100])
def test_each_revision_between_two_steps_is_listed_once_whatever_fits_into_a_part(part, monkeypatch):
    monkeypatch.setattr(verdict_counts, "PART", part)
    for ordinal, revised_in in ((1, 5), (2, 6), (3, 6), (4, 6), (5, 9), (6, 10), (7, None)):
        verdict(ordinal, revised_in=revised_in)
    verdict(8, shard=1, revised_in=6)
    parts = list(verdict_counts.list_revised(shard=0, after_step=5, to_step=9))
    assert [seq for _, seqs in parts for seq in seqs] == [2, 3, 4, 5]
    assert all(0 < len(seqs) == len(xids) <= part for xids, seqs in parts)
    assert list(verdict_counts.list_revised(shard=0, after_step=10, to_step=10)) == []


def test_positions_and_revisions_are_found_by_their_indexes():
    def plan(query, kinds):
        query = query.replace("%b::integer", "10")
        for kind in kinds:
            query = query.replace(f"%b::{kind}", f"'{{1,2}}'::{kind}" if kind.endswith("[]") else "1")
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {query}")
            return "\n".join(line for (line,) in cursor.fetchall())

    rows = [EventVerdict(shard=1, ordinal=n, step=1, xid=1, seq=n, verdict=HOLD, reasons=1) for n in range(5000)]
    for each in rows[::50]:
        each.revised_in = each.ordinal
    EventVerdict.objects.bulk_create(rows)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE recommender_eventverdict")
    arrays = ("smallint[]", "bigint[]", "smallint", "bigint")
    assert "verdict_of_an_event" in plan(verdict_counts._AT, arrays)
    assert "verdict_of_an_event" in plan(verdict_counts._SUM_UP, arrays)
    revised = plan(verdict_counts._REVISED, arrays)
    assert "verdict_revised" in revised
    assert re.search(r"Index Cond: .*revised_in >=? ", revised), revised
