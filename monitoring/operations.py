"""What people, policy and machines do to the model: each does it and writes it down in one transaction.

    with transaction.atomic():
        recommender.control   the mechanism; Conflict where somebody was first, and then nothing is written
        reviews.record        who, when, what about, why, the state's digest before
        notify.notify         whoever is to be told

A revert takes its time, so it has two reviews: this one when it is asked for, and a second with its outcome and the
digest after, written exactly once by `close_reverts`. Reviews name findings, checkpoints, exclusions and numbers,
never the actors behind them. Who may is the caller's to see to: keys by scope (monitoring.views), accounts by role
(monitoring.roles).
"""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from monitoring import notify, policy, reviews
from monitoring.models import AskedRevert, Finding, Review
from monitoring.reviews import By
from recommender import control, log
from recommender.core import decisions
from recommender.errors import Conflict, Invalid, NotFound
from recommender.log import Position
from recommender.models import Checkpoint, EventVerdict, FrozenScope, Learner, Revert, Trial

MAX_EXCLUDED = 100_000  # actors, those of findings included
MAX_NAMED = 1_000  # networks, items, findings in one request
NAMED_IN_REVIEW = 50  # findings of an exclusion
MAX_ENTRIES = 200  # of the history, named in the review of a decision
CLOSED_AT_ONCE = 20
Action = Review.Action


@dataclass(frozen=True, slots=True)
class Exclude:
    """What a revert leaves out. items: (item, from_ms, to_ms), received then; networks: "192.0.2.0/24"; findings:
    numbers, for their actors whose events are held or out."""

    actors: Sequence[str] = ()
    networks: Sequence[str] = ()
    items: Sequence[tuple[str, int, int]] = ()
    findings: Sequence[int] = ()

    def __bool__(self) -> bool:
        return bool(self.actors or self.networks or self.items or self.findings)


# -- stop and go ----------------------------------------------------------------------------------------------------


@transaction.atomic
def freeze(*, by: By, note: str, scope: str = "") -> Review:
    """Stop learning between two steps, while events are accepted and wait; of a scope, let its list stand still. What
    the policy froze is taken on: it does not end by itself any more. Raises Conflict where a person froze it,
    Invalid, NotFound."""
    before = state_digest()
    subject: dict[str, Any] = {}
    if scope:
        control.freeze_scope(scope)
    elif n_taken_on := policy.take_over():
        subject["taken_on"] = n_taken_on
        with suppress(Conflict), transaction.atomic():
            control.freeze()  # the other shards
    else:
        control.freeze()
    review = reviews.record(by=by, action=Action.FREEZE, note=note, subject=subject, scope=scope, before=before)
    what = f"The list {scope}" if scope else "Learning"
    notify.notify(kind="freeze", title=f"{what} was stopped by {review.by}.", review=review)
    return review


@transaction.atomic
def thaw(*, by: By, note: str, scope: str = "") -> Review:
    """Learn again, what waited first; of a scope, let its list be as counted. Raises Conflict where it is not frozen,
    Invalid."""
    before = state_digest()
    rows = FrozenScope.objects.filter(scope=scope) if scope else Learner.objects.order_by("shard")
    frozen_at = rows.values_list("frozen_at", flat=True).first()
    if scope:
        control.thaw_scope(scope)
    else:
        control.thaw()
    frozen_s = int((datetime.now(UTC) - frozen_at).total_seconds()) if frozen_at else 0
    subject: dict[str, Any] = {"frozen_s": frozen_s}
    if not scope and (n_settled := policy.settle(state=Finding.State.RELEASED)):
        subject["alarms_settled"] = n_settled
    review = reviews.record(by=by, action=Action.THAW, note=note, subject=subject, scope=scope, before=before)
    what = f"The list {scope}" if scope else "Learning"
    notify.notify(kind="thaw", title=f"{what} goes on, by {review.by}.", review=review)
    return review


