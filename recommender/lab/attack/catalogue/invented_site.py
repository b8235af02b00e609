"""Log of an invented town: honest readers, honest machines, and honest crowds.

    Town(days, readers, seed) ──make──> rows: the columns of `accounts.SCHEMA`, and `attack` for the sort of traffic

The demo's newsroom covers minutes and runs while you watch. This log covers days, so it has regular readers who come
back. It is made in columns, a million rows in seconds.

Readers open 2 pages a day at the median, 9 at the 90th percentile and 30 at the 99th (Wikimedia's mobile devices,
2019). They read more by day than by night, in sessions with lognormal pauses. Items are born all day, draw very
unequal interest, and fade. A tenth of the readers has an address shared by a carrier, and some sit behind one campus.
A served recommendation gets the credit for 20 % of all clicks.

Declared crawlers send 5 % of the events, undeclared but harmless automation 5 %, prefetching browsers 2 %. Stories
break (B1) and links are posted (B2). All labels are 0.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recommender.lab.attack.catalogue.accounts import SCHEMA
from recommender.lab.attack.catalogue.lookalikes import APP, CRAWLERS, PREFETCHER, crowd_times

DAY_S = 86_400.0
SLOT_S = 300.0  # interest in items is constant within a slot
START_S = 1_767_571_200.0  # 2026-01-05, a Monday
CATEGORIES = 8
FADE_S = 4 * 3600.0
_COUNTRIES = np.array(["GB", "DE", "FR", "US", "PL", "ES", "IT", "NL"])
_SHARES = np.array([0.30, 0.20, 0.14, 0.12, 0.08, 0.07, 0.06, 0.03])
_AGENTS = np.array(
    [
        f"Mozilla/5.0 ({device}) AppleWebKit/537.36 {browser}"
        for device, browser in (
            ("iPhone; CPU iPhone OS 18_6 like Mac OS X", "Version/18.6 Mobile Safari/604.1"),
            ("iPhone; CPU iPhone OS 17_4 like Mac OS X", "Version/17.4 Mobile Safari/604.1"),
            ("Linux; Android 15; Pixel 9", "Chrome/141.0.0.0 Mobile Safari/537.36"),
            ("Linux; Android 14; SM-S921B", "SamsungBrowser/28.0 Mobile Safari/537.36"),
            ("Linux; Android 13; SM-A536B", "Chrome/140.0.0.0 Mobile Safari/537.36"),
            ("Windows NT 10.0; Win64; x64", "Chrome/141.0.0.0 Safari/537.36"),
            ("Windows NT 10.0; Win64; x64", "Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0"),
            ("Macintosh; Intel Mac OS X 10_15_7", "Version/18.6 Safari/605.1.15"),
            ("X11; Linux x86_64", "Chrome/140.0.0.0 Safari/537.36"),
        )
    ]
)
_REFERRERS = np.array(["", "", "", "https://search.example/", "https://letter.example/", "https://social.example/"])
_ATTRIBUTED = 0.2


@dataclass(frozen=True, slots=True)
class Town:
    """An invented town of n_readers over a number of days.

    The same seed gives the same log. About a third of the readers come on a given day. Two crowds of each sort come
    per day.
    """

    days: float = 7.0
    n_readers: int = 60_000
    n_stories: int | None = None  # number of flash crowds, and of posted links: by default two per day
    seed: int = 1

    def make(self) -> pl.DataFrame:
        """Make the log, sorted by ts."""
        rng = np.random.default_rng([self.seed, 0x70])
        people = _People.draw(rng, self.n_readers)
        items = _Items.draw(rng, self.days)
        who, at_s, first = _visits(rng, people, self.days)
        parts = [_read(rng, people, items, who, at_s, first)]
        n_events = len(who)
        n_stories = self.n_stories if self.n_stories is not None else max(1, round(2 * self.days))
        for number in range(n_stories):
            parts += _crowds(rng, people, items, self.days, number, max(40, round(n_events / self.days / 60)))
        parts += [
            _machines(rng, items, self.days, round(0.05 * n_events), "B5"),
            _machines(rng, items, self.days, round(0.05 * n_events), "automation"),
            _machines(rng, items, self.days, round(0.02 * n_events), "B3"),
        ]
        log = pl.concat(parts).filter(pl.col("ts") < START_S + self.days * DAY_S)
        return log.with_columns(pl.lit(0, pl.Int8).alias("label")).sort("ts", maintain_order=True)


@dataclass(frozen=True, slots=True)
class _People:
    ids: NDArray[np.str_]
    pages_a_day: NDArray[np.float64]
    favourite: NDArray[np.int64]
    ip: NDArray[np.str_]
    agent: NDArray[np.int64]
    home: NDArray[np.int64]
    habit: NDArray[np.int64]

    @classmethod
    def draw(cls, rng: np.random.Generator, n: int, prefix: str = "p") -> "_People":
        home = rng.choice(len(_SHARES), n, p=_SHARES)
        low, mid, host = rng.integers(1, 250, (3, n))
        ip = np.char.add(np.char.add(_joined("10", home, low % 40), "."), _joined(mid, host))
        shape = rng.random(n)
        ip = np.where(shape < 0.10, _joined("100.64", home, 1 + host % 20), ip)  # carriers
        ip = np.where((shape >= 0.10) & (shape < 0.12), "10.99.1.1", ip)  # a campus
        return cls(
            ids=np.char.add(prefix, rng.permutation(10 * n)[:n].astype(str)),
            pages_a_day=np.minimum(60.0, rng.lognormal(np.log(2.0), 1.16, n)),
            favourite=rng.integers(CATEGORIES, size=n),
            ip=ip,
            agent=rng.choice(len(_AGENTS), n),
            home=home,
            habit=rng.choice(len(_REFERRERS), n),
        )


@dataclass(frozen=True, slots=True)
class _Items:
    """Items in order of birth. pull: how much interest an item draws at its best."""

    ids: NDArray[np.str_]
    born_s: NDArray[np.float64]
    category: NDArray[np.int64]
    pull: NDArray[np.float64]

    @classmethod
    def draw(cls, rng: np.random.Generator, days: float) -> "_Items":
        n = max(80, round(150 * (days + 1)))
        born_s = np.sort(rng.uniform(-DAY_S, days * DAY_S, n))
        return cls(
            ids=np.char.add("n", (10_000 + np.arange(n)).astype(str)),
            born_s=born_s,
            category=rng.integers(CATEGORIES, size=n),
            pull=np.minimum(40.0, (1 - rng.random(n)) ** -0.9),
        )

    def choose(
        self, rng: np.random.Generator, at_s: NDArray[np.float64], favourite: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Choose an item for each act, in proportion to its interest at that time.

        Half of the acts stay in the reader's favourite category.
        """
        rows = np.zeros(len(at_s), np.int64)
        slot = (at_s // SLOT_S).astype(np.int64)
        is_own = rng.random(len(at_s)) < 0.5
        for number in np.unique(slot):
            acts = np.flatnonzero(slot == number)
            age = number * SLOT_S - self.born_s
            since = np.maximum(age, 0.0)
            weight = self.pull * np.where(age >= 0, (1 - np.exp(-(since + 60) / 900)) * np.exp(-since / FADE_S), 0.0)
            for category in range(-1, CATEGORIES):
                mine = acts[(~is_own[acts]) if category < 0 else is_own[acts] & (favourite[acts] == category)]
                if not len(mine):
                    continue
                alive = weight if category < 0 else weight * (self.category == category)
                alive = alive if alive.sum() > 0 else weight
                rows[mine] = rng.choice(len(alive), len(mine), p=alive / alive.sum())
        return rows


def _visits(
    rng: np.random.Generator, people: _People, days: float
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Draw the actor, the time and the number of the visit of each act."""
    n_visits = rng.poisson(people.pages_a_day * 0.35 / 2.5 * days)
    visitor = np.repeat(np.arange(len(people.ids)), n_visits)
    day = rng.integers(max(1, int(np.ceil(days))), size=len(visitor)) * DAY_S
    hour = np.clip(rng.normal(14.0, 4.5, len(visitor)), 0, 23.99)
    whole = np.where(rng.random(len(visitor)) < 0.2, rng.random(len(visitor)) * 24, hour) * 3600.0
    begin_s = (day + whole) if days >= 1 else rng.random(len(visitor)) * days * DAY_S
    pages = np.minimum(rng.geometric(0.4, len(visitor)), 40)
    visit = np.repeat(np.arange(len(visitor)), pages)
    pause = rng.lognormal(np.log(45.0), 0.8, len(visit))
    starts = np.concatenate([[0], np.cumsum(pages)[:-1]]).astype(np.int64)
    pause[starts] = 0.0
    passed = np.cumsum(pause)
    return visitor[visit], begin_s[visit] + passed - passed[starts][visit], visit


def _read(
    rng: np.random.Generator,
    people: _People,
    items: _Items,
    who: NDArray[np.int64],
    at_s: NDArray[np.float64],
    visit: NDArray[np.int64],
) -> pl.DataFrame:
    chosen = items.ids[items.choose(rng, at_s, people.favourite[who])]
    kind = rng.choice(np.array(["click", "view", "like"]), len(who), p=[0.84, 0.12, 0.04])
    return _rows(rng, people, who, at_s, chosen, kind, visit, _REFERRERS[people.habit[who]], None)


def _crowds(
    rng: np.random.Generator, people: _People, items: _Items, days: float, number: int, size: int
) -> list[pl.DataFrame]:
    """Add a story that breaks and, at another time, a link that is posted.

    Most visitors of both are new to the site.
    """
    parts = []
    for code, is_story in (("B1", True), ("B2", False)):
        new = _People.draw(rng, max(1, round(0.7 * size)), prefix=f"{code.lower()}{number}-")
        begin_s = rng.uniform(0.3, 0.97) * days * DAY_S
        crowd = crowd_times(rng, size, ramp_s=90.0 if is_story else 15.0)
        old = rng.choice(len(people.ids), size - len(new.ids), replace=False)
        for group, who, at in (
            (new, np.arange(len(new.ids)), rng.permutation(crowd)[: len(new.ids)]),
            (people, old, rng.permutation(crowd)[: len(old)]),
        ):
            reads = np.repeat(np.arange(len(who)), np.minimum(rng.geometric(0.6 if is_story else 0.85, len(who)), 8))
            nth = np.arange(len(reads)) - np.searchsorted(reads, reads, "left")
            at_s = begin_s + at[reads] + nth * rng.lognormal(np.log(40.0), 0.7, len(reads))
            others = items.ids[items.choose(rng, at_s, group.favourite[who[reads]])]
            chosen = np.where(nth == 0, f"{code.lower()}-story-{number}", others)
            came = (
                rng.choice(_REFERRERS, len(reads)) if is_story else np.full(len(reads), "https://social.example/p/1")
            )
            visit = 10**9 + number * 10**6 + reads + (0 if is_story else 5 * 10**5)
            kind = np.full(len(reads), "click")
            parts.append(_rows(rng, group, who[reads], at_s, chosen, kind, visit, came, code))
            if not is_story:
                parts[-1] = parts[-1].with_columns(pl.lit(APP).alias("user_agent"), pl.lit("ES").alias("country"))
    return parts


def _machines(rng: np.random.Generator, items: _Items, days: float, n: int, code: str) -> pl.DataFrame:
    n_machines = max(3, n // (4 if code == "B3" else 3000))
    machines = _People.draw(rng, n_machines, prefix=f"{code.lower()}-")
    who = np.sort(rng.integers(n_machines, size=n))
    at_s = rng.random(n) * days * DAY_S
    if code == "B3":  # all links of a page at once
        begin = rng.random(n_machines) * days * DAY_S
        at_s = begin[who] + rng.random(n)
    recent = np.searchsorted(items.born_s, at_s) - 1 - rng.integers(0, 60, n)
    kind = np.full(n, "view" if code == "B3" else "click")
    rows = _rows(rng, machines, who, at_s, items.ids[np.maximum(recent, 0)], kind, who, np.full(n, ""), code)
    if code == "B5":
        return rows.with_columns(pl.Series("user_agent", np.array(CRAWLERS)[who % len(CRAWLERS)]))
    return rows.with_columns(pl.lit(PREFETCHER).alias("user_agent")) if code == "B3" else rows


def _rows(
    rng: np.random.Generator,
    people: _People,
    who: NDArray[np.int64],
    at_s: NDArray[np.float64],
    items: NDArray[np.str_],
    kind: NDArray[np.str_],
    visit: NDArray[np.int64],
    referrer: NDArray[np.str_],
    code: str | None,
) -> pl.DataFrame:
    is_attributed = (rng.random(len(who)) < _ATTRIBUTED) & (kind == "click") & (code is None)
    token = np.char.add("rec-", rng.integers(10**12, size=len(who)).astype(str))
    columns = {
        "ts": np.round(START_S + at_s, 3),
        "actor": people.ids[who],
        "item": items,
        "kind": kind,
        "session": visit.astype(str),
        "ip": people.ip[who],
        "user_agent": _AGENTS[people.agent[who]],
        "referrer": referrer,
        "country": _COUNTRIES[people.home[who]],
        "recommendation": np.where(is_attributed, token, ""),
    }
    frame = pl.DataFrame(columns, schema_overrides=SCHEMA).with_columns(pl.lit(code, pl.String).alias("attack"))
    return frame.with_columns(pl.col("referrer", "recommendation").replace("", None))


def _joined(*parts: str | NDArray[np.int64]) -> NDArray[np.str_]:
    """Join the parts of an address with dots."""
    texts = [np.asarray(part).astype(str) for part in parts]
    joined = texts[0]
    for text in texts[1:]:
        joined = np.char.add(np.char.add(joined, "."), text)
    return joined
