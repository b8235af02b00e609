"""A full database for measuring, made inside PostgreSQL: a log, its verdicts, findings about them, decisions.

Rows, not a history: nothing was learned from the bulk of it, and the chain of decisions does not verify. What pages
read is as it would be: popular items are popular, findings overlap in time and share items, two of five are decided.
A little is real: some thousand events are learned first, so that a list is published and a checkpoint kept.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from django.db import connection, transaction

from recommender.core.vocabulary import DAY_MS, Kind
from recommender.learning import learner
from recommender.log import event_log
from recommender.log.event_log import NewEvents
from recommender.log.partitions import ensure_partitions

CHUNK = 500_000
DAYS = 3
PER_STEP = 2_000
PER_FINDING = 5
N_ITEMS, N_ACTORS = 20_000, 300_000
_N_REAL = 4_000

# Places of a chunk of the log: an act every so often, on items by a power law, by actors who come back.
_EVENTS = """
INSERT INTO recommender_event (received_at, bucket, kind, actor, item, ip, country)
SELECT to_timestamp(%(first_s)s + n * %(every_s)s), (n %% 16)::smallint, %(kind)s,
    'reader-' || (power(random(), 2) * %(n_actors)s)::int, 'item-' || (power(random(), 4) * %(n_items)s)::int,
    '198.51.' || (random() * 255)::int || '.' || (random() * 255)::int, 'DE'
FROM generate_series(0, %(n)s - 1) AS n
"""
_STEPS = """
INSERT INTO recommender_step (shard, number, from_xid, from_seq, to_xid, to_seq, first_ordinal, n_events, n_admitted,
    n_held, n_quarantined, n_released, n_retracted, n_unjudged, n_predicted, n_hits, reciprocal_ranks, n_trusted,
    n_trusted_hits, n_canary, n_canary_hits, alarm, stream_ms, duration_ms, created_at)
SELECT 0, %(step)s + n, %(xid)s, %(seq)s + n * %(per)s, %(xid)s, %(seq)s + (n + 1) * %(per)s, %(seq)s + n * %(per)s,
    %(per)s, %(per)s - 20, 10, 10, 5, 0, 0, 900, 500, 90.0, 500, 300, 9, 5, 0,
    %(first_ms)s + n * %(span_ms)s, 40.0, to_timestamp((%(first_ms)s + n * %(span_ms)s) / 1000.0)
FROM generate_series(0, %(n)s - 1) AS n
"""
_WATCHED = """
INSERT INTO recommender_watched (shard, step, stream_ms, at, lag_s, hit_rate, trusted_hit_rate, canary_hit_rate,
    steady_hit_rate, n_predictions, n_trusted, n_canary, drift, level, top_share, gini, low_trust_share, least_actors,
    least_trust, held_share, quarantine_share, pressure)
SELECT shard, number, stream_ms, created_at, 0.4, 0.55, 0.6, 0.55, 0.55, 900, 500, 9, 0.1, 0, 0.05, 0.7, 0.1, 400,
    20.0, 0.005, 0.005, 1.0 FROM recommender_step WHERE number >= %(step)s
ON CONFLICT DO NOTHING
"""
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
# Read once from end to end: no index begins with seq, and by place a log of millions would be searched per finding.
_PLACES = """
WITH f AS (SELECT id, row_number() OVER (ORDER BY id) - 1 AS n FROM monitoring_finding),
found AS (SELECT f.id, e.xid::text::bigint AS xid, e.seq, e.received_at FROM recommender_event AS e
    JOIN f ON f.n = (e.seq - %(seq)s) / %(stride)s
    WHERE e.seq >= %(seq)s AND (e.seq - %(seq)s) %% %(stride)s < %(per)s),
kept AS (INSERT INTO monitoring_findingevent (finding_id, shard, xid, seq, received_ms)
    SELECT id, 0, xid, seq, (extract(epoch FROM received_at) * 1000)::bigint FROM found)
INSERT INTO recommender_eventverdict (shard, ordinal, step, xid, seq, verdict, was_held, score, reasons, created_at)
SELECT 0, 1000000000 + seq, %(step)s + (seq - %(seq)s) / %(per_step)s, xid, seq, 1 + seq %% 2, false, 0.9, 16,
    received_at FROM found
"""
_DESCRIBED = """
INSERT INTO recommender_item (id, title, url, categories, is_hidden, changed_xid, changed_at)
SELECT 'item-' || n, 'Story number ' || n, '', ARRAY['news'], n %% 500 = 0, 0, now()
FROM generate_series(0, %(n_items)s - 1) AS n ON CONFLICT DO NOTHING
"""
_REVIEWS = """
INSERT INTO monitoring_review (id, at, by, action, scope, subject, note, before_digest, after_digest,
    previous_hash, hash)
