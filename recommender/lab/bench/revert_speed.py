"""Speed of a revert in mode exclude, while readers go on reading.

    event_log.append ──> the rig's learner ──> checkpoint near the beginning ... N events
    Revert row ──> the rig's worker: events a second, time under the lock   GET /trending 200 times a second meanwhile

The ceiling is Pipeline.step over the same events in the same steps. The difference is the cost of reading the events
back, making keys, recording figures and verdicts, and the switch. The worker finds the row when beat next wakes it,
up to 10 s later. This wait does not count, because a person's request wakes the worker at once.
"""

import threading
import time
from collections.abc import Iterator
from typing import Self

from recommender import models
from recommender.core.decisions import ExclusionRule
from recommender.lab.bench import event_stream
from recommender.lab.bench.results import BenchRow, percentile
from recommender.lab.bench.running_system import CannotMeasure, Rig
from recommender.learning.checkpoints.state_reader import load_pipeline
from recommender.learning.refold import encode
from recommender.log import event_log
from recommender.log.event_log import NewEvents
from recommender.models import Checkpoint, EventVerdict, Learner, Revert, Step

N_EVENTS = 300_000
N_EXCLUDED = 100  # actors
APPENDED = 5000  # events per transaction
READS = 200  # per second
MILLION = 1_000_000
LEARNED_WITHIN_S, REVERTED_WITHIN_S = 300.0, 600.0
BUDGET_RATE, BUDGET_10M_S, BUDGET_LOCK_S, BUDGET_P99_MS = 83_000, 120.0, 1.0, 50.0


def measure(rig: Rig, *, n_events: int = N_EVENTS) -> Iterator[BenchRow]:
    """Yield the rows. It takes about a minute for N_EVENTS.

    It needs the database, so it runs only on a rig of the bench's own.
    """
    if not rig.has_database:
        raise CannotMeasure("a revert can be measured only on a server of the bench's own. Leave --url out.")
    _fill(n_events, seed=rig.seed)
    row = Learner.objects.get()
    checkpoint = Checkpoint.objects.filter(step__gt=0).order_by("step").first()
    if checkpoint is None:
        raise CannotMeasure("the learner made no checkpoint")
    with Readers(rig) as readers:
        time.sleep(1.0)
        revert = _revert(checkpoint)
        time.sleep(1.0)
    outcome = revert.outcome
    rate = outcome["events"] / outcome["took_s"]
    step_rate, parts = _plain(checkpoint, row)
    yield BenchRow(
        measure="revert: exclude, replayed and switched",
        value=rate,
        unit="events/s",
        budget=BUDGET_RATE,
        ceiling=step_rate,
        of="Pipeline.step alone on the same events",
        note=f"{outcome['events']:,} events, {outcome['excluded']:,} excluded, {outcome['took_s']:.1f} s; {parts}",
    )
    yield BenchRow(
        measure="revert: of 10 M events, extrapolated",
        value=10 * MILLION / rate,
        unit="s",
        budget=BUDGET_10M_S,
        is_most=True,
    )
    yield BenchRow(
        measure="revert: learning locked out",
        value=outcome["locked_s"],
        unit="s",
        budget=BUDGET_LOCK_S,
        is_most=True,
        note=f"{EventVerdict.objects.count():,} verdicts and {Step.objects.count():,} steps in the database",
    )
    yield BenchRow(
        measure="revert: reads failed meanwhile", value=readers.n_failed, unit="requests", budget=0, is_most=True
    )
    yield BenchRow(
        measure=f"revert: p99 of {READS} reads/s meanwhile",
        value=1e3 * percentile(readers.delays_s, 0.99),
        unit="ms",
        budget=BUDGET_P99_MS,
        is_most=True,
        note=f"{len(readers.delays_s):,} reads, p50 {1e3 * percentile(readers.delays_s, 0.5):.1f} ms",
    )


