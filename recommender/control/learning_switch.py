"""The stop switch and people's decisions, as mechanism: freeze, thaw, pin, release, confirm and take that back, ask
for a revert.

Each is one transaction and a compare-and-set: of two people who do the same at the same moment one does it, the other
is told (Conflict). Who may, and that it is written down, is the caller's to see to, in the same transaction.
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
from recommender.models import Checkpoint, Decision, FrozenScope, Learner, Revert, Step, Trial
from recommender.publishing import published_boards
from recommender.serving.trending import parse_scope

MAX_DECIDED = 50_000  # events in one decision
_COUNTED = (ADMIT,)
_STOPPED = (HOLD, QUARANTINE)


def freeze(*, shard: int | None = None) -> None:
    """Stop learning between two steps, at once, on all shards or on one. Events are accepted meanwhile, and wait.
    Raises Conflict where it is frozen."""
    if not _set_state(Learner.State.LEARNING, Learner.State.FROZEN, shard, frozen_at=Now()):
        raise Conflict("Learning is frozen already.")


def thaw(*, shard: int | None = None) -> None:
    """Learn again, what waited first. Raises Conflict where it is not frozen."""
    if not _set_state(Learner.State.FROZEN, Learner.State.LEARNING, shard, frozen_at=None):
        raise Conflict("Learning is not frozen.")
    transaction.on_commit(_wake)


def freeze_scope(scope: str) -> FrozenScope:
    """Let the list of a category or country ("category:sports", "country:DE") stand still, as it is published now.

    Within a wake of the learners. Learning goes on: the scope's items still count, in the list of all and in every
    other list they are on; items hidden meanwhile leave it, which shortens it. Raises Invalid, Conflict where it is
    frozen, NotFound where the scope has no list, NoView.
    """
    scope = parse_scope(scope)
    if FrozenScope.objects.filter(scope=scope).exists():
        raise Conflict(f"The list {scope} is frozen already.")
    board, as_of = published_boards.read_board(scope)
    if board is None:
        raise NotFound(f"There is no list {scope}: nothing in it was clicked lately, or no item was described so.")
    try:
        with transaction.atomic():
            frozen = FrozenScope.objects.create(scope=scope, board=msgspec.msgpack.encode(board), as_of=as_of)
    except IntegrityError:
        raise Conflict(f"The list {scope} is frozen already.") from None
    transaction.on_commit(_wake)
    return frozen


def thaw_scope(scope: str) -> None:
    """Let a scope's list be as counted again, at once: counting went on. Raises Invalid, Conflict."""
    scope = parse_scope(scope)
    if not FrozenScope.objects.filter(scope=scope).delete()[0]:
        raise Conflict(f"The list {scope} is not frozen.")
    transaction.on_commit(_wake)


def pin(*, checkpoint_id: int, is_pinned: bool) -> Checkpoint:
    """Keep a checkpoint whatever its age, or no more. Raises NotFound, Conflict."""
    if not Checkpoint.objects.filter(pk=checkpoint_id, is_pinned=not is_pinned).update(is_pinned=is_pinned):
        get_checkpoint(checkpoint_id)
        raise Conflict(f"Checkpoint {checkpoint_id} is {'' if is_pinned else 'not '}pinned already.")
    return get_checkpoint(checkpoint_id)


@dataclass(frozen=True, slots=True)
class Decided:
    """How many events a decision is about, and the numbers of the entries it made in the history."""

    n_events: int
    entries: list[int]


@dataclass(frozen=True, slots=True)
class TakenBack:
    """Of a decision taken back: events it had not reached yet, and events that were given back what they had."""

    n_withdrawn: int
    n_given_back: int


def release(*, positions: Sequence[Position], since_ms: int) -> int:
    """Let held or quarantined events count, each at its own time; see `decide`. Returns how many there are."""
    return decide(ruling=Ruling.RELEASE, positions=positions, since_ms=since_ms).n_events


def confirm(*, positions: Sequence[Position], since_ms: int) -> int:
    """Let events count no more, whatever their verdict was; see `decide`. Returns how many there are."""
    return decide(ruling=Ruling.CONFIRM, positions=positions, since_ms=since_ms).n_events


