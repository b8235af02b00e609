"""The descriptions of items, kept up to date for boards and excerpts."""

from math import inf

import msgspec
from django.db import connection

from recommender import database_clock
from recommender.models import Item
from recommender.process_state import clock

RELOAD_EVERY_S = 60.0  # a read of changes does not see rows that were deleted by hand


# On a server that is not known yet, all items count as changed.
_READABLE_BEFORE = """
SELECT coalesce(recommender_xid_base() + pg_snapshot_xmin(pg_current_snapshot())::text::bigint, 0)
"""


class Listing(msgspec.Struct, frozen=True):
    """The description of an item, and whether it may be listed.

    is_hidden: the site or an operator hides it, or the site deleted it.
    """

    is_hidden: bool
    published_at: float  # unix seconds, 0 = always
    categories: tuple[str, ...]


class Catalogue:
    """Descriptions of items in the learner's process, kept up to date.

    Changes are found by xid. `recommender.log.event_log` explains why. A learner whose database was moved makes a new
    catalogue.
    """

    def __init__(self) -> None:
        self.listings: dict[str, Listing] = {}
        self._xid = 0
        self._reload_at = -inf
        self._next_publication = inf

    def refresh(self) -> bool:
        """Read the changes and return True if a board could look different."""
        now = clock()
        if now >= self._reload_at:
            before, self.listings = self.listings, {}
            self._xid, self._reload_at = 0, now + RELOAD_EVERY_S
            self._read()
            return before != self.listings
        return self._read() or self._is_published()

    def _read(self) -> bool:
        with connection.cursor() as cursor:
            cursor.execute(_READABLE_BEFORE)
            (xmin,) = cursor.fetchone()
        rows = Item.objects.filter(changed_xid__gte=self._xid).values_list(
            "id", "is_hidden", "hidden_at", "deleted_at", "published_at", "categories"
        )
        changed = False
        for item, by_site, hidden_at, deleted_at, published_at, categories in rows.iterator():
            is_hidden = by_site or hidden_at is not None or deleted_at is not None
            listing = Listing(is_hidden, published_at.timestamp() if published_at else 0.0, tuple(categories))
            if self.listings.get(item) != listing:
                self.listings[item] = listing
                changed = True
        self._xid = xmin
        if changed:
            self._await_publication(database_clock.unix_s())
        return changed

    def _is_published(self) -> bool:
        """Return True once after a publishing time has passed."""
        now = database_clock.unix_s()
        if now < self._next_publication:
            return False
        self._await_publication(now)
        return True

    def _await_publication(self, now: float) -> None:
        waiting = [each.published_at for each in self.listings.values() if each.published_at > now]
        self._next_publication = min(waiting, default=inf)
