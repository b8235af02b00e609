"""Lists for one actor, and items that go with an item.

They come from the published view and the actor's latest acts.

    the log: the actor's acts ──> its last items ──> their neighbours (excerpt) ───┐
    board of the scope: leaders of the trend ──────────────────────────────────────┼──> without items it has seen,
    items just published (a share of the places) ──────────────────────────────────┘     hidden or excluded items
              ──> scored: the ranker's weights, else the blend ──> not too many of one category ──> items with reasons

Scores are those of `recommender.core.ranking.candidates`, by which the learner judges itself. A score is the share of
the board's mass plus `blend` times the affinity of the last items. While the ranker does better, it is the ranker's
score, and while the share alone does better, it is the share. The first shard decides which. Two things are applied
only here and are in no figure of the learner: the places given to new items, and the cap on categories.

**New items.** `EXPLORE_SHARE` of the places, the last of a page first, go to items that the site published within
EXPLORE_S and on which few have acted. They are drawn again for every request, and newer items are likelier. Only
items that the site itself described and dated take part. So no client can put an item there.

**Newcomers** get the trend, and so do all actors while the database is away. A place in such a list has no price of
its own. `similar` reports the cost of placing an item next to another, `trending` the cost of making an item trend.
"""

import random
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import numpy as np
from django.conf import settings
from django.http import QueryDict
from numpy.typing import NDArray

from recommender import database_clock
from recommender.core.ranking.candidates import FEATURES
from recommender.core.ranking.training_lists import columns
from recommender.errors import Invalid, NoView
from recommender.ids import MAX_ID, is_id
from recommender.log.recent_acts import Recent
from recommender.publishing import excerpt, published_boards
from recommender.serving import list_ids, trending
from recommender.serving.list_ids import SOURCES
from recommender.serving.scope_lists import N_HALVES, Shelf

MAX_OFFSET = 800
LEADERS = 200  # leaders of the board that the ranker ranks, at least
MAX_SHELVES = 100  # scopes kept in memory
CATEGORY_SHARE = 0.5  # of a list, at most, if others can fill the rest
SIMILAR, TRENDING, FRESH, STEADY = range(len(SOURCES))

Scored = tuple[str, float]


@dataclass(frozen=True, slots=True)
class Query:
    """A validated request for a list.

    scope: of the board.
    category: empty for all.
    item: the item that the actor looks at, empty for none.
    """

    actor: str
    limit: int
    offset: int = 0
    scope: str = ""
    category: str = ""
    item: str = ""
    exclude: Collection[str] = ()


@dataclass(slots=True)
class Pull:
    """The links from an actor's last items to one candidate.

    last, earlier: strengths of the links from the last item and from the items before.
    affinity: the sum of all strengths, each times its recall.
    actors: the actors behind the best supported link.
    because: the recall times the strength of the strongest link, and the item it comes from.
    """

    last: float = 0.0
    earlier: float = 0.0
    affinity: float = 0.0
    actors: int = 0
    because: tuple[float, str] = (0.0, "")


