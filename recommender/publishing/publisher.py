"""Publish the view: make boards from the learner's counts and the item catalogue.

    trend counts ──> Tally (a shard's best items, by scope) ──> summed over shards ──> minus items not to be listed
                     ──> boards by scope: all, category, country ──> store        (excerpts: excerpt_writer)

Categories and visibility belong to the view, not to the state. A change of them affects all of an item's past, and no
replay depends on them.

With several shards, every learner leaves its tally in the store and publishes the sum. Counts are integers on the
scale of an epoch, so tallies of different epochs are first shifted onto one scale. The sums are of scores: each shard
has applied phi to its own part of a network. So a network spread over n shards counts up to sqrt(n) times its count
in one (`trend`). Actors do not choose their shard. Only a single shard can report how many of an item's clickers may
be fake.

The board of a frozen scope is published as it was when it was frozen, at the version of the others.
"""

import logging
from collections import defaultdict
from datetime import datetime
from math import inf
from typing import Any

import msgspec
import numpy as np
import redis
from django.conf import settings

from recommender import database_clock
from recommender.core.pipeline import Pipeline
from recommender.core.shadow_trend import Shadow
from recommender.core.tables.decay import EPOCH_OCTAVES
from recommender.core.tables.table import strongest
from recommender.core.trend import count_breakdowns
from recommender.core.trend.clickers import Clickers
from recommender.core.trend.count_breakdowns import Sizes
from recommender.models import FrozenScope, Learner
from recommender.process_state import clock
from recommender.publishing.excerpt_writer import ExcerptWriter
from recommender.publishing.item_catalogue import Catalogue, Listing
from recommender.publishing.published_boards import BOARD_DEPTH, BOARDS, HEAD, SHADOW, Head, PublishedBoard, connect
from recommender.publishing.view_format import unpack
from recommender.publishing.withheld_items import Bridge

SIZES_DEPTH = 50  # items for which the sizes of contributions are published
SIZES_SHARE = 0.02  # of the time, at most, goes into new sizes. In between they are bounds.
TALLY_DEPTH = 20_000  # items of a shard that can reach a board
TALLIES, SHADOW_TALLIES = "groundswell:tallies", "groundswell:tallies:shadow"

logger = logging.getLogger(__name__)


class Tally(msgspec.Struct, frozen=True):
    """One shard's counts by scope: items and their counts, on the scale of `epoch`."""

    epoch: int
    unit: int
    fresh: int
    network: int
    budget: int
    stream_ms: int
    scopes: dict[str, tuple[list[str], list[int]]]
    sizes: dict[str, Sizes] = {}


class FrozenBoards:
    """The boards of frozen scopes (`FrozenScope`)."""

    def __init__(self) -> None:
        self.boards: dict[str, PublishedBoard] = {}
        self._known: dict[str, datetime] = {}

    def refresh(self) -> bool:
        """Read which scopes are frozen and return True if one was frozen or thawed."""
        known = dict(FrozenScope.objects.order_by("scope").values_list("scope", "frozen_at"))
        if known == self._known:
            return False
        rows = [
            (row, unpack(bytes(row.board), PublishedBoard)) for row in FrozenScope.objects.filter(scope__in=known)
        ]
        self.boards = {
            row.scope: msgspec.structs.replace(board, frozen_as_of=row.as_of)
            for row, board in rows
            if board is not None
        }
        self._known = known
        return True

    def as_of(self, version: int, listings: dict[str, Listing]) -> dict[str, PublishedBoard]:
        """Return the frozen boards by scope, without items that are hidden now."""
        hidden = {item for item, listing in listings.items() if listing.is_hidden} if self.boards else set()
        boards = {}
        for scope, board in self.boards.items():
            places = [place for place, item in enumerate(board.items) if item not in hidden]
            boards[scope] = msgspec.structs.replace(
                board,
                version=version,
                items=[board.items[place] for place in places],
                counts=[board.counts[place] for place in places],
            )
        return boards


