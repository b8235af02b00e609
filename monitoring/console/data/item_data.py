"""Data for the page of an item: places, prices, accounts and events.

    published boards (all, its categories, countries) ──> places, prices (recommender.core.trend.place_prices)
    published excerpt                                 ──> places with longer half-lives
    the newest LOOKED_AT events of the log            ──> admitted, held, removed, waiting: stacked over time
    FindingItem by item                               ──> findings, newest first

The log has no index by item, and nothing else needs one. So the chart covers only the log's newest events, and shows
how far back they go. Every part is bounded for every item. An id that no one ever sent has a page too.
"""

from dataclasses import dataclass
from typing import Any

from monitoring.models import Finding, FindingItem, Review
from recommender.core.trend.place_prices import fewest_clickers
from recommender.errors import NoView
from recommender.log import lookups
from recommender.models import Item
from recommender.publishing import excerpt, published_boards

LISTED = 10  # places of a list that most clients show
MAX_COUNTRIES = 60
LOOKED_AT = 50_000  # newest events of the log that are read
LOOKED_BACK_S = 6 * 3600
N_BARS = 60
MAX_FINDINGS = 20
MAX_FOUND = 20
BANDS = (
    (0.5, "high: half an act of full trust, or more"),
    (0.2, "medium: a fifth to a half"),
    (0.05, "low: from a new account's act made now up to a fifth"),
    (0.0, "very low: acts of new accounts some minutes ago, or old acts of any account"),
)


@dataclass(frozen=True, slots=True)
class ShownPrice:
    """The price of changing whether an item is among the first LISTED of a list.

    place: None if the item is on none of the published places. n_listed: places on the list.
    is_exact: the item's score is known, not only bounded.
    actors, networks: the price in new accounts and in networks (None: not known).
    trust: the price in acts of full weight.
    readers: how many of its own readers must be fake for it to fall out (None: not known, or not listed).
    """

    scope: str
    place: int | None
    score: float | None
    n_listed: int
    is_exact: bool
    actors: int
    networks: int | None
    trust: float
    readers: int | None
    rival: str
    is_frozen: bool

    @property
    def is_listed(self) -> bool:
        return self.place is not None and self.place <= LISTED

    @property
    def is_open(self) -> bool:
        """Return True if the list has free places."""
        return self.n_listed < LISTED

    @property
    def name(self) -> str:
        kind, _, name = self.scope.partition(":")
        return f"{kind} {name}" if name else "all items"


@dataclass(frozen=True, slots=True)
class Band:
    """About how many accounts have a weight in a range, and their share of the whole."""

    label: str
    n: int
    share: float


@dataclass(frozen=True, slots=True)
class ItemStanding:
    """The places of an item now. `problem`: why nothing is known about it."""

    prices: list[ShownPrice]
    memories: list[excerpt.Remembered]
    bands: list[Band]
    problem: str

    @property
    def main(self) -> list[ShownPrice]:
        """Return its prices on the list of all items and on those of its categories."""
        return [each for each in self.prices if not each.scope.startswith("country:")]

    @property
    def countries(self) -> list[ShownPrice]:
        return [each for each in self.prices if each.scope.startswith("country:")]


@dataclass(frozen=True, slots=True)
class Bars:
    """A chart for the template tag.

    It covers events since `since_ms`; `n` counts those on the item.
    """

    chart: dict[str, Any] | None
    since_ms: int | None
    n: dict[str, int]


def describe(item_id: str) -> Item | None:
    """Return what the site and operators say about an item, or None."""
    return Item.objects.filter(id=item_id).first() if "\0" not in item_id else None


def get_standing(*, item_id: str, item: Item | None) -> ItemStanding:
    """Return the item's places by scope and half-life, from the published view."""
    categories = [f"category:{each}" for each in item.categories] if item else []
    try:
        countries = [scope for scope in published_boards.read_scopes() if scope.startswith("country:")][
            :MAX_COUNTRIES
        ]
        boards = published_boards.read_boards(["", *categories, *countries])
    except NoView as error:
        return ItemStanding([], [], [], error.message)
    if "" not in boards:
        return ItemStanding([], [], [], NoView.message)
    shown = {
        scope: board
        for scope, board in boards.items()
        if not scope.startswith("country:") or item_id in board.items[: published_boards.BOARD_DEPTH]
    }
    prices = [price(item_id, scope, board) for scope, board in shown.items()]
    served = boards[""]
    longer = excerpt.read_remembered(item_id)[1:]
    return ItemStanding(prices, longer, bands(served.sizes.get(item_id, ()), served.unit), "")


def price(item: str, scope: str, board: published_boards.PublishedBoard) -> ShownPrice:
    """Compute the price of an item's place on one list.

    See `recommender.core.trend.place_prices`. A listed item has the margin that `GET /trending` reports. For an item
    that is
    not listed the margin is the other way round: its rival is the item in place LISTED.
    """
    n, counts = len(board.items), board.counts
    place = board.items.index(item) if item in board.items else None
    is_listed = place is not None and place < LISTED
    if place is not None and is_listed:
        gap = counts[place] - (counts[LISTED] if n > LISTED else 0)
        rival = board.items[LISTED] if n > LISTED else ""
    else:
        # Of an item beyond the end of a full board we only know that it counts no more than the last item there.
        own = counts[place] if place is not None else counts[-1] if n >= published_boards.BOARD_DEPTH else 0
        gap = counts[LISTED - 1] - own if n >= LISTED else 0
        rival = board.items[LISTED - 1] if n >= LISTED else ""
    gap = max(0, gap)
    sizes = board.sizes.get(item)
    return ShownPrice(
        scope=scope,
        place=None if place is None else place + 1,
        score=None if place is None else board.score(place),
        n_listed=n,
        is_exact=place is not None or n < published_boards.BOARD_DEPTH,
        actors=gap // board.fresh + 1,
        networks=gap // board.network + 1 if board.network else None,
        trust=gap / board.unit,
        readers=fewest_clickers(sizes, gap) if is_listed and sizes else None,
        rival=rival,
        is_frozen=board.frozen_as_of is not None,
    )


