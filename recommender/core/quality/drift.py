"""Drift: raise an alarm when the list gets worse without a cause in its readers.

An alarm has a level (none, alert, stop) and the time when the change began.

    step ──> misses (1: the item was not in the served first 20) ──┐
    board ─> expected part of misses ──────────────────────────────┴─> residual ──> CUSUM, h = 6 ───────────> alert
             promise: mass outside the first 20                               ├─> CUSUM, h = 9 ──┐ both,
             steady: did the list of the longer half-life miss it too         ├─> HDDM_A ────────┴─within──> stop
             few: small counts promise too much                               └─> CUSUM of trusted actors ─┘

**Why residuals, not misses.** On a news site's real log the miss rate moves between 0.16 and 0.51 by the hour of
day. It moves by 0.1 within an hour when the news is many stories instead of one. Nothing is wrong with the list
then. On raw misses the same detectors stop learning 30 times in ten days. But the board knows most of it:

- The mass of counts outside its first places is the share of clicks that it expects to miss. This explains 0.87 of
  the variance of the miss rate in blocks of 1,000.
- A second, slower list misses the same odd clicks.
- A list made of few counts promises too much, by 1/sqrt(n).

The rest is level for days, and its base is learned as a running mean over `memory` predictions:

    expected miss = base + promise * (1 - P) + steady * [the steady list missed] + few / sqrt(n + 5)

P is the share of mass in the first 20, and n is the number of predictions, decayed by the served half-life. The
weights are close to those of a regression on that log, and they are alike on its first third and on the rest. Where
they do not fit a site, the base absorbs the level, and the remainder is noise.

**The detectors.** CUSUM (Page 1954) sums the log-likelihood ratio of a miss rate risen by `rise` over the expected
rate. Its last zero estimates when the change began. HDDM_A assumes no size of the change. A stop needs both within
`window` predictions, because they err on different streams. Where actors of earned trust make at least
`trusted_share` of the predictions, a stop needs their own CUSUM too. An attacker who sends noise from fresh accounts
to provoke a stop moves only the other two (see docs/explanation/quality.md for what this does and does not prevent).

**Blind spots.** Drift does not see a list and its slower sister that go bad together, slowly or by less than twice
the rise. The canary panel and the certificate's slack are for that. After a stop everything starts again, and the
level at that moment is the new normal.

State is two arrays, 160 bytes. `learn` runs every step, `look` every LOOK_MS of stream time.
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from math import isqrt, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.core.quality import drift_kernels as dk
from recommender.core.tables.decay import TICKS, decayed
from recommender.core.vocabulary import SECOND_MS

LOOK_MS = 10 * SECOND_MS
VOLUME_BITS = 8
FEW_PRIOR = 5 << VOLUME_BITS


class Level(IntEnum):
    """Levels of an alarm. The numbers are stored, so never reuse one."""

    NONE = 0
    ALERT = 1
    STOP = 2


@dataclass(frozen=True, slots=True)
class DriftConfig:
    """Settings of the detectors. Raises ValueError for impossible values.

    Probabilities are in [0, 1] and heights in nats. window, warm and memory are numbers of predictions.
    """

    rise: float = 0.08  # the rise of the miss rate that CUSUM is tuned for
    alert_height: float = 6.0
    stop_height: float = 9.0
    confidence: float = 0.03  # of HDDM_A, which never stops without CUSUM
    window: int = 2000  # both detectors must fire within this many
    warm: int = 2000  # predictions before any alarm, since the base is noise until then
    memory: int = 32_768  # the base is a running mean over this many
    promise: float = 0.5
    steady: float = 0.4
    few: float = 1.4
    trusted_share: float = 0.05  # of predictions; from this share on a stop needs the trusted too
    trusted_height: float = 3.0

    def __post_init__(self) -> None:
        if not 0 < self.rise < 0.5 or not 0 < self.confidence < 1:
            raise ValueError("rise must be in (0, 0.5) and confidence in (0, 1)")
        if not 0 < self.alert_height <= self.stop_height < 1000 or not 0 <= self.trusted_height < 1000:
            raise ValueError("heights must be positive and below 1000, and alert_height at most stop_height")
        if min(self.window, self.warm, self.memory) < 8:
            raise ValueError("window, warm and memory must be at least 8 predictions")
        if min(self.promise, self.steady, self.few, self.trusted_share) < 0:
            raise ValueError("promise, steady, few and trusted_share must not be negative")

    def rules(self) -> NDArray[np.int64]:
        """Return the rules as the compiled loop takes them."""
        rules = np.zeros(dk.N_RULES, np.int64)
        rules[dk.R_ALERT] = round(self.alert_height * dk.ONE)
        rules[dk.R_STOP] = round(self.stop_height * dk.ONE)
        rules[dk.R_WINDOW], rules[dk.R_WARM], rules[dk.R_MEMORY] = self.window, self.warm, self.memory
        rules[dk.R_TRUSTED_SUM] = round(self.trusted_height * dk.ONE)
        rules[dk.R_TRUSTED_SHARE] = round(self.trusted_share * dk.ONE)
        rules[dk.R_STEADY] = round(self.steady * dk.ONE)
        return rules


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm raised in one step. It is not a state that lasts.

    changed_ms: stream time at the end of a step. CUSUM estimates that all was well before it. 0 without an alarm.
    """

    level: Level = Level.NONE
    changed_ms: int = 0


