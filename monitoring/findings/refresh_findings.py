"""Count stale findings again, summarise them, and merge those of the same actors.

    stale Finding ──> the verdicts on its events now         ──> held, removed, let in; open or expired
                  ──> the log at its events                  ──> its actors, and those it shares with other findings
                  ──> the published list                     ──> exposure, severity

**Exposure** is the weight of a finding's acts if all counted now, each as the act of a newcomer. Its unit is the
score of place 10, so from 1 on the acts would be enough for a list of ten. For new accounts it is a plain upper
bound, because it leaves out decay and shared networks. For trusted accounts it is a lower bound.

Each finding has one short transaction of its own, and is not stale after it. A process that dies earlier has changed
nothing. `collect_findings.gather` calls this module, and makes sure that only one process does so at a time.
"""

import logging
from dataclasses import dataclass
from typing import TypeAlias

from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Greatest, Least, Now

from monitoring.alerts import outbox
from monitoring.findings import finding_places
from monitoring.findings.finding_places import FindingPlaces
from monitoring.findings.wording import ACCUSED, BITS, in_words
from monitoring.models import Finding, FindingEvent, FindingItem
from recommender.core.vocabulary import MINUTE_MS
from recommender.learning import verdict_counts
from recommender.log import lookups
from recommender.models import Item
from recommender.process_state import clock
from recommender.publishing import published_boards
from recommender.upkeep.job_failures import Parts

LOOKED_AT = 10_000  # newest events of a finding that are read for its actors
CANDIDATES = 20  # findings that one is compared with
COMPARED = 2_000  # events of each candidate that are read
# Shared actors that make two findings one, if they are also half of the smaller group. As many as make a crowd.
MERGE_SHARED = 8
MERGE_SHARED_AGAIN = 3  # the same, where both findings hold actors that were together before
TOGETHER_BEFORE = BITS["lockstep"] | BITS["cohort"]
MERGE_GAP_MS = 10 * MINUTE_MS
TENTH = 10
CLOSED = (Finding.State.RELEASED, Finding.State.CONFIRMED)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Who:
    """The actors of a finding, and the number of its pairs of actor and item."""

    actors: frozenset[str]
    n_units: int


Looks: TypeAlias = dict[tuple[int, int], Who]
"""Actors that were read in a run, by finding and number of its events."""


def refresh(*, ends_at: float) -> int:
    """Count stale findings until `ends_at` on `process_state.clock`, at least one.

    Returns the number of findings counted. Raises PartsFailed if some could not be counted. They stay stale.
    """
    n_done, parts = 0, Parts(logger)
    looks: Looks = {}
    for number in list(Finding.objects.filter(is_stale=True).order_by("id").values_list("id", flat=True)[:1000]):
        finding = Finding.objects.filter(pk=number, is_stale=True).first()
        if finding is None:  # merged meanwhile
            continue
        with parts.run(f"finding {number}"):
            take(finding, looks)
            n_done += 1
        if n_done and clock() >= ends_at:
            break
    parts.end()
    return n_done


def take(finding: Finding, looks: Looks) -> None:
    """Count one finding again, and merge it with another if they belong together.

    It takes 10 ms, and 20 us an event. The positions of all its events are read at once, 24 bytes an event.
    """
    places = finding_places.read_newest(finding.pk)
    who = _look(finding, places)
    _count(finding, who, places)
    if finding.state == Finding.State.OPEN and (other := _same_actors(finding, who, looks)):
        older, newer = sorted((finding, other), key=lambda each: each.pk)
        if _merge(older.pk, newer.pk):
            older.refresh_from_db()
            places = finding_places.read_newest(older.pk)
            _count(older, _look(older, places), places)


def look(finding: Finding, limit: int = LOOKED_AT) -> Who:
    """Read the actors of a finding's newest events in the log, 20 us an event."""
    return _look(finding, finding_places.read_newest(finding.pk, limit))


