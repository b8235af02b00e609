"""What the site says of its items, as the learner's process knows it: kept up to date for boards and excerpts."""

import time
from math import inf

import msgspec
from django.db import connection

from recommender.models import Item
from recommender.process_state import clock

RELOAD_EVERY_S = 60.0  # rows deleted by hand are not seen by reading what changed


class Listing(msgspec.Struct, frozen=True):
    """What the site says of an item."""

    is_hidden: bool
    published_at: float  # unix seconds; 0 = always
    categories: tuple[str, ...]


class Catalogue:
    """What is known of items, kept up to date by reading what changed (see `recommender.log.event_log` for why by
    xid)."""

    def __init__(self) -> None:
        self.listings: dict[str, Listing] = {}
        self._xid = 0
        self._reload_at = -inf
        self._next_publication = inf

    def refresh(self) -> bool:
        """Read what changed; True where a board could look different."""
        now = clock()
        if now >= self._reload_at:
            before, self.listings = self.listings, {}
            self._xid, self._reload_at = 0, now + RELOAD_EVERY_S
            self._read()
            return before != self.listings
        return self._read() or time.time() >= self._next_publication

    def _read(self) -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
            (xmin,) = cursor.fetchone()
        rows = Item.objects.filter(changed_xid__gte=self._xid).values_list(
            "id", "is_hidden", "published_at", "categories"
        )
        changed = False
        for item, is_hidden, published_at, categories in rows.iterator():
            listing = Listing(is_hidden, published_at.timestamp() if published_at else 0.0, tuple(categories))
            if self.listings.get(item) != listing:
                self.listings[item] = listing
                changed = True
        self._xid = xmin
        if changed:
            now = time.time()
            waiting = [each.published_at for each in self.listings.values() if each.published_at > now]
            self._next_publication = min(waiting, default=inf)
        return changed