QUIET = Alarm()


class Drift:
    """The drift detectors. `learn` and `look` write.

    half_life_s: the served half-life.
    """

    def __init__(self, config: DriftConfig, half_life_s: int) -> None:
        self.config = config
        self._half_ms = 1000 * half_life_s
        self._rules = config.rules()
        self._ratios = log_likelihood_ratios(config.rise)
        # Rounded, so that they are the same on every machine.
        self._logs = round(log(1.0 / config.confidence), 12), round(log(2.0 / config.confidence), 12)
        self._promise_weight, self._few_weight = round(config.promise * dk.ONE), round(config.few * dk.ONE)
        self._ints = np.zeros(dk.N_INTS, np.int64)
        self._floats = np.zeros(dk.N_FLOATS)
        dk.restart(self._ints, self._floats)
        self._promise = 0
        self._due_ms = 0
        self._volume = 0
        self._tick = 0
        self._before_ms = 0

    def is_due(self, now_ms: int) -> bool:
        """Return True if `look` must be called again."""
        return now_ms >= self._due_ms

    def look(self, promise: int, now_ms: int) -> None:
        """Set the share of mass in the first places, in `trend.PROMISE_ONE`."""
        self._promise, self._due_ms = promise, now_ms + LOOK_MS

    def learn(self, ranks: NDArray[np.int8], now_ms: int) -> Alarm:
        """Learn a step's answers, int8 (n, 4) as `Trend.learn` returned them."""
        tick = now_ms * TICKS // self._half_ms
        if tick > self._tick:
            self._volume = int(decayed(self._volume, tick - self._tick)) if self._volume else 0
            self._tick = tick
        few = (self._few_weight << 8) // isqrt((self._volume + FEW_PRIOR) << 8)
        expected = (self._promise_weight * (dk.ONE - self._promise) >> 16) + few
        n_seen = int(self._ints[dk.I_SEEN])
        level = dk.watch(
            ranks, expected, self._before_ms, self._ints, self._floats, self._rules, self._ratios, *self._logs
        )
        self._volume += (int(self._ints[dk.I_SEEN]) - n_seen) << VOLUME_BITS
        self._before_ms = now_ms
        if level == dk.NONE:
            return QUIET
        return Alarm(Level(level), int(self._ints[dk.I_CHANGED]))

    @property
    def statistic(self) -> float:
        """Return the CUSUM, in nats, to be compared with the heights."""
        return float(self._ints[dk.I_SUM] / dk.ONE)

    @property
    def promise(self) -> int:
        """Return the share of mass that `look` last set, in `trend.PROMISE_ONE`."""
        return self._promise

    @property
    def level(self) -> Level:
        """Return ALERT if the CUSUM is above its alert height, else NONE.

        It never returns STOP. A stop needs more than a height (see the module), and only an Alarm reports it.
        """
        return Level.ALERT if self.statistic > self.config.alert_height else Level.NONE

    @property
    def base(self) -> float:
        """Return the learned base, a difference of probabilities.

        It is the level of misses that the board does not explain.
        """
        return float((self._ints[dk.I_BASE] >> dk.BASE_BITS) / dk.ONE)

    @property
    def trusted_share(self) -> float:
        """Return the share of predictions that were made for actors of earned trust."""
        return float((self._ints[dk.I_SHARE] >> dk.BASE_BITS) / dk.ONE)

    def state(self) -> dict[str, Any]:
        return {
            "ints": self._ints.copy(),
            "floats": self._floats.copy(),
            "promise": self._promise,
            "due_ms": self._due_ms,
            "volume": self._volume,
            "tick": self._tick,
            "before_ms": self._before_ms,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the result of `state()`. Raises ValueError if another version made it."""
        if state["ints"].shape != self._ints.shape or state["floats"].shape != self._floats.shape:
            raise ValueError("this state was made by another version of the drift detectors")
        self._ints[:], self._floats[:] = state["ints"], state["floats"]
        self._promise, self._due_ms = state["promise"], state["due_ms"]
        self._volume, self._tick, self._before_ms = state["volume"], state["tick"], state["before_ms"]


@cache
def log_likelihood_ratios(rise: float) -> NDArray[np.int64]:
    """Return the log-likelihood ratios of a hit and a miss, by cells of p.

    All detectors share this array, so no one may write into it.
    It compares a miss rate of p + rise with p. int64 (cells, 2), in nats of ONE. They are rounded, so that they are
    the same on every machine.
    """
    cells = 1 << dk.LLR_BITS
    ratios = np.zeros((cells + 1, 2), np.int64)
    for cell in range(cells + 1):
        p = min(max((cell + 0.5) / cells, dk.LEAST / dk.ONE), dk.MOST / dk.ONE)
        risen = min(p + rise, 0.98)
        ratios[cell] = round(dk.ONE * log((1 - risen) / (1 - p))), round(dk.ONE * log(risen / p))
    return ratios