SELECT n, now() - (%(n)s - n) * interval '20 s', 'rita', CASE n %% 3 WHEN 0 THEN 'release' ELSE 'confirm' END, '',
    json_build_object('finding', n), 'one crowd of many', '', '',
    md5('a' || n - 1) || md5('b' || n - 1), md5('a' || n) || md5('b' || n)
FROM generate_series((SELECT coalesce(max(id), 0) + 1 FROM monitoring_review), %(n)s) AS n
"""
_CHECKPOINTS = """
INSERT INTO recommender_checkpoint (shard, step, xid, seq, digest, n_bytes, data, recipe, is_pinned, stream_ms,
    n_events, n_predicted, hr20, created_at)
SELECT s.shard, s.number, s.to_xid, s.to_seq, md5('c' || s.number) || md5('d' || s.number), 1000000, '', c.recipe,
    false, s.stream_ms, s.to_seq, 900, 0.55, s.created_at
FROM recommender_step AS s, (SELECT recipe FROM recommender_checkpoint ORDER BY id LIMIT 1) AS c
WHERE s.number >= %(step)s AND s.number %% greatest(1, %(n)s / 500) = 0
"""


@dataclass(frozen=True, slots=True)
class Size:
    """n_events of the log; n_findings, of some events each; n_reviews."""

    n_events: int
    n_findings: int
    n_reviews: int = 20_000


def fill(size: Size, tell: Callable[[str], object]) -> None:
    """Put it all into the database of Django's connection, which must be empty."""
    end_s = time.time() - 600
    for days in range(DAYS + 2):
        ensure_partitions(today=datetime.now(UTC).date() - timedelta(days=days))
    tell("learning a little")
    _learn_a_little()
    first_s, every_s = end_s - DAYS * 86_400, DAYS * 86_400 / size.n_events
    (first_seq,) = _row("SELECT last_value + 1 FROM recommender_event_seq")
    step = 1_000  # past those really taken
    named: dict[str, Any] = {"n_items": N_ITEMS, "n_actors": N_ACTORS, "kind": int(Kind.CLICK), "per": PER_STEP}
    xid = 0
    for done in range(0, size.n_events, CHUNK):
        tell(f"writing the log: {done:,} of {size.n_events:,} events")
        n = min(CHUNK, size.n_events - done)
        chunk = named | {"n": n, "first_s": first_s + done * every_s, "every_s": every_s}
        with transaction.atomic():
            _run(_EVENTS, chunk)
            (xid,) = _row("SELECT pg_current_xact_id()::text::bigint")
        steps = {"step": step + done // PER_STEP, "xid": xid, "seq": first_seq + done, "n": n // PER_STEP}
        _run(
            _STEPS,
            named | steps | {"first_ms": int(chunk["first_s"] * 1000), "span_ms": int(every_s * 1000 * PER_STEP)},
        )
    n_steps = size.n_events // PER_STEP
    tell("describing items, keeping figures and checkpoints")
    _run(_WATCHED, {"step": step})
    _run(_CHECKPOINTS, {"step": step, "n": n_steps})
    _run(_DESCRIBED, named)
    tell(f"making {size.n_findings:,} findings")
    span_ms = DAYS * DAY_MS // max(1, size.n_findings)
    of_findings = {"n": size.n_findings, "per": PER_FINDING, "first_ms": int(first_s * 1000), "span_ms": span_ms}
    _run(_FINDINGS, named | of_findings)
    _run(_FINDING_ITEMS, {})
    stride = max(PER_FINDING, size.n_events // max(1, size.n_findings))
    places = {"seq": first_seq, "stride": stride, "per": PER_FINDING, "step": step, "per_step": PER_STEP}
    _run(_PLACES, places)
    tell("writing decisions")
    _run(_REVIEWS, {"n": size.n_reviews})
    _run(
        "UPDATE recommender_learner SET xid = %(xid)s, seq = %(seq)s, step = %(step)s, n_events = %(seq)s",
        {"xid": xid, "seq": first_seq + size.n_events - 1, "step": step + n_steps},
    )
    tell("analysing")
    _run("ANALYZE", {})


def _learn_a_little() -> None:
    rng = np.random.default_rng(1)
    actors = [f"reader-{n}" for n in rng.integers(0, 2_000, _N_REAL)]
    items = [f"item-{n}" for n in (rng.random(_N_REAL) ** 4 * 200).astype(int)]
    given: dict[str, Any] = {"actor": actors, "item": items, "kind": [int(Kind.CLICK)] * _N_REAL}
    nothing: list[Any] = [None] * _N_REAL
    event_log.append(NewEvents(**{field.name: given.get(field.name, nothing) for field in fields(NewEvents)}))
    learner.learn(0)


def _run(query: str, named: Mapping[str, Any]) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute(query, named or None)


def _row(query: str) -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        row: tuple[Any, ...] = cursor.fetchone()
    return row
