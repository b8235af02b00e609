"""What to do when quality falls: one pure function from what is seen to what is done. No clock, no database.

    alarm of the step ─────────┐                                   nothing
    figures, beside what they  ├──> decide(signals, state, rules) ─> alarms, each with its sentence
    were in the last day ──────┤                                   freeze, for so many seconds
    what was frozen lately ────┘                                   thaw

Who can move a monitor can use it (attack A17: noise, to stop the site just before something happens). So:

- **Two signals.** The drift detectors' stop is a pair of tests on misses, and whoever sends misses moves it. A freeze
  asks, besides, for one figure about something else: the secret panel misses more than the others, or, above their
  own normal of late (`CONFIRMING`), actors who earned little stand behind the list, the screen stops more than it
  used to, more comes to stand just below what it stops.
- **A budget.** Whatever anybody sends, `budget_s` seconds of an hour are spent frozen, and `freezes_a_day` times in
  24 hours; past that there are alarms only. A freeze lasts what is left of the budget; nothing can be learned to be
  well while nothing is learned, so healthy means: the history was repaired (a revert) since.
- **People first.** What a person froze, only a person thaws.

Normal is what 99 of 100 minutes stayed below, with something to spare; not the mean, because figures of an hour are
skewed. Beside a stop it is of the three hours before the change, else of a day. With less than MIN_MINUTES known
nothing is above normal, and nothing is frozen.
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
RECENT_MS = 3 * HOUR_MS  # normal beside a stop: by night other people read than by day
LEAST_S = 5.0  # a freeze shorter than this is not worth its noise
LATENCY_S = 2.0  # a freeze ends so long before its budget, because somebody has to come by and end it
CANARY_Z, MIN_CANARIES = 3.0, 50

# How far above its normal a figure must be to confirm a stop, and to be an alarm by itself.
CONFIRMING = {"low_trust_share": 0.15, "pressure": 1.0, "quarantine_share": 0.01}
ALARMING = {"low_trust_share": 0.2, "pressure": 4.0, "quarantine_share": 0.05, "held_share": 0.05, "top_share": 0.2}
THIN = 0.1  # of the least it usually is, at which the cheapest place is an alarm

WORDS = {
    "low_trust_share": "of the list's mass stands on actors who earned little",
    "pressure": "times as much as usual comes to stand just below what is stopped",
    "quarantine_share": "of the events are quarantined",
    "held_share": "of the events are held",
    "top_share": "of the list's mass is the first item's",
}


@dataclass(frozen=True, slots=True)
class FreezeRules:
    """See config/settings.py; seconds."""

    auto_freeze: bool = True
    auto_thaw: bool = True
    budget_s: float = 30.0
    freezes_a_day: int = 4
    lag_alarm_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Rate:
    """Predictions, and hits among them."""

    n: int = 0
    hits: int = 0

    @property
    def value(self) -> float:
        """With one of each more, so that it is never 0 or 1."""
        return (self.hits + 1) / (self.n + 2)


@dataclass(frozen=True, slots=True)
class Panel:
    """The canary panel beside everybody: since the estimated change, and in the hour before."""

    canary: Rate = Rate()
    everybody: Rate = Rate()
    canary_before: Rate = Rate()
    everybody_before: Rate = Rate()

    @property
    def z(self) -> float:
        """By how many standard errors the panel hits less than everybody does, by the difference it usually has to
        them; 0 where too few are known. A change of the news moves both; who hits his own items moves one."""
        if min(self.canary.n, self.canary_before.n) < MIN_CANARIES:
            return 0.0
        usual = self.canary_before.value - self.everybody_before.value
        rate = min(0.99, max(0.01, self.everybody.value + usual))
        return (self.canary.n * rate - self.canary.hits) / sqrt(self.canary.n * rate * (1 - rate))


@dataclass(frozen=True, slots=True)
class Signals:
    """level, changed_ms: of the step's Alarm. figures: of core.health_figures by name, empty where none were
    taken."""

    level: Level = Level.NONE
    changed_ms: int = 0
    stream_ms: int = 0
    figures: Mapping[str, float] | None = None
    panel: Panel = Panel()
    lag_s: float = 0.0


@dataclass(frozen=True, slots=True)
class FreezeState:
    """is_frozen now, and is_ours: by this policy, frozen_for_s ago, is_repaired since. spent_s: of our freezes within
    the last hour, in seconds; n_freezes of them in 24 hours."""

    is_frozen: bool = False
    is_ours: bool = False
    is_repaired: bool = False
    is_over: bool = False
    spent_s: float = 0.0
    n_freezes: int = 0


@dataclass(frozen=True, slots=True)
class Alarmed:
    """What people are told; `signal` is what it is about, for not telling it again at once."""

    signal: str
    text: str
    is_urgent: bool = False


@dataclass(frozen=True, slots=True)
class Action:
    """freeze_s: seconds, 0 for none."""

    alarms: tuple[Alarmed, ...] = ()
    freeze_s: float = 0.0
    is_thaw: bool = False
    reason: str = ""


class Normal:
    """What the figures usually are: one row a minute of stream time, of the last day. `add` writes."""

    def __init__(self) -> None:
        self._rows: deque[tuple[int, dict[str, float]]] = deque(maxlen=KEPT_MINUTES)

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, stream_ms: int, figures: Mapping[str, Any]) -> None:
        """Take a row; the first of each minute counts. Time that runs back, after a revert, adds nothing."""
        if not self._rows or stream_ms // MINUTE_MS > self._rows[-1][0] // MINUTE_MS:
            self._rows.append((stream_ms, {name: float(figures[name]) for name in (*ALARMING, "least_trust")}))

    def usual(self, name: str, before_ms: int, *, since_ms: int = 0, share: float = 0.99) -> float | None:
        """What this share of the minutes between two times stayed below; None where too few are known."""
        values = [row[name] for at_ms, row in self._rows if since_ms <= at_ms < before_ms]
        if len(values) < MIN_MINUTES:
            return None
        return float(np.quantile(values, share))


def decide(signals: Signals, state: FreezeState, rules: FreezeRules, normal: Normal) -> Action:
    """What to do after a step, or, without figures, when one comes by. Nothing is remembered."""
    if state.is_frozen:
        return _while_frozen(state, rules)
    alarms = _alarms(signals, rules, normal)
    if signals.level == Level.ALERT:
        text = "The list gets worse than its readers make it; learning goes on."
        alarms = (Alarmed("drift alert", text), *alarms)
    if signals.level != Level.STOP:
        return Action(alarms)
    confirmed = confirmations(signals, normal)
    left_s = rules.budget_s - state.spent_s - LATENCY_S
    reason = f"The quality of the list fell, and {' and '.join(confirmed) or 'nothing else agrees'}"
    if not confirmed:
        why = "; not frozen, because one signal alone can be made by anybody."
    elif not rules.auto_freeze:
        why = "; not frozen, because AUTO_FREEZE is off."
    elif state.n_freezes >= rules.freezes_a_day:
        why = f"; not frozen, because it was {state.n_freezes} times in 24 hours."
    elif left_s < min(LEAST_S, rules.budget_s - LATENCY_S) or left_s <= 0:
        why = f"; not frozen, because {state.spent_s:.0f} s of this hour's budget are spent."
    else:
        return Action(alarms, freeze_s=left_s, reason=f"{reason}.")
    return Action((Alarmed("drift stop", reason + why, is_urgent=True), *alarms), reason=reason + why)


def confirmations(signals: Signals, normal: Normal) -> list[str]:
    """What agrees with a stop, in words."""
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
        return Action(is_thaw=True, reason="The history was repaired since.")
    if state.is_over:
        return Action(is_thaw=True, reason="The time for a freeze without a person is over; nobody took it on.")
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
        text = f"The cheapest of the first ten places costs {thinnest:.2f} in trust, usually at least {usual:.2f}."
        found.append(Alarmed("least_trust", text))
    if signals.lag_s > rules.lag_alarm_s:
        found.append(Alarmed("lag", f"The learner is {signals.lag_s:.0f} s behind."))
    return tuple(found)


def _above(name: str, least: float, signals: Signals, normal: Normal, span_ms: int | None = None) -> str:
    """In words, where a figure is above its normal by so much; of an alarm, what was normal before the change."""
    if signals.figures is None:
        return ""
    until_ms = signals.changed_ms or signals.stream_ms
    usual = normal.usual(name, until_ms, since_ms=until_ms - span_ms if span_ms else 0)
    value = float(signals.figures[name])
    if usual is None or value <= usual + least:
        return ""
    told = f"{value:.1f}" if name == "pressure" else f"{100 * value:.1f} %"
    limit = f"{usual:.1f}" if name == "pressure" else f"{100 * usual:.1f} %"
    return f"{told} {WORDS[name]} (usually up to {limit})"
