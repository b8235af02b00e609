"""A full log to measure on, made inside PostgreSQL.

It has events, steps, figures, checkpoints, items and verdicts. They are rows without a history, since nothing was
learned from them. Readers of the rows see a plausible site: popular items are popular, and people come back. Numbers
of steps begin after those of the real steps. All steps are of shard 0.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction

from recommender.core.vocabulary import Kind
from recommender.log import event_log

N_ITEMS, N_ACTORS = 20_000, 300_000

# An act at regular times, on items by a power law, by actors who come back. The keys are hashes like any others, but
# not those of the installation.
_EVENTS = """
INSERT INTO recommender_event (received_at, bucket, kind, actor, item, ip, country, is_crawler, actor_key, item_key,
    network)
SELECT to_timestamp(%(first_s)s + n * %(every_s)s), (n %% 16)::smallint, %(kind)s, actor, item, ip, 'DE', false,
    hashtextextended(actor, 0), hashtextextended(item, 0), hashtextextended(ip, 0)
FROM (
    SELECT n, 'reader-' || (power(random(), 2) * %(n_actors)s)::int AS actor,
        'item-' || (power(random(), 4) * %(n_items)s)::int AS item,
        '198.51.' || (random() * 255)::int || '.' || (random() * 255)::int AS ip
    FROM generate_series(0, %(n)s - 1) AS n OFFSET 0
) AS made
"""
_STEPS = """
INSERT INTO recommender_step (shard, number, from_xid, from_seq, to_xid, to_seq, first_ordinal, n_events, n_admitted,
    n_held, n_quarantined, n_released, n_retracted, n_unjudged, n_predicted, n_hits, reciprocal_ranks, n_trusted,
    n_trusted_hits, n_canary, n_canary_hits, alarm, stream_ms, duration_ms, created_at, fold_version)
SELECT 0, %(step)s + n, %(xid)s, %(seq)s + n * %(per)s, %(xid)s, %(seq)s + (n + 1) * %(per)s, %(seq)s + n * %(per)s,
    %(per)s, %(per)s - 20, 10, 10, 5, 0, 0, 900, 500, 90.0, 500, 300, 9, 5, 0,
    %(first_ms)s + n * %(span_ms)s, 40.0, to_timestamp((%(first_ms)s + n * %(span_ms)s) / 1000.0),
    (SELECT fold_version FROM recommender_learner WHERE shard = 0)
FROM generate_series(0, %(n)s - 1) AS n
"""
_FIGURES = """
INSERT INTO recommender_watched (shard, step, stream_ms, at, lag_s, hit_rate, trusted_hit_rate, canary_hit_rate,
    steady_hit_rate, n_predictions, n_trusted, n_canary, drift, level, top_share, gini, low_trust_share, least_actors,
    least_trust, held_share, quarantine_share, pressure)
SELECT shard, number, stream_ms, created_at, 0.4, 0.55, 0.6, 0.55, 0.55, 900, 500, 9, 0.1, 0, 0.05, 0.7, 0.1, 400,
    20.0, 0.005, 0.005, 1.0 FROM recommender_step WHERE number >= %(step)s
ON CONFLICT DO NOTHING
"""
_CHECKPOINTS = """
INSERT INTO recommender_checkpoint (shard, step, xid, seq, digest, n_bytes, data, recipe, is_pinned, stream_ms,
    n_events, n_predicted, hr20, created_at, fold_version)
SELECT s.shard, s.number, s.to_xid, s.to_seq, md5('c' || s.number) || md5('d' || s.number), 1000000, '', c.recipe,
    false, s.stream_ms, s.to_seq, 900, 0.55, s.created_at, s.fold_version