@transaction.atomic
def set_pinned(*, by: By, note: str, checkpoint_id: int, is_pinned: bool) -> Checkpoint:
    """Keep a checkpoint whatever its age, or no more. Raises NotFound, Conflict, Invalid."""
    checkpoint = control.pin(checkpoint_id=checkpoint_id, is_pinned=is_pinned)
    reviews.record(
        by=by,
        action=Action.PIN,
        note=note,
        subject={"checkpoint": checkpoint.pk, "is_pinned": is_pinned},
        shard=checkpoint.shard,
        before=checkpoint.digest,
        after=checkpoint.digest,
    )
    return checkpoint


# -- the word of people ---------------------------------------------------------------------------------------------


def release(
    *,
    by: By,
    note: str,
    finding_id: int | None = None,
    positions: Sequence[Position] = (),
    since_ms: int = 0,
    together: str = "",
) -> int:
    """Let a finding's events, or those at positions, count at their own times. `together`: a word that decisions made
    by one form share. Returns how many; see `_decide`."""
    return _decide(Finding.State.RELEASED, by, note, finding_id, positions, since_ms, together)


def confirm(
    *,
    by: By,
    note: str,
    finding_id: int | None = None,
    positions: Sequence[Position] = (),
    since_ms: int = 0,
    together: str = "",
) -> int:
    """Let them count no more: they are manipulation. Returns how many; see `release` and `_decide`."""
    return _decide(Finding.State.CONFIRMED, by, note, finding_id, positions, since_ms, together)


def _decide(
    state: str,
    by: By,
    note: str,
    finding_id: int | None,
    positions: Sequence[Position],
    since_ms: int,
    together: str,
) -> int:
    """1. Lock the finding; refuse where it is decided so, or changed since it was looked at. 2. Decide on its events.
    3. Record, with what `monitoring.undoing` needs. The finding gets no new events meanwhile. Raises NotFound,
    Conflict, Invalid."""
    is_release = state == Finding.State.RELEASED
    seen = get_finding(finding_id).state if finding_id is not None else ""
    with transaction.atomic():
        subject: dict[str, Any] = {}
        if finding_id is not None:
            finding = _lock(finding_id, seen, state)
            positions = [Position(*each) for each in finding.events.order_by("id").values_list("xid", "seq")]
            since_ms = finding.first_ms
            subject |= {"finding": finding.pk, "was": seen}
        if together:
            subject["together"] = together[:64]
        ruling = decisions.Ruling.RELEASE if is_release else decisions.Ruling.CONFIRM
        is_alarm = finding_id is not None and finding.kind == Finding.Kind.DRIFT  # without events: settled, no more
        n_events, entries = 0, []
        for start in range(0, 0 if is_alarm else len(positions) or 1, control.MAX_DECIDED):
            part = positions[start : start + control.MAX_DECIDED]
            decided = control.decide(ruling=ruling, positions=part, since_ms=since_ms)
            n_events += decided.n_events
            entries += decided.entries
        if len(entries) <= MAX_ENTRIES:
            subject["entries"] = entries
        review = reviews.record(
            by=by,
            action=Action.RELEASE if is_release else Action.CONFIRM,
            note=note,
            subject=subject | {"events": n_events},
            before=state_digest(),
        )
        what = f"finding {finding_id}" if finding_id is not None else f"{n_events} events"
        notify.notify(kind=str(review.action), title=f"{review.by}: {review.action} {what}.", review=review)
    return n_events


def _lock(finding_id: int, seen: str, state: str) -> Finding:
    finding = Finding.objects.select_for_update().filter(pk=finding_id).first()
    if finding is None:
        raise Conflict(f"Finding {finding_id} has just become part of another; look again.")
    if finding.state == state or (state == Finding.State.RELEASED and finding.state == Finding.State.EXPIRED):
        raise Conflict(f"Finding {finding_id} is {finding.state} already.")
    if finding.state != seen:
        raise Conflict(f"Finding {finding_id} has just been {finding.state}; look again.")
    Finding.objects.filter(pk=finding_id).update(state=state, decided_at=Now(), updated_at=Now())
    return finding


def get_finding(finding_id: int) -> Finding:
    """Raises NotFound."""
    finding = Finding.objects.filter(pk=finding_id).first() if finding_id < 2**63 else None
    if finding is None:
        raise NotFound(f"There is no finding {finding_id}; GET /api/v1/findings lists them.")
    return finding


