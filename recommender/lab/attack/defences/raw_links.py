"""Item to item without a defence: every step of an actor between items counts.

A5 and A6 were shown to work against such counts (Yang, Gong and Cai, NDSS 2017). There is no cap on what one actor
adds and no least number of actors behind a pair, and every account counts alike. Counts decay. Weights of steps,
half-life, window and score are those of the product.
"""

from recommender.core.events import EventBatch
from recommender.core.pipeline import Config
from recommender.core.trend.trend_columns import LIST_DEPTH
from recommender.core.vocabulary import HOUR_MS, Kind
from recommender.lab.attack.defences.defences import Judged, Raw

FORGET_EVERY_MS = 6 * HOUR_MS


class RawLinks(Raw):
    """`Raw`, and the links between items.

    It keeps the acts of the last window in memory.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._affinity, self._ranking = config.affinity, config.ranking
        self._links: dict[str, dict[str, float]] = {}
        self._past: dict[int, list[tuple[int, str]]] = {}  # by actor, newest last
        self._began_ms = -1
        self._forget_ms = 0

    def step(self, batch: EventBatch) -> Judged:
        judged = super().step(batch)
        if len(batch) and self._began_ms < 0:
            self._began_ms = int(batch.received_ms[0])
        rows = zip(batch.actor.tolist(), batch.received_ms.tolist(), batch.kind.tolist(), strict=True)
        for (actor, at_ms, kind), item in zip(rows, batch.item_names, strict=True):
            if kind != Kind.UNDO and self._weights[kind] > 0:
                self._link(actor, at_ms, item, self._weights[kind])
        if self.now_ms >= self._forget_ms:
            self._forget()
        return judged

    def beside(self, item: str, depth: int) -> list[str]:
        """Return the items shown next to an item, like `Product.beside`."""
        links = self._links.get(item, {})
        return sorted(links, key=lambda name: (-links[name], name))[:depth]

    def price_beside(self, item: str, place: int, target: str) -> int:
        """Return the new accounts, one step each, that bring a target next to an item.

        This is not a bound, since one account may make many steps.
        """
        links = self._links.get(item, {})
        others = sorted((n for name, n in links.items() if name != target), reverse=True)
        gap = (others[place - 1] if len(others) >= place else 0.0) - links.get(target, 0.0)
        return int(max(0.0, gap) / self._link_unit(self.now_ms)) + 1

    def recommended(self, actor: int, item: str, depth: int) -> list[str]:
        """Return the items shown to an actor, like `Product.recommended`.

        The blend is the same, with the counts of this class.
        """
        names, counts = self.top(LIST_DEPTH)
        mass = max(1e-9, float(counts.sum()))
        scores = {name: float(count) / mass for name, count in zip(names, counts, strict=True)}
        past = [name for _, name in reversed(self._past.get(actor, [])) if name != item]
        unit = self._link_unit(self.now_ms)
        for last, recall in zip([item, *past], self._ranking.recall, strict=False):
            links = self._links.get(last, {})
            followed = sum(links.values()) / unit + self._ranking.smoothing
            for name in self.beside(last, LIST_DEPTH):
                scores[name] = scores.get(name, 0.0) + self._ranking.blend * recall * links[name] / unit / followed
        seen = {item, *past}
        return sorted(scores.keys() - seen, key=lambda name: (-scores[name], name))[:depth]

    def _link(self, actor: int, at_ms: int, item: str, weight: float) -> None:
        past = self._past.setdefault(actor, [])
        unit = weight * self._link_unit(at_ms)
        for reach, (then_ms, source) in zip(self._affinity.reach, reversed(past), strict=False):
            if source != item and at_ms - then_ms <= 1000 * self._affinity.window_s:
                links = self._links.setdefault(source, {})
                links[item] = links.get(item, 0.0) + reach * unit
        past.append((at_ms, item))
        del past[: -len(self._affinity.reach) - 1]

    def _link_unit(self, at_ms: int) -> float:
        """Return the weight of a step made at a time.

        The landmark moves along, so the number of half-lives since then stays small.
        """
        return float(2.0 ** ((at_ms - self._began_ms) / (1000 * self._affinity.half_life_s)))

    def _forget(self) -> None:
        """Move the landmark to now, and drop faded links and actors of long ago."""
        factor = 1 / self._link_unit(self.now_ms)
        faded = {
            source: kept
            for source, links in self._links.items()
            if (kept := {name: n * factor for name, n in links.items() if n * factor > self.GONE})
        }
        since_ms = self.now_ms - 1000 * self._affinity.window_s
        self._links, self._began_ms = faded, self.now_ms
        self._past = {actor: past for actor, past in self._past.items() if past[-1][0] >= since_ms}
        self._forget_ms = self.now_ms + FORGET_EVERY_MS
