"""The stop switch and people's decisions, as mechanism: freeze, thaw, pin, release, confirm, ask for a revert.

Each is one transaction and a compare-and-set: of two people who do the same at the same moment one does it, the other
is told (Conflict). Who may, and that it is written down, is the caller's to see to, in the same transaction.
"""

from collections import defaultdict
from collections.abc import Sequence

import msgspec
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from recommender import keyed, log, models, published
from recommender.core import decisions
from recommender.core.decisions import Ruling
from recommender.errors import Conflict, Invalid, NotFound
from recommender.log import Position
from recommender.models import Checkpoint, Decision, FrozenScope, Learner, Revert
from recommender.trending import parse_scope

MAX_DECIDED = 50_000  # events in one decision


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
    board, as_of = published.read_board(scope)
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


def release(*, positions: Sequence[Position], since_ms: int) -> int:
    """Let held or quarantined events count, each at its own time; see `decide`."""
    return decide(ruling=Ruling.RELEASE, positions=positions, since_ms=since_ms)


def confirm(*, positions: Sequence[Position], since_ms: int) -> int:
    """Let events count no more, whatever their verdict was; see `decide`."""
    return decide(ruling=Ruling.CONFIRM, positions=positions, since_ms=since_ms)


def decide(*, ruling: Ruling, positions: Sequence[Position], since_ms: int) -> int:
    """Write a decision on events of the log, which takes effect in the next step, within a second unless learning is
    frozen. None of them was received before `since_ms`. Returns how many there are. Raises Invalid, NotFound."""
    if len(positions) > MAX_DECIDED:
        raise Invalid(f"One decision is about at most {MAX_DECIDED:,} events; make several.")
    events = log.read_at(positions, since_ms=since_ms)
    by_shard = defaultdict(list)
    for row, actor in enumerate(events.actors):
        by_shard[log.shard_of(actor, settings.SHARDS)].append(row)
    if not by_shard:
        raise NotFound("None of these events is in the log; they are past its retention, or were erased.")
    Decision.objects.bulk_create(
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
    return len(events)


def ask_for_revert(
    *, checkpoint_id: int, mode: str, exclusion: decisions.Exclusion | None, is_preview: bool
) -> Revert:
    """Have a way back, or its preview, worked out in the background (recommender.reverts). With several shards, the
    others go to their last checkpoint of that stream time. Raises NotFound, Invalid, Conflict."""
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
    transaction.on_commit(published.wake_reverts)
    return revert


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
) -> decisions.Exclusion:
    """An exclusion by ids: of actors, of networks ("192.0.2.0/24"), of items (None: all) between two times in ms."""
    encoder = keyed.encoder()
    return decisions.Exclusion(
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
            each = before.order_by("-stream_ms", "-id").first()
        if each is None:
            raise NotFound(f"Shard {shard} has no checkpoint as old as that of checkpoint {checkpoint.pk}.")
        chosen.append(each)
    return chosen


@transaction.atomic
def _set_state(before: str, after: str, shard: int | None, **more: object) -> bool:
    learners = Learner.objects.select_for_update().order_by("shard")
    if shard is not None:
        learners = learners.filter(shard=shard)
    return bool(len(learners)) and bool(
        Learner.objects.filter(shard__in=[each.shard for each in learners], state=before).update(state=after, **more)
    )


def _wake() -> None:
    for shard in range(settings.SHARDS):
        published.wake(shard)
