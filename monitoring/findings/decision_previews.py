"""What a release, or a confirmation, would do to an item's place: bounds, from the list as it is published.

    acts of the finding, by actor ──> Unit: what it may add, at least and at most, at its own time ──┐
    the published list ──> the item's score, everybody else's ──────────────────────────────────────┴──> Outcome

What an act weighs is its kind's weight times the actor's trust, and trust only the learner knows. But it is at least
the floor, and at most what the log allows: `TrustConfig.weight_bound` of the actor's active days. So the outcome is
an interval, not a guess; for accounts on their first day, as those of a campaign mostly are, both ends meet.

- **Networks.** A score counts networks concavely (`recommender.core.trend.trend`), so acts add at most their weight.
  How much less depends on what the item has from their networks already. The least they can add is what they would if
  everything stood in one prefix: the slope of phi2(phi1(x)) falls with x, no prefix of an item holds more than the
  score allows if it held everything, so no act adds less than there. Acts without an address add their weight.
- **Nothing is added for sure** by an actor whose acts this does not know all of, who acted on the item besides (its
  unit may count already), who takes acts back, or who is on the canary panel. Those units begin at 0.
- **Scale.** A count is on a forward-decayed scale that does not move, so what an act adds at its own time is added
  to the count as published; no time passes in a preview.

Everything here is pure. What is exact, for any exclusion, is the preview of a revert (`recommender.control.reverts`),
which folds the log again in the background.
"""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt

from recommender.publishing.published_boards import BOARD_DEPTH, PublishedBoard

ROUNDING = 1e-3  # of a contribution: ticks, integers
KNEE_LAG = 2 ** (-1 / 64)  # the trend moves its knees 64 times a half-life; until then they are that much lower


@dataclass(frozen=True, slots=True)
class Unit:
    """What one actor's acts on one item may weigh, 1.0 an act of full trust: at least `least`, made at `least_ms`, at
    most `most`, made at `most_ms`. Below 0 it takes away. `has_network`: they came with an address."""

    least: float
    least_ms: int
    most: float
    most_ms: int
    has_network: bool = True


@dataclass(frozen=True, slots=True)
class Knees:
    """Up to where a prefix and a group of prefixes count in full, in acts of full trust made now."""

    network: float = 5.0
    group: float = 40.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """Scores in acts of full trust made now. Places from 1; None is past the end of the list. `best` and `worst` are
    the places it can take; `is_listed`: the list as published has the item, `place` there."""

    place: int | None
    score: float
    best: int | None
    worst: int | None
    least: float
    most: float

    @property
    def changes(self) -> bool:
        return (self.least, self.most) != (self.score, self.score)


def released(board: PublishedBoard, item: str, units: Iterable[Unit], *, half_life_s: int, knees: Knees) -> Outcome:
    """The list if these units counted as well."""
    place, score = _standing(board, item)
    sure = {True: 0.0, False: 0.0}  # by whether an address came with it
    lost = most = 0.0
    for unit in units:
        most += _worth(unit.most, unit.most_ms, board, half_life_s)
        least = _worth(unit.least, unit.least_ms, board, half_life_s)
        if least < 0:
            lost -= least
        else:
            sure[unit.has_network] += least * (1 - ROUNDING)
    low = max(score, _behind_one_network(score, sure[True], knees)) + sure[False] - lost * (1 + ROUNDING)
    low, high = max(0.0, low), score + most * (1 + ROUNDING)
    if place is None:  # it may stand anywhere below the last
        high += _unlisted(board)
    return _outcome(board, item, place, score, low, high)


def confirmed(board: PublishedBoard, item: str, units: Iterable[Unit], *, half_life_s: int) -> Outcome:
    """The list if these units, which may count, counted no more: taken out, they take at most their weight."""
    place, score = _standing(board, item)
    most = sum(_worth(unit.most, unit.most_ms, board, half_life_s) for unit in units)
    return _outcome(board, item, place, score, max(0.0, score - most * (1 + ROUNDING)), score)


def _worth(weight: float, own_ms: int, board: PublishedBoard, half_life_s: int) -> float:
    """What an act of that weight and time is worth when an act made now is worth 1."""
    return weight * float(2.0 ** ((own_ms - board.stream_ms) / (1000 * half_life_s)))


def _standing(board: PublishedBoard, item: str) -> tuple[int | None, float]:
    if item not in board.items:
        return None, 0.0
    place = board.items.index(item)
    return place + 1, board.score(place)


def _unlisted(board: PublishedBoard) -> float:
    """The most that an item which is not on the list may have: nothing, unless the list is full."""
    return board.counts[-1] / board.unit if len(board.counts) >= BOARD_DEPTH else 0.0


def _outcome(board: PublishedBoard, item: str, place: int | None, score: float, low: float, high: float) -> Outcome:
    if low == high == score:
        return Outcome(place, score, place, place, score, score)
    others = sorted(count for name, count in zip(board.items, board.counts, strict=True) if name != item)
    best = len(others) - bisect_left(others, int(high * board.unit) + 1) + 1
    worst = len(others) - bisect_left(others, int(low * board.unit)) + 1
    return Outcome(place, score, _shown(best, high), _shown(worst, low), low, high)


def _shown(place: int, score: float) -> int | None:
    return place if place <= BOARD_DEPTH and score > 0 else None


def _behind_one_network(score: float, added: float, knees: Knees) -> float:
    """The score with so much more, if everything stood in one prefix.

    The lower the knees, the less is added, so they are taken at their lowest.

    >>> _behind_one_network(0.0, 4.0, Knees()), round(_behind_one_network(0.0, 5.0 * 4, Knees()), 1)
    (4.0, 14.9)
    """
    network, group = KNEE_LAG * knees.network, KNEE_LAG * knees.group
    raw = _unbent(_unbent(score, group), network) + added
    return _bent(_bent(raw, network), group)


def _bent(amount: float, knee: float) -> float:
    return amount if amount <= knee else 2 * sqrt(knee * amount) - knee


def _unbent(amount: float, knee: float) -> float:
    return amount if amount <= knee else (amount + knee) ** 2 / (4 * knee)