class Recommender:
    """Lists of one process. It only reads, and keeps nothing of actors."""

    def __init__(
        self, boards: published_boards.ViewReader, excerpts: excerpt.ExcerptReader, seed: int | None = None
    ) -> None:
        self._boards, self._excerpts = boards, excerpts
        self._shelves: dict[str, Shelf] = {}
        self._random = random.Random(seed)  # noqa: S311 (which new item is tried)

    def recommend(self, query: Query, recent: Recent) -> dict[str, Any]:
        """Return the answer for an actor. Raises NoView."""
        head, shelf = self._boards.head(), self._shelf(query)
        if head is None or shelf is None:
            raise NoView
        last_items = _last_items(query, recent)
        affinities = affinities_of(shelf, last_items)
        left_out = {*recent.seen, *query.exclude, query.item, *self._boards.withheld()}
        if shelf.mode == "ranker":
            ranked = _by_ranker(shelf, query, affinities, last_items, left_out)
        else:
            ranked = (_by_trend if shelf.mode == "trend" else _by_blend)(shelf, query, affinities)
        page = _diverse((each for each in ranked if each[0] not in left_out), query, shelf)[query.offset :]
        names, scores = [name for name, _ in page], [score for _, score in page]
        sources = [_source(shelf, name, affinities) for name in names]
        if query.offset == 0:
            self._explore(shelf, left_out, names, scores, sources)
        beside = {name for name, source in zip(names, sources, strict=True) if source == SIMILAR}
        pulls = pulls_of(shelf, last_items, beside)
        items = [
            {"item": name, "score": round(score, 6), "reasons": [_reason(name, source, shelf, pulls)]}
            for name, score, source in zip(names, scores, sources, strict=True)
        ]
        list_ids.shown(sources)
        now_s = database_clock.unix_s()
        return {
            "items": items,
            "recommendation": list_ids.issue(actor=query.actor, items=names, sources=sources, now_s=now_s)
            if names
            else None,
            "ranked_by": shelf.mode,
            **_standing(head, now_s),
        }

    def similar(self, item: str, limit: int, exclude: Collection[str] = ()) -> dict[str, Any]:
        """Return the items that go with an item, strongest first. Raises NoView.

        The list is empty if too few actors went on from the item.
        """
        head = self._boards.head()
        if head is None:
            raise NoView
        left_out = {*exclude, *self._boards.withheld()}
        links: dict[str, tuple[float, int, int]] = {}
        for each in self._excerpts.excerpts():
            for name, strength, actors, price in each.links(item):
                before = links.get(name, (0.0, 0, price))
                links[name] = (before[0] + strength, before[1] + actors, min(before[2], price))
        ranked = sorted(links.items(), key=lambda pair: (-pair[1][0], pair[0]))
        items = [
            {"item": name, "score": round(strength, 6), "support": {"actors": actors}, "margin": {"actors": price}}
            for name, (strength, actors, price) in ranked
            if name not in left_out
        ]
        return {"items": items[:limit], **_standing(head, database_clock.unix_s())}

    # -- inside --------------------------------------------------------------------------------------------------

    def _shelf(self, query: Query) -> Shelf | None:
        """Return the shelf that lists of this scope share, or None if nothing is known."""
        board, known = self._boards.board(query.scope), self._excerpts.excerpts()
        if board is None:
            return None
        shelf = self._shelves.get(query.scope)
        if shelf is None or not shelf.is_of(board, known):
            if len(self._shelves) >= MAX_SHELVES:  # bounded, since clients choose the names of scopes
                self._shelves = {}
            shelf = self._shelves[query.scope] = Shelf(board, known, query.scope)
        return shelf

    def _explore(
        self, shelf: Shelf, left_out: Collection[str], names: list[str], scores: list[float], sources: list[int]
    ) -> None:
        """Give some places of a page to new items, the last place first."""
        wanted = settings.EXPLORE_SHARE * len(names)
        n = int(wanted) + (self._random.random() < wanted % 1)
        shown = set(names)
        for fresh in shelf.fresh:
            for _ in range(min(4 * n, 20) if fresh else 0):  # an item that cannot be shown uses up a draw
                name = fresh[int(len(fresh) * self._random.random() ** 2)]
                if name in left_out or name in shown:
                    continue
                n -= 1
                shown.add(name)
                place = len(names) - 1 - n
                names[place], scores[place], sources[place] = name, 0.0, FRESH
                if n == 0:
                    return


def affinities_of(shelf: Shelf, last_items: Sequence[str]) -> dict[str, float]:
    """Return the affinities of an actor's last items, newest first, to other items.

    An affinity is the sum of the link strengths, each times the recall of its source.
    """
    found: dict[str, float] = {}
    for item, recall in zip(last_items, _recall(shelf), strict=False):
        for name, strength, _, _ in shelf.links(item):
            found[name] = found.get(name, 0.0) + recall * strength
    return found


