"""The possible weight of a finding's acts, which `decision_previews` needs.

    acts of one actor on one item + the actor's history ──> Unit, for a release
                                                       └──> Unit, for a confirmation (acts that may count now)

All facts come from the log. Where the log leaves something open, the two ends of the unit differ. Pure.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from monitoring.findings.actor_history import Seen
from monitoring.findings.decision_previews import Unit
from recommender.core.vocabulary import HOLD, QUARANTINE, Kind
from recommender.log.lookups import Act

STOPPED = (HOLD, QUARANTINE)
Units = dict[str, list[Unit]]  # by item


@dataclass(frozen=True, slots=True)
class WeighingRules:
    """The weights of acts, as the learner was configured.

    weights: by the number of the kind, in [0, 1]. floor: the least trust.
    """

    weights: Mapping[int, float]
    floor: float
    horizon_ms: int
    lateness_ms: int
    is_canary: Callable[[str], bool]

    def own_ms(self, act: Act) -> int:
        """Return the time at which an act counts; see recommender.core.pipeline."""
        return min(max(act.occurred_ms, act.received_ms - self.lateness_ms), act.received_ms)


def to_release(acts: Iterable[Act], seen: Mapping[str, Seen], rules: WeighingRules) -> Units:
    """Return the weight that these acts may add where they do not count yet.

    An undo among them may take weight away. Then `least` is below 0.
    """
    units: Units = defaultdict(list)
    for (actor, item), group in _pairs(acts).items():
        who = seen.get(actor)
        stopped = [act for act in group if act.verdict in STOPPED]
        at = {(act.xid, act.seq) for act in stopped}
        others = [act for act in who.acts if act.item == item and (act.xid, act.seq) not in at] if who else []
        is_known = who is not None and who.is_all and not rules.is_canary(actor)
        has_undo = any(act.kind == Kind.UNDO for act in (*stopped, *others))
        adding = [act for act in stopped if act.kind != Kind.UNDO]
        most = _most(group, who, rules)
        least = 0.0
        if is_known and not has_undo and not others:
            least = rules.floor * max((rules.weights[act.kind] for act in adding), default=0.0)
        elif any(act.kind == Kind.UNDO for act in stopped):
            least = -(who.most if who else 1.0)
        if not stopped:  # It counts already, but may count for more, because the actor may have earned trust since.
            most = max(0.0, most - rules.floor * max(rules.weights[act.kind] for act in group))
        own = [rules.own_ms(act) for act in group]
        if least or most:
            has_network = any(act.network_key for act in group)
            units[item].append(Unit(least, max(own) if least < 0 else min(own), most, max(own), has_network))
    return units


def to_confirm(acts: Iterable[Act], seen: Mapping[str, Seen], rules: WeighingRules) -> Units:
    """Return the weight that a confirmation would remove from these items.

    A confirmation removes all acts of these actors on the items of the finding.
    """
    units: Units = defaultdict(list)
    for (actor, item), group in _pairs(acts).items():
        who = seen.get(actor)
        at = {(act.xid, act.seq) for act in group}
        others = [act for act in who.acts if act.item == item and (act.xid, act.seq) not in at] if who else []
        counting = [act for act in (*group, *others) if act.verdict not in STOPPED]
        if who is None or not who.is_all:
            counting = counting or group
        most = _most(counting, who, rules)
        if most:
            units[item].append(Unit(0.0, 0, most, max(rules.own_ms(act) for act in counting)))
    return units


def _most(acts: Sequence[Act], who: Seen | None, rules: WeighingRules) -> float:
    """Return the most that one actor's acts can weigh.

    This is one unit a horizon, of the heaviest act, at the most trust there can be.
    """
    acts = [act for act in acts if act.kind != Kind.UNDO]
    if not acts:
        return 0.0
    own = [rules.own_ms(act) for act in acts]
    n_horizons = 1 + (max(own) - min(own)) // rules.horizon_ms
    return n_horizons * max(rules.weights[act.kind] for act in acts) * (who.most if who else 1.0)


def _pairs(acts: Iterable[Act]) -> dict[tuple[str, str], list[Act]]:
    pairs: dict[tuple[str, str], list[Act]] = defaultdict(list)
    for act in acts:
        pairs[act.actor, act.item].append(act)
    return pairs
