"""An item as its page shows it: where it stands, what its place would cost, who is behind it, what was held of it.

    published boards (all, its categories, countries) ──> places, prices (recommender.core.trend.place_prices)
    published excerpt                                 ──> what the longer memories say
    the newest LOOKED_AT events of the log            ──> admitted, held, out, waiting: stacked over time
    FindingItem by item                               ──> findings, newest first

The log has no index by item, and needs none for the rest: so the chart is of its newest events, and says how far they
reach. Every part is bounded whatever the item; ids that nobody ever sent have a page too.
"""

from dataclasses import dataclass
from typing import Any

from monitoring.models import Finding, FindingItem, Review
from recommender.core.trend.place_prices import fewest_clickers
from recommender.errors import NoView
from recommender.log import lookups
from recommender.models import Item
from recommender.publishing import excerpt, published_boards

LISTED = 10  # places of a list as most clients show it
MAX_COUNTRIES = 60
LOOKED_AT = 50_000  # events of the log
LOOKED_BACK_S = 6 * 3600
N_BARS = 60
MAX_FINDINGS = 20
MAX_FOUND = 20
BANDS = (
    (0.5, "strong: half an act of full trust, or more"),
    (0.2, "middling: a fifth to a half"),
    (0.05, "little: as a new account's act of this moment, up to a fifth"),
    (0.0, "next to nothing: new accounts' acts of some minutes ago, or old ones of anybody"),
)


@dataclass(frozen=True, slots=True)
class ShownPrice:
    """What it would take to change whether an item is among the first LISTED of a list. `place`: None where it is on
    none of the published ones. `is_exact`: its score is known, not only bounded. Prices: of new accounts, of networks
    (None: not known), of trust in acts of full weight; `readers`: how many of its own must be fake for it to fall out
    (None: not known, or not listed). `n_listed`: places there are."""

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
        """Has the list places to spare?"""
        return self.n_listed < LISTED

    @property
    def name(self) -> str:
        kind, _, name = self.scope.partition(":")
        return f"{kind} {name}" if name else "all items"


@dataclass(frozen=True, slots=True)
class Band:
    """About so many accounts, and their share of the item's weight."""

    label: str
    n: int
    share: float


@dataclass(frozen=True, slots=True)
class ItemStanding:
    """Where an item stands on the lists now. `problem`: why nothing is known of it."""

    prices: list[ShownPrice]
    memories: list[excerpt.Remembered]
    bands: list[Band]
    problem: str

    @property
    def main(self) -> list[ShownPrice]:
        """On the list of all, and on those of its categories."""
        return [each for each in self.prices if not each.scope.startswith("country:")]

    @property
    def countries(self) -> list[ShownPrice]:
        return [each for each in self.prices if each.scope.startswith("country:")]


@dataclass(frozen=True, slots=True)
class Bars:
    """`chart` for the template tag; of events received since `since_ms`, of which `n` are on the item."""

    chart: dict[str, Any] | None
    since_ms: int | None
    n: dict[str, int]


def describe(item_id: str) -> Item | None:
    """What the site says of it."""
    return Item.objects.filter(id=item_id).first() if "\0" not in item_id else None


def get_standing(*, item_id: str, item: Item | None) -> ItemStanding:
    """By scope and half-life, from the published view."""
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
    """See `recommender.core.trend.place_prices`; as `GET /trending` tells margins, and the other way round for items
    that are not listed: their last rival is the one in place LISTED."""
    n, counts = len(board.items), board.counts
    place = board.items.index(item) if item in board.items else None
    is_listed = place is not None and place < LISTED
    if place is not None and is_listed:
        gap = counts[place] - (counts[LISTED] if n > LISTED else 0)
        rival = board.items[LISTED] if n > LISTED else ""
    else:
        # of items beyond the end of a full board no more is known than that they count no more than its last
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
    """Contributions by what each weighs now, strong ones first. A class of contributions is told by its mean; what
    nobody in particular is told to have added since they were looked at is left out."""
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
    """Its events among the log's newest. 2 us an event looked at, whatever the log holds."""
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
    chart = {
        "kind": "bar",
        "stacked": True,
        "unit": f"events in {max(1, round(width / 1000))} s",
        "x": [int(since + width * place) for place in range(N_BARS + 1)],
        "series": [{"label": name, "look": looks[name], "y": series[name]} for name in names],
        "marks": [],
    }
    return Bars(chart if any(totals.values()) else None, int(since), totals)


def list_findings(*, item_id: str) -> list[Finding]:
    """Those it is part of: open ones first, then by time."""
    if "\0" in item_id:
        return []
    rows = FindingItem.objects.filter(item=item_id).select_related("finding").order_by("-last_ms", "-id")
    newest = [row.finding for row in rows[:MAX_FINDINGS]]
    still_open = [row.finding for row in rows.filter(finding__state=Finding.State.OPEN)[:MAX_FINDINGS]]
    known = {each.pk for each in still_open}
    return [*still_open, *(each for each in newest if each.pk not in known)][:MAX_FINDINGS]


def list_hidings(*, item_id: str) -> list[Review]:
    """Who hid it or showed it again, and why."""
    if "\0" in item_id:
        return []
    rows = Review.objects.filter(action=Review.Action.HIDE, subject__item=item_id)
    return list(rows.order_by("-id")[:10])


# -- finding one -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ListedItem:
    """An item of a list: its place and score where it has one now."""

    id: str
    title: str
    place: int | None = None
    score: float | None = None
    is_hidden: bool = False


def list_best(*, depth: int = 20) -> list[ListedItem]:
    """The first places of the list of all; none while it cannot be read."""
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
    """Items whose id begins so, or on the list with the text in their title; listed ones first."""
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
    others = [ListedItem(each.id, each.title, is_hidden=each.is_hidden) for each in described if each.id not in known]
    return [*listed[:MAX_FOUND], *others][: 2 * MAX_FOUND]


def _titles(ids: list[str]) -> dict[str, str]:
    return dict(Item.objects.filter(id__in=ids).exclude(title="").values_list("id", "title"))
