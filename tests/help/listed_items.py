"""Every list that readers get, asked of the real application."""

from urllib.parse import quote

from django.test import Client

from recommender.learning import learner
from recommender.log import event_log
from recommender.publishing import excerpt, published_boards
from tests.help.log_rows import events

CATEGORY, COUNTRY, BEFORE = "sports", "DE", "opener"
LISTS = {"trending", "category", "country", "similar", "recommendations", "public"}


def read_by_many(item, *, n=80, start=0, country=COUNTRY):
    """Learn actors who open BEFORE, and then the item."""
    actors = [f"reader-{number}" for number in range(start, start + n)]
    for each in (BEFORE, item):
        event_log.append(events(actors, [each] * n, country=[country] * n))
        learner.learn(0)


class Lists:
    """The lists of a site, by the names in LISTS."""

    def __init__(self, api, clock):
        self._api, self._clock = api, clock

    def with_item(self, item):
        """Publish, and return the names of the lists that have the item."""
        self._clock.forward(10)  # no excerpt has to wait, and every copy in a web process is old
        learner.learn(0)
        return self.now_with(item)

    def now_with(self, item):
        """Return the names of the lists that have the item, without publishing."""
        self._clock.forward(max(published_boards.POLL_EVERY_S, excerpt.POLL_EVERY_S))
        found = {
            "trending": self._items("trending?limit=200"),
            "category": self._items(f"trending?limit=200&category={CATEGORY}"),
            "country": self._items(f"trending?limit=200&country={COUNTRY}"),
            "similar": self._items(f"items/{BEFORE}/similar?limit=200"),
            "recommendations": self._items(f"recommendations?limit=200&actor=stranger&item={quote(BEFORE)}"),
        }
        has = {name for name, items in found.items() if item in items}
        public = Client().get("/").content.decode()
        return has | ({"public"} if f"title of {item}" in public or f">{item}<" in public else set())

    def _items(self, path):
        answer = self._api.get(f"/api/v1/{path}", key="read")
        assert answer.status == 200, answer.body
        return [each["item"] for each in answer.json["items"]]