def pulls_of(shelf: Shelf, last_items: Sequence[str], names: Collection[str]) -> dict[str, Pull]:
    """Return the links of an actor's last items to some items only, in full."""
    found: dict[str, Pull] = {}
    if not names:
        return found
    for step, (item, recall) in enumerate(zip(last_items, _recall(shelf), strict=False)):
        for name, strength, actors, _ in shelf.links(item):
            if name not in names:
                continue
            pull = found.get(name)
            if pull is None:
                pull = found[name] = Pull()
            if step:
                pull.earlier += strength
            else:
                pull.last += strength
            pull.affinity += recall * strength
            pull.actors = max(pull.actors, actors)
            pull.because = max(pull.because, (recall * strength, item))
    return found


def features_of(shelf: Shelf, names: Sequence[str], pulls: dict[str, Pull]) -> NDArray[np.float64]:
    """Return the features of served candidates, float64 (n, d).

    The columns are `recommender.core.ranking.candidates.FEATURES`. Leaders must come first in `names`.
    """
    features = np.zeros((len(names), len(FEATURES)))
    n_leading = next((i for i, name in enumerate(names) if name not in shelf.shares), len(names))
    places = {name: place for place, name in enumerate(shelf.shares)} if n_leading else {}
    leading = np.array([places[name] for name in names[:n_leading]], np.int64)
    features[:n_leading, :N_HALVES] = shelf.trends[leading]
    features[n_leading:, :N_HALVES] = shelf.trends_of(names[n_leading:])
    rows = [i for i, name in enumerate(names) if name in pulls]
    if rows:
        told = [pulls[names[i]] for i in rows]
        features[rows, 3:8] = [
            (each.last, each.earlier, each.affinity, each.actors, each.affinity > 0) for each in told
        ]
    features[:n_leading, 8] = 1.0
    highest = np.maximum(features[:, :N_HALVES].max(axis=0, initial=0.0), 1e-12)
    features[:, :N_HALVES] = np.log2(1e-6 + np.maximum(features[:, :N_HALVES], 0.0) / highest)
    features[:, 6] = np.log2(1.0 + features[:, 6])
    return features


def parse_query(query_string: str) -> Query:
    """Read a request for a list. Raises Invalid, naming each wrong parameter."""
    listed = trending.parse_query(query_string)
    sent = QueryDict(query_string, encoding="utf-8")
    actor, item, offset = sent.get("actor", ""), sent.get("item", ""), sent.get("offset", "0")
    wrong = {}
    if not is_id(actor):
        wrong["actor"] = f"actor must be the id that your events use, 1 to {MAX_ID} printable characters."
    if item and not is_id(item):
        wrong["item"] = f"item must be an id of 1 to {MAX_ID} printable characters."
    if not (offset.isascii() and offset.isdecimal() and len(offset) <= 4 and int(offset) <= MAX_OFFSET):
        wrong["offset"] = f"offset must be a whole number from 0 to {MAX_OFFSET}."
    if wrong:
        raise Invalid(fields=wrong)
    category = sent.get("category", "")
    return Query(actor, listed.limit, int(offset), listed.scope, category, item, listed.exclude)


def _last_items(query: Query, recent: Recent) -> list[str]:
    """Return the item the actor looks at, then those it acted on, newest first."""
    items = [item for item, _ in recent.acted_on if item != query.item]
    return [query.item, *items] if query.item else items


def _recall(shelf: Shelf) -> Sequence[float]:
    return shelf.excerpts[0].message.recall if shelf.excerpts else ()


def _by_trend(shelf: Shelf, query: Query, affinities: dict[str, float]) -> Iterator[Scored]:
    """Yield the leaders first, then the items linked from the last items.

    The latter have no score here.
    """
    yield from shelf.leaders
    beside = sorted((-affinity, name) for name, affinity in affinities.items() if name not in shelf.shares)
    yield from ((name, 0.0) for _, name in beside)
    yield from ((name, 0.0) for name in shelf.steady(query.limit) if name not in affinities)


