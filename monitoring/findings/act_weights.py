"""From the acts of a finding to what they may weigh: the input of `decision_previews`.

    acts of one actor on one item + who the actor is ──> Unit, for a release
                                                    └──> Unit, for a confirmation (what may count now, and would not)

All that is known is what the log says; what it leaves open makes the unit's two ends differ. Pure.
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
    """What acts weigh, as the learner was told. weights: by the number of the kind, in [0, 1]; floor: of trust."""

    weights: Mapping[int, float]
    floor: float
    horizon_ms: int
    lateness_ms: int
    is_canary: Callable[[str], bool]

    def own_ms(self, act: Act) -> int:
        """When it counts; see recommender.core.pipeline."""
        return min(max(act.occurred_ms, act.received_ms - self.lateness_ms), act.received_ms)


def to_release(acts: Iterable[Act], seen: Mapping[str, Seen], rules: WeighingRules) -> Units:
    """What these acts may add where they do not count yet. An undo among them may take away: then `least` is below
    0."""
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
        if not stopped:  # it counts already; by what the actor earned since it may count for more
            most = max(0.0, most - rules.floor * max(rules.weights[act.kind] for act in group))
        own = [rules.own_ms(act) for act in group]
        if least or most:
            has_network = any(act.ip for act in group)
            units[item].append(Unit(least, max(own) if least < 0 else min(own), most, max(own), has_network))
    return units


def to_confirm(acts: Iterable[Act], seen: Mapping[str, Seen], rules: WeighingRules) -> Units:
    """What of these actors may count on these items now, and would not any more: a confirmation takes out all that
    the actor did on the item."""
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
    """One unit a horizon, of the heaviest act, at the most trust there can be."""
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
