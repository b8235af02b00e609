"""The shadow model's published list next to the served one."""

from typing import Any

from recommender.publishing import published_boards

SHOWN = 20  # places


def compare(*, depth: int = SHOWN) -> dict[str, Any]:
    """Compare the first places of both lists as they are published now.

    held_back: items that have such a place in the undefended list, but not in the served one. An item with a burst of
    newcomers that turn out honest is also among them for a while. Raises NoView.
    """
    undefended, as_of = published_boards.read_board(published_boards.SHADOW)
    served, _ = published_boards.read_board("")
    if undefended is None:
        return {"is_on": False, "as_of": as_of, "items": [], "held_back": []}
    places = {item: place for place, item in enumerate(served.items)} if served else {}
    items, held_back = [], []
    for place, item in enumerate(undefended.items[:depth]):
        at = places.get(item)
        if at is None or at >= depth:
            held_back.append(item)
        items.append(
            {
                "item": item,
                "place": place + 1,
                "score": round(undefended.score(place), 6),
                "served_place": None if at is None else at + 1,
                "served_score": round(served.score(at), 6) if served and at is not None else 0.0,
            }
        )
    return {"is_on": True, "as_of": as_of, "items": items, "held_back": held_back}