def _look(finding: Finding, places: FindingPlaces) -> Who:
    units = {(act.actor, act.item) for act in lookups.acts_at(places.positions(LOOKED_AT), since_ms=finding.first_ms)}
    return Who(frozenset(actor for actor, _ in units), len(units))


def _count(finding: Finding, who: Who, places: FindingPlaces) -> None:
    """Count the finding with these events, store the figures and notify people.

    The verdict on each event is read once.
    """
    said = verdict_counts.sum_up(shards=places.shards, xids=places.xids, seqs=places.seqs)
    n_events = len(places.seqs)
    items = list(finding.items.order_by("-n_events", "item")[:2].values_list("item", flat=True))
    finding.n_events, finding.n_held, finding.n_quarantined = n_events, said.n_held, said.n_quarantined
    finding.n_released_since, finding.reasons = said.n_admitted, said.reasons
    finding.item = items[0] if items else finding.item
    finding.n_actors = max(len(who.actors), finding.n_actors if n_events > LOOKED_AT else 0)
    finding.n_units = max(who.n_units, finding.n_units if n_events > LOOKED_AT else 0)
    finding.kind = Finding.Kind.CAMPAIGN if said.reasons_against & ACCUSED else Finding.Kind.ITEM_WINDOW
    finding.exposure = _exposure(finding.n_units)
    finding.severity = _severity(finding)
    finding.title = _title(finding)
    known = (
        "n_events n_held n_quarantined n_released_since reasons item n_actors n_units kind exposure severity title"
    )
    with transaction.atomic():
        Finding.objects.filter(pk=finding.pk).update(
            **{name: getattr(finding, name) for name in known.split()}, is_stale=False, updated_at=Now()
        )
        state = Finding.State.OPEN if said.n_held or said.n_quarantined else Finding.State.EXPIRED
        if finding.state not in CLOSED and finding.state != state:
            # A reviewer may have decided in the meantime: then the state stays as the reviewer set it.
            if Finding.objects.filter(pk=finding.pk, state=finding.state).update(state=state):
                finding.state = state
            else:
                finding.refresh_from_db(fields=["state"])
        _tell(finding)


def _tell(finding: Finding) -> None:
    """Notify people of an open campaign, once."""
    if finding.state != Finding.State.OPEN or finding.kind != Finding.Kind.CAMPAIGN:
        return
    if not Finding.objects.filter(pk=finding.pk, is_told=False).update(is_told=True):
        return
    facts = ("item", "n_events", "n_actors", "n_held", "n_quarantined")
    outbox.notify(
        kind="finding",
        title=finding.title,
        facts={"finding": finding.pk, **{name: getattr(finding, name) for name in facts}},
    )


def _same_actors(finding: Finding, who: Who, looks: Looks) -> Finding | None:
    """Return an open finding of the same time with the same actors, the largest first."""
    if len(who.actors) < MERGE_SHARED_AGAIN:
        return None
    for other in _near(finding):
        key = other.pk, other.n_events
        if key not in looks:
            looks[key] = look(other, COMPARED)
        theirs = looks[key].actors
        n_shared = len(who.actors & theirs)
        is_half = n_shared >= MERGE_SHARED and 2 * n_shared >= min(len(who.actors), len(theirs))
        is_again = n_shared >= MERGE_SHARED_AGAIN and bool(finding.reasons & other.reasons & TOGETHER_BEFORE)
        if is_half or is_again:
            return other
    return None


def _near(finding: Finding) -> QuerySet[Finding]:
    near = Finding.objects.filter(
        state=Finding.State.OPEN,
        n_actors__gte=MERGE_SHARED_AGAIN,
        last_ms__gte=finding.first_ms - MERGE_GAP_MS,
        first_ms__lte=finding.last_ms + MERGE_GAP_MS,
    )
    return near.exclude(pk=finding.pk).exclude(kind=Finding.Kind.DRIFT).order_by("-n_events", "id")[:CANDIDATES]


