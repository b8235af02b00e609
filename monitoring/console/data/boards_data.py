"""The served list next to the list without a defence, with titles and prices."""

from dataclasses import dataclass
from typing import Any

from monitoring import shadow_board
from recommender.core.trend.place_prices import margins
from recommender.errors import NoView
from recommender.models import Item
from recommender.publishing import published_boards

SHOWN = 10


@dataclass(frozen=True, slots=True)
class Boards:
    """The live and the shadow list. as_of: unix time.

    live: place, item, title, score, price (new accounts needed to take the place).
    shadow: place, item, title, score, served_place, is_held_back. None if there is no undefended list.
    """

    as_of: float
    live: list[dict[str, Any]]
    shadow: list[dict[str, Any]] | None
    n_held_back: int

    @property
    def as_of_ms(self) -> int:
        return int(1000 * self.as_of)


def get_boards() -> Boards | None:
    """Return the lists as they are published now.

    None while nothing is published, or if the store is away.
    """
    try:
        board, as_of = published_boards.read_board("")
        compared = shadow_board.compare()
    except NoView:
        return None
    listed = describe_places(board)
    undefended = compared["items"][:SHOWN]
    titles = get_titles([each["item"] for each in (*listed, *undefended)])
    held_back = set(compared["held_back"])
    return Boards(
        as_of=as_of,
        live=[each | {"title": titles[each["item"]]} for each in listed],
        shadow=[
            each | {"title": titles[each["item"]], "is_held_back": each["item"] in held_back} for each in undefended
        ]
        if compared["is_on"]
        else None,
        n_held_back=sum(each["item"] in held_back for each in undefended),
    )


def describe_places(board: published_boards.PublishedBoard | None) -> list[dict[str, Any]]:
    """Return the first SHOWN places of a list, each with its price."""
    if board is None:
        return []
    counts = board.counts[: SHOWN + 1]
    outside = counts[SHOWN] if len(counts) > SHOWN else 0
    prices, _ = margins(counts[:SHOWN], outside, board.unit, board.fresh)
    return [
        {"place": place + 1, "item": board.items[place], "score": board.score(place), "price": price}
        for place, price in enumerate(prices)
    ]


def get_titles(items: list[str]) -> dict[str, str]:
    """Return the titles of items.

    An item that the site never described has its id as title.
    """
    known = Item.objects.filter(pk__in=items).exclude(title="").values_list("id", "title")
    return {item: item for item in items} | dict(known)