# -- the way back ---------------------------------------------------------------------------------------------------


def revert(
    *, by: By, note: str, checkpoint_id: int, mode: str, exclude: Exclude | None = None, is_preview: bool = False
) -> Revert:
    """Have a way back, or its preview, worked out; `exclude` goes with its mode. Raises NotFound, Invalid,
    Conflict."""
    exclusion = _exclusion(exclude) if exclude else None  # reads the log, so before the transaction
    return ask(
        by=by,
        note=note,
        checkpoint_id=checkpoint_id,
        mode=mode,
        exclusion=exclusion,
        findings=exclude.findings if exclude else (),
        is_preview=is_preview,
    )


@transaction.atomic
def ask(
    *,
    by: By,
    note: str,
    checkpoint_id: int,
    mode: str,
    exclusion: decisions.Exclusion | None,
    is_preview: bool,
    findings: Sequence[int] = (),
    **more: Any,
) -> Revert:
    """The same where what is left out is known by its keys; `findings` that it comes from, and `more`, are named in
    the review. Raises NotFound, Invalid, Conflict."""
    before = state_digest()
    asked = control.ask_for_revert(checkpoint_id=checkpoint_id, mode=mode, exclusion=exclusion, is_preview=is_preview)
    subject: dict[str, Any] = {
        "revert": asked.pk,
        "checkpoint": checkpoint_id,
        "mode": mode,
        "preview": is_preview,
        "state": str(Revert.State.QUEUED),
        **more,
    }
    if exclusion:
        subject |= {
            "exclusion": asked.exclusion_id,
            "excluded": {
                "actors": len(exclusion.actors),
                "networks": len(exclusion.prefixes),
                "items": len(exclusion.windows),
                "findings": [*findings[:NAMED_IN_REVIEW]],
            },
        }
    review = reviews.record(by=by, action=Action.REVERT, note=note, subject=subject, before=before)
    if not is_preview:
        AskedRevert.objects.create(revert=asked, by=review.by, note=review.note, before_digest=before)
        title = f"{review.by} goes back to checkpoint {checkpoint_id} ({mode})."
        notify.notify(kind="revert", title=title, review=review)
    return asked


@transaction.atomic
def promote(*, by: By, note: str, trial_id: int) -> Review:
    """Let the learners go on from the winner of a trial. It takes its time, as a revert does, and `close_reverts`
    writes the outcome. Way back: a revert to what they went on from before, which is pinned. Raises NotFound,
    Conflict, Invalid."""
    before = state_digest()
    left = list(Learner.objects.order_by("shard").values_list("checkpoint_id", flat=True))
    trial, asked = control.ask_for_promotion(trial_id=trial_id)
    subject = {
        "trial": trial.pk,
        "winner": trial.winner,
        "revert": asked.pk,
        "checkpoints": trial.checkpoints,
        "from": left,
        "reason": trial.report.get("reason", ""),
        "state": str(Revert.State.QUEUED),
    }
    review = reviews.record(by=by, action=Action.PROMOTE, note=note, subject=subject, before=before)
    AskedRevert.objects.create(revert=asked, by=review.by, note=review.note, before_digest=before)
    notify.notify(kind="promote", title=f"{review.by} promotes {trial.winner} (trial {trial.pk}).", review=review)
    return review


def close_reverts() -> int:
    """Write the second review of reverts that ended, once each. Returns how many."""
    return sum(_close(number) for number in _unclosed())


def _unclosed() -> list[int]:
    ended = Revert.objects.filter(is_preview=False, state__in=[Revert.State.DONE, Revert.State.FAILED])
    closed = AskedRevert.objects.filter(closed_in__isnull=False).values("revert")
    return list(ended.exclude(pk__in=closed).order_by("id").values_list("id", flat=True)[:CLOSED_AT_ONCE])