@transaction.atomic
def _merge(into: int, other: int) -> bool:
    """Move all events of one finding into another.

    Returns False where a reviewer decided on one of the two in the meantime.
    """
    both = {each.pk: each for each in Finding.objects.select_for_update().filter(pk__in=(into, other)).order_by("id")}
    if len(both) < 2 or any(each.state != Finding.State.OPEN for each in both.values()):
        return False
    FindingEvent.objects.filter(finding=other).update(finding=into)
    for item in FindingItem.objects.filter(finding=other):
        n_known = FindingItem.objects.filter(finding=into, item=item.item).update(
            first_ms=Least("first_ms", item.first_ms),
            last_ms=Greatest("last_ms", item.last_ms),
            n_events=F("n_events") + item.n_events,
        )
        if not n_known:
            FindingItem.objects.filter(pk=item.pk).update(finding=into)
    gone = both[other]
    Finding.objects.filter(pk=into).update(
        first_ms=Least("first_ms", gone.first_ms),
        last_ms=Greatest("last_ms", gone.last_ms),
        n_events=F("n_events") + gone.n_events,
        shard=gone.shard if gone.shard == both[into].shard else None,
        is_told=gone.is_told or both[into].is_told,
        is_stale=True,
    )
    gone.delete()
    return True


def _exposure(n_units: int) -> float:
    """Return the exposure (see the module), 0.0 while no list is published."""
    board = published_boards.reader().board("")
    if board is None or not board.counts:
        return 0.0
    last = board.counts[min(TENTH, len(board.counts)) - 1]
    return round(n_units * board.fresh / last, 3) if last > 0 else 0.0


def _severity(finding: Finding) -> int:
    """Return high for a campaign that is enough for a place, low for neither."""
    is_campaign, is_enough = finding.kind == Finding.Kind.CAMPAIGN, finding.exposure >= 1
    return Finding.Severity.LOW + is_campaign + is_enough


def _title(finding: Finding) -> str:
    """Write the finding's summary: who, where, how fast, the outcome, and why."""
    n_more = finding.items.count() - 1
    name = Item.objects.filter(pk=finding.item).values_list("title", flat=True).first() or finding.item
    where = _quoted(name[:100]) + (f" and {n_more} more item{'s' * (n_more > 1)}" if n_more > 0 else "")
    seconds = max(1, round((finding.last_ms - finding.first_ms) / 1000))
    span = f"{seconds} s" if seconds < 120 else f"{round(seconds / 60)} min"
    accounts = "1 account" if finding.n_actors == 1 else f"{finding.n_actors} accounts"
    if finding.n_events > LOOKED_AT:
        accounts = f"At least {accounts}"
    did = "pushed" if finding.kind == Finding.Kind.CAMPAIGN else "acted on"
    title = f"{accounts} {did} {where} in {span}. {_outcome(finding)}"
    if finding.reasons:
        title += f" Why: {in_words(finding.reasons)}."
    return title if len(title) <= 500 else title[:499] + "."


def _outcome(finding: Finding) -> str:
    """Write the outcome: 285 of 354 events were removed, 69 are on hold."""
    of_all = f"of {finding.n_events} event{'s' * (finding.n_events != 1)}"
    parts: list[tuple[int, str, str]] = [
        (finding.n_quarantined, "was removed", "were removed"),
        (finding.n_held, "is on hold", "are on hold"),
        (finding.n_released_since, "was let in", "were let in"),
    ]
    told = [(n, one if n == 1 else many) for n, one, many in parts if n]
    if not told:
        return f"None {of_all} is in the model's history now."
    (first, word), *rest = told
    return ", ".join([f"{first} {of_all} {word}", *(f"{n} {word}" for n, word in rest)]) + "."


def _quoted(name: str) -> str:
    """Put a name in quotes, with characters that cannot be seen written as escapes."""
    return '"' + "".join(each if each.isprintable() else repr(each)[1:-1] for each in name) + '"'
