"""The screen in front of the model: judge every event before it is learned.

    batch ──> Features.observe ──> rules (flags) ──┐
                              └──> forests, on active windows only ──┴──> admit | hold | quarantine, score, reasons

- **quarantine** needs evidence against the actor or its cohort *and* an anomalous window of the item. It falls on
  events, never on an item. So a rival cannot be silenced by bad clicks on its item.
- **hold** is for newcomers in an anomalous window. It ends after `hold_s` at the latest. Then the event counts at its
  own time, as if it had never been held, unless its crowd gave itself away meanwhile.
- **cold** (fewer than `cold_events` seen): everything is admitted at the floor of trust, reason `unjudged`.
- **broken** (an exception): everything is held, reason `unjudged`, and counted.

**How a crowd gives itself away.** A known share of honest newcomers goes on to a second item within the time of a
hold. This is the site's own share, measured all the time. If almost none of a large crowd did, the crowd came for one
item only. A crowd that does go on can give itself away in four other ways:

- It is new almost to the last one, even those who came from another item, and all newcomers of these minutes came to
  that item. (If many newcomers went only elsewhere, it is a campus.)
- It clicks the same item again.
- It leaves within seconds.
- It takes back its acts.

Any further act of its accounts on that item adds nothing, during the hold and after it.

**Samples.** If a crowd was seen to go on, only a sample of one in four is held from then on, as long as it goes on.
This is enough to see the crowd change. A crowd that is then condemned also loses the acts of those who did not wait.

Rules decide. Forests add windows and actors that no rule describes. Trust is the base under both: an event of a fresh
actor that passes here weighs a twentieth.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recommender.core.events import EventBatch
from recommender.core.features import Features
from recommender.core.features import feature_columns as fk
from recommender.core.features.features import acts_of
from recommender.core.screen.evidence import NO_EVIDENCE, Evidence, gather
from recommender.core.screen.forest_refits import Forests
from recommender.core.screen.screen_rules import BY_ACTOR, BY_ITEM, BY_NETWORK, decide
from recommender.core.screen.suspicion import scores
from recommender.core.trust import WEIGHT_ONE, TrustRules
from recommender.core.vocabulary import ADMIT, DAY_MS, HOLD, HOUR_MS, QUARANTINE, Reason

CROWD = int(Reason.FRESH_CROWD | Reason.NETWORK | Reason.FOREST_ITEM | Reason.FOREST_NETWORK | Reason.HELD_TOO)
UNJUDGED, AUTOMATED, NO_RETURN = int(Reason.UNJUDGED), int(Reason.AUTOMATED), int(Reason.NO_RETURN)
CONFIRMED = int(Reason.CONFIRMED)
_REASONS = {
    fk.IS_BURST: Reason.BURST,
    fk.IS_CROWD: Reason.FRESH_CROWD,
    fk.IS_LOCKSTEP: Reason.LOCKSTEP,
    fk.IS_COHORT: Reason.COHORT,
    fk.IS_FLOOD: Reason.REPEAT,
    fk.IS_REGULAR: Reason.REGULAR,
    fk.IS_NETWORK: Reason.NETWORK,
    BY_ACTOR << 32: Reason.FOREST_ACTOR,
    BY_ITEM << 32: Reason.FOREST_ITEM,
    BY_NETWORK << 32: Reason.FOREST_NETWORK,
    fk.IS_SHUNNED: Reason.SHUNNED,
}
# Evidence of a crowd: its reason, and the first of a newcomer's items (1, 2, ...) that it concerns.
_EVIDENCE = {
    fk.CAMOUFLAGED: (int(Reason.CAMOUFLAGE), 2),
    fk.INSISTENT: (int(Reason.INSISTENT), 1),
    fk.HASTY: (int(Reason.HASTY), 1),
    fk.TAKEN_BACK: (int(Reason.TAKEN_BACK), 1),
}
_NAMES = np.array([_REASONS.get(1 << bit, 0) for bit in range(64)], np.int32)

_NEVER = 1 << 60  # more clickers than any item has


@dataclass(frozen=True, slots=True)
class ScreenConfig:
    """Thresholds of the screen, each with its reason."""

    is_on: bool = True
    hold_s: int = 60  # a genuine story must not wait for longer
    cold_events: int = 1000  # below this the site's own shares are noise
    burst_n: int = 8  # fewer clickers in a minute are no burst
    burst_z: float = 4.0  # standard deviations above the item's own past
    crowd_n: int = 8  # with fewer clickers in a window no share means anything
    crowd_share: float = 0.6  # of the way from the site's share of newcomers to 1
    crowd_z: float = 5.0
    is_lockstep_on: bool = True
    lockstep_n: int = 6  # clickers who share an earlier burst
    lockstep_share: float = 0.5  # of a burst's clickers
    lockstep_cover: float = 0.4  # of the earlier burst's clickers
    cohort_days: int = 14  # recorded attackers came back over 13 days
    flood_n: int = 20  # clicks of an actor on an item within a day
    pure_n: int = 16  # a crowd of fewer clickers cannot give itself away
    # of the way from the site's share to 1. The furthest window of the news log was at 0.66.
    pure_share: float = 0.85
    return_ratio: float = 0.15  # a crowd is condemned if it goes on less than this part as often as newcomers do
    return_expected: float = 8.0  # returns that must have been expected. The chance of so few by luck is below 1 %.
    # a crowd is held only in part if it goes on at least this part as often as newcomers do
    believed_ratio: float = 0.3
    believed_expected: float = 4.0  # returns that must have been expected
    alpha: float = 0.001  # share of cleared traffic that a forest may flag
    fit_every_s: int = 21_600
    fit_after_s: int = 600  # a forest takes effect this much later
    fit_rows: int = 1500

    def limits(self) -> fk.Limits:
        """Return the thresholds as the compiled loop takes them."""
        return fk.Limits(
            burst_n=self.burst_n,
            burst_z=self.burst_z,
            crowd_n=self.crowd_n,
            crowd_share=self.crowd_share,
            crowd_z=self.crowd_z,
            lockstep_n=self.lockstep_n if self.is_lockstep_on else _NEVER,
            lockstep_share=self.lockstep_share,
            lockstep_cover=self.lockstep_cover,
            cohort_ms=self.cohort_days * DAY_MS,
            flood_n=self.flood_n,
            return_ms=1000 * self.hold_s,
            pure_n=self.pure_n,
            pure_share=self.pure_share,
        )


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Verdicts on a batch.

    verdict: int8 (n,), a `Verdict`.
    score: float32 (n,), in [0, 1], high = suspicious.
    reason: int32 (n,), of `Reason`s.
    cap: int32 (n,), the part of its weight that an event may have, or None.
    n_exposed: number of events that show lockstep.
    evidence: of the events that the screen itself did not admit.
    """

    verdict: NDArray[np.int8]
    score: NDArray[np.float32]
    reason: NDArray[np.int32]
    cap: NDArray[np.int32] | None = None
    n_exposed: int = 0
    evidence: Evidence = NO_EVIDENCE

    @property
    def is_admitted(self) -> NDArray[np.bool_]:
        return np.equal(self.verdict, ADMIT)


