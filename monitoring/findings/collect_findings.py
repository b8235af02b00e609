"""Findings: verdicts gathered into what a person can look at and decide on as a whole.

    EventVerdict, new since the cursor ──> by item, cut where 10 minutes are quiet ──> FindingEvents of a Finding
    EventVerdict, revised since        ──> their findings are stale               (then the cursor moves on)
    stale findings ──> monitoring.findings.refresh_findings: counted again, told as a sentence, merged, expired

An attack becomes one finding: its events stand on one item close together, or its actors are found together on
several (`refresh_findings.take`). A crowd that was held and released by itself leaves no work: its finding expires.
Declared crawlers, and verdicts without a suspicion, make none; the cursor counts them.

Findings refer to events by their place in the log, which no revert changes; what a verdict says of an event now is
read when figures are taken. A revert writes verdicts anew, so it makes all findings of its shard stale.

Killed anywhere, the next run begins again where the cursor stands: an event is in one finding at most (unique), with
its finding's counts in one transaction, so what is there already is not added twice; it only makes its finding stale.
Only one runs at a time (a lock of the session). What is slow, reading the log, is done while no transaction is open,
and each window is written in one of its own: one that had written and stays open would hold up the learner's reader
(recommender.log.event_log). 40 us a verdict where they are on one item; some 7 ms more a window.
"""

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any

import numpy as np
from django.conf import settings
from django.db import transaction
from django.db.models import F, Min
from django.db.models.functions import Greatest, Least, Now
from django.utils import timezone

from monitoring.findings import refresh_findings
from monitoring.findings.wording import NO_FINDING
from monitoring.models import Finding, FindingCursor, FindingEvent, FindingItem
from recommender import locks
from recommender.core.vocabulary import ADMIT, MINUTE_MS, Reason
from recommender.learning import verdict_counts
from recommender.log import event_log
from recommender.log.event_log import Position
from recommender.models import EventVerdict, Learner, Step

GAP_MS = 10 * MINUTE_MS  # of quiet, after which what happens on an item is something else
BATCH = 5_000  # verdicts read at once
RUN_S = 1.0  # a run takes up nothing more after this
MAX_EVENTS = 50_000  # of a finding that still grows
EXPIRED_KEPT = timedelta(days=7)
GROWING = (Finding.State.OPEN, Finding.State.EXPIRED)
_LOCK_CLASS = 0x67736677  # "gsfw"

# Of events that are in a finding already, the first finding stays.
_ADD_EVENTS = """
WITH added AS (
    INSERT INTO monitoring_findingevent (finding_id, shard, xid, seq, received_ms)
    SELECT %b::bigint, %b::smallint, xid, seq, received_ms
    FROM unnest(%b::bigint[], %b::bigint[], %b::bigint[]) AS t(xid, seq, received_ms)
    ON CONFLICT DO NOTHING RETURNING 1
)
SELECT count(*) FROM added
"""
_KNOWN = """
SELECT coalesce(array_agg(e.seq), '{}') FROM monitoring_findingevent AS e
JOIN unnest(%b::bigint[], %b::bigint[]) AS t(xid, seq) ON (e.xid, e.seq) = (t.xid, t.seq)
"""
_FINDINGS_OF = """
SELECT coalesce(array_agg(DISTINCT e.finding_id), '{}') FROM monitoring_findingevent AS e
JOIN unnest(%b::bigint[], %b::bigint[]) AS t(xid, seq) ON (e.xid, e.seq) = (t.xid, t.seq)
"""


@dataclass(slots=True)
class FindingWindow:
    """Events on one item without a long quiet between them. xid, seq, received_ms: lists of one length, by time."""

    item: str
    xid: list[int]
    seq: list[int]
    received_ms: list[int]

    @property
    def first_ms(self) -> int:
        return self.received_ms[0]

    @property
    def last_ms(self) -> int:
        return self.received_ms[-1]


def gather() -> int:
    """Bring findings up to date with the verdicts, for about RUN_S at most. Returns how many verdicts were new;
    0 where another process is at it."""
    n_rows, ends_at = 0, time.monotonic() + RUN_S
    with locks.hold(0, lock_class=_LOCK_CLASS) as is_ours:
        if not is_ours:
            return 0
        for shard in Learner.objects.order_by("shard").values_list("shard", flat=True):
            n = BATCH
            while n == BATCH and time.monotonic() < ends_at:
                n = _gather_shard(shard)
                n_rows += n
        refresh_findings.refresh(ends_at=ends_at)
    return n_rows


def prune() -> int:
    """Forget what expired EXPIRED_KEPT ago, and what is past the log's retention. Returns how many."""
    oldest_ms = int((timezone.now() - timedelta(days=settings.RETENTION_DAYS)).timestamp() * 1000)
    expired = Finding.objects.filter(state=Finding.State.EXPIRED, updated_at__lt=timezone.now() - EXPIRED_KEPT)
    past = Finding.objects.filter(last_ms__lt=oldest_ms)
    return sum(n_rows.get("monitoring.Finding", 0) for _, n_rows in (expired.delete(), past.delete()))


