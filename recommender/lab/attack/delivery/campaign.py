"""Carry out an attack: by plan, or by watching the list.

    Campaign.due(now, sight) ──> the rows of the plan that are sent in this second

plain     : Sends every row at its planned time.
black-box : Sees the list as everyone does. While a target is in the list, the attacker sends nothing. When it falls
            out, the plan goes on where it stopped.
white-box : Sees the scores, the score at the last place, and the price of that place. If the rest of the budget is
            enough, the attacker strikes with exactly the accounts needed, all in one second. Else it waits for the
            place to become cheaper, until half its time is gone. After a strike it sees how far the score moved. If
            that was too little (acts held or weighted down), it waits longer than acts are held. Then it tries again
            slowly, one account at a time. In the benchmark all its accounts read on afterwards, as honest readers do.
"""

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from recommender.lab.attack.catalogue.attack_base import Plan

Variant = Literal["plain", "black-box", "white-box"]
VARIANTS: tuple[Variant, ...] = ("plain", "black-box", "white-box")
PATIENCE_S = 600.0  # time that a white-box attacker has
RETRY_AFTER_S = 150.0
SLOW_S = 2.0  # between accounts, on a second try
SPARE = 1.1  # accounts sent for each account needed
FELL_SHORT = 0.5  # share of the expected move below which a strike fell short


class Sight(Protocol):
    """The attacker's view of the product."""

    def listed(self) -> list[str]:
        """Return the list as served, best first (black-box and white-box)."""
        ...

    def score(self, item: str) -> float:
        """Return an item's score in units of a full-weight act made now (white-box)."""
        ...

    def last_score(self) -> float:
        """Return the score at the list's last place, in the same units (white-box)."""
        ...

    def fresh_weight(self) -> float:
        """Return the score that a new account's act adds, in the same units (white-box)."""
        ...


class Campaign:
    """Carries out one plan.

    `due` returns indices of the plan's rows, and the times (unix s) at which they are sent.
    """

    def __init__(self, plan: Plan, variant: Variant = "plain", *, seed: int = 0) -> None:
        self.plan, self.variant = plan, variant
        self._ts = plan.rows["ts"].to_numpy()
        self._rng = np.random.default_rng([seed, 0xCA])
        self._next = 0
        self._paused_s = 0.0
        self._strikes = _Strikes(plan, self._rng) if variant == "white-box" else None

    @property
    def time_s(self) -> float:
        """Return the longest time it may take, from its first row on."""
        planned = self.plan.end_s - float(self._ts[0]) if len(self._ts) else 0.0
        return planned if self.variant == "plain" else max(planned, PATIENCE_S)

    def due(self, now_s: float, sight: Sight) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the rows to send in [now_s, now_s + 1)."""
        if self._strikes is not None:
            return self._strikes.due(now_s, sight)
        if self.variant == "black-box" and self._next and set(self.plan.targets) & set(sight.listed()):
            self._paused_s += 1.0
            return np.empty(0, np.int64), np.empty(0)
        end = int(np.searchsorted(self._ts, now_s + 1.0 - self._paused_s, "left"))
        rows = np.arange(self._next, max(end, self._next))
        self._next += len(rows)
        return rows, self._ts[rows] + self._paused_s


class _Strikes:
    """The white-box attacker.

    It spends whole accounts: all rows of an account follow in order, from the moment it is used.
    """

    def __init__(self, plan: Plan, rng: np.random.Generator) -> None:
        actors = plan.rows["actor"].to_list()
        rows_of: dict[str, list[int]] = {}
        for row, actor in enumerate(actors):
            rows_of.setdefault(actor, []).append(row)
        self._unspent = list(rows_of.values())[::-1]
        self._is_target = plan.rows["item"].is_in(list(plan.targets)).to_list()
        self._targets = plan.targets
        self._ts = plan.rows["ts"].to_numpy()
        self._start_s = float(self._ts[0]) if len(self._ts) else 0.0
        self._rng = rng
        self._queue: list[tuple[float, int]] = []
        self._wait_until_s = 0.0
        self._expected = -1.0  # score of the target expected after the last strike, or -1 if there was none
        self._is_slow = False

    def due(self, now_s: float, sight: Sight) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        if now_s >= self._start_s and now_s >= self._wait_until_s:
            self._decide(now_s, sight)
        self._queue.sort()
        n = next((i for i, (at_s, _) in enumerate(self._queue) if at_s >= now_s + 1.0), len(self._queue))
        ready, self._queue = self._queue[:n], self._queue[n:]
        return np.array([row for _, row in ready], np.int64), np.array([at_s for at_s, _ in ready])

    def _decide(self, now_s: float, sight: Sight) -> None:
        target = self._targets[0]
        score = sight.score(target)
        if self._expected >= 0 and score < FELL_SHORT * self._expected and target not in sight.listed():
            self._expected, self._is_slow = -1.0, True
            self._wait_until_s = now_s + RETRY_AFTER_S
            return
        self._expected = -1.0
        gap = sight.last_score() - score
        if target in sight.listed() or gap < 0 or not self._unspent:
            return
        weight = max(sight.fresh_weight(), 1e-6)
        needed = int(SPARE * gap / weight) + 1
        is_late = now_s > self._start_s + PATIENCE_S / 2
        if needed > len(self._unspent) and not is_late:
            return
        self._send(now_s, min(needed, len(self._unspent)))
        if not self._is_slow:
            self._expected = min(gap, weight * needed)
            self._wait_until_s = now_s + 2.0

    def _send(self, now_s: float, n: int) -> None:
        """Spend n accounts at once, or one every SLOW_S if a strike has failed before."""
        for number in range(n):
            rows = self._unspent.pop()
            begin_s = now_s + (number * SLOW_S if self._is_slow else 0.9 * self._rng.random())
            # In a strike all rows up to the first act on the target are sent at once. Later rows keep their time.
            strike = next((row for row in rows if self._is_target[row]), rows[0])
            since = rows[0] if self._is_slow else strike
            self._queue += [(begin_s + max(0.0, float(self._ts[row] - self._ts[since])), row) for row in rows]
        if self._is_slow:
            self._wait_until_s = now_s + n * SLOW_S
