"""Everything that writes on behalf of a request or a command: events, items, keys.

Each service is one transaction; raises from recommender.errors.
"""

import secrets
import time
from collections.abc import Collection
from typing import NamedTuple

import orjson
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from recommender import attribution, counters, items, keys, learner_state, log, waking
from recommender.errors import BacklogFull, Conflict, Invalid, NotFound
from recommender.models import ApiKey, Item
from recommender.outage import database
from recommender.parsing import Parsed
from recommender.serializers import ItemRow

BACKLOG_CHECK_EVERY_S = 0.5
KEY_PREFIX = "gsw_"
SCOPES = frozenset(ApiKey.Scope.values)

# -- events -------------------------------------------------------------------------------------------------------


class Ingested(NamedTuple):
    n_accepted: int
    n_duplicates: int


class Backlog:
    """How far the learner is behind, asked at most every half second in a process."""

    def __init__(self) -> None:
        self.n_events = 0
        self._ask_at = 0.0

    def check(self) -> None:
        """Raises BacklogFull, Unavailable."""
        now = time.monotonic()
        if now >= self._ask_at:
            with database():
                self.n_events = learner_state.get_backlog()
            self._ask_at = now + BACKLOG_CHECK_EVERY_S
        if self.n_events >= settings.BACKLOG_LIMIT:
            raise BacklogFull

    def forget(self) -> None:
        """Ask at the next check."""
        self._ask_at = 0.0


backlog = Backlog()


def ingest(*, parsed: Parsed) -> Ingested:
    """Store what was accepted of a body; on return it is committed.

    1. Refuse while the learner is too far behind.
    2. Append; what has a known event_id is a duplicate.
    3. Count, credit clicks on recommendations, and wake the learners whose actors are among the events.
    """
    events = parsed.events
    n_written = 0
    if len(events):
        backlog.check()
        with database():
            n_written = log.append(events)
    n_duplicates = parsed.n_duplicates + len(events) - n_written
    for rejection in parsed.rejected:
        counters.REJECTED.labels(rejection["code"]).inc()
    counters.ACCEPTED.inc(n_written)
    if n_duplicates:
        counters.DUPLICATES.inc(n_duplicates)
    if n_written:
        attribution.credit(events)
        for shard in _shards_of(events.actor):
            waking.wake(shard)
    return Ingested(n_written, n_duplicates)


def _shards_of(actors: list[str]) -> Collection[int]:
    shards = settings.SHARDS
    if shards == 1:
        return (0,)
    return {log.shard_of(actor, shards) for actor in actors}


# -- items --------------------------------------------------------------------------------------------------------

# Sorted by id, so that two writers wait for one another instead of deadlocking. A row that would not change is left
# alone: the publisher reads whatever was written.
_PUT_ITEMS = """
INSERT INTO recommender_item (id, title, url, categories, published_at, is_hidden, changed_xid, changed_at)
SELECT id, title, url, categories, published_at, is_hidden, 0, now()
FROM jsonb_to_recordset(%s::jsonb) AS sent(
    id text, title text, url text, categories text[], published_at timestamptz, is_hidden boolean
) ORDER BY id COLLATE "C"
ON CONFLICT (id) DO UPDATE SET title = excluded.title, url = excluded.url, categories = excluded.categories,
    published_at = excluded.published_at, is_hidden = excluded.is_hidden, changed_at = excluded.changed_at
WHERE (recommender_item.title, recommender_item.url, recommender_item.categories, recommender_item.published_at,
       recommender_item.is_hidden)
    IS DISTINCT FROM
      (excluded.title, excluded.url, excluded.categories, excluded.published_at, excluded.is_hidden)
RETURNING xmax = 0
"""


class ItemsPut(NamedTuple):
    n_created: int
    n_updated: int
    n_unchanged: int


def put_items(*, rows: list[ItemRow]) -> ItemsPut:
    """Write items whole, new or known; of two with one id the last counts."""
    by_id = {row.id: row for row in rows}
    fields = [{name: getattr(row, name) for name in ItemRow.__struct_fields__} for row in by_id.values()]
    with database(), connection.cursor() as cursor:
        cursor.execute(_PUT_ITEMS, [orjson.dumps(fields).decode()])
        is_new = [new for (new,) in cursor.fetchall()]
    n_created = sum(is_new)
    return ItemsPut(n_created, len(is_new) - n_created, len(rows) - len(is_new))


