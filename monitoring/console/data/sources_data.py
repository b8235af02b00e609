"""Which source of recommendations earns its clicks: what web processes counted since they started."""

from dataclasses import dataclass

from recommender import counters
from recommender.serving.list_ids import SOURCES

_WORDS = {
    "similar": "goes with what the reader read",
    "trending": "trends now",
    "fresh": "is new, and tried",
    "steady": "has been read for hours",
}


@dataclass(frozen=True, slots=True)
class ListSource:
    """Items shown, and clicks on them that named their list and place. `rate`: None where nothing was shown."""

    name: str
    says: str
    n_shown: int
    n_clicks: int

    @property
    def rate(self) -> float | None:
        return self.n_clicks / self.n_shown if self.n_shown else None


@dataclass(frozen=True, slots=True)
class RecommendedBySource:
    """By source. n_not_credited: clicks that named a list which was not ours, not the reader's own, or too old."""

    sources: list[ListSource]
    n_not_credited: int

    @property
    def n_shown(self) -> int:
        return sum(each.n_shown for each in self.sources)


def get_recommended() -> RecommendedBySource:
    counted = {each.source: each for each in counters.read_recommended()}
    return RecommendedBySource(
        sources=[
            ListSource(name, _WORDS[name], counted[name].n_shown, counted[name].n_clicks)
            if name in counted
            else ListSource(name, _WORDS[name], 0, 0)
            for name in SOURCES
        ],
        n_not_credited=counted["not_credited"].n_clicks if "not_credited" in counted else 0,
    )
