"""Data for the page of a revert and for the form that requests one.

The page shows the progress, the changes, and whether a preview is still valid. The form offers findings to leave out.
"""

from dataclasses import dataclass
from typing import Any

from monitoring.models import AskedRevert, Finding
from monitoring.operations import carry_out_preview
from monitoring.policy import enforcement
from recommender import database_clock
from recommender.errors import NotFound
from recommender.ids import MAX_ROW_ID
from recommender.models import STATE_COLUMNS, Checkpoint, Item, Learner, Revert

FINDINGS_OFFERED = 50
STUCK_S = 30  # without a report from the worker
UNTAKEN_S = 15  # time in the queue


@dataclass(frozen=True, slots=True)
class ListedPlace:
    """A place in one of the two lists that are compared.

    `change`: "new", "gone", "up", "down" or "".
    """

    place: int
    item: str
    title: str
    score: float
    change: str
    other: int | None  # its place in the other list


@dataclass(frozen=True, slots=True)
class ShownJob:
    """A revert or preview as its page shows it.

    is_untaken, is_stuck: it is queued, or its worker has not reported, for so long that someone should look.
    undo: a checkpoint of the state before it, if one is kept.
    """

    row: Revert
    by: str
    note: str
    checkpoint: Checkpoint | None
    checkpoint_id: int
    excluded: dict[str, Any]
    is_over: bool
    is_frozen: bool
    is_stale: bool
    is_untaken: bool
    is_stuck: bool
    percent: int
    n_since: int
    before: list[ListedPlace]
    after: list[ListedPlace]
    undo: Checkpoint | None

    @property
    def is_preview(self) -> bool:
        return self.row.is_preview

    @property
    def is_same(self) -> bool:
        """Return True if both lists have the same items in the same places."""
        return [each.item for each in self.before] == [each.item for each in self.after]


def get_job(*, revert_id: int) -> ShownJob:
    """Read a revert or preview. Raises NotFound."""
    row = Revert.objects.select_related("exclusion").filter(pk=revert_id).first() if revert_id <= MAX_ROW_ID else None
    if row is None:
        raise NotFound(f"There is no revert {revert_id}.")
    review = carry_out_preview.asked_in(row.pk)
    subject = review.subject if review else {}
    number = subject.get("checkpoint") or max(row.checkpoints)
    rule = row.exclusion.rule if row.exclusion else {}
    excluded = {
        "actors": len(rule.get("actors", ())),
        "networks": len(rule.get("prefixes", ())),
        "items": len(rule.get("windows", ())),
        "findings": subject.get("excluded", {}).get("findings", []),
    }
    is_over = row.state in (Revert.State.DONE, Revert.State.FAILED)
    checkpoint = _checkpoint(number)
    learner = Learner.objects.filter(shard=checkpoint.shard if checkpoint else 0).first()
    before, after = _side_by_side(row.outcome)
    heard_s = database_clock.now().timestamp() - (row.heartbeat_at or row.created_at).timestamp()
    return ShownJob(
        row=row,
        by=review.by if review else "policy",
        note=review.note if review else "",
        checkpoint=checkpoint,
        checkpoint_id=number,
        excluded=excluded if rule else {},
        is_over=is_over,
        is_frozen=Learner.objects.filter(state=Learner.State.FROZEN).exists(),
        is_stale=row.is_preview and is_over and carry_out_preview.is_stale(row),
        is_untaken=row.state == Revert.State.QUEUED and heard_s > UNTAKEN_S,
        is_stuck=row.state == Revert.State.RUNNING and heard_s > STUCK_S,
        percent=min(100, 100 * row.n_done // row.n_total) if row.n_total else 0,
        n_since=max(0, learner.seq - checkpoint.seq) if learner and checkpoint else 0,
        before=before,
        after=after,
        undo=_undo(row),
    )


def list_findings_since(*, since_ms: int, also: list[int]) -> tuple[list[Finding], bool]:
    """List open and confirmed findings that reach past a time, newest first.

    Findings in `also` come first, in any state. The second value is True if there are more. It uses the index on
    time.
    """
    states = (Finding.State.OPEN, Finding.State.CONFIRMED)
    rows = Finding.objects.filter(last_ms__gte=since_ms, state__in=states).exclude(kind=Finding.Kind.DRIFT)
    found = list(rows.order_by("-last_ms", "-id")[: FINDINGS_OFFERED + 1])
    shown = found[:FINDINGS_OFFERED]
    known = {each.pk for each in shown}
    asked_for = Finding.objects.filter(pk__in=[each for each in also if each not in known and each <= MAX_ROW_ID])
    return [*asked_for.order_by("-id")[:FINDINGS_OFFERED], *shown], len(found) > len(shown)


def point_before(*, at_ms: int) -> int | None:
    """Return the newest checkpoint before a time that is part of the model's history."""
    points = [enforcement.revert_point(shard, at_ms) for shard in Learner.objects.values_list("shard", flat=True)]
    return max((each.pk for each in points if each is not None), default=None)


def _checkpoint(number: int) -> Checkpoint | None:
    return Checkpoint.objects.defer(*STATE_COLUMNS).filter(pk=number).first()


def _undo(row: Revert) -> Checkpoint | None:
    """Return the checkpoint of the state before a revert."""
    if row.is_preview or row.state != Revert.State.DONE:
        return None
    asked = AskedRevert.objects.filter(pk=row.pk).first()
    kept = Checkpoint.objects.defer(*STATE_COLUMNS)
    exact = kept.filter(digest=asked.before_digest).order_by("-id").first() if asked and asked.before_digest else None
    return exact or kept.filter(created_at__lte=row.created_at).order_by("-id").first()


def _side_by_side(outcome: dict[str, Any]) -> tuple[list[ListedPlace], list[ListedPlace]]:
    boards = outcome.get("boards", {})
    lists = {name: boards.get(name, []) for name in ("before", "after")}
    places = {name: {each["item"]: place for place, each in enumerate(shown, 1)} for name, shown in lists.items()}
    titles = dict(
        Item.objects.filter(pk__in={*places["before"], *places["after"]}).exclude(title="").values_list("pk", "title")
    )

    def side(name: str, other: str, absent: str) -> list[ListedPlace]:
        found = []
        for place, each in enumerate(lists[name], 1):
            there = places[other].get(each["item"])
            moved = "" if there == place else "up" if there is not None and there > place else "down"
            change = absent if there is None else moved if name == "after" else ""
            found.append(ListedPlace(place, each["item"], titles.get(each["item"], ""), each["score"], change, there))
        return found

    return side("before", "after", "gone"), side("after", "before", "new")