def update_item(*, row: ItemRow) -> Item:
    """Write one known item. Raises NotFound."""
    with transaction.atomic():
        item = Item.objects.select_for_update().filter(id=row.id).first()
        if item is None:
            raise NotFound("This item was deleted meanwhile.")
        for name in ItemRow.__struct_fields__:
            setattr(item, name, getattr(row, name))
        item.save()
    return item


def set_hidden(*, item_id: str, is_hidden: bool) -> Item:
    """Take an item off every list, or allow it there again; one that the site never described is kept under its id
    for this. Raises Invalid, Conflict where it is so already."""
    if not 1 <= len(item_id) <= 256 or not item_id.isprintable():
        raise Invalid(fields={"item": "An id has 1 to 256 printable characters."})
    with transaction.atomic():
        Item.objects.bulk_create([Item(id=item_id)], ignore_conflicts=True)
        item = Item.objects.select_for_update().get(id=item_id)
        if item.is_hidden == is_hidden:
            raise Conflict(f"This item is {'hidden' if is_hidden else 'not hidden'} already.")
        item.is_hidden = is_hidden
        item.save(update_fields=["is_hidden", "changed_at"])
    return item


def delete_item(*, item_id: str) -> None:
    """Forget what is known of an item; its counts stay, so it may be listed under its id. Raises NotFound."""
    with transaction.atomic():
        items.get_item(item_id=item_id).delete()


# -- keys ---------------------------------------------------------------------------------------------------------


def make_key(
    *, name: str, scopes: Collection[str], rate_per_s: int | None = None, secret: str | None = None
) -> tuple[ApiKey, str]:
    """Make a key; the secret is in the answer and nowhere else. Raises Invalid."""
    secret = secret or KEY_PREFIX + secrets.token_urlsafe(32)
    wrong = {}
    if not 1 <= len(name) <= 100 or not name.isprintable():
        wrong["name"] = "A name has 1 to 100 printable characters."
    if not scopes or not SCOPES.issuperset(scopes):
        wrong["scopes"] = f"Scopes are {', '.join(sorted(SCOPES))}; a key needs at least one."
    if rate_per_s is not None and not 1 <= rate_per_s < 2**31:
        wrong["rate_per_s"] = "A rate is at least 1 a second; leave it out for no limit."
    is_plain = secret.isascii() and secret.isprintable() and " " not in secret
    if not is_plain or not keys.MIN_LENGTH <= len(secret) <= keys.MAX_LENGTH:
        wrong["key"] = f"A key has {keys.MIN_LENGTH} to {keys.MAX_LENGTH} ASCII characters, no spaces."
    elif ApiKey.objects.filter(sha256=keys.digest_of(secret).hex()).exists():
        wrong["key"] = "This key is in use, or was and is revoked; make another."
    if wrong:
        raise Invalid(fields=wrong)
    key = ApiKey.objects.create(
        name=name,
        start=secret[: min(12, len(secret) // 3)],
        sha256=keys.digest_of(secret).hex(),
        scopes=sorted(set(scopes)),
        rate_per_s=rate_per_s,
    )
    return key, secret


def ensure_key(*, name: str, scope: str, secret: str) -> ApiKey:
    """The key with this secret, made if there is none. One that was revoked stays revoked."""
    with transaction.atomic():
        known = ApiKey.objects.filter(sha256=keys.digest_of(secret).hex()).first()
        return known or make_key(name=name, scopes=[scope], secret=secret)[0]


def revoke_key(*, key: str) -> list[ApiKey]:
    """Revoke the keys in use that have this name, or this start. Raises NotFound."""
    with transaction.atomic():
        found = list(ApiKey.objects.select_for_update().filter(Q(name=key) | Q(start=key), revoked_at=None))
        if not found:
            raise NotFound(f"No key in use is called or starts with {key!r}; `manage.py keys list` lists them.")
        revoke_keys(chosen=ApiKey.objects.filter(pk__in=[row.pk for row in found]))
    return found


def revoke_keys(*, chosen: QuerySet[ApiKey]) -> int:
    """Revoke those of a set that are in use; other processes remember a key for up to keys.CACHE_S more."""
    n_revoked = chosen.filter(revoked_at=None).update(revoked_at=timezone.now())
    keys.forget()
    return n_revoked
