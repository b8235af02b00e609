"""Data for the forms of the stop switch.

They show the state of learning, the frozen lists, and the policy's proposal.
"""

from dataclasses import dataclass
from datetime import datetime

from monitoring.models import AutoFreeze
from recommender.errors import NoView
from recommender.learning import learner_state
from recommender.models import FrozenScope, Learner
from recommender.publishing import published_boards

MAX_SCOPES = 300
MAX_FROZEN_SCOPES = 100


@dataclass(frozen=True, slots=True)
class Shard:
    """The state of one learner."""

    number: int
    is_frozen: bool
    step: int
    n_events: int
    stream_ms: int
    checkpoint: int | None
    checkpoint_error: str
    checkpoint_failed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Proposal:
    """The policy's proposal after a freeze of its own.

    `is_ready`: it has looked for suspects.
    """

    freeze: AutoFreeze
    is_ready: bool


@dataclass(frozen=True, slots=True)
class Switch:
    """The state of the stop switch.

    is_frozen, is_learning: true for at least one shard. scopes: lists that can be frozen.
    """

    is_frozen: bool
    is_learning: bool
    n_waiting: int
    shards: list[Shard]
    frozen_scopes: list[tuple[str, datetime]]
    scopes: list[str]
    proposal: Proposal | None


def get_switch() -> Switch:
    """Read the state in four indexed reads, and the names of the published lists."""
    shards = [
        Shard(
            number=row.shard,
            is_frozen=row.state == Learner.State.FROZEN,
            step=row.step,
            n_events=row.n_events,
            stream_ms=row.stream_ms,
            checkpoint=row.checkpoint_id,
            checkpoint_error=row.checkpoint_error,
            checkpoint_failed_at=row.checkpoint_failed_at,
        )
        for row in Learner.objects.order_by("shard")
    ]
    frozen = list(FrozenScope.objects.order_by("scope").values_list("scope", "frozen_at")[:MAX_FROZEN_SCOPES])
    names = {scope for scope, _ in frozen}
    return Switch(
        is_frozen=any(each.is_frozen for each in shards),
        is_learning=any(not each.is_frozen for each in shards),
        n_waiting=learner_state.get_backlog(),
        shards=shards,
        frozen_scopes=frozen,
        scopes=[scope for scope in _list_scopes() if scope not in names][:MAX_SCOPES],
        proposal=_proposal(),
    )


def _list_scopes() -> list[str]:
    try:
        return published_boards.read_scopes()
    except NoView:  # the form also takes a typed name
        return []


def _proposal() -> Proposal | None:
    """Return the proposal of the newest automatic freeze.

    The freeze has not ended, or a person took it over, and its shard is still frozen.
    """
    frozen = dict(Learner.objects.filter(state=Learner.State.FROZEN).values_list("shard", "n_reverts"))
    for freeze in AutoFreeze.objects.filter(shard__in=list(frozen)).order_by("-id")[:5]:
        # The proposal of an earlier freeze is out of date, and so is one from before a revert.
        if freeze.checkpoint_id and freeze.n_reverts == frozen[freeze.shard] and freeze.revert_id is None:
            return Proposal(freeze, freeze.suspects is not None)
    return None