class CondemnedCrowd(NamedTuple):
    """A crowd that gave itself away.

    from_nth: newcomers are condemned if the item was this one of their items, or a later one.
    """

    item: np.uint64
    reason: int
    from_nth: int


class Condemned(NamedTuple):
    """Result of a look at the held events.

    reason: int32 (n,), of `Reason`s, 0 for an event that is not condemned.
    """

    reason: NDArray[np.int32]
    crowds: list[CondemnedCrowd]


def admitted(n: int) -> Verdicts:
    """Return verdicts that admit n events at score 0."""
    return Verdicts(np.zeros(n, np.int8), np.zeros(n, np.float32), np.zeros(n, np.int32))


class Screen:
    """The screen. `judge`, `condemned` and `pardon` write."""

    def __init__(self, config: ScreenConfig, rules: TrustRules, features: Features) -> None:
        self.config = config
        self.features = features
        self.forests = Forests(config.fit_every_s, config.fit_after_s, config.fit_rows, config.alpha)
        self.n_seen = 0
        self.n_broken = 0
        self._rules = rules
        self._limits = config.limits()
        self._packed = tuple(rules), tuple(self._limits)

    def judge(self, batch: EventBatch, trusted: tuple[Any, ...], ordinal: int, now_ms: int) -> Verdicts:
        """Return verdicts on a batch whose first event has number `ordinal`.

        It never raises. If judging fails, all events are held as `unjudged`.
        """
        n = len(batch)
        if not self.config.is_on or not n:
            return admitted(n)
        try:
            return self._judge(batch, trusted, ordinal, now_ms)
        except Exception:  # Fail closed: an unjudged event is not learned before its hold is over.
            self.n_broken += 1
            reason = np.full(n, UNJUDGED, np.int32)
            return Verdicts(np.full(n, HOLD, np.int8), np.full(n, 0.5, np.float32), reason)

    def _judge(self, batch: EventBatch, trusted: tuple[Any, ...], ordinal: int, now_ms: int) -> Verdicts:
        n = len(batch)
        self.forests.advance(now_ms)
        self.features.advance(now_ms)
        features, flags, n_flagged = self.features.observe(acts_of(batch), trusted, *self._packed, ordinal)
        verdict, reason = np.zeros(n, np.int8), np.zeros(n, np.int32)
        is_cold = self.n_seen < self.config.cold_events
        self.n_seen += n
        n_exposed, cap = 0, None
        if is_cold:
            reason[:] = UNJUDGED
            cap = self._floor(features[:, fk.NEWNESS])
        elif n_flagged:
            is_cleared = np.zeros(n, np.uint8)
            strange = self.forests.flag(features, flags, fk.IS_ASKED)
            n_exposed = decide(flags, strange, _NAMES, verdict, reason, is_cleared)
            self.forests.learn(features, is_cleared)
        n_automated = np.count_nonzero(batch.is_automated)
        if n_automated:
            verdict[batch.is_automated], reason[batch.is_automated] = QUARANTINE, AUTOMATED
        evidence = NO_EVIDENCE
        if n_flagged or n_automated:
            stopped = np.flatnonzero(verdict)
            evidence = gather(batch, stopped, features, flags, self.forests) if len(stopped) else NO_EVIDENCE
        return Verdicts(verdict, scores(features, verdict), reason, cap, n_exposed, evidence)

    def condemned(self, held: dict[str, NDArray[Any]], is_due: NDArray[np.bool_], now_ms: int) -> Condemned:
        """Condemn held events whose crowd came for one item only, or gave itself away.

        It looks at the items of the events that are due.
        """
        reason, crowds = np.zeros(len(is_due), np.int32), []
        in_crowd = held["reason"] & CROWD != 0
        has_returned = self.features.items_of(held["actor"]) > held["first_items"]
        waited = 1.0 - np.clip((held["due_ms"] - now_ms) / (1000 * self.config.hold_s), 0.0, 1.0)
        likely = waited * np.where(held["first_items"] <= 1, *self.features.return_rates())
        items = np.unique(held["item"][is_due & in_crowd])
        windows = self.features.windows
        for item, row in zip(items, self.features.item_rows(items).tolist(), strict=True):
            if row < 0:
                continue
            crowd = in_crowd & (held["item"] == item)
            # Events of the last day whose hold is over, and events that wait now, by the part of their hold that has
            # passed.
            expected = windows[row, fk.I_EXPECTED24H] / fk.ONE + float(likely[crowd].sum())
            came = windows[row, fk.I_CAME24H] / fk.ONE + np.count_nonzero(crowd & has_returned)
            is_lonely = expected >= self.config.return_expected and came <= self.config.return_ratio * expected
            if is_lonely:
                crowds.append(CondemnedCrowd(item, NO_RETURN, 0))
                windows[row, fk.I_CONDEMNED] = now_ms + HOUR_MS
            if is_lonely or windows[row, fk.I_CONDEMNED] >= now_ms:
                reason[crowd & ~has_returned & (is_lonely | is_due)] |= NO_RETURN
            signs = _signs(self.features.evidence(row, self._limits))
            if not signs and not is_lonely and self._reads_on(likely[crowd], has_returned[crowd]):
                windows[row, fk.I_BELIEVED] = now_ms + 1000 * self.config.hold_s
            for sign in signs:
                if sign == fk.CAMOUFLAGED and self.features.is_wide(item, now_ms):
                    continue
                name, from_nth = _EVIDENCE[sign]
                reason[crowd & (held["first_items"] >= from_nth)] |= name
                crowds.append(CondemnedCrowd(item, name, from_nth))
            over = crowd & (is_due | (reason != 0))
            windows[row, fk.I_EXPECTED24H] += int(float(likely[over].sum()) * fk.ONE)
            windows[row, fk.I_CAME24H] += int(np.count_nonzero(over & has_returned)) * fk.ONE
        is_condemned = reason != 0
        self.features.shun(held["actor"][is_condemned], held["item"][is_condemned])
        return Condemned(reason, crowds)

    def _reads_on(self, likely: NDArray[np.float64], has_returned: NDArray[np.bool_]) -> bool:
        """Return True if about as many of the waiting crowd go on as newcomers do."""
        expected = float(likely.sum())
        came = int(np.count_nonzero(has_returned))
        return expected >= self.config.believed_expected and came >= self.config.believed_ratio * expected

    def pardon(self, actors: NDArray[np.uint64], items: NDArray[np.uint64]) -> None:
        """Forget the evidence against acts that a reviewer found honest.

        This clears their actors and their items.
        """
        self.features.forget_acts(actors, items)
        rows = self.features.item_rows(np.unique(items))
        self.features.windows[rows[rows >= 0], fk.I_CONDEMNED] = 0

    def _floor(self, newness: NDArray[np.float64]) -> NDArray[np.int32]:
        """Return the part of a weight that, times the actor's trust, is the floor.

        It is in WEIGHT_ONE.
        """
        floor = self._rules.floor / WEIGHT_ONE
        return np.floor(WEIGHT_ONE * floor / (floor + (1 - floor) * (1 - newness))).astype(np.int32)

    def state(self) -> dict[str, Any]:
        return {
            "n_seen": self.n_seen,
            "n_broken": self.n_broken,
            "features": self.features.state(),
            "forests": self.forests.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the result of `state()`. Raises ValueError if it does not fit."""
        self.n_seen, self.n_broken = state["n_seen"], state["n_broken"]
        self.features.restore(state["features"])
        self.forests.restore(state["forests"])


def _signs(mask: int) -> list[int]:
    return [sign for sign in _EVIDENCE if mask & sign]