FROM recommender_step AS s, (SELECT recipe FROM recommender_checkpoint ORDER BY id LIMIT 1) AS c
WHERE s.number >= %(step)s AND s.number %% greatest(1, %(n)s / 500) = 0
"""
_ITEMS = """
INSERT INTO recommender_item (id, title, url, categories, is_hidden, changed_xid, changed_at)
SELECT 'item-' || n, 'Story number ' || n, '', ARRAY['news'], n %% 500 = 0, 0, now()
FROM generate_series(0, %(n_items)s - 1) AS n ON CONFLICT DO NOTHING
"""
# The log is read once from end to end. No index begins with seq, and by place a log of millions would be searched per
# crowd.
_VERDICTS = """
WITH said AS (
    INSERT INTO recommender_eventverdict (shard, ordinal, step, xid, seq, verdict, was_held, score, reasons,
        created_at)
    SELECT 0, 1000000000 + seq, %b::bigint + (seq - %b::bigint) / %b::bigint, xid::text::bigint, seq, 1 + seq %% 2,
        false, 0.9, 16, received_at
    FROM recommender_event
    WHERE seq >= %b::bigint AND (seq - %b::bigint) %% %b::bigint < %b::bigint
      AND (seq - %b::bigint) / %b::bigint < %b::bigint
    RETURNING xid, seq, (extract(epoch FROM created_at) * 1000)::bigint AS received_ms
)
SELECT coalesce(array_agg(xid), '{}'), coalesce(array_agg(seq), '{}'), coalesce(array_agg(received_ms), '{}')
FROM said
"""
_LEARNER = "UPDATE recommender_learner SET xid = %(xid)s, seq = %(seq)s, step = %(step)s, n_events = %(seq)s"


def write_events(*, n: int, first_s: float, every_s: float) -> int:
    """Write clicks into the log, the first received at `first_s`.

    Returns the position of the transaction that wrote them.
    """
    rows = {"n": n, "first_s": first_s, "every_s": every_s, "kind": int(Kind.CLICK)}
    with transaction.atomic():
        _run(_EVENTS, rows | {"n_items": N_ITEMS, "n_actors": N_ACTORS})
        return int(event_log.fetch("SELECT recommender_xid()::text::bigint", [])[0])


def write_steps(*, n: int, step: int, xid: int, seq: int, per_step: int, first_ms: int, span_ms: int) -> None:
    """Write n steps from the number `step` on, each over `per_step` events.

    seq: number of the first event.
    xid: transaction that wrote the events.
    """
    of_events = {"n": n, "step": step, "xid": xid, "seq": seq, "per": per_step}
    _run(_STEPS, of_events | {"first_ms": first_ms, "span_ms": span_ms})


def write_the_rest(*, step: int, n_steps: int) -> None:
    """Write figures and about 500 checkpoints of the steps, and describe the items.

    step: number of the first step.
    """
    _run(_FIGURES, {"step": step})
    _run(_CHECKPOINTS, {"step": step, "n": n_steps})
    _run(_ITEMS, {"n_items": N_ITEMS})


def write_verdicts(*, seq: int, n_crowds: int, stride: int, crowd: int, step: int, per_step: int) -> Sequence[Any]:
    """Hold or quarantine `crowd` events in a row, `n_crowds` times.

    seq: first event of the first crowd.
    stride: events from one crowd to the next.
    step, per_step: as the steps were written.

    Returns three lists of one length: xid, seq, and time received in ms.
    """
    where = [seq, seq, stride, crowd, seq, stride, n_crowds]
    with _unhurried():
        return event_log.fetch(_VERDICTS, [step, seq, per_step, *where])


def move_learner(*, xid: int, seq: int, step: int) -> None:
    """Move the learner to the end of the written events."""
    _run(_LEARNER, {"xid": xid, "seq": seq, "step": step})


def _run(query: str, named: dict[str, Any]) -> None:
    with _unhurried(), connection.cursor() as cursor:
        cursor.execute(query, named)


@contextmanager
def _unhurried() -> Iterator[None]:
    """Open a transaction whose statements have no time limit."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = 0")
        yield