def _by_blend(shelf: Shelf, query: Query, affinities: dict[str, float]) -> Iterator[Scored]:
    """Yield items by share and affinity together.

    Leaders are in order already. So only items with an affinity are inserted among them, as far down as the list is
    read.
    """
    shares, blend = shelf.shares, shelf.blend
    pulled = sorted((-shares.get(name, 0.0) - blend * affinity, name) for name, affinity in affinities.items())
    at = 0
    for name, share in shelf.leaders:
        while at < len(pulled) and -pulled[at][0] > share:
            yield pulled[at][1], -pulled[at][0]
            at += 1
        if name not in affinities:
            yield name, share
    yield from ((name, -score) for score, name in pulled[at:])
    yield from ((name, 0.0) for name in shelf.steady(query.limit) if name not in affinities)


def _by_ranker(
    shelf: Shelf, query: Query, affinities: dict[str, float], last_items: Sequence[str], left_out: Collection[str]
) -> Iterator[Scored]:
    """Return items by the ranker's weights.

    They are as many leaders as the list may need, and all items linked from the last items.
    """
    n_leaders = max(LEADERS, 2 * (query.offset + query.limit) + len(left_out))
    names = [name for name, _ in shelf.leaders[:n_leaders] if name not in left_out]
    beyond = dict.fromkeys([*affinities, *shelf.steady(query.limit)])
    names += [name for name in beyond if name not in left_out and name not in shelf.shares]
    if not names:
        return iter(())
    scores = [shelf.shares.get(name, 0.0) + shelf.blend * affinities.get(name, 0.0) for name in names]
    features = features_of(shelf, names, pulls_of(shelf, last_items, affinities.keys()))
    seen = columns(features, np.array(scores), shelf.blend)
    probabilities = shelf.excerpts[0].weights.probabilities(seen)
    order = np.argsort(-probabilities, kind="stable")
    return ((names[row], score) for row, score in zip(order.tolist(), probabilities[order].tolist(), strict=True))


def _diverse(ranked: Iterable[Scored], query: Query, shelf: Shelf) -> list[Scored]:
    """Return the best items down to the end of the page, with a cap on categories.

    At most CATEGORY_SHARE of a page is of one category. Items above the cap come last, if there are not enough
    others.
    """
    n = query.offset + query.limit
    if query.category:
        return list(islice(ranked, n))
    most, counted = max(1, int(CATEGORY_SHARE * query.limit)), dict[str, int]()
    chosen: list[Scored] = []
    passed_over: list[Scored] = []
    for each in ranked:
        category = shelf.category_of(each[0])
        if len(chosen) % query.limit == 0:
            counted.clear()  # each page has its own cap
        if category and counted.get(category, 0) >= most:
            passed_over.append(each)
            continue
        counted[category] = counted.get(category, 0) + 1
        chosen.append(each)
        if len(chosen) == n:
            break
    return [*chosen, *passed_over][:n]


def _source(shelf: Shelf, name: str, affinities: dict[str, float]) -> int:
    share = shelf.shares.get(name)
    if shelf.blend * affinities.get(name, 0.0) > (share or 0.0):
        return SIMILAR
    return STEADY if share is None else TRENDING


def _reason(name: str, source: int, shelf: Shelf, pulls: dict[str, Pull]) -> dict[str, Any]:
    """Return why an item is listed, in words and in data."""
    if source == FRESH:
        return {"source": SOURCES[FRESH], "text": "new here"}
    if source == SIMILAR:
        _, beside = pulls[name].because
        text = f"readers of {beside} also opened it"
        return {"source": SOURCES[SIMILAR], "text": text, "item": beside, "actors": pulls[name].actors}
    if source == STEADY:
        return {"source": SOURCES[STEADY], "text": "read for hours"}
    where = shelf.category or shelf.category_of(name)
    says = "rising" if shelf.is_rising(name) else "trending"
    return {"source": SOURCES[TRENDING], "text": f"{says} in {where}" if where else f"{says} now", "category": where}


def _standing(head: published_boards.Head, now_s: float) -> dict[str, Any]:
    as_of = datetime.fromtimestamp(head.as_of, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "as_of": as_of,
        "state": head.state,
        "checkpoint": head.checkpoint,
        "age_ms": max(0, int((now_s - head.as_of) * 1000)),
    }
