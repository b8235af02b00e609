"""Clicks by source of recommendations, counted since the web processes started."""

from dataclasses import dataclass

from recommender import counters
from recommender.serving.list_ids import SOURCES

_WORDS = {
    "similar": "is read together with items that the reader read",
    "trending": "trends now",
    "fresh": "is new and on trial",
    "steady": "has had readers for hours",
}


@dataclass(frozen=True, slots=True)
class ListSource:
    """Items shown from one source, and clicks that named their list and place.

    rate: None if nothing was shown.
    """

    name: str
    says: str
    n_shown: int
    n_clicks: int

    @property
    def rate(self) -> float | None:
        return self.n_clicks / self.n_shown if self.n_shown else None


@dataclass(frozen=True, slots=True)
class RecommendedBySource:
    """The counts by source.

    n_not_credited: clicks that named a list which was not valid for them. `ListValidity` has the reasons.
    """

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
