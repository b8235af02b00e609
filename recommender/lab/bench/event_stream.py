"""Seeded stream for load, as columns and as request bodies.

Items are unequally popular, and actors act a handful of times each. Bodies are made once. A label of fixed length
marks the places where ids must differ from round to round. So the same body with another label is a new batch of new
actors, at the price of replacing bytes.
"""

from dataclasses import dataclass

import numpy as np
import orjson
from numpy.typing import NDArray

from recommender.core.vocabulary import Kind

N_ITEMS = 20_000
EVENTS_AN_ACTOR = 8  # as in a national news site's log
LABEL = b"@@@@@@@@"
TIME = b"9999999999.999"  # the place of occurred_at, as a label with its own length

KIND_CODES = np.array([Kind.CLICK, Kind.VIEW, Kind.LIKE, Kind.EXPOSURE], np.int8)
_KINDS = tuple(Kind(code).name.lower() for code in KIND_CODES.tolist())
_SHARES = (0.7, 0.2, 0.05, 0.05)
_COUNTRIES = ("DE", "FR", "GB", "US", "PL", "ES", "IT", "NL")
_AGENTS = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 Mobile Safari/604.1",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/141.0.0.0 Safari/537.36",
)


@dataclass(frozen=True, slots=True)
class Columns:
    """Events as columns. Actor, item and kind are numbers."""

    actor: NDArray[np.int64]
    item: NDArray[np.int64]
    kind: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.item)


def columns(n: int, *, seed: int) -> Columns:
    """Draw n events with Zipf-like items and random actors."""
    rng = np.random.default_rng(seed)
    weights = np.cumsum((np.arange(N_ITEMS) + 10.0) ** -0.9)
    return Columns(
        actor=rng.integers(max(1, n // EVENTS_AN_ACTOR), size=n),
        item=np.searchsorted(weights, rng.random(n) * weights[-1]),
        kind=rng.choice(len(_KINDS), size=n, p=_SHARES),
    )


def bodies(n_bodies: int, batch: int, *, seed: int) -> list[bytes]:
    """Make request bodies of `batch` events each, with LABEL and TIME still in them.

    With `batch` 1 a body is a bare event.
    """
    stream = columns(n_bodies * batch, seed=seed)
    made = []
    for start in range(0, len(stream), batch):
        rows = range(start, start + batch)
        events = [_event(row, int(stream.actor[row]), int(stream.item[row]), int(stream.kind[row])) for row in rows]
        made.append(orjson.dumps(events[0] if batch == 1 else {"events": events}))
    return [body.replace(b'"' + TIME + b'"', TIME) for body in made]


def fill(body: bytes, *, label: int, at: float) -> bytes:
    """Return a body as it is sent in one round, at one time."""
    return body.replace(LABEL, b"%08x" % label).replace(TIME, b"%14.3f" % at)


def address(actor: int) -> str:
    """Return an actor's address."""
    return f"10.{actor % 200}.{actor // 200 % 250}.{1 + actor % 250}"


def agent(actor: int) -> str:
    """Return an actor's browser."""
    return _AGENTS[actor % len(_AGENTS)]


def country(actor: int) -> str:
    """Return an actor's country."""
    return _COUNTRIES[actor % len(_COUNTRIES)]


def _event(row: int, actor: int, item: int, kind: int) -> dict[str, object]:
    label = LABEL.decode()
    return {
        "event_id": f"{label}-{row}",
        "actor": f"a{label}-{actor}",
        "item": f"item-{item}",
        "kind": _KINDS[kind],
        "occurred_at": TIME.decode(),
        "session": f"s{actor}",
        "context": {
            "ip": address(actor),
            "user_agent": agent(actor),
            "referrer": "https://search.example/",
            "country": country(actor),
        },
    }