def decide(*, ruling: Ruling, positions: Sequence[Position], since_ms: int) -> Decided:
    """Write a decision on events of the log, which takes effect in the next step, within a second unless learning is
    frozen. None of them was received before `since_ms`. Raises Invalid, NotFound."""
    if len(positions) > MAX_DECIDED:
        raise Invalid(f"One decision is about at most {MAX_DECIDED:,} events; make several.")
    events = event_log.read_at(positions, since_ms=since_ms)
    by_shard = defaultdict(list)
    for row, actor in enumerate(events.actors):
        by_shard[event_log.shard_of(actor, settings.SHARDS)].append(row)
    if not by_shard:
        raise NotFound("None of these events is in the log; they are past its retention, or were erased.")
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
    """Let entries of the history be as if they had never been made, as far as that goes. Raises Conflict.

    1. Lock them, so that no learner takes one meanwhile (one that has it in hand already begins its step again).
    2. What waits is deleted: it never was. 3. Of what took effect, every event gets back the verdict it had until
    then: what was held or out is withheld, and then what counted is released, since acts are decided on by actor and
    item and the first may take the second out with it.
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
        if row.before is None or not step.exists():
            raise Conflict("The model has gone back behind this decision meanwhile; decide anew.")
        for ruling, had, made in ((Ruling.WITHHOLD, _STOPPED, withheld), (Ruling.RELEASE, _COUNTED, released)):
            at = [place for place, verdict in enumerate(row.before) if verdict in had]
            if at:
                xid, seq = [row.xid[place] for place in at], [row.seq[place] for place in at]
                made.append(Decision(shard=row.shard, ruling=ruling, xid=xid, seq=seq, since_ms=row.since_ms))
    Decision.objects.bulk_create([*withheld, *released])
    transaction.on_commit(_wake)
    return TakenBack(_n_events(waiting), _n_events([*withheld, *released]))


def ask_for_revert(
    *, checkpoint_id: int, mode: str, exclusion: decisions.ExclusionRule | None, is_preview: bool
) -> Revert:
    """Have a way back, or its preview, worked out in the background (recommender.control.reverts). With several
    shards, the others go to their last checkpoint of that stream time. Raises NotFound, Invalid, Conflict."""
    if mode not in Revert.Mode.values:
        raise Invalid(fields={"mode": f"mode must be one of {', '.join(Revert.Mode.values)}."})
    if (mode == Revert.Mode.EXCLUDE) != (exclusion is not None):
        raise Invalid(fields={"exclude": "Say what to exclude in mode exclude, and in no other."})
    chosen = _of_all_shards(get_checkpoint(checkpoint_id))
    try:
        with transaction.atomic():
            stored = models.Exclusion.objects.create(rule=exclusion.state()) if exclusion else None
            revert = Revert.objects.create(
                mode=mode, is_preview=is_preview, checkpoints=[each.pk for each in chosen], exclusion=stored
            )
    except IntegrityError:
        raise Conflict("Another revert is under way; wait for its end.") from None
    transaction.on_commit(wake_workers.wake_reverts)
    return revert


def ask_for_promotion(*, trial_id: int) -> tuple[Trial, Revert]:
    """Have the learners switch to the states of a trial's winner, with what came since folded in: a revert to them in
    mode replay, worked out in the background. What they go on from until then is pinned, to go back to.

    Locks the trial. Raises NotFound; Conflict where it does not wait, its states are gone, or a revert is under way.
    """
    try:
        with transaction.atomic():
            trial = Trial.objects.select_for_update().filter(pk=trial_id).first()
            if trial is None:
                raise NotFound(f"There is no trial {trial_id}.")
            if trial.state != Trial.State.WAITING:
                raise Conflict(f"Trial {trial_id} does not wait to be promoted: {trial.get_state_display()}.")
            if Checkpoint.objects.filter(pk__in=trial.checkpoints).count() != len(trial.checkpoints):
                raise Conflict(f"What trial {trial_id} kept is gone: an actor was erased since. Hold another trial.")
            left = list(Learner.objects.order_by("shard").values_list("checkpoint_id", flat=True))
            Checkpoint.objects.filter(pk__in=left).update(is_pinned=True)
            revert = Revert.objects.create(mode=Revert.Mode.REPLAY, checkpoints=trial.checkpoints)
            trial.state, trial.revert = Trial.State.PROMOTED, revert
            trial.save(update_fields=["state", "revert"])
    except IntegrityError:
        raise Conflict("A revert is under way; wait for its end.") from None
    transaction.on_commit(wake_workers.wake_reverts)
    return trial, revert


def get_checkpoint(checkpoint_id: int) -> Checkpoint:
    """Without its bytes. Raises NotFound."""
    checkpoint = Checkpoint.objects.defer("data").filter(pk=checkpoint_id).first()
    if checkpoint is None:
        raise NotFound(f"There is no checkpoint {checkpoint_id}; GET /api/v1/model/checkpoints lists them.")
    return checkpoint


def exclusion(
    *,
    actors: Sequence[str] = (),
    networks: Sequence[str] = (),
    windows: Sequence[tuple[str | None, int, int]] = (),
) -> decisions.ExclusionRule:
    """An exclusion by ids: of actors, of networks ("192.0.2.0/24"), of items (None: all) between two times in ms."""
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
            before = Checkpoint.objects.defer("data").filter(shard=shard, stream_ms__lte=checkpoint.stream_ms)
            before = before.exclude(pk__in=_never_promoted())
            each = before.order_by("-stream_ms", "-id").first()
        if each is None:
            raise NotFound(f"Shard {shard} has no checkpoint as old as that of checkpoint {checkpoint.pk}.")
        chosen.append(each)
    return chosen


def _never_promoted() -> set[int]:
    """States of challengers that no learner ever went on from."""
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