@transaction.atomic
def _close(number: int) -> bool:
    asked_for = {"by": reviews.POLICY, "note": "Asked for past the operations."}
    AskedRevert.objects.get_or_create(revert_id=number, defaults=asked_for)
    asked = AskedRevert.objects.select_for_update().get(revert_id=number)
    if asked.closed_in is not None:
        return False
    revert = Revert.objects.get(pk=number)
    is_done = revert.state == Revert.State.DONE
    outcome = revert.outcome
    subject: dict[str, Any] = {"revert": revert.pk, "mode": revert.mode, "state": str(revert.state)}
    if is_done:
        changes = outcome.get("changes", {})
        subject |= {
            "events": outcome.get("events", 0),
            "excluded": outcome.get("excluded", 0),
            "quality": outcome.get("quality", {}),
            "enters": len(changes.get("enters", ())),
            "leaves": len(changes.get("leaves", ())),
            "moves": len(changes.get("moves", ())),
        }
    else:
        subject["error"] = revert.error[:500].replace("\0", "")
    trial = Trial.objects.filter(revert=revert).first()
    if trial is not None:
        subject |= {"trial": trial.pk, "winner": trial.winner}
        if not is_done:  # its states are there still, and it can be tried again
            is_outdone = Trial.objects.filter(state=Trial.State.WAITING).exists()
            state = Trial.State.SUPERSEDED if is_outdone else Trial.State.WAITING
            Trial.objects.filter(pk=trial.pk).update(state=state, revert=None)
    review = reviews.record(
        by=_still_there(asked.by),
        action=Action.PROMOTE if trial is not None else Action.REVERT,
        note=asked.note,
        subject=subject,
        before=asked.before_digest,
        after=_one(outcome.get("digests", [])),
    )
    AskedRevert.objects.filter(pk=number).update(closed_in=review.pk)
    what = f"Revert {revert.pk} ({revert.mode})" if trial is None else f"The promotion of {trial.winner}"
    title = f"{what} is {revert.state}."
    notify.notify(kind=str(review.action), title=title, facts=subject, review=review, is_urgent=not is_done)
    return True


def _still_there(by: str) -> str:
    """Who asked, or policy where that account is called otherwise now."""
    try:
        reviews.check_decider(by)
    except Invalid:
        return reviews.POLICY
    return by


def _exclusion(exclude: Exclude) -> decisions.Exclusion:
    wrong = {}
    for name in ("networks", "items", "findings"):
        if len(getattr(exclude, name)) > MAX_NAMED:
            wrong[name] = f"At most {MAX_NAMED:,} at once."
    networks = []
    for text in exclude.networks[:MAX_NAMED]:
        try:
            network = ip_network(text, strict=False)
        except ValueError:
            network = None
        if network is None or network.prefixlen != (24 if network.version == 4 else 48):
            wrong["networks"] = f"{text[:100]!r} is no network; write 192.0.2.0/24 or 2001:db8:1::/48."
        networks.append(str(network))
    if any(from_ms >= to_ms for _, from_ms, to_ms in exclude.items):
        wrong["items"] = "A window begins before it ends."
    actors = set(exclude.actors)
    if not wrong:
        for number in exclude.findings:
            actors |= _accused(get_finding(number))
    if len(actors) > MAX_EXCLUDED:
        wrong["actors"] = f"At most {MAX_EXCLUDED:,} actors at once; use networks or items."
    if wrong:
        raise Invalid(fields=wrong)
    return control.exclusion(actors=sorted(actors), networks=networks, windows=exclude.items)


def _accused(finding: Finding) -> set[str]:
    """The actors of a finding whose events are held or out. Reads the log."""
    events = finding.events.values("seq")
    against = EventVerdict.objects.filter(seq__in=events).exclude(verdict=EventVerdict.Verdict.ADMIT)
    positions = [Position(*each) for each in against.values_list("xid", "seq")[:MAX_EXCLUDED]]
    return set(log.read_at(positions, since_ms=finding.first_ms).actors) if positions else set()


def state_digest() -> str:
    """The digest of the active checkpoint; with several shards, of their digests in order; empty where there is none.
    It is a few seconds behind the state."""
    digests = list(
        Learner.objects.exclude(checkpoint=None).order_by("shard").values_list("checkpoint__digest", flat=True)
    )
    return _one(digests)


def _one(digests: Sequence[str]) -> str:
    if len(digests) > 1:
        return hashlib.sha256("".join(digests).encode()).hexdigest()
    return digests[0] if digests else ""
