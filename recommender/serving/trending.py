"""Answers from boards: the places a request gets, as bytes.

    QUERY_STRING ──> this process's cache ──miss──> parse ──> board ──> items, scores, margins ──> bytes
                                          └──────────────> bytes + as_of, state, checkpoint, age_ms of now

The list of an answer changes only with the board, so its bytes are kept for each raw query string. The part that
changes every moment (`age_ms`) is appended each time. Nothing here asks the database.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode
from zlib import crc32

import orjson
from django.http import QueryDict

from recommender import database_clock
from recommender.core.trend.place_prices import certain_places, fewest_clickers, margins, networks
from recommender.errors import Invalid, NoView
from recommender.process_state import Clock
from recommender.publishing import published_boards

DEFAULT_LIMIT, MAX_LIMIT = 10, 200
MAX_EXCLUDED = 200
MAX_NAME = 100  # of a category
MAX_CACHED_QUERY = 1_000  # characters; a longer query is answered without the cache
MAX_CACHED_BYTES = 16 * 2**20
CERTAIN_AGAINST = (10, 100, 1000)  # new actors


@dataclass(frozen=True, slots=True)
class ListQuery:
    """A validated request for a list."""

    scope: str
    limit: int
    exclude: frozenset[str]


@dataclass(frozen=True, slots=True)
class Answer:
    """The body of an answer and its tag.

    tag: names the content apart from the age. A client that has this tag needs no second copy.
    """

    body: bytes
    tag: str


@dataclass(frozen=True, slots=True)
class _Kept:
    scope: str
    version: int
    start: bytes
    query_hash: int
    frozen_as_of: float | None


class Lists:
    """Answers of one process, kept until their board changes.

    Memory is at most about MAX_CACHED_BYTES.
    """

    def __init__(self, reader: published_boards.ViewReader, now_s: Clock = database_clock.unix_s) -> None:
        """Start without answers.

        now_s: unix seconds by the database's clock, from which an answer's age is computed.
        """
        self._reader, self._now_s = reader, now_s
        self._kept: dict[str, _Kept] = {}
        self._n_bytes = 0
        self._end: tuple[published_boards.Head | None, bytes] = (None, b"")

    def answer(self, query_string: str) -> Answer:
        """Return the answer to a query string. Raises Invalid, NoView."""
        kept = self._kept.get(query_string)
        board = self._reader.board(kept.scope) if kept is not None else None
        if kept is None or board is None or board.version != kept.version:
            kept = self._make(query_string)
        head = self._reader.head()
        if head is None:
            raise NoView
        if kept.frozen_as_of is not None:
            return _frozen_answer(kept, self._now_s())
        end_of, end = self._end
        if end_of is not head:
            end = _write_end(head)
            self._end = (head, end)
        age_ms = max(0, int((self._now_s() - head.as_of) * 1000))
        return Answer(
            b"%b%b%d}" % (kept.start, end, age_ms),
            f'W/"{kept.version}-{head.state}-{head.checkpoint}-{kept.query_hash}"',
        )

    def _make(self, query_string: str) -> _Kept:
        query = parse_query(query_string)
        board = self._reader.board(query.scope)
        if board is None:
            raise NoView
        query_hash = crc32(query_string.encode())
        kept = _Kept(query.scope, board.version, _write_items(board, query), query_hash, board.frozen_as_of)
        if len(query_string) <= MAX_CACHED_QUERY:
            size = len(kept.start) + len(query_string) + 500
            if self._n_bytes + size > MAX_CACHED_BYTES:
                self._kept.clear()
                self._n_bytes = 0
            replaced = self._kept.get(query_string)
            if replaced is not None:
                self._n_bytes -= len(replaced.start) + len(query_string) + 500
            self._kept[query_string] = kept
            self._n_bytes += size
        return kept


def parse_query(query_string: str) -> ListQuery:
    """Read a request for a list. Raises Invalid, naming each wrong parameter."""
    wrong: dict[str, str] = {}
    try:
        query = QueryDict(query_string, encoding="utf-8")
    except Exception as error:  # Django's limit on the number of parameters
        raise Invalid(f"The query cannot be read: {error}") from None
    limit = _limit(query.get("limit"))
    if limit is None:
        wrong["limit"] = f"limit must be a whole number from 1 to {MAX_LIMIT}."
    scope = ""
    category, country = query.get("category"), query.get("country")
    if category is not None:
        scope = f"category:{category}"
        if not 1 <= len(category) <= MAX_NAME or not category.isprintable():
            wrong["category"] = f"category must have 1 to {MAX_NAME} printable characters."
    if country is not None:
        scope = f"country:{country.upper()}"
        if not (len(country) == 2 and country.isascii() and country.isalpha()):
            wrong["country"] = "country must be two letters (ISO 3166), as in DE."
        elif category is not None:
            wrong["country"] = "Ask for a category or a country, not for both."
    sent = query.getlist("exclude")
    excluded = {item for text in sent for item in text.split(",") if item}
    if len(excluded) > MAX_EXCLUDED:
        wrong["exclude"] = f"exclude takes at most {MAX_EXCLUDED} ids."
    excluded.update(sent)  # an id may itself contain a comma
    if wrong or limit is None:
        raise Invalid(fields=wrong)
    return ListQuery(scope, limit, frozenset(excluded))


def parse_scope(text: str) -> str:
    """Return the name of a list other than that of all items. Raises Invalid.

    It is "category:sports" or "country:DE", for example.
    """
    kind, _, name = text.partition(":")
    if kind not in ("category", "country"):
        raise Invalid(fields={"scope": "A scope is category:NAME or country:XX."})
    try:
        return parse_query(urlencode({kind: name})).scope
    except Invalid as error:
        raise Invalid(fields={"scope": error.fields[kind]}) from None


def _limit(text: str | None) -> int | None:
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdecimal() and len(text) <= 4):
        return None
    return int(text) if 1 <= int(text) <= MAX_LIMIT else None


def _write_items(board: published_boards.PublishedBoard, query: ListQuery) -> bytes:
    """Write the places of a list, their margins and the number of certain places.

    The best item outside the list sets the margins. The best `limit` items outside set how many places are certain.
    Items beyond the end of a full board are only known to count no more than its last item, so they count as much as
    that.
    """
    reach = 2 * query.limit + len(query.exclude) + 1
    places = [place for place, item in enumerate(board.items[:reach]) if item not in query.exclude]
    listed, rest = places[: query.limit], places[query.limit :]
    outside = board.counts[rest[0]] if rest else 0
    counts = [board.counts[place] for place in listed]
    actors, trust = margins(counts, outside, board.unit, board.fresh)
    prefixes = networks(counts, outside, board.network)
    items = [
        {
            "item": item,
            "score": round(board.score(place), 6),
            "margin": {
                "actors": n_actors,
                "trust": round(weight, 6),
                "networks": n_networks,
                "clickers": fewest_clickers(sizes, count - outside) if (sizes := board.sizes.get(item)) else None,
            },
        }
        for place, item, count, n_actors, weight, n_networks in zip(
            listed, (board.items[place] for place in listed), counts, actors, trust, prefixes, strict=True
        )
    ]
    counts += [board.counts[place] for place in rest[: query.limit]]
    if len(board.items) >= published_boards.BOARD_DEPTH:
        counts += [board.counts[-1]] * (2 * query.limit - len(counts))
    certain = [
        {"actors": n, "places": certain_places(counts, len(listed), n, board.fresh, board.budget)}
        for n in CERTAIN_AGAINST
    ]
    return b'{"items":' + orjson.dumps(items) + b',"certain_places":' + orjson.dumps(certain)


def _frozen_answer(kept: _Kept, now_s: float) -> Answer:
    """Return the answer of a frozen scope, with its own time and no checkpoint.

    No checkpoint was kept of exactly that moment. The items of the scope change only by hiding, which changes the
    bytes.
    """
    as_of = kept.frozen_as_of or 0.0
    age_ms = max(0, int((now_s - as_of) * 1000))
    body = b"%b%b%d}" % (kept.start, _end(as_of, "frozen", None), age_ms)
    return Answer(body, f'W/"{as_of}-frozen-{crc32(kept.start)}-{kept.query_hash}"')


def _write_end(head: published_boards.Head) -> bytes:
    return _end(head.as_of, head.state, head.checkpoint)


def _end(as_of_s: float, state: str, checkpoint: int | None) -> bytes:
    as_of = datetime.fromtimestamp(as_of_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    rest = orjson.dumps({"as_of": as_of, "state": state, "checkpoint": checkpoint})
    return b"," + rest[1:-1] + b',"age_ms":'
