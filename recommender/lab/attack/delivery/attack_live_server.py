"""Attack a running server on this machine. Attacks on other machines are refused.

    GET /trending (if the key may read) ──> World ──> plan ──campaign, at most RATE a second──> POST /events

The number of events and their rate are bounded, whichever parameters you give. The attacker sees what any client
sees. A black-box campaign looks at the list every second. The same answer holds scores and margins, so a white-box
campaign needs nothing else.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from recommender.lab.attack.catalogue.attack_base import Attack
from recommender.lab.attack.catalogue.known_site import CONTEXT, World
from recommender.lab.attack.delivery.campaign import Campaign, Variant
from recommender.lab.client import Client, Receipt, Refused
from recommender.lab.loopback import require_loopback

MAX_RATE = 500.0  # events per second
MAX_EVENTS = 20_000
BATCH = 500


class Live:
    """Sends one campaign. `stop` ends it between two seconds."""

    def __init__(
        self, url: str, key: str, *, stop: threading.Event, rate: float = 100.0, max_events: int = 5000
    ) -> None:
        """Check the address and the bounds.

        Raises NotHere for another machine, and ValueError for a rate or a number of events above the bounds.
        """
        require_loopback(url)
        if not 0 < rate <= MAX_RATE or not 0 < max_events <= MAX_EVENTS:
            raise ValueError(
                f"rate must be above 0 and at most {MAX_RATE:g} events per second, max_events at most {MAX_EVENTS}"
            )
        self._client = Client(url, key=key, stop=stop)
        self._stop, self._rate, self._left = stop, rate, max_events
        self._board: list[dict[str, Any]] = []
        self._may_read = True
        self.receipt = Receipt()

    def run(
        self,
        attack: Attack,
        *,
        n_actors: int,
        seed: int,
        target: str | None,
        variant: Variant,
        say: Callable[[str], None],
    ) -> None:
        """Plan the attack and send it once.

        Raises Refused, Stopped, and ValueError if the attack needs knowledge that a client cannot have.
        """
        try:
            self._look()
            world = self._world()
            plan = attack.plan(world, n_actors=n_actors, seed=seed, targets=(target,) if target else None)
            what = f"{plan.n_actors} accounts send {len(plan.rows)} events for {plan.targets[0]}"
            say(f"{attack.CODE} {attack.TITLE}: {what}")
            self._carry_out(Campaign(plan, variant, seed=seed), world.now_s)
        finally:
            self._client.close()

    def _carry_out(self, campaign: Campaign, start_s: float) -> None:
        rows, end_s = campaign.plan.rows.to_dicts(), start_s + campaign.time_s + 1
        waiting: list[dict[str, Any]] = []
        while not self._stop.is_set() and self._left > 0 and (waiting or time.time() < end_s):
            began_s = time.time()
            due, _ = campaign.due(began_s, self)
            waiting += [rows[row] for row in due.tolist()]
            n = int(min(self._rate, self._left, len(waiting)))
            for first in range(0, n, BATCH):
                batch = [_event(row) for row in waiting[first : min(n, first + BATCH)]]
                self.receipt += self._client.post_events(batch)
            waiting, self._left = waiting[n:], self._left - n
            self._look()
            self._stop.wait(max(0.0, 1.0 - (time.time() - began_s)))

    # -- the attacker's view; see campaign.Sight -------------------------------------------------------------------

    def listed(self) -> list[str]:
        return [place["item"] for place in self._board[:10]]

    def score(self, item: str) -> float:
        return next((float(place["score"]) for place in self._board if place["item"] == item), 0.0)

    def last_score(self) -> float:
        return float(self._board[9]["score"]) if len(self._board) > 9 else 0.0

    def fresh_weight(self) -> float:
        """Work out a new account's weight from the price of the first place.

        The price is known both in accounts and in trust.
        """
        margin = self._board[0]["margin"] if self._board else {}
        actors, trust = margin.get("actors") or 1, margin.get("trust") or 0.0
        return float(trust) / max(1, actors - 1) if actors > 1 else 1.0

    def _look(self) -> None:
        if not self._may_read:
            return
        try:
            self._board = self._client.get("/api/v1/trending?limit=200")["items"]
        except Refused:  # this key may only ingest, so the attack goes on blind
            self._may_read = False

    def _world(self) -> World:
        items = [place["item"] for place in self._board]
        return World(
            now_s=time.time(),
            popular=items,
            clicks=np.array([max(1e-6, float(place["score"])) for place in self._board]),
            cold=[],
            board=items[:20],
            contexts=pl.DataFrame(
                {"ip": ["10.1.1.1"], "user_agent": [_AGENT], "referrer": [None], "country": ["GB"]},
                schema=dict.fromkeys(CONTEXT, pl.String),
            ),
            sessions=[],
            aged=pl.DataFrame(schema={"actor": pl.String, "acts": pl.UInt32} | dict.fromkeys(CONTEXT, pl.String)),
            has_number_ids=False,
            events_per_s=0.0,
        )


_AGENT = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/141.0.0.0 Safari/537.36"


def _event(row: dict[str, Any]) -> dict[str, Any]:
    context = {name: row[name] for name in CONTEXT if row[name] is not None}
    event = {"actor": row["actor"], "item": row["item"], "kind": row["kind"], "context": context}
    return event | {name: row[name] for name in ("session", "recommendation") if row[name] is not None}
