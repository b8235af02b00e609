"""The history of an actor in the log, bounded to the newest events of each.

    lookups.newest_of ──> Seen: first and last time, active days, items, networks, verdicts on its acts
                              └──> the most its acts can weigh (`TrustConfig.weight_bound`)

The learner's memory holds the trust that an actor has really earned, and a web process does not load that. The bound
is the highest trust that is possible after this many active days. So it is never too low, as far back as the log
goes. Networks are shown as /24 or /48, because no one needs a whole address to decide. Their number, and that of
browsers, is counted by keys, because PRIVACY may keep only a part of the texts.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from django.conf import settings
from django.db.models import Count
from django.utils.crypto import salted_hmac

from monitoring.models import Finding, FindingEvent
from recommender import ids
from recommender.core.trust import TrustConfig
from recommender.core.vocabulary import ADMIT, HOLD, HOUR_MS, QUARANTINE, Kind, Verdict
from recommender.errors import NotFound
from recommender.ids import MAX_ID, is_id
from recommender.log import lookups
from recommender.log.lookups import Act
from recommender.models import Erasure, Item

EVENTS_EACH = 50  # events of one actor among others
EVENTS_OF_ONE = 200  # events of an actor on its own page
SHOWN = 10  # networks, user agents, items
MAX_FINDINGS = 50


@dataclass(frozen=True)
class Seen:
    """An actor by its newest events, newest first.

    `is_all`: the log has no older ones.
    """

    actor: str
    acts: list[Act]
    is_all: bool

    @property
    def first_ms(self) -> int:
        return min(act.received_ms for act in self.acts)

    @property
    def last_ms(self) -> int:
        return max(act.received_ms for act in self.acts)

    @cached_property
    def active_days(self) -> int:
        return active_days(act.received_ms for act in self.acts)

    @property
    def items(self) -> set[str]:
        return {act.item for act in self.acts}

    @property
    def networks(self) -> list[str]:
        return _newest(act.network for act in self.acts)

    @property
    def n_networks(self) -> int:
        return len({act.network_key for act in self.acts if act.network_key})

    @property
    def n_user_agents(self) -> int:
        return len({act.agent_key for act in self.acts if act.agent_key})

    @property
    def user_agents(self) -> list[str]:
        return _newest(act.user_agent for act in self.acts)

    @property
    def n_held(self) -> int:
        return sum(act.verdict == HOLD for act in self.acts)

    @property
    def n_quarantined(self) -> int:
        return sum(act.verdict == QUARANTINE for act in self.acts)

    @property
    def most(self) -> float:
        """Return the most its next act can weigh; 1.0 is full trust."""
        return trust_rules().weight_bound(self.active_days) if self.is_all else 1.0

    @property
    def standing(self) -> str:
        """Return its trust in words."""
        if not self.is_all:
            return "with more events than Groundswell read"
        if self.active_days <= 1:
            return "new (first active day)"
        return "known (full trust is possible)" if self.most >= 1 else f"on active day {self.active_days}"


def trust_rules() -> TrustConfig:
    """Return the rules of trust, as the learner was configured."""
    return TrustConfig(floor=settings.TRUST_FLOOR)


def look_up(actors: Sequence[str], each: int = EVENTS_EACH) -> dict[str, Seen]:
    """Read the history of actors that the log knows, at most `lookups.MAX_ACTORS`."""
    found = lookups.newest_of(actors, each)
    return {actor: Seen(actor, acts, len(acts) < each) for actor, acts in found.items()}


def active_days(received_ms: Iterable[int]) -> int:
    """Count the active days of acts at these times.

    A day counts if it begins at least TrustConfig.day_h after the day before; the first act begins the first.

    >>> active_days([0, 3_600_000, 72_000_000, 100_000_000, 144_000_000])
    3
    """
    day_ms, n, begun_ms = trust_rules().day_h * HOUR_MS, 0, None
    for at_ms in sorted(received_ms):
        if begun_ms is None or at_ms - begun_ms >= day_ms:
            n, begun_ms = n + 1, at_ms
    return n


def pseudonym(actor: str) -> str:
    """Return the name shown for an actor where its id is not shown.

    It is the same on every page, and without the secret of ids there is no way back to the id.
    """
    return "account " + salted_hmac("groundswell pseudonyms", actor, ids.secret(), algorithm="sha256").hexdigest()[:8]


# -- one actor ------------------------------------------------------------------------------------------------------


def check_id(actor_id: str) -> None:
    """Raise NotFound for a text that cannot be an actor's id."""
    if not is_id(actor_id):
        raise NotFound(f"There is no such actor. An actor's id has 1 to {MAX_ID} printable characters.")


def get_actor(*, actor_id: str) -> dict[str, Any]:
    """Return everything a reviewer sees of one actor.

    `seen` is None if the log knows nothing about it. Raises NotFound for a text that cannot be an id.
    """
    check_id(actor_id)
    seen = look_up([actor_id], EVENTS_OF_ONE).get(actor_id)
    acts = seen.acts if seen else []
    findings = _findings_of(acts)
    names = dict(Item.objects.filter(id__in={act.item for act in acts}).exclude(title="").values_list("id", "title"))
    by_item = Counter(act.item for act in acts)
    erasures = Erasure.objects.filter(actor_hash__in=ids.name_hashes(actor_id)).order_by("-id")
    return {
        "actor": actor_id,
        "seen": seen,
        "acts": [describe_act(act, names) for act in acts],
        "items": [(item, names.get(item, item), n) for item, n in by_item.most_common(SHOWN)],
        "privacy": settings.PRIVACY,
        "networks": seen.networks[:SHOWN] if seen else [],
        "user_agents": seen.user_agents[:SHOWN] if seen else [],
        "n_sessions": len({act.session for act in acts if act.session}),
        "n_was_held": sum(bool(act.was_held) for act in acts),
        "findings": findings,
        "floor": trust_rules().floor,
        "oldest_day": lookups.oldest_day(),
        "erasures": list(erasures[:5]),
    }


def describe_act(act: Act, names: dict[str, str]) -> dict[str, Any]:
    return {
        "received_ms": act.received_ms,
        "kind": Kind(act.kind).name.lower(),
        "item": act.item,
        "name": names.get(act.item, act.item),
        "network": act.network,
        "user_agent": act.user_agent,
        "verdict": Verdict(act.verdict or ADMIT).name.lower(),
        "was_held": act.was_held,
        "reasons": act.reasons or 0,
    }


def _findings_of(acts: Sequence[Act]) -> list[Finding]:
    """Return the findings that hold these acts, newest first, each with `n_theirs`."""
    at = {(act.xid, act.seq) for act in acts}
    rows = FindingEvent.objects.filter(xid__in={xid for xid, _ in at}, seq__in={seq for _, seq in at})
    counts = dict(rows.values_list("finding").annotate(n=Count("id")))
    findings = list(Finding.objects.filter(id__in=counts).order_by("-id")[:MAX_FINDINGS])
    for finding in findings:
        cast(Any, finding).n_theirs = counts[finding.pk]
    return findings


def _newest(values: Iterable[str | None]) -> list[str]:
    return list(dict.fromkeys(value for value in values if value))
