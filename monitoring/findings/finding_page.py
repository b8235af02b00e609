"""Everything a reviewer sees of one finding. All functions read, and are bounded.

    its events, by position in the log, with their verdicts ──┬─> the newest LOOKED_AT, read in the log
                                                              ├─> their actors (actor_history)
                                                              ├─> how they move, compared with the site
                                                              │   (actor_likeness)
                                                              ├─> the effect of a decision (act_weights,
                                                              │   decision_previews)
                                                              └─> other events on the item (log.lookups)

Actors are given by id. An account that may not see ids is shown `actor_history.pseudonym` (see console.finding).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from django.conf import settings
from django.db import connection

from monitoring.findings import (
    act_weights,
    actor_history,
    actor_likeness,
    decision_previews,
    finding_descriptions,
    finding_places,
    thresholds,
)
from monitoring.findings.actor_history import Seen
from monitoring.findings.wording import FEATURE_WORDS, REASONS, reasons_of
from monitoring.models import Finding, FindingItem, Review
from monitoring.operations.decide_finding import get_finding
from recommender import database_clock, ids
from recommender.core.config import KIND_WEIGHTS
from recommender.core.tables import hashing
from recommender.core.trend import trend_columns
from recommender.core.vocabulary import MINUTE_MS, Kind
from recommender.learning import verdict_counts
from recommender.log import lookups
from recommender.log.event_log import Position
from recommender.log.lookups import Act
from recommender.models import EventVerdict, Item
from recommender.publishing import published_boards

MAX_EVENTS = 50_000  # a finding grows no further (monitoring.findings.collect_findings)
LOOKED_AT = 2_000  # events that are read in the log
BEFORE = 500  # events of the site just before, for comparison
BEFORE_ACTORS = 100
ACTORS_SHOWN = 50
EVENTS_SHOWN = 50
ITEMS_SHOWN = 20
PREVIEWED = 3  # items
RELATED = 10
REVIEWS_SHOWN = 50
NEAR_MS = 10 * MINUTE_MS
SLOTS = 60
_SLOT_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 86_400)
STOPPED = act_weights.STOPPED

_TOGETHER = """
SELECT e.finding_id, array_agg(DISTINCT t.who)
FROM unnest(%s::bigint[], %s::bigint[], %s::integer[]) AS t(xid, seq, who)
JOIN monitoring_findingevent AS e ON (e.xid, e.seq) = (t.xid, t.seq)
WHERE e.finding_id <> %s GROUP BY 1
"""


@dataclass(frozen=True, slots=True)
class ShownEvent:
    """An event of a finding: its position, and its verdict now (None: it has none)."""

    xid: int
    seq: int
    received_ms: int
    verdict: int | None


@dataclass(frozen=True, slots=True)
class Preview:
    """The effect of a decision on one item."""

    item: str
    name: str
    release: decision_previews.Outcome
    confirm: decision_previews.Outcome


@dataclass(frozen=True, slots=True)
class Related:
    """Another finding, and the reasons why it is related."""

    finding: Finding
    why: list[str]


def get_page(*, finding_id: int) -> dict[str, Any]:
    """Return the context of the page. Raises NotFound."""
    finding = get_finding(finding_id)
    places, verdicts = _places(finding)
    looked = _read(finding, places[:LOOKED_AT], verdicts)
    items = list(finding.items.order_by("-n_events", "item")[:ITEMS_SHOWN])
    names = [each.item for each in items]
    seen = actor_history.look_up(_most_active(looked))
    before = _before(finding, places, {act.actor for act in looked})
    seen_before = actor_history.look_up(_most_active(before)[:BEFORE_ACTORS])
    together = actor_likeness.together_on(seen)
    titles = _titles([*names, *(item for item, _ in together), *(act.item for act in looked[:EVENTS_SHOWN])])
    known = [verdicts[act.seq] for act in looked if act.seq in verdicts]
    features = [
        row | {"says": FEATURE_WORDS[row["feature"]], "stands": _stands(row["median"])}
        for row in finding_descriptions.summarise(known)
    ]
    return {
        "finding": finding,
        "told": finding_descriptions.describe_finding(finding),
        "items": [(each, titles.get(each.item, each.item)) for each in items],
        "n_items": len(items),
        "n_places": len(places),
        "n_looked": len(looked),
        "timeline": _timeline(finding, places, names),
        "actors": _actors(looked, seen),
        "n_known": len(seen),
        "trust": Counter(who.standing for who in seen.values()).most_common(),
        "likenesses": actor_likeness.likenesses(looked, seen, before, seen_before, began_ms=finding.first_ms),
        "pace": actor_likeness.pace(looked),
        "usual_pace": actor_likeness.pace(before),
        "n_before": len(before),
        "together": [(item, titles.get(item, item), n, item in names) for item, n in together],
        "why": _why(finding, known),
        "features": [each for each in features if each["median"] or each["at_95"]],
        "unsuspicious": [each["says"] for each in features if not each["median"] and not each["at_95"]],
        "forests": _forests(known),
        "events": [
            actor_history.describe_act(act, titles)
            | {"actor": act.actor, "score": verdicts[act.seq].score if act.seq in verdicts else None}
            | {"says": reasons_of(act.reasons or 0), "is_known": act.verdict is not None}
            for act in looked[:EVENTS_SHOWN]
        ],
        "previews": _previews(places, looked, seen, names[:PREVIEWED], titles),
        "related": _related(finding, seen, names),
        "reviews": list(Review.objects.filter(subject__finding=finding.pk).order_by("-id")[:REVIEWS_SHOWN]),
        "oldest_day": lookups.oldest_day(),
        "floor": settings.TRUST_FLOOR,
    }


# -- what happened --------------------------------------------------------------------------------------------------


def _places(finding: Finding) -> tuple[list[ShownEvent], dict[int, EventVerdict]]:
    """Read the newest events, newest first, and the full verdicts on the first ones.

    The verdicts on the first LOOKED_AT are by seq. Few findings have more events, and for these one more statement
    reads the verdicts alone.
    """
    _, xids, seqs, received_ms = finding_places.read_newest(finding.pk, MAX_EVENTS)
    if not seqs:
        return [], {}
    verdicts = {row.seq: row for row in EventVerdict.objects.filter(seq__in=seqs[:LOOKED_AT])}
    said = [verdicts[seq].verdict if seq in verdicts else None for seq in seqs[:LOOKED_AT]]
    if len(seqs) > LOOKED_AT:
        said += verdict_counts.read_at(xids=xids[LOOKED_AT:], seqs=seqs[LOOKED_AT:])
    return [ShownEvent(*row) for row in zip(xids, seqs, received_ms, said, strict=True)], verdicts


def _read(finding: Finding, places: Sequence[ShownEvent], verdicts: dict[int, EventVerdict]) -> list[Act]:
    """Read these events in the log, newest first, each with its verdict."""
    if not places:
        return []
    at = [Position(each.xid, each.seq) for each in places]
    acts = []
    for act in lookups.acts_at(at, since_ms=finding.first_ms):
        said = verdicts.get(act.seq)
        acts.append(replace(act, verdict=said.verdict, was_held=said.was_held, reasons=said.reasons) if said else act)
    acts.sort(key=lambda act: (-act.received_ms, -act.seq))
    return acts


def _before(finding: Finding, places: Sequence[ShownEvent], theirs: set[str]) -> list[Act]:
    """Read the events of other actors on the site just before the first event."""
    if not places:
        return []
    first = min(Position(each.xid, each.seq) for each in places)
    acts = lookups.just_before(first, at_ms=finding.first_ms, limit=BEFORE)
    return [act for act in acts if act.actor not in theirs]


def _timeline(finding: Finding, places: Sequence[ShownEvent], items: Sequence[str]) -> dict[str, Any] | None:
    """Chart the verdicts on events on the finding's items, with some time around them.

    If there are too many events to read, the chart shows only the finding's own.
    """
    if not places:
        return None
    beside_ms = min(NEAR_MS, max(MINUTE_MS, finding.last_ms - finding.first_ms))
    from_ms, to_ms = finding.first_ms - beside_ms, finding.last_ms + beside_ms
    slot_ms = 1000 * next((s for s in _SLOT_S if s * 1000 * SLOTS >= to_ms - from_ms), _SLOT_S[-1])
    at = [Position(each.xid, each.seq) for each in places]
    counts = lookups.count_around(items, first=min(at), last=max(at), from_ms=from_ms, to_ms=to_ms, slot_ms=slot_ms)
    is_whole = counts is not None
    if counts is None:
        of_slots = Counter((each.received_ms // slot_ms * slot_ms, each.verdict or 0) for each in places)
        counts = [lookups.Count(at_ms, verdict, n) for (at_ms, verdict), n in of_slots.items()]
    now_ms = int(database_clock.now().timestamp() * 1000)  # the chart does not reach into the future
    end_ms = max(finding.last_ms, min(to_ms, now_ms))
    slots = range(from_ms // slot_ms * slot_ms, end_ms + 1, slot_ms)
    by_verdict = {verdict: {each.at_ms: each.n for each in counts if each.verdict == verdict} for verdict in range(3)}
    series = [
        {"label": label, "look": look, "y": [by_verdict[verdict].get(at_ms, 0) for at_ms in slots], "axis": "left"}
        for verdict, label, look in ((0, "admitted", "good"), (1, "held", "warn"), (2, "removed", "bad"))
    ]
    data = {"kind": "bar", "stacked": True, "x": list(slots), "unit": f"events in {slot_ms // 1000} s"}
    return {"is_whole": is_whole, "data": data | {"series": series, "marks": []}}


# -- who ------------------------------------------------------------------------------------------------------------


def _most_active(acts: Sequence[Act]) -> list[str]:
    """List the actors with most of these acts, the busiest first."""
    counts = Counter(act.actor for act in acts)
    return [actor for actor, _ in sorted(counts.items(), key=lambda each: (-each[1], each[0]))][: lookups.MAX_ACTORS]


def _actors(acts: Sequence[Act], seen: dict[str, Seen]) -> list[dict[str, Any]]:
    counts, items = Counter(act.actor for act in acts), {act.item for act in acts}
    return [
        {"actor": actor, "n": counts[actor], "seen": seen[actor], "n_elsewhere": len(seen[actor].items - items)}
        for actor in _most_active(acts)[:ACTORS_SHOWN]
        if actor in seen
    ]


# -- why ------------------------------------------------------------------------------------------------------------


def _why(finding: Finding, known: Sequence[EventVerdict]) -> list[dict[str, Any]]:
    limits = dict(thresholds.in_force(reasons_of(finding.reasons)))
    return [
        {
            "reason": name,
            "says": says,
            "n": sum(bool(each.reasons & bit) for each in known),
            "limit": limits.get(name, ""),
        }
        for bit, (name, says) in REASONS.items()
        if finding.reasons & bit
    ]


def _stands(median: int) -> str:
    """Describe a percentile in a word."""
    for least, word in ((95, "very unusual"), (80, "unusual"), (50, "ordinary")):
        if median >= least:
            return word
    return "not suspicious"


def _forests(known: Sequence[EventVerdict]) -> list[dict[str, Any]]:
    """Summarise the answers of the forests of actor, item and network.

    Each has its threshold, and the number of events that passed it.
    """
    found = []
    for column, name in enumerate(("the account", "the item's window", "the network")):
        asked = [
            (p, each.alpha)
            for each in known
            if each.p_values and (p := each.p_values[column]) is not None and each.alpha
        ]
        if asked:
            p_values = [p for p, _ in asked]
            found.append(
                {
                    "of": name,
                    "n": len(asked),
                    "median": float(np.median(p_values)),
                    "n_objected": sum(p <= alpha for p, alpha in asked),
                    "alpha": min(alpha for _, alpha in asked),
                }
            )
    return found


# -- effect of a decision --------------------------------------------------------------------------------------------


def weighing_rules() -> act_weights.WeighingRules:
    """Return the weights of acts, as the learner was configured."""
    encoder, panel = ids.encoder(), np.uint64(int(settings.CANARY_SHARE * 2**64))

    def is_canary(actor: str) -> bool:
        return bool(hashing.mix(np.uint64(encoder.key(actor)), trend_columns.PANEL) < panel)

    return act_weights.WeighingRules(
        weights={int(kind): KIND_WEIGHTS[kind.name.lower()] for kind in Kind},
        floor=settings.TRUST_FLOOR,
        horizon_ms=1000 * settings.HORIZON_S,
        lateness_ms=1000 * settings.LATENESS_S,
        is_canary=is_canary,
    )


def _previews(
    places: Sequence[ShownEvent],
    looked: Sequence[Act],
    seen: dict[str, Seen],
    items: Sequence[str],
    titles: dict[str, str],
) -> list[Preview]:
    """Compute bounds for the first items from the published list.

    None if nothing is published, or there is nothing to decide.
    """
    board = published_boards.reader().board("")
    if board is None or not board.stream_ms or not looked:
        return []
    rules = weighing_rules()
    release, confirm = act_weights.to_release(looked, seen, rules), act_weights.to_confirm(looked, seen, rules)
    rest = places[LOOKED_AT:]  # of these only the time is known, so each may be on any of these items with any trust
    more = [_whatever(each) for each in rest if each.verdict in STOPPED]
    fewer = [_whatever(each) for each in rest if each.verdict not in STOPPED]
    half_life_s = settings.HALF_LIVES_S[0]
    return [
        Preview(
            item,
            titles.get(item, item),
            decision_previews.released(
                board, item, [*release.get(item, ()), *more], half_life_s=half_life_s, knees=decision_previews.Knees()
            ),
            decision_previews.confirmed(board, item, [*confirm.get(item, ()), *fewer], half_life_s=half_life_s),
        )
        for item in items
    ]


def _whatever(place: ShownEvent) -> decision_previews.Unit:
    return decision_previews.Unit(0.0, place.received_ms, 1.0, place.received_ms)


# -- related findings ------------------------------------------------------------------------------------------------


def _related(finding: Finding, seen: dict[str, Seen], items: Sequence[str]) -> list[Related]:
    """Return findings with the same accounts, the same items or the same time.

    They come in that order, newest first.
    """
    acts = [(act.xid, act.seq, n) for n, who in enumerate(seen.values()) for act in who.acts]
    shared: dict[int, int] = {}
    with connection.cursor() as cursor:
        cursor.execute(_TOGETHER, [*([each[n] for each in acts] for n in range(3)), finding.pk])
        shared = {number: len(who) for number, who in cursor.fetchall()}
    on_items = FindingItem.objects.filter(item__in=items).exclude(finding=finding).order_by("-last_ms")
    on_same = set(on_items.values_list("finding_id", flat=True)[:RELATED])
    near = Finding.objects.filter(
        last_ms__gte=finding.first_ms - NEAR_MS, last_ms__lte=finding.last_ms + NEAR_MS, state=Finding.State.OPEN
    )
    at_once = set(near.exclude(pk=finding.pk).order_by("-last_ms", "-id").values_list("id", flat=True)[:RELATED])
    most_shared = sorted(shared, key=lambda number: (-shared[number], -number))[:RELATED]
    found = Finding.objects.in_bulk({*most_shared, *on_same, *at_once})
    related = []
    for number, other in sorted(found.items(), key=lambda each: (-shared.get(each[0], 0), -each[0])):
        why = []
        if n := shared.get(number):
            why.append(f"{n} of the same accounts")
        if number in on_same:
            why.append("the same item")
        if number in at_once:
            why.append("the same time")
        related.append(Related(other, why))
    related.sort(key=lambda each: (each.why[0] == "the same time", each.why[0] == "the same item"))
    return related[:RELATED]


def _titles(items: Sequence[str]) -> dict[str, str]:
    return dict(Item.objects.filter(id__in=set(items)).exclude(title="").values_list("id", "title"))
