"""Fill a log for `refold_speed`, and learn it in steps of one size.

    Town + a botnet + Sybil accounts ──append_at──> the log ──learner.take_step──> Steps, verdicts, checkpoints
                                                            reviewers' Decisions ──┘

The log and the learner are the real ones. Only the times of arrival are made up, so that an afternoon fits into
seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
from django.test.utils import override_settings

from recommender.core.vocabulary import Kind, Ruling, Verdict
from recommender.lab import emptying
from recommender.lab.attack.catalogue.all_attacks import attack
from recommender.lab.attack.catalogue.attack_base import Plan
from recommender.lab.attack.catalogue.invented_site import Town
from recommender.lab.attack.catalogue.known_site import as_text, see
from recommender.lab.attack.delivery import inject_into_log
from recommender.learning import active_checkpoint, learner, warm_pipeline
from recommender.log import event_log, origin
from recommender.log.event_log import NewEvents
from recommender.log.partitions import ensure_partitions
from recommender.models import Checkpoint, Decision, EventVerdict, Learner

APPENDED = 5000  # events per transaction
EVENTS_A_DAY = 600_000
EVENTS_A_READER = 1.7  # in a day, of the town's log
ATTACKS = {"A3": 0.01, "A4": 0.02}  # accounts of each attack, as a share of the log's events
ATTACK_AT = 0.3  # share of the log before the attack
BASE_AT = 0.1  # share of the steps before the checkpoint that folds begin at
N_DECISIONS = 20  # in one log, at most
DECIDED = 20  # events in one decision, at most


@dataclass(frozen=True, slots=True)
class FilledLog:
    """A log that was learned in steps of one size.

    base: an early checkpoint. end: the checkpoint of the last step.
    """

    row: Learner
    base: Checkpoint
    end: Checkpoint
    n_events: int
    n_decisions: int
    n_verdicts: int


@override_settings(AUTO_FREEZE=False)  # a day in a minute may look like a fall in quality
def fill(*, n_events: int, step_events: int, is_attacked: bool, seed: int) -> FilledLog:
    """Empty the database, fill its log, and learn all of it.

    step_events: events in a step.
    is_attacked: the log has a botnet and Sybil accounts in it, and reviewers decide about held events.

    About 40 us an event, and 8 ms a step.
    """
    emptying.empty()
    append(log_of(n_events=n_events, is_attacked=is_attacked, seed=seed))
    row = learner.get_learner(0)
    warm = warm_pipeline.restore(row)
    warm.pipeline.ranker.prepare()
    base_step, base = max(1, int(BASE_AT * n_events / step_events)), None
    n_decisions, decided_every = 0, max(2, n_events // step_events // N_DECISIONS)
    while events := learner.read_next(warm, step_events):
        decided = _decide(n_decisions) if is_attacked and warm.step % decided_every == 1 else []
        row = learner.take_step(warm, row, events, decided)
        n_decisions += len(decided)
        if warm.step == base_step:
            base = active_checkpoint.write(warm, row)
            Checkpoint.objects.filter(pk=base.pk).update(is_pinned=True)
    end = active_checkpoint.write(warm, row)
    warm.publisher.publish(warm.pipeline, row, warm.pipeline.stream_ms / 1000, None)
    learner.forget()
    assert base is not None  # BASE_AT is less than 1
    return FilledLog(Learner.objects.get(), base, end, end.n_events, n_decisions, EventVerdict.objects.count())


def log_of(*, n_events: int, is_attacked: bool, seed: int) -> pl.DataFrame:
    """Make a log of exactly n events, with the columns of a Town and in order of time."""
    days = min(1.0, max(0.25, n_events / EVENTS_A_DAY))
    readers = round(1.1 * n_events / (EVENTS_A_READER * days))
    log = as_text(Town(days=days, n_readers=readers, seed=seed).make()).drop("label", "attack").head(n_events)
    if is_attacked:
        plans = _plans(log, n_events, seed)
        n_honest = n_events - sum(len(plan.rows) for _, plan in plans)
        log = inject_into_log.inject(log.head(n_honest), plans)
    return log


def append(log: pl.DataFrame) -> None:
    """Write a log into the event log, with its times as times of arrival."""
    origin.recognise()  # a fresh server; append_at does not do it
    first, last = (datetime.fromtimestamp(log["ts"][row], UTC).date() for row in (0, -1))
    for number in range((last - first).days + 1):
        ensure_partitions(today=first + timedelta(days=number))
    kinds = {kind.name.lower(): int(kind) for kind in Kind}
    for start in range(0, len(log), APPENDED):
        part = log.slice(start, APPENDED)
        unknown: list[Any] = [None] * len(part)
        context = {name: part[name].to_list() for name in ("session", "ip", "user_agent", "referrer", "country")}
        events = NewEvents(
            key=unknown,
            actor=part["actor"].to_list(),
            item=part["item"].to_list(),
            kind=[kinds[kind] for kind in part["kind"]],
            occurred_at=unknown,
            value=unknown,
            recommendation=unknown,
            position=unknown,
            **context,
        )
        event_log.append_at(events, part["ts"].to_list())


def _plans(log: pl.DataFrame, n_events: int, seed: int) -> Sequence[tuple[str, Plan]]:
    at_s = float(log["ts"][int(ATTACK_AT * len(log))])
    world = see(log, at_s, board=[])
    return [
        (code, attack(code).for_bench().plan(world, n_actors=max(50, int(share * n_events)), seed=seed))
        for code, share in ATTACKS.items()
    ]


def _decide(number: int) -> list[Decision]:
    """Rule on some held events, in turn for and against them."""
    held = EventVerdict.objects.filter(shard=0, verdict=Verdict.HOLD).order_by("ordinal")[:DECIDED]
    positions = [(each.xid, each.seq) for each in held]
    if not positions:
        return []
    events = event_log.read_at([event_log.Position(*each) for each in positions], since_ms=0)
    decision = Decision.objects.create(
        shard=0,
        ruling=Ruling.CONFIRM if number % 2 else Ruling.RELEASE,
        xid=[xid for xid, _ in positions],
        seq=[seq for _, seq in positions],
        since_ms=int(events.received_ms.min()),
    )
    return [decision]