class Readers:
    """A thread that asks for the list READS times a second.

    If a read must wait for the one before, its delay counts from its own due time.
    """

    def __init__(self, rig: Rig) -> None:
        self._client = rig.client()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.delays_s: list[float] = []
        self.n_failed = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._is_over.set()
        self._thread.join()
        self._client.close()

    def _run(self) -> None:
        due_at = time.perf_counter()
        while not self._is_over.is_set():
            time.sleep(max(0.0, due_at - time.perf_counter()))
            try:
                answer = self._client.request("GET", "/api/v1/trending")
                self.n_failed += answer.status != 200 or b'"items":[]' in answer.body
            except Exception:  # after any error, a reader had no list
                self.n_failed += 1
            self.delays_s.append(time.perf_counter() - due_at)
            due_at += 1 / READS


def _fill(n_events: int, *, seed: int) -> None:
    """Append the generated stream.

    Wait until all of it is learned and a checkpoint is made.
    """
    made = event_stream.columns(n_events, seed=seed)
    for start in range(0, n_events, APPENDED):
        event_log.append(_new_events(made, start, min(start + APPENDED, n_events)))
        stop_at = time.monotonic() + LEARNED_WITHIN_S
        while start == 0 and not Checkpoint.objects.filter(step__gt=0).exists():
            _wait(stop_at, "the first events")
    stop_at = time.monotonic() + LEARNED_WITHIN_S
    while Learner.objects.get().n_events < n_events:
        _wait(stop_at, "all events")


def _wait(stop_at: float, what: str) -> None:
    if time.monotonic() > stop_at:
        raise CannotMeasure(f"the learner did not learn {what} within {LEARNED_WITHIN_S:.0f} s")
    time.sleep(0.1)


def _new_events(made: event_stream.Columns, start: int, end: int) -> NewEvents:
    actors, n = made.actor[start:end].tolist(), end - start
    return NewEvents(
        actor=[f"actor-{actor}" for actor in actors],
        item=[f"item-{item}" for item in made.item[start:end].tolist()],
        kind=event_stream.KIND_CODES[made.kind[start:end]].tolist(),
        session=[f"s{actor}" for actor in actors],
        ip=[event_stream.address(actor) for actor in actors],
        user_agent=[event_stream.agent(actor) for actor in actors],
        referrer=["https://search.example/"] * n,
        country=[event_stream.country(actor) for actor in actors],
    )


def _revert(checkpoint: Checkpoint) -> Revert:
    """Ask for a revert and wait until the rig's own worker has carried it out."""
    encoder = load_pipeline(checkpoint).encoder
    rule = ExclusionRule(actors=encoder.keys([f"actor-{number}" for number in range(N_EXCLUDED)]))
    revert = Revert.objects.create(
        mode=Revert.Mode.EXCLUDE,
        checkpoints=[checkpoint.pk],
        exclusion=models.Exclusion.objects.create(rule=rule.state()),
    )
    stop_at = time.monotonic() + REVERTED_WITHIN_S
    while revert.state in (Revert.State.QUEUED, Revert.State.RUNNING):
        if time.monotonic() > stop_at:
            raise CannotMeasure(f"{revert} after {REVERTED_WITHIN_S:.0f} s")
        time.sleep(0.1)
        revert.refresh_from_db()
    if revert.state != Revert.State.DONE:
        raise CannotMeasure(f"{revert}: {revert.error}")
    return revert


def _plain(checkpoint: Checkpoint, row: Learner) -> tuple[float, str]:
    """Return the events per second of Pipeline.step alone, over the same steps.

    The text gives the cost per event of reading, of making keys and of the step.
    """
    pipeline = load_pipeline(checkpoint)
    took = {"read": 0.0, "encode": 0.0, "step": 0.0}
    n_events = 0
    for step in Step.objects.filter(number__gt=checkpoint.step, number__lte=row.step).order_by("number"):
        began_at = time.perf_counter()
        events = event_log.read_step(step)
        read_at = time.perf_counter()
        batch = encode(pipeline, events)
        encoded_at = time.perf_counter()
        pipeline.step(batch)
        ended_at = time.perf_counter()
        n_events += len(batch)
        for name, s in zip(took, (read_at - began_at, encoded_at - read_at, ended_at - encoded_at), strict=True):
            took[name] += s
    parts = ", ".join(f"{name} {1e6 * s / n_events:.1f} us" for name, s in took.items())
    return n_events / took["step"], f"an event alone: {parts}"
