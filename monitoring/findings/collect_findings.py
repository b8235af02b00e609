"""Gather verdicts into findings, which a person can decide on as a whole.

    EventVerdict, new since the cursor ──> by item, cut where 10 minutes are quiet ──> FindingEvents of a Finding
    EventVerdict, revised since        ──> their findings are stale               (then the cursor moves on)
    stale findings ──> monitoring.findings.refresh_findings: counted again, put into words, merged, expired

An attack becomes one finding: its events are close together on one item, or the same actors act together on several
(`refresh_findings.take`). A crowd that was held and then released by itself leaves no work, because its finding
expires. Declared crawlers, and verdicts without a suspicion, make no finding. The cursor counts them.

A finding refers to events by their position in the log, which no revert changes. The present verdict on an event is
read when the finding is counted. A revert writes new verdicts, so it makes all findings of its shard stale.

A run may be killed anywhere. The next one begins again at the cursor. An event is in at most one finding (unique),
and is added in one transaction with the finding's counts. So an event that is there already is not added twice, and
only makes its finding stale. A session lock makes sure that only one run happens at a time. Reading the log is slow,
so it happens while no transaction is open, and each window is written in its own transaction. A transaction that had
written and stayed open would hold up the learner's reader (recommender.log.event_log). A verdict takes 40 us if they
are on one item, and each window some 7 ms more.
"""

import logging
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

from monitoring.findings import refresh_findings
from monitoring.findings.wording import NO_FINDING
from monitoring.models import Finding, FindingCursor, FindingEvent, FindingItem
from recommender import database_clock, locks
from recommender.core.vocabulary import ADMIT, MINUTE_MS, Reason
from recommender.learning import verdict_counts
from recommender.log import event_log
from recommender.log.event_log import Position
from recommender.models import EventVerdict, Learner, Step
from recommender.process_state import clock
from recommender.upkeep.job_failures import Parts

GAP_MS = 10 * MINUTE_MS  # after so much quiet, later events on the item are a new finding
BATCH = 5_000  # verdicts read at once
RUN_S = 1.0  # a run begins no new batch after this
MAX_EVENTS = 50_000  # a finding with this many events grows no more
EXPIRED_KEPT = timedelta(days=7)
GROWING = (Finding.State.OPEN, Finding.State.EXPIRED)
_LOCK_CLASS = 0x67736677  # "gsfw"

logger = logging.getLogger(__name__)

# An event that is in a finding already stays there.
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
    """Events on one item without a long quiet between them.

    xid, seq, received_ms: lists of one length, by time.
    """

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
    """Bring findings up to date with the verdicts, for about RUN_S at most.

    Returns the number of new verdicts, 0 if another process gathers at the moment. Raises PartsFailed when all is
    done but a shard, or a finding, that failed.
    """
    n_rows, ends_at = 0, clock() + RUN_S
    with locks.hold(0, lock_class=_LOCK_CLASS) as is_ours:
        if not is_ours:
            return 0
        parts = Parts(logger)
        for shard in Learner.objects.order_by("shard").values_list("shard", flat=True):
            with parts.run(f"gather shard {shard}"):
                n = BATCH
                while n == BATCH and clock() < ends_at:
                    n = _gather_shard(shard)
                    n_rows += n
        with parts.run("count findings"):
            refresh_findings.refresh(ends_at=ends_at)
        parts.end()
    return n_rows


def prune() -> int:
    """Delete findings that expired EXPIRED_KEPT ago or are past the log's retention.

    Returns how many.
    """
    now = database_clock.now()
    oldest_ms = int((now - timedelta(days=settings.RETENTION_DAYS)).timestamp() * 1000)
    expired = Finding.objects.filter(state=Finding.State.EXPIRED, updated_at__lt=now - EXPIRED_KEPT)
    past = Finding.objects.filter(last_ms__lt=oldest_ms)
    return sum(n_rows.get("monitoring.Finding", 0) for _, n_rows in (expired.delete(), past.delete()))


def _gather_shard(shard: int) -> int:
    """Gather one batch. Returns its number of verdicts."""
    # read first, so that verdicts revised after it are seen in the next run
    learner = Learner.objects.get(shard=shard)
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
    """Return the findings with an event whose verdict was revised in these steps."""
    found: set[int] = set()
    for places in verdict_counts.list_revised(shard=shard, after_step=after_step, to_step=to_step):
        found.update(event_log.fetch(_FINDINGS_OF, places)[0])
    return found


def _windows(shard: int, rows: Sequence[Any]) -> list[FindingWindow]:
    """Group the events of verdicts by item and time, if the log still has them."""
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
    """Put a window's events into the finding they belong to, or into a new one.

    It locks that finding, so no one can decide on it while it gets events.
    """
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
            title=f"Suspicious events on {window.item}.",
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
