"""Readers of the invented news site: who they are and how they come back."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from recommender.lab.demo.headlines import CATEGORIES

T = TypeVar("T")

MAX_READERS = 4000
FIRST_READERS = 400  # until so many readers are known, newcomers are more frequent
NEWCOMERS, CROWD_NEWCOMERS = 0.06, 0.75  # shares of sessions
SEEN_KEPT = 40

_COUNTRIES = ("GB", "DE", "FR", "US", "PL", "ES", "IT", "NL")
_SHARES = np.cumsum([0.30, 0.20, 0.14, 0.12, 0.08, 0.07, 0.06, 0.03])
_AGENTS = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 Version/18.6 Mobile Safari/604.1",
    "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 Chrome/141.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Linux; Android 14; SM-S921B) AppleWebKit/537.36 SamsungBrowser/28.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/141.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:143.0) Gecko/20100101 Firefox/143.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/18.6 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
)
_HABITS = (None, None, None, "https://search.example/", "https://letter.example/", "https://social.example/")
_CROWD = (
    None, None, "https://search.example/", "https://search.example/", "https://social.example/",
    "https://short.example/t", "https://forum.example/r/news", "https://letter.example/", "https://other.example/live",
)  # fmt: skip


@dataclass(slots=True)
class DemoReader:
    """A reader, with everything that stays the same. habit: the usual referrer."""

    id: str
    favourites: tuple[int, ...]
    context: dict[str, str]
    habit: str | None
    seen: list[str] = field(default_factory=list)

    def has_seen(self, item: str) -> None:
        self.seen.append(item)
        if len(self.seen) > SEEN_KEPT:
            del self.seen[0]


@dataclass(slots=True)
class Session:
    """One visit of a reader: a few items, one after the other.

    story: the story that brought the reader, if there was one.
    """

    reader: DemoReader
    id: str
    n_left: int
    referrer: str | None
    story: str | None = None


class DemoReaders:
    """At most MAX_READERS people.

    When they are full, a newcomer takes the place of someone who does not come again.
    """

    def __init__(self, rng: np.random.Generator, *, run: str) -> None:
        self._rng, self._run = rng, run
        self._known: list[DemoReader] = []
        self._n_made = 0

    def draw(self, *, is_crowd: bool) -> DemoReader:
        """Draw the reader who comes: mostly a regular, in a crowd mostly a newcomer.

        Some regulars come more often than others.
        """
        rng, n_known = self._rng, len(self._known)
        share = CROWD_NEWCOMERS if is_crowd else max(NEWCOMERS, 1 - n_known / FIRST_READERS)
        if not n_known or rng.random() < share:
            reader = self.invent()
            if n_known < MAX_READERS:
                self._known.append(reader)
            else:
                self._known[int(rng.integers(n_known))] = reader
            return reader
        return self._known[int(n_known * rng.random() ** 2)]

    def invent(self) -> DemoReader:
        """Invent a newcomer, who is not remembered."""
        rng = self._rng
        self._n_made += 1
        home = int(np.searchsorted(_SHARES, rng.random()))
        # These addresses are not routed. A tenth of the readers share the few addresses of a mobile network.
        x, y = (int(part) for part in rng.integers(0, 250, 2))
        shape = rng.random()
        if shape < 0.1:
            ip = f"100.64.{home}.{1 + y % 20}"
        elif shape < 0.3:
            ip = f"2001:db8:{home:x}:{x:x}{y:02x}::{1 + y % 3:x}"
        else:
            ip = f"10.{home}.{x}.{y}"
        favourites = rng.permutation(len(CATEGORIES))[: int(rng.integers(1, 4))]
        return DemoReader(
            id=f"r{self._run}-{self._n_made}",
            favourites=tuple(favourites.tolist()),
            context={"ip": ip, "user_agent": _pick(rng, _AGENTS), "country": _COUNTRIES[home]},
            habit=_pick(rng, _HABITS),
        )


def crowd_referrer(rng: np.random.Generator) -> str | None:
    """Draw a referrer for a reader in a crowd."""
    return _pick(rng, _CROWD)


def _pick(rng: np.random.Generator, values: Sequence[T]) -> T:
    return values[int(rng.integers(len(values)))]
