"""Botnet of the demo: hundreds of new accounts push one article.

    Botnet(seed, ...).events(until_s) ──> event dicts like those of the newsroom, in order of time

One by one the accounts look normal. They have the browsers of readers, live in households everywhere, use each
address once, and act once or twice at human pauses. Together they give themselves away. All are new, all came for one
article, and none opened another one. So the screen holds them as a crowd of newcomers, and removes them when the hold
has shown the rest. The crowd of a story (`newsroom`) is as new and as sudden, but it reads on and is let in.

The botnet has random numbers of its own, so the honest stream is the same with it or without it. Like the newsroom,
it is pure and seeded.
"""

from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from recommender.lab.demo import headlines
from recommender.lab.demo.readers import DemoReaders, crowd_referrer

FIRST_ATTACK_S = 240.0  # two minutes after the first story broke, so that you see both at once
ATTACK_EVERY_S = 600.0
# At any pace the first attack waits until the screen knows the site, and the next until the last one is judged.
SOONEST_S, SOONEST_AGAIN_S = 90.0, 240.0
ATTACK_S = 75.0  # longer than a hold: the first accounts are judged while the last still come
N_ACCOUNTS = 360
SHARE_AGAIN = 0.2  # share of the accounts that like or share the article they clicked


@dataclass(frozen=True, slots=True)
class PlayedAttack:
    """One push: its article, its times in seconds of the site, and its accounts."""

    item: str
    title: str
    start_s: float
    end_s: float
    n_accounts: int


class DemoBotnet:
    """Attacks at FIRST_ATTACK_S, then every ATTACK_EVERY_S, and when told to.

    run: part of all its ids.
    pace: 2 means twice as soon and twice as often as usual.
    """

    def __init__(
        self,
        *,
        seed: int,
        started_at: float,
        run: str,
        pace: float = 1.0,
        n_accounts: int = N_ACCOUNTS,
    ) -> None:
        self.started_at = started_at
        self.due_s = max(SOONEST_S, FIRST_ATTACK_S / pace)
        self.attack: PlayedAttack | None = None
        self._every_s = max(SOONEST_AGAIN_S, ATTACK_EVERY_S / pace)
        self._n_accounts, self._run = n_accounts, run
        self._rng = np.random.default_rng([seed, 0xB07])
        self._accounts = DemoReaders(self._rng, run=f"{run}-{self._rng.integers(1 << 24):x}")
        self._queue: deque[tuple[float, dict[str, Any]]] = deque()
        self._n_attacks = self._n_events = 0
        self._new_items: list[dict[str, Any]] = []
        self._notes: list[tuple[float, str]] = []

    def begin(self, at_s: float) -> bool:
        """Attack from this time of the site on. Return False if an attack is under way."""
        if self.attack is not None and at_s < self.attack.end_s:
            return False
        self.due_s = at_s
        return True

    def events(self, until_s: float) -> list[dict[str, Any]]:
        """Return the events up to a time of the site."""
        if self.due_s < until_s:
            self._plan(self.due_s)
            self.due_s += self._every_s
        happened = []
        while self._queue and self._queue[0][0] < until_s:
            at_s, event = self._queue.popleft()
            self._n_events += 1
            event["event_id"] = f"demo-{self._run}-b{self._n_events}"
            event["occurred_at"] = round(self.started_at + at_s, 3)
            happened.append(event)
        if self.attack is not None and until_s >= self.attack.end_s and not self._queue:
            self.attack = None
        return happened

    def take_new_items(self) -> list[dict[str, Any]]:
        """Return the articles since the last call, as PUT /api/v1/items takes them."""
        items, self._new_items = self._new_items, []
        return items

    def take_notes(self) -> list[tuple[float, str]]:
        """Return the news since the last call for a person who watches.

        Each is a time in unix seconds and a sentence.
        """
        notes, self._notes = self._notes, []
        return notes

    def _plan(self, start_s: float) -> None:
        rng, n = self._rng, self._n_accounts
        self._n_attacks += 1
        article = headlines.write_bait(rng)
        item = f"{headlines.slug(article.title)}-x{self._n_attacks}"
        self.attack = PlayedAttack(item, article.title, start_s, start_s + ATTACK_S, n)
        self._new_items.append(
            {
                "id": item,
                "title": article.title,
                "url": f"https://news.example/{item}",
                "categories": [article.category],
                "published_at": datetime.fromtimestamp(self.started_at + start_s, UTC).isoformat(),
            }
        )
        acts: list[tuple[float, dict[str, Any]]] = []
        for number, at_s in enumerate(np.sort(start_s + ATTACK_S * rng.random(n)).tolist()):
            acts += self._visit(item, f"x{self._run}-{self._n_attacks}-{number}", at_s)
        self._queue.extend(sorted(acts, key=lambda act: act[0]))
        self._notes.append(
            (self.started_at + start_s, f"a botnet attacks: {n} accounts click {article.title!r} and no other item")
        )

    def _visit(self, item: str, session: str, at_s: float) -> list[tuple[float, dict[str, Any]]]:
        """Plan one account: a click, and perhaps a like or a share."""
        rng, account = self._rng, self._accounts.invent()
        context, referrer = account.context, crowd_referrer(rng)
        if referrer is not None:
            context = context | {"referrer": referrer}
        event = {"actor": account.id, "item": item, "kind": "click", "session": session, "context": context}
        acts = [(at_s, event)]
        if rng.random() < SHARE_AGAIN:
            kind = "like" if rng.random() < 0.6 else "share"
            acts.append((at_s + 4 + 14 * rng.random(), event | {"kind": kind}))
        return acts
