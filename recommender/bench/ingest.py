"""How many events come in: committed, and all the way into the lists; beside a bare COPY into the same database.

With the learner frozen, ingest has the machine to itself; what piled up is then learned in one go, which tells how
fast the learner alone is; last, both at once for as long, until everything sent is in the lists. Every event the
server accepted must have been learned exactly once at the end: a bench that loses events measures nothing.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
from django.db import connection
from django.db.models import Sum

from recommender.bench import stream
from recommender.bench.results import Row
from recommender.bench.rig import CannotMeasure, Rig
from recommender.models import Learner

BATCH = 500
CONNECTIONS = 4
SINGLE_CONNECTIONS = 8
BUDGET_SUSTAINED, BUDGET_SINGLE = 20_000, 1_500

_COPY = (
    "COPY bench_copy (event_key, bucket, kind, actor, item, occurred_at, session, ip, user_agent, referrer, country)"
    " FROM STDIN (FORMAT binary)"
)
_CONTEXT = (
    "10.1.2.3",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36",
    "https://search.example/",
    "DE",
)
_COPY_TYPES = ("bytea", "int2", "int2", "text", "text", "timestamptz", "text", "text", "text", "text", "text")


def measure(rig: Rig, *, seconds: float) -> Iterator[Row]:
    """The rows; those that need the database only on a rig of our own."""
    n_accepted = warm_up(rig)
    copied = _copy(rig.seed, BATCH, min(seconds, 3.0)) if rig.has_database else None
    copied_singly = _copy(rig.seed, 1, min(seconds, 3.0)) if rig.has_database else None
    if rig.has_database:
        _set_state(Learner.State.FROZEN)
    try:
        batches = rig.run(seconds=seconds, connections=CONNECTIONS, batch=BATCH)
        singles = rig.run(seconds=seconds / 2, connections=SINGLE_CONNECTIONS, batch=1)
        trivial = rig.run(seconds=seconds / 4, connections=SINGLE_CONNECTIONS, path="/health/live")
    finally:
        if rig.has_database:
            _set_state(Learner.State.LEARNING)
    n_waiting = batches.accepted + singles.accepted
    n_accepted += n_waiting
    thawed_at = time.time()
    caught_up_at = rig.is_listed_up_to(thawed_at)
    yield Row(
        measure=f"ingest: batches of {BATCH} -> committed",
        value=batches.accepted / batches.seconds,
        unit="events/s",
        ceiling=copied,
        of="binary COPY, same batches, no index" if copied else "",
        note=f"{CONNECTIONS} connections, p50 {batches.p50_s * 1e3:.0f} ms, p99 {batches.p99_s * 1e3:.0f} ms",
    )
    yield Row(
        measure="ingest: single events -> committed",
        value=singles.rate,
        unit="POSTs/s",
        budget=BUDGET_SINGLE,
        ceiling=copied_singly or trivial.rate,
        of="binary COPY of one row, no index, one connection" if copied_singly else "GET /health/live",
        note=f"{SINGLE_CONNECTIONS} connections, p50 {singles.p50_s * 1e3:.1f} ms, p99 {singles.p99_s * 1e3:.1f} ms;"
        f" GET /health/live {trivial.rate:,.0f}/s",
    )
    if rig.has_database:
        yield Row(
            measure="learn: backlog -> listed",
            value=n_waiting / (caught_up_at - thawed_at),
            unit="events/s",
            note=f"{n_waiting:,} events, ingest idle",
        )
    began_at = time.time()
    sustained = rig.run(seconds=seconds, connections=CONNECTIONS, batch=BATCH)
    sent_at = time.time()
    listed_at = rig.is_listed_up_to(sent_at)
    n_accepted += sustained.accepted
    yield Row(
        measure=f"ingest: batches of {BATCH} -> committed -> listed",
        value=sustained.accepted / (listed_at - began_at),
        unit="events/s",
        budget=BUDGET_SUSTAINED,
        ceiling=copied,
        of="binary COPY, same batches, no index" if copied else "",
        note=f"{sustained.accepted:,} events in {sent_at - began_at:.1f} s, listed {listed_at - sent_at:.1f} s later",
    )
    if rig.has_database:
        _check_learned(n_accepted)


def warm_up(rig: Rig) -> int:
    """The learner's kernels compiled, connections made; returns how many events that took."""
    accepted = sum(rig.run(seconds=1.0, connections=2, batch=batch, rate=20.0).accepted for batch in (1, 50))
    rig.is_listed_up_to(time.time())
    return accepted


def _set_state(state: str) -> None:
    Learner.objects.update(state=state)
    time.sleep(1.0)  # the step under way, and the next look at the row


def _check_learned(n_accepted: int) -> None:
    """Raises CannotMeasure. Nothing but a bench ever sent to this database."""
    learned = Learner.objects.aggregate(n=Sum("n_events"))["n"]
    if learned != n_accepted:
        raise CannotMeasure(f"{n_accepted:,} events were accepted and {learned:,} learned: some are lost or doubled")


def _copy(seed: int, batch: int, seconds: float) -> float:
    """Rows a second by COPY in such batches, each committed, into a plain table without an index."""
    made = stream.columns(20 * max(batch, 50), seed=seed)
    now = datetime.now(UTC)
    rows = [
        (row.to_bytes(16, "big"), actor % 64, 2, f"a00000000-{actor}", f"item-{item}", now, f"s{actor}", *_CONTEXT)
        for row, (actor, item) in enumerate(zip(made.actor.tolist(), made.item.tolist(), strict=True))
    ]
    connection.ensure_connection()
    n_copied = 0
    with connection.connection.cursor() as raw:
        raw.execute(
            "CREATE TABLE bench_copy (event_key bytea, bucket int2, kind int2, actor text, item text,"
            " occurred_at timestamptz, session text, ip text, user_agent text, referrer text, country text)"
        )
        began_at = time.perf_counter()
        while time.perf_counter() < began_at + seconds:
            start = n_copied % len(rows)
            with psycopg.Cursor(connection.connection) as cursor, cursor.copy(_COPY) as copy:
                copy.set_types(_COPY_TYPES)
                for row in rows[start : start + batch]:
                    copy.write_row(row)
            n_copied += batch
        took_s = time.perf_counter() - began_at
        raw.execute("DROP TABLE bench_copy")
    return n_copied / took_s
