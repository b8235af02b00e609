"""Bounds for the effect of a release or a confirmation on an item's place.

    acts of the finding, by actor ──> Unit: what it may add, at least and at most, at its own time ──┐
    the published list ──> the score of the item, and of all others ────────────────────────────────┴──> Outcome

An act weighs the weight of its kind times the actor's trust, and only the learner knows the trust. But the trust is
at least the floor, and at most the bound that the log allows: `TrustConfig.weight_bound` of the actor's active
days. So the outcome is an interval, not a guess. For accounts on their first day, as most of a campaign are, both
ends meet.

- **Networks.** A score counts networks concavely (`recommender.core.trend.trend`), so acts add at most their weight.
  How much less depends on the weight that the item already has from their networks. They add least if everything is
  in one prefix. Reason: the slope of phi2(phi1(x)) falls with x, and no prefix of an item holds more than the score
  allows if that prefix held everything. Acts without an address add their full weight.
- **Nothing is added for sure** by some actors, whose units begin at 0. The log may hold acts of theirs that this
  module did not read. They may have other acts on the item, so that their unit counts already. They may take acts
  back, or be on the canary panel.
- **Scale.** A count is on a forward-decayed scale that does not move. So the weight of an act at its own time is
  simply added to the published count, and no time passes in a preview.

Everything here is pure. The preview of a revert (`recommender.control.reverts`) is exact for any exclusion. It folds
the log again in the background.
"""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt

from recommender.publishing.published_boards import BOARD_DEPTH, PublishedBoard

ROUNDING = 1e-3  # of a contribution, for ticks and integers
KNEE_LAG = 2 ** (-1 / 64)  # the trend moves its knees 64 times a half-life, so they can be this much lower


@dataclass(frozen=True, slots=True)
class Unit:
    """The possible weight of one actor's acts on one item, in acts of full trust.

    least, least_ms: the least weight and the time of its act. Below 0 it takes weight away.
    most, most_ms: the same of the most weight. has_network: the acts came with an address.
    """

    least: float
    least_ms: int
    most: float
    most_ms: int
    has_network: bool = True


@dataclass(frozen=True, slots=True)
class Knees:
    """The amounts up to which a prefix and a group of prefixes count in full.

    The unit is an act of full trust made now.
    """

    network: float = 5.0
    group: float = 40.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """The effect on one item, with scores in acts of full trust made now.

    place: in the published list, from 1; None is past its end. best, worst: the places the item can take.
    """

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
    """Return the outcome if these units counted as well."""
    place, score = _standing(board, item)
    sure = {True: 0.0, False: 0.0}  # by whether an address came with the acts
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
    if place is None:  # it may have any score below the last place
        high += _unlisted(board)
    return _outcome(board, item, place, score, low, high)


def confirmed(board: PublishedBoard, item: str, units: Iterable[Unit], *, half_life_s: int) -> Outcome:
    """Return the outcome if these units counted no more.

    They take away at most their weight.
    """
    place, score = _standing(board, item)
    most = sum(_worth(unit.most, unit.most_ms, board, half_life_s) for unit in units)
    return _outcome(board, item, place, score, max(0.0, score - most * (1 + ROUNDING)), score)


def _worth(weight: float, own_ms: int, board: PublishedBoard, half_life_s: int) -> float:
    """Return the worth of an act of that weight and time. A full act now is worth 1."""
    return weight * float(2.0 ** ((own_ms - board.stream_ms) / (1000 * half_life_s)))


def _standing(board: PublishedBoard, item: str) -> tuple[int | None, float]:
    if item not in board.items:
        return None, 0.0
    place = board.items.index(item)
    return place + 1, board.score(place)


def _unlisted(board: PublishedBoard) -> float:
    """Return the most that an item off the list may have: 0 unless the list is full."""
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
    """Return the score after adding an amount, if everything came from one prefix.

    Lower knees mean that less is added, so they are taken at their lowest.

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