def _gather_shard(shard: int) -> int:
    """One batch. Returns how many verdicts it had."""
    learner = Learner.objects.get(shard=shard)  # first: what is revised after is seen next time
    cursor, _ = FindingCursor.objects.get_or_create(shard=shard)
    rows = list(
        EventVerdict.objects.filter(shard=shard, id__gt=cursor.verdict_id)
        .order_by("id")
        .values_list("id", "step", "xid", "seq", "verdict", "reasons", named=True)[:BATCH]
    )
    is_reverted = learner.n_reverts != cursor.n_reverts
    if not rows and not is_reverted and learner.step == cursor.step:
        return 0
    seqs = [row.seq for row in rows]
    known = set(event_log.fetch(_KNOWN, [[row.xid for row in rows], seqs])[0]) if rows else set()
    suspicious = [row for row in rows if row.seq not in known and row.verdict != ADMIT and row.reasons & ~NO_FINDING]
    windows = _windows(shard, suspicious)
    revised = _revised(shard, after_step=cursor.step, to_step=learner.step)
    for window in windows:
        _add(shard, window)
    with transaction.atomic():
        stale = Finding.objects.filter(id__in=revised)
        if known:
            xids = [row.xid for row in rows if row.seq in known]
            again = FindingEvent.objects.filter(xid__in=set(xids), seq__in=known).values("finding")
            stale = stale | Finding.objects.filter(id__in=again)
        if is_reverted:
            stale = Finding.objects.filter(events__shard=shard)
        Finding.objects.filter(id__in=stale.values("id")).update(is_stale=True)
        FindingCursor.objects.filter(shard=shard).update(
            verdict_id=rows[-1].id if rows else cursor.verdict_id,
            step=learner.step,
            n_reverts=learner.n_reverts,
            n_automated=F("n_automated") + sum(bool(row.reasons & Reason.AUTOMATED) for row in rows),
            n_unjudged=F("n_unjudged") + sum(bool(row.reasons & Reason.UNJUDGED) for row in rows),
        )
    return len(rows)


def _revised(shard: int, *, after_step: int, to_step: int) -> set[int]:
    """The findings with an event whose verdict was revised after one step and not after another."""
    found: set[int] = set()
    for places in verdict_counts.list_revised(shard=shard, after_step=after_step, to_step=to_step):
        found.update(event_log.fetch(_FINDINGS_OF, places)[0])
    return found


def _windows(shard: int, rows: Sequence[Any]) -> list[FindingWindow]:
    """The events of verdicts, by item and time, as far as the log still has them."""
    if not rows:
        return []
    steps = Step.objects.filter(shard=shard, number__in={row.step for row in rows})
    since_ms = steps.aggregate(since=Min("stream_ms"))["since"] or 0
    slack_ms = int(event_log.PARTITION_SLACK.total_seconds() * 1000)
    events = event_log.read_at([Position(row.xid, row.seq) for row in rows], since_ms=max(0, since_ms - slack_ms))
    by_item: dict[str, list[int]] = defaultdict(list)
    for place in np.argsort(events.received_ms, kind="stable").tolist():
        by_item[events.items[place]].append(place)
    windows = []
    for item, places in sorted(by_item.items()):
        at = events.received_ms[places]
        cuts = [0, *(np.flatnonzero(np.diff(at) > GAP_MS) + 1).tolist(), len(places)]
        for start, end in pairwise(cuts):
            part = places[start:end]
            columns = (events.xid[part].tolist(), events.seq[part].tolist(), events.received_ms[part].tolist())
            windows.append(FindingWindow(item, *columns))
    return windows


@transaction.atomic
def _add(shard: int, window: FindingWindow) -> None:
    """Put a window's events into the finding they belong to, or a new one. Locks that finding: nobody decides on it
    between what it had and what it gets."""
    near = FindingItem.objects.filter(
        item=window.item,
        last_ms__gte=window.first_ms - GAP_MS,
        first_ms__lte=window.last_ms + GAP_MS,
        finding__state__in=GROWING,
        finding__n_events__lt=MAX_EVENTS,
    )
    number = near.order_by("-last_ms", "-finding_id").values_list("finding_id", flat=True).first()
    growing = Finding.objects.select_for_update().filter(state__in=GROWING)
    finding = None if number is None else growing.filter(pk=number).first()
    if finding is None:
        finding = Finding.objects.create(
            kind=Finding.Kind.ITEM_WINDOW,
            title=f"Something happens on {window.item}.",
            item=window.item,
            shard=shard,
            first_ms=window.first_ms,
            last_ms=window.last_ms,
        )
    (n_added,) = event_log.fetch(_ADD_EVENTS, [finding.pk, shard, window.xid, window.seq, window.received_ms])
    span = {"first_ms": Least("first_ms", window.first_ms), "last_ms": Greatest("last_ms", window.last_ms)}
    if not FindingItem.objects.filter(finding=finding, item=window.item).update(
        **span, n_events=F("n_events") + n_added
    ):
        FindingItem.objects.create(
            finding=finding,
            item=window.item,
            first_ms=window.first_ms,
            last_ms=window.last_ms,
            n_events=n_added,
        )
    Finding.objects.filter(pk=finding.pk).update(
        **span,
        n_events=F("n_events") + n_added,
        shard=shard if finding.shard == shard else None,
        is_stale=True,
        updated_at=Now(),
    )
