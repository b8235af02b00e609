"""Well-known kinds of rankings, and Groundswell's, behind one small interface.

`rankings` asks them. Online peers learn each row before the next question. Daily peers are fitted at every midnight
of the log on all rows before it (the newest MAX_FITTED). They give strangers the most read items of the day before.
Groundswell's ranking learns when a second (`step_ms`) is over, so it never knows more than an online peer.

Ids are numbers here, by first appearance. The random numbers of River and implicit come from SEED.
"""

import warnings
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from heapq import nlargest
from typing import Any, Protocol

import numpy as np

from recommender.batch import factorisation
from recommender.core.pipeline import Config, Pipeline
from recommender.core.trend.trend_columns import LIST_DEPTH

PLACES = 20
DAY_S = 86_400
MAX_FITTED = 2_000_000
RECENT = 4  # items of an actor that co-occurrence looks up
SEED = 1
OCTAVES = 500  # after this many half-lives the scale of a decayed count begins anew


class Peer(Protocol):
    """The interface of a ranking.

    `advance` moves to a time, `best` reads, and `learn` takes a row of that time.

    seen: the items that the actor has acted on. The caller leaves them out, so a list must be that much longer.
    """

    def advance(self, at_s: float) -> None: ...

    def best(self, actor: int, seen: set[int]) -> Sequence[int]: ...

    def learn(self, actor: int, item: int, at_s: float) -> None: ...