def bands(sizes: Any, unit: int) -> list[Band]:
    """Group contributions by their weight now, the strong ones first.

    Each class of contributions counts with its mean. Weight that was added since the classes were counted, and
    belongs to no known account, is left out.
    """
    total = sum(amount for n, amount, _ in sizes if n)
    found = [[0, 0] for _ in BANDS]
    for n, amount, _ in sizes:
        if not n:
            continue
        weight = amount / n / unit
        band = next(place for place, (least, _) in enumerate(BANDS) if weight >= least or not least)
        found[band][0] += n
        found[band][1] += amount
    if not total:
        return []
    return [Band(label, n, amount / total) for (_, label), (n, amount) in zip(BANDS, found, strict=True) if n]


def get_bars(*, item_id: str, shards: int) -> Bars:
    """Count the item's events among the log's newest, in 2 us an event read."""
    found = lookups.count_newest_on(
        item=item_id.replace("\0", ""),
        looked_at=LOOKED_AT,
        back_s=LOOKED_BACK_S,
        n_bars=N_BARS,
        shards=shards,
    )
    names = ("admitted", "held", "out", "waiting")
    totals = dict.fromkeys(names, 0)
    if found is None:
        return Bars(None, None, totals)
    since, width = found.since_ms, found.width_ms
    series = {name: [0] * (N_BARS + 1) for name in names}
    for bar in found.bars:
        for name in names:
            count = getattr(bar, name)
            series[name][min(bar.place, N_BARS)] += count
            totals[name] += count
    looks = {"admitted": "good", "held": "warn", "out": "bad", "waiting": "dim"}
    labels = {"out": "removed", "waiting": "not judged yet"}
    chart = {
        "kind": "bar",
        "stacked": True,
        "unit": f"events in {max(1, round(width / 1000))} s",
        "x": [int(since + width * place) for place in range(N_BARS + 1)],
        "series": [{"label": labels.get(name, name), "look": looks[name], "y": series[name]} for name in names],
        "marks": [],
    }
    return Bars(chart if any(totals.values()) else None, int(since), totals)


def list_findings(*, item_id: str) -> list[Finding]:
    """List findings with this item, the open ones first, then by time."""
    if "\0" in item_id:
        return []
    rows = FindingItem.objects.filter(item=item_id).select_related("finding").order_by("-last_ms", "-id")
    newest = [row.finding for row in rows[:MAX_FINDINGS]]
    still_open = [row.finding for row in rows.filter(finding__state=Finding.State.OPEN)[:MAX_FINDINGS]]
    known = {each.pk for each in still_open}
    return [*still_open, *(each for each in newest if each.pk not in known)][:MAX_FINDINGS]


def list_hidings(*, item_id: str) -> list[Review]:
    """List the decisions that hid the item or showed it again, with their reasons."""
    if "\0" in item_id:
        return []
    rows = Review.objects.filter(action=Review.Action.HIDE, subject__item=item_id)
    return list(rows.order_by("-id")[:10])


# -- search ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ListedItem:
    """An item of a list, with its place and score if it has one now.

    word: why it cannot be listed, empty if it can.
    """

    id: str
    title: str
    place: int | None = None
    score: float | None = None
    word: str = ""


def list_best(*, depth: int = 20) -> list[ListedItem]:
    """List the first places of the list of all items, none while it cannot be read."""
    try:
        board = published_boards.read_boards([""]).get("")
    except NoView:
        return []
    if board is None:
        return []
    titles = _titles(board.items[:depth])
    return [
        ListedItem(id, titles.get(id, ""), place + 1, board.score(place))
        for place, id in enumerate(board.items[:depth])
    ]


def search(*, text: str) -> list[ListedItem]:
    """Find items by the start of their id, and listed items by text in their title.

    Listed items come first.
    """
    text = text.replace("\0", "")
    try:
        board = published_boards.read_boards([""]).get("")
    except NoView:
        board = None
    items = board.items if board else []
    titles, wanted = _titles(items), text.casefold()
    listed = [
        ListedItem(id, titles.get(id, ""), place + 1, board.score(place))
        for place, id in enumerate(items)
        if board and (id.casefold().startswith(wanted) or wanted in titles.get(id, "").casefold())
    ]
    known = {each.id for each in listed}
    described = Item.objects.filter(id__startswith=text).order_by("id")[: MAX_FOUND * 2]
    others = [ListedItem(each.id, each.title, word=_word(each)) for each in described if each.id not in known]
    return [*listed[:MAX_FOUND], *others][: 2 * MAX_FOUND]


def _word(item: Item) -> str:
    if item.is_hidden_by_operator:
        return "hidden by an operator"
    return "hidden" if item.is_hidden else "deleted" if item.deleted_at else ""


def _titles(ids: list[str]) -> dict[str, str]:
    return dict(Item.objects.filter(id__in=ids).exclude(title="").values_list("id", "title"))
