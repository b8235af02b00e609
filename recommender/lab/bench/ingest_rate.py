"""Rate of incoming events, until they are committed and until they are listed.

It has three phases. First the learner is frozen, so ingest has the machine to itself. Then the learner learns the
backlog in one go, which shows how fast the learner alone is. Last, both run at once for as long, until everything
sent is in the lists. The ceiling is a bare COPY into the same database.

At the end every event that the server accepted must have been learned exactly once. A bench that loses events
measures nothing.
"""

import time
from collections.abc import Iterator

from django.db.models import Sum

from recommender.lab.bench import copy_ceiling
from recommender.lab.bench.results import BenchRow
from recommender.lab.bench.running_system import CannotMeasure, Rig
from recommender.models import Learner

BATCH = 500
CONNECTIONS = 4
SINGLE_CONNECTIONS = 8
BUDGET_SUSTAINED, BUDGET_SINGLE = 20_000, 1_500


def measure(rig: Rig, *, seconds: float) -> Iterator[BenchRow]:
    """Yield the rows. Some need the database, so only the bench's own rig has them."""
    n_accepted = warm_up(rig)
    copied = copied_singly = None
    if rig.has_database:
        for_s = min(seconds, 3.0)
        copied = copy_ceiling.rows_per_s(BATCH, connections=CONNECTIONS, seconds=for_s, seed=rig.seed)
        copied_singly = copy_ceiling.rows_per_s(1, connections=SINGLE_CONNECTIONS, seconds=for_s, seed=rig.seed)
        _set_state(Learner.State.FROZEN)
    try:
        # Batches come last, because they keep PostgreSQL busy for a while afterwards.
        trivial = rig.run(seconds=seconds / 4, connections=SINGLE_CONNECTIONS, path="/health/live")
        singles = rig.run(seconds=seconds / 2, connections=SINGLE_CONNECTIONS, batch=1)
        batches = rig.run(seconds=seconds, connections=CONNECTIONS, batch=BATCH)
    finally:
        if rig.has_database:
            _set_state(Learner.State.LEARNING)
    n_waiting = batches.accepted + singles.accepted
    n_accepted += n_waiting
    thawed_at = time.time()
    caught_up_at = rig.is_listed_up_to(thawed_at)
    yield BenchRow(
        measure=f"ingest: batches of {BATCH} -> committed",
        value=batches.accepted / batches.seconds,
        unit="events/s",
        ceiling=copied,
        of=copy_ceiling.OF if copied else "",
        note=f"{CONNECTIONS} connections, p50 {batches.p50_s * 1e3:.0f} ms, p99 {batches.p99_s * 1e3:.0f} ms",
    )
    yield BenchRow(
        measure="ingest: single events -> committed",
        value=singles.rate,
        unit="POSTs/s",
        budget=BUDGET_SINGLE,
        ceiling=copied_singly or trivial.rate,
        of=copy_ceiling.OF if copied_singly else "GET /health/live",
        note=f"{SINGLE_CONNECTIONS} connections, p50 {singles.p50_s * 1e3:.1f} ms, p99 {singles.p99_s * 1e3:.1f} ms;"
        f" GET /health/live {trivial.rate:,.0f}/s",
    )
    if rig.has_database:
        yield BenchRow(
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
    yield BenchRow(
        measure=f"ingest: batches of {BATCH} -> committed -> listed",
        value=sustained.accepted / (listed_at - began_at),
        unit="events/s",
        budget=BUDGET_SUSTAINED,
        ceiling=copied,
        of=copy_ceiling.OF if copied else "",
        note=f"{sustained.accepted:,} events in {sent_at - began_at:.1f} s, listed {listed_at - sent_at:.1f} s later",
    )
    if rig.has_database:
        _check_learned(n_accepted)


def warm_up(rig: Rig) -> int:
    """Compile the learner's kernels and make connections.

    Returns the number of events that this took.
    """
    accepted = sum(rig.run(seconds=1.0, connections=2, batch=batch, rate=20.0).accepted for batch in (1, 50))
    rig.is_listed_up_to(time.time())
    return accepted


def _set_state(state: str) -> None:
    Learner.objects.update(state=state)
    time.sleep(1.0)  # for the step under way, and until the learner looks at the row again


def _check_learned(n_accepted: int) -> None:
    """Check that all events were learned. Raises CannotMeasure.

    Only the bench has ever sent to this database.
    """
    learned = Learner.objects.aggregate(n=Sum("n_events"))["n"]
    if learned != n_accepted:
        raise CannotMeasure(f"{n_accepted:,} events were accepted and {learned:,} learned: some are lost or doubled")
