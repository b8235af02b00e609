"""Decide what to do when quality falls.

One pure function maps signals to actions, without a clock and without a database.

    alarm of the step ─────────┐                                   nothing
    figures, compared with     ├──> decide(signals, state, rules) ─> alarms, each with its sentence
    those of the last day ─────┤                                   freeze, for so many seconds
    freezes of the last day ───┘                                   thaw

An attacker who can move a monitor can use it (attack A17: noise, to stop the site just before something happens).
Therefore:

- **Two signals.** The drift detectors' stop is a pair of tests on misses, and anyone who sends misses moves it. So a
  freeze also needs one figure about something else. Either the secret panel misses more than the others, or one of
  `CONFIRMING` is above its own recent normal. These are the share of the list from actors with little trust, the
  share of events that the screen stops, and the events just below the screen's limit.
- **A budget.** No traffic can make the policy freeze for more than `budget_s` seconds in an hour, or `freezes_a_day`
  times in 24 hours. After that there are only alarms. A freeze lasts for the rest of the budget. While nothing is
  learned, no one can measure that the list is healthy. So healthy means that a revert repaired the history since.
- **People first.** If a person froze learning, only a person thaws it.

Normal is a limit that 99 of 100 minutes stayed below, plus a margin. It is not the mean, because figures over an hour
are skewed. To confirm a stop, the normal is that of the three hours before the change. Otherwise it is that of a day.
With less than MIN_MINUTES of figures nothing is above normal, and nothing is frozen.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from recommender.core.quality.drift import Level
from recommender.core.vocabulary import HOUR_MS, MINUTE_MS

MIN_MINUTES = 30
KEPT_MINUTES = 1440
RECENT_MS = 3 * HOUR_MS  # the normal that confirms a stop: other people read at night than by day
LEAST_S = 5.0  # a shorter freeze causes more noise than it is worth
LATENCY_S = 2.0  # a freeze ends this long before its budget, because a process must come by to end it
CANARY_Z, MIN_CANARIES = 3.0, 50

# The distance above its normal at which a figure confirms a stop, and at which it is an alarm by itself.
CONFIRMING = {"low_trust_share": 0.15, "pressure": 1.0, "quarantine_share": 0.01}
ALARMING = {"low_trust_share": 0.2, "pressure": 4.0, "quarantine_share": 0.05, "held_share": 0.05, "top_share": 0.2}
THIN = 0.1  # the cheapest place is an alarm below this part of its usual least

WORDS = {
    "low_trust_share": "of the list's score comes from actors with little trust",
    "pressure": "times the usual number of events are just below the screen's limit",
    "quarantine_share": "of the events are quarantined",
    "held_share": "of the events are held",
    "top_share": "of the list's score belongs to the first item",
}


@dataclass(frozen=True, slots=True)
class FreezeRules:
    """The rules of config/settings.py, in seconds."""

    auto_freeze: bool = True
    auto_thaw: bool = True
    budget_s: float = 30.0
    freezes_a_day: int = 4
    lag_alarm_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Rate:
    """A number of predictions, and the hits among them."""

    n: int = 0
    hits: int = 0

    @property
    def value(self) -> float:
        """Return the hit rate with one hit and one miss added, so that it is never 0 or 1."""
        return (self.hits + 1) / (self.n + 2)


@dataclass(frozen=True, slots=True)
class Panel:
    """Hit rates of the canary panel and of everyone.

    They are since the estimated change, and in the hour before it.
    """

    canary: Rate = Rate()
    everybody: Rate = Rate()
    canary_before: Rate = Rate()
    everybody_before: Rate = Rate()

    @property
    def z(self) -> float:
        """Return by how many standard errors the panel hits less than everyone.

        The usual difference between the two is taken into account. The value is 0 if too few predictions are known. A
        change of the news moves both rates. An attacker who hits his own items moves only the rate of everyone.
        """
        if min(self.canary.n, self.canary_before.n) < MIN_CANARIES:
            return 0.0
        usual = self.canary_before.value - self.everybody_before.value
        rate = min(0.99, max(0.01, self.everybody.value + usual))
        return (self.canary.n * rate - self.canary.hits) / sqrt(self.canary.n * rate * (1 - rate))


@dataclass(frozen=True, slots=True)
class Signals:
    """The signals of a step.

    level, changed_ms: of the step's Alarm. figures: of core.health_figures by name, empty if none were taken.
    """

    level: Level = Level.NONE
    changed_ms: int = 0
    stream_ms: int = 0
    figures: Mapping[str, float] | None = None
    panel: Panel = Panel()
    lag_s: float = 0.0


@dataclass(frozen=True, slots=True)
class FreezeState:
    """The state of freezes.

    is_ours: by this policy. is_repaired: a revert changed the history since. is_over: its time is over.
    spent_s: seconds of automatic freezes within the last hour. n_freezes: their number in 24 hours.
    """

    is_frozen: bool = False
    is_ours: bool = False
    is_repaired: bool = False
    is_over: bool = False
    spent_s: float = 0.0
    n_freezes: int = 0


@dataclass(frozen=True, slots=True)
class Alarmed:
    """An alarm in words.

    `signal` names its cause, so that it is not raised again at once.
    """

    signal: str
    text: str
    is_urgent: bool = False


@dataclass(frozen=True, slots=True)
class Action:
    """The actions to take. freeze_s: seconds, 0 for no freeze."""

    alarms: tuple[Alarmed, ...] = ()
    freeze_s: float = 0.0
    is_thaw: bool = False
    reason: str = ""


class Normal:
    """The usual figures: one row per minute of stream time, for the last day.

    `add` writes.
    """

    def __init__(self) -> None:
        self._rows: deque[tuple[int, dict[str, float]]] = deque(maxlen=KEPT_MINUTES)

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, stream_ms: int, figures: Mapping[str, Any]) -> None:
        """Add a row, if it is the first of its minute.

        After a revert, time runs back. Such rows add nothing.
        """
        if not self._rows or stream_ms // MINUTE_MS > self._rows[-1][0] // MINUTE_MS:
            self._rows.append((stream_ms, {name: float(figures[name]) for name in (*ALARMING, "least_trust")}))

    def usual(self, name: str, before_ms: int, *, since_ms: int = 0, share: float = 0.99) -> float | None:
        """Return the value that this share of the minutes between two times stayed below.

        None if too few minutes are known.
        """
        values = [row[name] for at_ms, row in self._rows if since_ms <= at_ms < before_ms]
        if len(values) < MIN_MINUTES:
            return None
        return float(np.quantile(values, share))


def decide(signals: Signals, state: FreezeState, rules: FreezeRules, normal: Normal) -> Action:
    """Decide what to do after a step, or without figures at any time.

    Nothing is remembered.
    """
    if state.is_frozen:
        return _while_frozen(state, rules)
    alarms = _alarms(signals, rules, normal)
    if signals.level == Level.ALERT:
        text = "The list is getting worse, and its readers' habits do not explain it. Learning goes on."
        alarms = (Alarmed("drift alert", text), *alarms)
    if signals.level != Level.STOP:
        return Action(alarms)
    confirmed = confirmations(signals, normal)
    left_s = rules.budget_s - state.spent_s - LATENCY_S
    reason = f"The quality of the list fell, and {' and '.join(confirmed) or 'no other signal agrees'}"
    if not confirmed:
        why = ". Learning is not frozen, because an attacker can fake one signal alone."
    elif not rules.auto_freeze:
        why = ". Learning is not frozen, because AUTO_FREEZE is off."
    elif state.n_freezes >= rules.freezes_a_day:
        why = f". Learning is not frozen, because it was frozen {state.n_freezes} times in 24 hours."
    elif left_s < min(LEAST_S, rules.budget_s - LATENCY_S) or left_s <= 0:
        why = f". Learning is not frozen, because {state.spent_s:.0f} s of this hour's freeze budget are used."
    else:
        return Action(alarms, freeze_s=left_s, reason=f"{reason}.")
    return Action((Alarmed("drift stop", reason + why, is_urgent=True), *alarms), reason=reason + why)


def confirmations(signals: Signals, normal: Normal) -> list[str]:
    """Return the signals that agree with a stop, in words."""
    found = []
    if signals.panel.z >= CANARY_Z:
        canary = signals.panel.canary
        found.append(f"the canary panel misses more than the others ({canary.n - canary.hits} of {canary.n})")
    for name, least in CONFIRMING.items():
        if text := _above(name, least, signals, normal, RECENT_MS):
            found.append(text)
    return found


def _while_frozen(state: FreezeState, rules: FreezeRules) -> Action:
    if not state.is_ours or not rules.auto_thaw:
        return Action()
    if state.is_repaired:
        return Action(is_thaw=True, reason="A revert repaired the history.")
    if state.is_over:
        return Action(is_thaw=True, reason="The time of the automatic freeze is over, and no one took it over.")
    return Action()


def _alarms(signals: Signals, rules: FreezeRules, normal: Normal) -> tuple[Alarmed, ...]:
    if signals.figures is None:
        return ()
    found = [
        Alarmed(name, f"Unusual: {text}.")
        for name, least in ALARMING.items()
        if (text := _above(name, least, signals, normal))
    ]
    usual = normal.usual("least_trust", signals.stream_ms, share=0.01)
    thinnest = signals.figures["least_trust"]
    if usual and thinnest < THIN * usual:
        text = f"The cheapest place in the top 10 costs {thinnest:.2f} in trust, usually at least {usual:.2f}."
        found.append(Alarmed("least_trust", text))
    if signals.lag_s > rules.lag_alarm_s:
        found.append(Alarmed("lag", f"The learner is {signals.lag_s:.0f} s behind."))
    return tuple(found)


def _above(name: str, least: float, signals: Signals, normal: Normal, span_ms: int | None = None) -> str:
    """Describe in words how far a figure is above its normal, or return "".

    For an alarm, the normal is that before the change.
    """
    if signals.figures is None:
        return ""
    until_ms = signals.changed_ms or signals.stream_ms
    usual = normal.usual(name, until_ms, since_ms=until_ms - span_ms if span_ms else 0)
    value = float(signals.figures[name])
    if usual is None or value <= usual + least:
        return ""
    told = f"{value:.1f}" if name == "pressure" else f"{100 * value:.1f} %"
    limit = f"{usual:.1f}" if name == "pressure" else f"{100 * usual:.1f} %"
    return f"{told} {WORDS[name]} (usually at most {limit})"
