"""The stop switch and reviewers' rulings, as mechanism.

It can freeze, thaw and pin, release and confirm events, undo a ruling, and ask for a revert. Each is one transaction
and a compare-and-set. If two people do the same at the same moment, one succeeds and the other gets Conflict. The
caller checks who is allowed to act, and records the act in the same transaction.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from recommender import ids, models, wake_workers
from recommender.core import decisions
from recommender.core.vocabulary import ADMIT, HOLD, QUARANTINE, Ruling
from recommender.errors import Conflict, Invalid, NotFound
from recommender.log import event_log
from recommender.log.event_log import Position
from recommender.models import STATE_COLUMNS, Checkpoint, Decision, FrozenScope, Learner, Revert, Step, Trial
from recommender.publishing import published_boards
from recommender.serving.trending import parse_scope

MAX_DECIDED = 50_000  # events in one decision
_COUNTED = (ADMIT,)
_STOPPED = (HOLD, QUARANTINE)


def freeze(*, shard: int | None = None) -> None:
    """Stop learning at once between two steps, on all shards or on one.

    Events are still accepted and wait. Raises Conflict if learning is frozen already.
    """
    if not _set_state(Learner.State.LEARNING, Learner.State.FROZEN, shard, frozen_at=Now()):
        raise Conflict("Learning is already frozen. Nothing was changed.")


def thaw(*, shard: int | None = None) -> None:
    """Start learning again, with the waiting events first.

    Raises Conflict if learning is not frozen.
    """
    if not _set_state(Learner.State.FROZEN, Learner.State.LEARNING, shard, frozen_at=None):
        raise Conflict("Learning is not frozen. Nothing was changed.")
    transaction.on_commit(_wake)


def freeze_scope(scope: str) -> FrozenScope:
    """Freeze the list of a category or country as it is published now.

    A scope is written like "category:sports" or "country:DE". The freeze takes effect at the next wake of the
    learners.
    Learning goes on: the scope's items still count in the main list and in all other lists they are on. Items that
    are hidden meanwhile leave the frozen list, which gets shorter. Raises Invalid, NoView, Conflict if the list is
    frozen, and NotFound if the scope has no list.
    """
    scope = parse_scope(scope)
    if FrozenScope.objects.filter(scope=scope).exists():
        raise Conflict(f"The list {scope} is already frozen. Nothing was changed.")
    board, as_of = published_boards.read_board(scope)
    if board is None:
        raise NotFound(f"There is no list {scope}. Check the name, or wait until something in it is clicked.")
    try:
        with transaction.atomic():
            frozen = FrozenScope.objects.create(scope=scope, board=msgspec.msgpack.encode(board), as_of=as_of)
    except IntegrityError:
        raise Conflict(f"The list {scope} is already frozen. Nothing was changed.") from None
    transaction.on_commit(_wake)
    return frozen


def thaw_scope(scope: str) -> None:
    """Show a scope's list as it is counted again.

    This is immediate, because counting went on. Raises Invalid, Conflict.
    """
    scope = parse_scope(scope)
    if not FrozenScope.objects.filter(scope=scope).delete()[0]:
        raise Conflict(f"The list {scope} is not frozen. Nothing was changed.")
    transaction.on_commit(_wake)


def pin(*, checkpoint_id: int, is_pinned: bool) -> Checkpoint:
    """Pin a checkpoint, so that it is kept at any age, or unpin it.

    Raises NotFound, Conflict.
    """
    if not Checkpoint.objects.filter(pk=checkpoint_id, is_pinned=not is_pinned).update(is_pinned=is_pinned):
        get_checkpoint(checkpoint_id)
        raise Conflict(
            f"Checkpoint {checkpoint_id} is {'already' if is_pinned else 'not'} pinned. Nothing was changed."
        )
    return get_checkpoint(checkpoint_id)


@dataclass(frozen=True, slots=True)
class Decided:
    """The number of events of a decision, and the ids of its entries in the history."""

    n_events: int
    entries: list[int]


@dataclass(frozen=True, slots=True)
class TakenBack:
    """The result of undoing a decision.

    n_withdrawn: events that no step had taken yet.
    n_given_back: events that got their earlier verdict back.
    """

    n_withdrawn: int
    n_given_back: int


def release(*, positions: Sequence[Position], since_ms: int) -> int:
    """Let held or quarantined events count, each at its own time.

    Returns the number of events. See `decide`.
    """
    return decide(ruling=Ruling.RELEASE, positions=positions, since_ms=since_ms).n_events


def confirm(*, positions: Sequence[Position], since_ms: int) -> int:
    """Remove events from the counts, under any verdict.

    Returns the number of events. See `decide`.
    """
    return decide(ruling=Ruling.CONFIRM, positions=positions, since_ms=since_ms).n_events


def decide(*, ruling: Ruling, positions: Sequence[Position], since_ms: int) -> Decided:
    """Record a decision on events of the log.

    It takes effect in the next step: within a second, unless learning is frozen. Raises Invalid, NotFound.

    since_ms: none of these events was received before this time.
    """
    if len(positions) > MAX_DECIDED:
        raise Invalid(f"One decision may cover at most {MAX_DECIDED:,} events. Make several decisions.")
    events = event_log.read_at(positions, since_ms=since_ms)
    by_shard = defaultdict(list)
    for row, bucket in enumerate(events.bucket.tolist()):
        by_shard[bucket % settings.SHARDS].append(row)
    if not by_shard:
        raise NotFound("None of these events is in the log. They are past its retention, or were erased.")
    made = Decision.objects.bulk_create(
        Decision(
            shard=shard,
            ruling=ruling,
            xid=events.xid[rows].tolist(),
            seq=events.seq[rows].tolist(),
            since_ms=int(events.received_ms[rows].min()),
        )
        for shard, rows in by_shard.items()
    )
    transaction.on_commit(_wake)
    return Decided(len(events), [each.pk for each in made])


@transaction.atomic
def take_back(entries: Sequence[int]) -> TakenBack:
    """Undo entries of the history, as if they had never been made.

    1. Lock the entries, so that no learner takes one meanwhile. A learner that is taking one now begins its step
       again.
    2. Delete the entries that no step has taken yet.
    3. Give each event of the other entries the verdict it had before. Withhold those that were held or quarantined
       first, then release those that counted. The order matters because a ruling applies to acts by actor and item.
       The first ruling may remove an act that the second must release.

    Raises Conflict if a revert has removed the decision's step meanwhile, or if the verdicts before it are not known.
    """
    rows = list(Decision.objects.select_for_update().filter(pk__in=entries).order_by("id"))
    waiting = [row for row in rows if row.taken_in is None]
    Decision.objects.filter(pk__in=[row.pk for row in waiting]).delete()
    withheld: list[Decision] = []
    released: list[Decision] = []
    for row in rows:
        if row.taken_in is None:
            continue
        step = Step.objects.filter(shard=row.shard, number=row.taken_in, first_ordinal__isnull=False)
        if not step.exists():
            raise Conflict("A revert has removed this decision meanwhile. Decide again.")
        if row.before is None:
            raise Conflict(
                "The verdicts before this decision are not known, because an actor was erased since. Decide again."
            )
        for ruling, had, made in ((Ruling.WITHHOLD, _STOPPED, withheld), (Ruling.RELEASE, _COUNTED, released)):
            part = row.cut([verdict in had for verdict in row.before])
            if part["seq"]:
                at = {"xid": part["xid"], "seq": part["seq"], "since_ms": row.since_ms}
                made.append(Decision(shard=row.shard, ruling=ruling, **at))
    Decision.objects.bulk_create([*withheld, *released])
    transaction.on_commit(_wake)
    return TakenBack(_n_events(waiting), _n_events([*withheld, *released]))


def ask_for_revert(
    *, checkpoint_id: int, mode: str, exclusion: decisions.ExclusionRule | None, is_preview: bool
) -> Revert:
    """Ask for a revert or its preview, to be worked out in the background.

    `recommender.control.reverts` carries it out. With several shards, the others go to their last checkpoint of that
    stream time. Raises NotFound, Invalid, Conflict.
    """
    if mode not in Revert.Mode.values:
        raise Invalid(fields={"mode": f"mode must be one of {', '.join(Revert.Mode.values)}."})
    if (mode == Revert.Mode.EXCLUDE) != (exclusion is not None):
        raise Invalid(
            fields={"exclude": "Name actors, networks or items to exclude in mode exclude, and in no other mode."}
        )
    chosen = _of_all_shards(get_checkpoint(checkpoint_id))
    try:
        with transaction.atomic():
            stored = models.Exclusion.objects.create(rule=exclusion.state()) if exclusion else None
            revert = Revert.objects.create(
                mode=mode, is_preview=is_preview, checkpoints=[each.pk for each in chosen], exclusion=stored
            )
    except IntegrityError:
        raise Conflict("Another revert is under way. Wait until it finishes.") from None
    transaction.on_commit(wake_workers.wake_reverts)
    return revert


def ask_for_promotion(*, trial_id: int) -> tuple[Trial, Revert]:
    """Ask for the learners to switch to the states of a trial's winner.

    This is a revert to these states in mode replay, in the background, so events learned since are folded in. The
    learners' present checkpoints are pinned, so that you can go back to them. It locks the trial. Raises NotFound.
    Raises Conflict if the trial is not waiting, its states are gone, or a revert is under way.
    """
    try:
        with transaction.atomic():
            trial = Trial.objects.select_for_update().filter(pk=trial_id).first()
            if trial is None:
                raise NotFound(f"There is no trial {trial_id}. Check its number.")
            if trial.state != Trial.State.WAITING:
                raise Conflict(f"Trial {trial_id} is not waiting to be promoted: {trial.get_state_display()}.")
            if Checkpoint.objects.filter(pk__in=trial.checkpoints).count() != len(trial.checkpoints):
                raise Conflict(
                    f"The states of trial {trial_id} are gone, because an actor was erased since. Hold another trial."
                )
            left = list(Learner.objects.order_by("shard").values_list("checkpoint_id", flat=True))
            Checkpoint.objects.filter(pk__in=left).update(is_pinned=True)
            revert = Revert.objects.create(mode=Revert.Mode.REPLAY, checkpoints=trial.checkpoints)
            trial.state, trial.revert = Trial.State.PROMOTED, revert
            trial.save(update_fields=["state", "revert"])
    except IntegrityError:
        raise Conflict("A revert is under way. Wait until it finishes.") from None
    transaction.on_commit(wake_workers.wake_reverts)
    return trial, revert


def get_checkpoint(checkpoint_id: int) -> Checkpoint:
    """Return a checkpoint without its bytes, or raise NotFound."""
    checkpoint = Checkpoint.objects.defer(*STATE_COLUMNS).filter(pk=checkpoint_id).first()
    if checkpoint is None:
        raise NotFound(f"There is no checkpoint {checkpoint_id}. GET /api/v1/model/checkpoints lists all.")
    return checkpoint


def exclusion(
    *,
    actors: Sequence[str] = (),
    networks: Sequence[str] = (),
    windows: Sequence[tuple[str | None, int, int]] = (),
) -> decisions.ExclusionRule:
    """Return an exclusion rule made of ids.

    actors: ids. networks: like "192.0.2.0/24".
    windows: (item, from, to) with times in ms. The item None means all items.
    """
    encoder = ids.encoder()
    return decisions.ExclusionRule(
        actors=encoder.keys(list(actors)),
        prefixes=encoder.keys(list(networks)),
        windows=tuple(
            decisions.Window(encoder.key(item) if item is not None else 0, from_ms, to_ms)
            for item, from_ms, to_ms in windows
        ),
    )


def _of_all_shards(checkpoint: Checkpoint) -> list[Checkpoint]:
    chosen = []
    for shard in Learner.objects.order_by("shard").values_list("shard", flat=True):
        each: Checkpoint | None = checkpoint
        if shard != checkpoint.shard:
            before = Checkpoint.objects.defer(*STATE_COLUMNS).filter(shard=shard, stream_ms__lte=checkpoint.stream_ms)
            before = before.exclude(pk__in=_never_promoted())
            each = before.order_by("-stream_ms", "-id").first()
        if each is None:
            raise NotFound(
                f"Shard {shard} has no checkpoint as old as checkpoint {checkpoint.pk}. Choose a newer one."
            )
        chosen.append(each)
    return chosen


def _never_promoted() -> set[int]:
    """Return the ids of challengers' checkpoints that no learner ever went on from."""
    kept = Trial.objects.exclude(state=Trial.State.PROMOTED).values_list("checkpoints", flat=True)
    return {number for numbers in kept for number in numbers}


@transaction.atomic
def _set_state(before: str, after: str, shard: int | None, **more: object) -> bool:
    learners = Learner.objects.select_for_update().order_by("shard")
    if shard is not None:
        learners = learners.filter(shard=shard)
    return bool(len(learners)) and bool(
        Learner.objects.filter(shard__in=[each.shard for each in learners], state=before).update(state=after, **more)
    )


def _n_events(rows: Sequence[Decision]) -> int:
    return sum(len(row.seq) for row in rows)


def _wake() -> None:
    for shard in range(settings.SHARDS):
        wake_workers.wake(shard)
