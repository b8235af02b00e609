"""A full database to measure on, made inside PostgreSQL.

    lab.bench.full_log ──> events, steps, figures, verdicts ──at their places──> findings, here; decisions

These are rows without a history. Most of the log was never learned, and the chain of decisions does not verify. Pages
see a plausible site: popular items are popular, findings overlap in time and share items, and two in five are
decided. A small part is real. Some thousand events are learned first, so that a list is published and a checkpoint is
kept.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from django.db import connection, transaction

from recommender.core.vocabulary import DAY_MS, Kind
from recommender.lab.bench import full_log
from recommender.learning import learner
from recommender.log import event_log
from recommender.log.event_log import NewEvents
from recommender.log.partitions import ensure_partitions

CHUNK = 500_000
DAYS = 3
PER_STEP = 2_000
PER_FINDING = 5
_N_REAL = 4_000

_FINDINGS = """
INSERT INTO monitoring_finding (kind, state, severity, title, item, shard, first_ms, last_ms, n_events, n_actors,
    n_units, n_held, n_quarantined, n_released_since, reasons, exposure, is_stale, is_told, created_at, updated_at)
SELECT CASE n %% 10 WHEN 0 THEN 'item_window' ELSE 'campaign' END,
    CASE n %% 5 WHEN 0 THEN 'released' WHEN 1 THEN 'confirmed' ELSE 'open' END, 1 + n %% 3,
    (5 + n %% 300) || ' accounts on ''item-' || n %% %(n_items)s || ''' within ' || 1 + n %% 9 || ' min',
    'item-' || n %% %(n_items)s, 0, at, at + 60000, %(per)s, %(per)s, %(per)s, 2, 3, 0, 16, (n %% 1000) / 100.0,
    false, true, now(), now()
FROM (SELECT n, %(first_ms)s + n * %(span_ms)s AS at FROM generate_series(0, %(n)s - 1) AS n) AS t
"""
_FINDING_ITEMS = """
INSERT INTO monitoring_findingitem (finding_id, item, first_ms, last_ms, n_events)
SELECT id, item, first_ms, last_ms, n_events FROM monitoring_finding
"""
_FINDING_EVENTS = """
INSERT INTO monitoring_findingevent (finding_id, shard, xid, seq, received_ms)
SELECT f.id, 0, t.xid, t.seq, t.received_ms
FROM unnest(%(xid)s::bigint[], %(seq)s::bigint[], %(received_ms)s::bigint[]) AS t(xid, seq, received_ms)
JOIN (SELECT id, row_number() OVER (ORDER BY id) - 1 AS n FROM monitoring_finding) AS f
  ON f.n = (t.seq - %(first_seq)s) / %(stride)s
"""
_REVIEWS = """
INSERT INTO monitoring_review (id, at, by, action, scope, subject, note, before_digest, after_digest,
    previous_hash, hash)
SELECT n, now() - (%(n)s - n) * interval '20 s', 'rita', CASE n %% 3 WHEN 0 THEN 'release' ELSE 'confirm' END, '',
    json_build_object('finding', n), 'one crowd of many', '', '',
    md5('a' || n - 1) || md5('b' || n - 1), md5('a' || n) || md5('b' || n)
FROM generate_series((SELECT coalesce(max(id), 0) + 1 FROM monitoring_review), %(n)s) AS n
"""


@dataclass(frozen=True, slots=True)
class Size:
    """Numbers of rows to make: events of the log, findings and reviews.

    A finding has PER_FINDING events.
    """

    n_events: int
    n_findings: int
    n_reviews: int = 20_000


def fill(size: Size, tell: Callable[[str], object]) -> None:
    """Fill the database of Django's connection, which must be empty."""
    end_s = time.time() - 600
    for days in range(DAYS + 2):
        ensure_partitions(today=datetime.now(UTC).date() - timedelta(days=days))
    tell("learning a little")
    _learn_a_little()
    first_s, every_s = end_s - DAYS * 86_400, DAYS * 86_400 / size.n_events
    first_seq = event_log.last_seq() + 1
    step = 1_000  # after the real steps
    xid = 0
    for done in range(0, size.n_events, CHUNK):
        tell(f"writing the log: {done:,} of {size.n_events:,} events")
        n, chunk_s = min(CHUNK, size.n_events - done), first_s + done * every_s
        xid = full_log.write_events(n=n, first_s=chunk_s, every_s=every_s)
        full_log.write_steps(
            n=n // PER_STEP,
            step=step + done // PER_STEP,
            xid=xid,
            seq=first_seq + done,
            per_step=PER_STEP,
            first_ms=int(chunk_s * 1000),
            span_ms=int(every_s * 1000 * PER_STEP),
        )
    n_steps = size.n_events // PER_STEP
    tell("describing items, keeping figures and checkpoints")
    full_log.write_the_rest(step=step, n_steps=n_steps)
    tell(f"making {size.n_findings:,} findings")
    span_ms = DAYS * DAY_MS // max(1, size.n_findings)
    of_findings = {"n": size.n_findings, "per": PER_FINDING, "first_ms": int(first_s * 1000), "span_ms": span_ms}
    _run(_FINDINGS, of_findings | {"n_items": full_log.N_ITEMS})
    _run(_FINDING_ITEMS, {})
    stride = max(PER_FINDING, size.n_events // max(1, size.n_findings))
    events = full_log.write_verdicts(
        seq=first_seq, n_crowds=size.n_findings, stride=stride, crowd=PER_FINDING, step=step, per_step=PER_STEP
    )
    places = dict(zip(("xid", "seq", "received_ms"), events, strict=True))
    _run(_FINDING_EVENTS, places | {"first_seq": first_seq, "stride": stride})
    tell("writing decisions")
    _run(_REVIEWS, {"n": size.n_reviews})
    full_log.move_learner(xid=xid, seq=first_seq + size.n_events - 1, step=step + n_steps)
    tell("analysing")
    _run("ANALYZE", {})


def _learn_a_little() -> None:
    rng = np.random.default_rng(1)
    actors = [f"reader-{n}" for n in rng.integers(0, 2_000, _N_REAL)]
    items = [f"item-{n}" for n in (rng.random(_N_REAL) ** 4 * 200).astype(int)]
    given: dict[str, Any] = {"actor": actors, "item": items, "kind": [int(Kind.CLICK)] * _N_REAL}
    event_log.append(NewEvents(**given))
    learner.learn(0)


def _run(query: str, named: Mapping[str, Any]) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute(query, named or None)