class MostRead:
    """The most read items of the day before, counted anew each midnight."""

    def __init__(self) -> None:
        self._day = 0
        self._reads: Counter[int] = Counter()
        self.listed: list[int] = []

    def best(self, actor: int, seen: set[int]) -> Sequence[int]:
        return self.listed

    def advance(self, at_s: float) -> None:
        day = int(at_s // DAY_S)
        if day != self._day:
            reads = self._reads if day == self._day + 1 else Counter[int]()
            self.listed = [each for each, _ in reads.most_common(LIST_DEPTH)]
            self._day, self._reads = day, Counter()

    def learn(self, actor: int, item: int, at_s: float) -> None:
        self._reads[item] += 1


class DecayedCount:
    """A count with half-life h, the same for everyone and without a defence.

    Only items that can be among the first LIST_DEPTH are kept in a set of high items. An item can only rise by being
    acted on.
    """

    def __init__(self, half_life_s: float) -> None:
        self._half_life_s, self._landmark_s = half_life_s, 0.0
        self.scores: dict[int, float] = {}
        self._high: set[int] = set()
        self._least = 0.0  # largest score of an item outside `_high`

    def advance(self, at_s: float) -> None:
        """Do nothing, because counts fade by themselves."""

    def best(self, actor: int, seen: set[int]) -> Sequence[int]:
        return self.highest(PLACES + len(seen))

    def highest(self, n: int) -> list[int]:
        """Return the n highest items, or all in the set of high items.

        The set has at least LIST_DEPTH items, unless there are fewer in all.
        """
        return nlargest(n, self._high, key=self._rank)

    def learn(self, actor: int, item: int, at_s: float) -> None:
        octaves = (at_s - self._landmark_s) / self._half_life_s
        if octaves > OCTAVES:
            passed = 2.0**-octaves if octaves < 2 * OCTAVES else 0.0
            self.scores = {each: score * passed for each, score in self.scores.items() if score * passed > 1e-9}
            self._high &= self.scores.keys()
            self._least *= passed
            self._landmark_s, octaves = at_s, 0.0
        self.scores[item] = self.scores.get(item, 0.0) + 2.0**octaves
        if self.scores[item] > self._least:
            self._high.add(item)
        if len(self._high) > 4 * LIST_DEPTH:
            self._high = set(nlargest(2 * LIST_DEPTH, self._high, key=self._rank))
            self._least = min(self.scores[each] for each in self._high)

    def _rank(self, item: int) -> tuple[float, int]:
        return self.scores[item], -item


class CoOccurrence:
    """Items that others acted on together with the actor's last items.

    They are counted for good. The most read items of the day before follow.
    """

    def __init__(self) -> None:
        self._beside: defaultdict[int, Counter[int]] = defaultdict(Counter)
        self._recent: defaultdict[int, deque[int]] = defaultdict(lambda: deque(maxlen=RECENT))
        self._most_read = MostRead()

    def advance(self, at_s: float) -> None:
        self._most_read.advance(at_s)

    def best(self, actor: int, seen: set[int]) -> Sequence[int]:
        score: Counter[int] = Counter()
        for item in self._recent.get(actor, ()):
            score.update(self._beside.get(item, {}))
        first = [
            item for item, _ in nlargest(PLACES + len(seen), score.items(), key=lambda each: (each[1], -each[0]))
        ]
        return [*first, *(each for each in self._most_read.listed if each not in score)]

    def learn(self, actor: int, item: int, at_s: float) -> None:
        self._most_read.learn(actor, item, at_s)
        recent = self._recent[actor]
        if item in recent:
            return
        for other in recent:
            self._beside[other][item] += 1
            self._beside[item][other] += 1
        recent.append(item)


class Daily:
    """A model of `implicit`, fitted at midnight.

    It is item-kNN (`knn`) or a factorisation (`als`). Known actors get answers based on all their acts until now. It
    needs the optional library.
    """

    def __init__(self, kind: str) -> None:
        self._kind, self._day = kind, 0
        self._actors: deque[int] = deque(maxlen=MAX_FITTED)
        self._items: deque[int] = deque(maxlen=MAX_FITTED)
        self._model: Any = None
        self._n_items = 0
        self._most_read = MostRead()

    def advance(self, at_s: float) -> None:
        self._most_read.advance(at_s)
        day = int(at_s // DAY_S)
        if day != self._day:
            self._day = day
            if len(self._actors) > 1:
                self._fit()

    def best(self, actor: int, seen: set[int]) -> Sequence[int]:
        from scipy.sparse import csr_matrix  # noqa: PLC0415  with the optional library

        own = [item for item in seen if item < self._n_items]
        if self._model is None or not own:
            return self._most_read.listed
        row = csr_matrix((np.ones(len(own), np.float32), ([0] * len(own), own)), shape=(1, self._n_items))
        is_anew = {"recalculate_user": True} if self._kind == "als" else {}
        n = min(PLACES + len(own), self._n_items)
        listed, scores = self._model.recommend(0, row, N=n, filter_already_liked_items=True, **is_anew)
        known = [
            item for item, score in zip(listed.tolist(), scores.tolist(), strict=True) if score > 0 and item >= 0
        ]
        return [*known, *(each for each in self._most_read.listed if each not in set(known))]

    def learn(self, actor: int, item: int, at_s: float) -> None:
        self._most_read.learn(actor, item, at_s)
        self._actors.append(actor)
        self._items.append(item)

    def _fit(self) -> None:
        from implicit.nearest_neighbours import CosineRecommender  # noqa: PLC0415  optional
        from implicit.utils import ParameterWarning  # noqa: PLC0415  the same
        from scipy.sparse import csr_matrix  # noqa: PLC0415  with it

        actors, items = np.array(self._actors), np.array(self._items)
        self._n_items = int(items.max()) + 1
        rows = np.unique(actors, return_inverse=True)[1]
        matrix = csr_matrix((np.ones(len(rows), np.float32), (rows, items)), shape=(rows.max() + 1, self._n_items))
        matrix.sum_duplicates()
        if self._kind == "als":
            self._model = factorisation.fit(matrix)
            return
        self._model = CosineRecommender(K=50, num_threads=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ParameterWarning)  # it warns about a matrix that it makes itself
            self._model.fit(matrix, show_progress=False)


class BiasedMF:
    """River's BiasedMF as shipped, in which every act is a 1.

    It has no list of its own, so it orders the highest decayed counts. A question adds an unknown actor to it, which
    is also as shipped.
    """

    def __init__(self, half_life_s: float) -> None:
        from river import reco  # noqa: PLC0415  takes seconds, and only this needs it

        self._model = reco.BiasedMF(seed=SEED)
        self._trend = DecayedCount(half_life_s)

    def advance(self, at_s: float) -> None:
        """Do nothing, because this model has no time."""

    def best(self, actor: int, seen: set[int]) -> Sequence[int]:
        among = self._trend.highest(LIST_DEPTH + len(seen))
        return sorted(among, key=lambda item: (-self._model.predict_one(actor, item), item))

    def learn(self, actor: int, item: int, at_s: float) -> None:
        self._trend.learn(actor, item, at_s)
        self._model.learn_one(actor, item, 1.0)


class Ours:
    """Groundswell's Pipeline, stepped when a second is over.

    Acts of an actor since the last step are known as its own history. Rows of one time are set a ms apart, in the
    order they have. Otherwise logs with times in minutes would lose their order.

    names: ids of actors and of items, by number.
    """

    def __init__(self, config: Config, names: tuple[Sequence[str], Sequence[str]], *, step_ms: int = 1000) -> None:
        self.pipeline = Pipeline(config)
        self._actors, self._items = names
        keys = self.pipeline.encoder.keys(self._items).tolist()
        self._number = {key: number for number, key in enumerate(keys)}
        self._step_ms = step_ms
        self._rows: list[tuple[int, int, int]] = []  # of the present step: actor, item, ms
        self._last_ms = 0

    def advance(self, at_s: float) -> None:
        if not self._rows or int(at_s * 1000) // self._step_ms == self._rows[0][2] // self._step_ms:
            return
        actors, items, at_ms = zip(*self._rows, strict=True)
        batch = self.pipeline.encode(
            received_ms=at_ms,
            actors=[self._actors[each] for each in actors],
            items=[self._items[each] for each in items],
        )
        self.pipeline.step(batch)
        self._rows = []

    def best(self, actor: int, seen: set[int]) -> Sequence[int]:
        recent = [self._items[item] for its, item, _ in reversed(self._rows) if its == actor]
        return self._numbers(self.pipeline.recommend(self._actors[actor], recent).keys)

    def board(self) -> Sequence[int]:
        """Return the list for everyone."""
        return self._numbers(self.pipeline.trend.leaders())

    def learn(self, actor: int, item: int, at_s: float) -> None:
        self._last_ms = max(int(at_s * 1000), self._last_ms + 1)
        self._rows.append((actor, item, self._last_ms))

    def _numbers(self, keys: Any) -> list[int]:
        return [self._number[key] for key in keys.tolist() if key in self._number]


class OurBoard:
    """The board of `Ours`, which learns for both."""

    def __init__(self, ours: Ours) -> None:
        self._ours = ours

    def advance(self, at_s: float) -> None:
        """Do nothing, because `Ours` does it."""

    def best(self, actor: int, seen: set[int]) -> Sequence[int]:
        return self._ours.board()

    def learn(self, actor: int, item: int, at_s: float) -> None:
        """Do nothing, because `Ours` learns."""
