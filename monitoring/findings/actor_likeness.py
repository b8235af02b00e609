"""Compare the actors of a finding with the site just before it.

    acts of the finding, its actors     ──┐
    the site's acts just before ──────────┴──> Likeness: a sentence, their share, the usual one

A share counts only acts where the fact is known: an act without an address shares no network. Networks and browsers
are compared by their keys, so they are compared exactly although only a part of their names is kept. Pure.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from monitoring.findings.actor_history import Seen
from recommender.core.vocabulary import DAY_MS, SECOND_MS
from recommender.log.lookups import Act

CLOSE_MS = 10 * SECOND_MS
FEW = 5  # no share is computed over fewer than this
N_TOGETHER = 10  # items
NOT_KEPT = "its name is not kept"  # with PRIVACY=none


@dataclass(frozen=True, slots=True)
class Likeness:
    """Something the actors have in common.

    Shares are in [0, 1]; `usual` is None if it is not known.
    """

    says: str
    share: float
    usual: float | None

    @property
    def is_unusual(self) -> bool:
        return self.usual is not None and self.share >= 2 * self.usual and self.share - self.usual >= 0.1


@dataclass(frozen=True, slots=True)
class Pace:
    """The pace of acts on an item.

    gap_s: median gap. close: share of acts within CLOSE_MS of the act before.
    """

    gap_s: float
    close: float


def likenesses(
    acts: Sequence[Act],
    seen: Mapping[str, Seen],
    before: Sequence[Act],
    seen_before: Mapping[str, Seen],
    *,
    began_ms: int,
) -> list[Likeness]:
    """Return what they have in common, if it is known of at least FEW of them."""
    found = []
    for says, key_of, name_of in (
        ("come from one network", _network_key, _network),
        ("use exactly the same browser", _agent_key, _user_agent),
    ):
        common = _commonest(acts, key_of)
        if common:
            what, share = common
            usual = _commonest(before, key_of)
            name = next(filter(None, (name_of(act) for act in acts if key_of(act) == what)), NOT_KEPT)
            found.append(Likeness(f"{says}: {name}", share, usual[1] if usual else None))
    for says, is_so in (
        ("were first seen in the day before", lambda who: is_new(who, began_ms)),
        ("acted on no other item", lambda who: who.is_all and len(who.items) == 1),
    ):
        of_all = _share(seen, is_so)
        if of_all is not None:
            found.append(Likeness(says, of_all, _share(seen_before, is_so)))
    theirs, usual_pace = pace(acts), pace(before)
    if theirs:
        says = f"acted within {CLOSE_MS // 1000} s of another act on the same item"
        found.append(Likeness(says, theirs.close, usual_pace.close if usual_pace else None))
    return found


def pace(acts: Iterable[Act]) -> Pace | None:
    """Measure how acts on one item follow one another.

    Returns None for fewer than FEW.
    """
    by_item: dict[str, list[int]] = {}
    for act in acts:
        by_item.setdefault(act.item, []).append(act.received_ms)
    gaps: list[int] = []
    for at in by_item.values():
        at.sort()
        gaps += [later - earlier for earlier, later in pairwise(at)]
    if len(gaps) < FEW:
        return None
    return Pace(median(gaps) / 1000, sum(gap <= CLOSE_MS for gap in gaps) / len(gaps))


def together_on(seen: Mapping[str, Seen]) -> list[tuple[str, int]]:
    """List the items that at least two of them acted on, the most shared first.

    Each comes with the number of actors.
    """
    counts = Counter(item for who in seen.values() for item in who.items)
    ranked = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return [(item, n) for item, n in ranked if n > 1][:N_TOGETHER]


def is_new(who: Seen, began_ms: int) -> bool:
    """Return True if the log first has the actor in the day before a time, or later."""
    return who.is_all and who.first_ms >= began_ms - DAY_MS


def _network_key(act: Act) -> int:
    return act.network_key


def _agent_key(act: Act) -> int:
    return act.agent_key


def _network(act: Act) -> str | None:
    return act.network


def _user_agent(act: Act) -> str | None:
    return act.user_agent


def _commonest(acts: Sequence[Act], pick: Callable[[Act], int]) -> tuple[int, float] | None:
    counts = Counter(value for value in map(pick, acts) if value)
    if counts.total() < FEW:
        return None
    value, n = min(counts.items(), key=lambda each: (-each[1], each[0]))
    return value, n / counts.total()


def _share(seen: Mapping[str, Seen], is_so: Callable[[Seen], bool]) -> float | None:
    return sum(map(is_so, seen.values())) / len(seen) if len(seen) >= FEW else None