class Publisher:
    """The publisher of one shard's learner."""

    def __init__(self, shard: int, store: Any = None) -> None:
        self.shard = shard
        self._store = store or connect()
        self._catalogue = Catalogue()
        self._frozen = FrozenBoards()
        self._excerpts = ExcerptWriter(shard, self._store)
        self._bridge = Bridge(shard, self._store)
        self._clickers = Clickers(SIZES_DEPTH)
        self._sizes_due_at = -inf
        self._step = -1
        self._is_stale = True  # the catalogue or the frozen scopes have changed since the last boards
        self._is_down = False

    def publish(self, pipeline: Pipeline, learner: Learner, as_of: float, shadow: Shadow | None = None) -> None:
        """Rewrite the head, and the boards if they changed or are gone.

        If the store does not answer, learning goes on, and readers have their last copy.
        """
        try:
            self._publish(pipeline, learner, as_of, shadow)
        except redis.RedisError as error:
            if not self._is_down:
                logger.warning("the view store does not answer, readers keep their last copy: %s", error)
            self._is_down = True
        else:
            self._is_down = False

    def _publish(self, pipeline: Pipeline, learner: Learner, as_of: float, shadow: Shadow | None) -> None:
        withheld = self._bridge.read()  # before the catalogue, which is at least as new
        is_changed, is_frozen_anew = self._catalogue.refresh(), self._frozen.refresh()
        self._is_stale |= is_changed or is_frozen_anew  # until it is written: the store may not answer
        self._excerpts.note_change(is_changed)
        head = unpack(self._store.get(HEAD), Head)
        if self._is_stale or learner.step != self._step or head is None or not self._store.exists(BOARDS):
            version = max(int(1e6 * database_clock.unix_s()), head.version + 1 if head else 0)
            boards = build_boards(
                self._sum(tally(pipeline, self._sizes(pipeline))), self._catalogue.listings, version
            )
            boards |= self._frozen.as_of(version, self._catalogue.listings)
            if shadow is not None:
                summed = self._sum(tally(shadow, {}), SHADOW_TALLIES)
                boards[SHADOW] = build_boards(summed, self._catalogue.listings, version)[""]
            fields = {scope: msgspec.msgpack.encode(board) for scope, board in boards.items()}
        else:
            version, fields = head.version, {}
        head = Head(version, as_of, learner.state, learner.checkpoint_id, sorted(self._frozen.boards))
        with self._store.pipeline() as changes:  # one transaction, so no one sees half of it
            if fields:
                changes.delete(BOARDS)
                changes.hset(BOARDS, mapping=fields)
            changes.set(HEAD, msgspec.msgpack.encode(head))
            changes.execute()
        self._step, self._is_stale = learner.step, False
        self._excerpts.write(pipeline, learner.step, as_of, self._catalogue.listings)
        if not self._excerpts.is_stale:
            self._bridge.note_published(withheld)

    def _sizes(self, pipeline: Pipeline) -> dict[str, Sizes]:
        if settings.SHARDS > 1:
            return {}
        began_at = clock()
        if began_at >= self._sizes_due_at or not self._clickers.is_of(pipeline.trend):
            self._clickers.refresh(pipeline.trend)
            ended_at = clock()
            self._sizes_due_at = ended_at + (ended_at - began_at) / SIZES_SHARE
        return self._clickers.sizes(pipeline.trend)

    def _sum(self, tally: Tally, of_shards: str = TALLIES) -> Tally:
        if settings.SHARDS == 1:
            return tally
        self._store.hset(of_shards, str(self.shard), msgspec.msgpack.encode(tally))
        known = self._store.hmget(of_shards, [str(shard) for shard in range(settings.SHARDS)])
        return add_tallies([each for packed in known if (each := unpack(packed, Tally)) is not None])


def add_tallies(tallies: list[Tally]) -> Tally:
    """Return the sum over shards, on the scale of the newest tally."""
    newest = max(tallies, key=lambda tally: tally.stream_ms)
    sums: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for tally in tallies:
        shift = EPOCH_OCTAVES * (newest.epoch - tally.epoch)
        for scope, (items, counts) in tally.scopes.items():
            for item, count in zip(items, counts, strict=True):
                sums[scope][item] += count >> shift
    scopes = {}
    for scope, by_item in sums.items():
        ranked = sorted(by_item.items(), key=lambda pair: (-pair[1], pair[0]))
        scopes[scope] = ([item for item, _ in ranked], [count for _, count in ranked])
    return msgspec.structs.replace(newest, scopes=scopes, sizes={})


def build_boards(tally: Tally, listings: dict[str, Listing], version: int) -> dict[str, PublishedBoard]:
    """Return the boards by scope, of the items that may be listed now.

    Items that the site never described are in no category.
    """
    now = database_clock.unix_s()
    ranked: dict[str, tuple[list[str], list[int]]] = defaultdict(lambda: ([], []))
    ranked[""] = ([], [])
    for scope, (items, counts) in tally.scopes.items():
        for item, count in zip(items, counts, strict=True):
            listing = listings.get(item)
            if count <= 0 or (listing and (listing.is_hidden or listing.published_at > now)):
                continue
            scopes = [scope]
            if listing and not scope:
                scopes += [f"category:{category}" for category in listing.categories]
            for each in scopes:
                board_items, board_counts = ranked[each]
                if len(board_items) < BOARD_DEPTH:
                    board_items.append(item)
                    board_counts.append(count)
    return {
        scope: PublishedBoard(
            version,
            items,
            counts,
            tally.unit,
            tally.fresh,
            tally.network,
            tally.budget,
            {item: tally.sizes[item] for item in items if item in tally.sizes},
            stream_ms=tally.stream_ms,
        )
        for scope, (items, counts) in ranked.items()
    }


def tally(pipeline: Pipeline | Shadow, sizes: dict[str, Sizes]) -> Tally:
    """Return the best items of a pipeline, by scope."""
    trend = pipeline.trend

    def ranked(rows: np.ndarray, counts: np.ndarray, depth: int) -> tuple[list[str], list[int]]:
        keys = trend.items.keys[rows]
        best = strongest(counts, keys, depth)
        best = best[np.lexsort((keys[best], -counts[best]))]
        return [trend.names[row] for row in rows[best].tolist()], counts[best].tolist()

    counts = trend.counts()
    rows = np.flatnonzero(counts > 0)
    scopes = {"": ranked(rows, counts[rows], TALLY_DEPTH)}
    for country, (of_country, counted) in count_breakdowns.region_counts(trend).items():
        scopes[f"country:{country}"] = ranked(
            of_country, counted, TALLY_DEPTH if settings.SHARDS > 1 else BOARD_DEPTH
        )
    now_ms = pipeline.stream_ms
    fresh = trend.fresh(now_ms)
    return Tally(
        epoch=trend.epoch(),
        unit=trend.unit(now_ms),
        fresh=fresh,
        network=trend.network(now_ms, settings.SHARDS),
        budget=pipeline.config.actor_budget * fresh,
        stream_ms=now_ms,
        scopes=scopes,
        sizes=sizes,
    )
