"""Request a revert, its preview or a promotion, and record the outcome.

    revert(Exclude) ──keys──> ask ─┬─> learning_switch ──> Revert, queued ──> Review: who, why, the digest before
    promote(trial)  ───────────────┘                              │
                                             carried out by recommender.control.reverts
                                                                  └──close_reverts──> Review: outcome, digest after

Like every operation (`monitoring.operations`) a request is made and recorded together, or neither. But a revert takes
time, so it has two reviews. The first is recorded with the request, and the second, exactly once, when the revert has
ended. A preview changes nothing and has only the first. `monitoring.operations.carry_out_preview` makes it a revert.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from django.db import transaction

from monitoring.alerts import outbox
from monitoring.audit import reviews
from monitoring.audit.reviews import By
from monitoring.models import AskedRevert, Finding, Review
from monitoring.operations import decide_finding, state_digest
from recommender.control import learning_switch
from recommender.core import decisions
from recommender.core.vocabulary import Verdict
from recommender.errors import Invalid
from recommender.log import lookups
from recommender.log.event_log import Position
from recommender.models import EventVerdict, Learner, Revert, Trial
from recommender.upkeep.job_failures import Parts

MAX_EXCLUDED = 100_000  # actors, including those of findings
MAX_NAMED = 1_000  # networks, items or findings in one request
NAMED_IN_REVIEW = 50  # findings of an exclusion that its review names
CLOSED_AT_ONCE = 20
Action = Review.Action

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Exclude:
    """The events that a revert leaves out.

    items: (item, from_ms, to_ms), events received in that time. networks: "192.0.2.0/24".
    findings: numbers; of each, the actors with held or removed events.
    """

    actors: Sequence[str] = ()
    networks: Sequence[str] = ()
    items: Sequence[tuple[str, int, int]] = ()
    findings: Sequence[int] = ()

    def __bool__(self) -> bool:
        return bool(self.actors or self.networks or self.items or self.findings)


def revert(
    *, by: By, note: str, checkpoint_id: int, mode: str, exclude: Exclude | None = None, is_preview: bool = False
) -> Revert:
    """Request a revert or its preview. `exclude` is for the mode of that name.

    Raises NotFound, Invalid, Conflict.
    """
    exclusion = _exclusion(exclude) if exclude else None  # it reads the log, so it comes before the transaction
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
    exclusion: decisions.ExclusionRule | None,
    is_preview: bool,
    findings: Sequence[int] = (),
    **more: Any,
) -> Revert:
    """Request a revert or preview whose exclusion is known by its keys.

    The review names `findings`, where the exclusion comes from, and `more`. Raises NotFound, Invalid, Conflict.
    """
    before = state_digest.state_digest()
    asked = learning_switch.ask_for_revert(
        checkpoint_id=checkpoint_id, mode=mode, exclusion=exclusion, is_preview=is_preview
    )
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
        title = f"{review.by} reverts to checkpoint {checkpoint_id} ({mode})."
        outbox.notify(kind="revert", title=title, review=review)
    return asked


@transaction.atomic
def promote(*, by: By, note: str, trial_id: int) -> Review:
    """Let the learners go on from the winner of a trial.

    Like a revert this takes time, and `close_reverts` records the outcome. To undo it, revert to the checkpoint from
    before, which is pinned. Raises NotFound, Conflict, Invalid.
    """
    before = state_digest.state_digest()
    left = list(Learner.objects.order_by("shard").values_list("checkpoint_id", flat=True))
    trial, asked = learning_switch.ask_for_promotion(trial_id=trial_id)
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
    outbox.notify(kind="promote", title=f"{review.by} promotes {trial.winner} (trial {trial.pk}).", review=review)
    return review


def close_reverts() -> int:
    """Record the second review of reverts that ended, once each. Returns how many.

    Raises PartsFailed if some could not be recorded.
    """
    n_closed, parts = 0, Parts(logger)
    for number in _unclosed():
        with parts.run(f"revert {number}"):
            n_closed += _close(number)
    parts.end()
    return n_closed


def _unclosed() -> list[int]:
    ended = Revert.objects.filter(is_preview=False, state__in=[Revert.State.DONE, Revert.State.FAILED])
    closed = AskedRevert.objects.filter(closed_in__isnull=False).values("revert")
    return list(ended.exclude(pk__in=closed).order_by("id").values_list("id", flat=True)[:CLOSED_AT_ONCE])


@transaction.atomic
def _close(number: int) -> bool:
    asked_for = {"by": reviews.POLICY, "note": "Requested without an operation."}
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
        if not is_done:  # its states still exist, and it can be tried again
            is_outdone = Trial.objects.filter(state=Trial.State.WAITING).exists()
            state = Trial.State.SUPERSEDED if is_outdone else Trial.State.WAITING
            Trial.objects.filter(pk=trial.pk).update(state=state, revert=None)
    review = reviews.record(
        by=_still_there(asked.by),
        action=Action.PROMOTE if trial is not None else Action.REVERT,
        note=asked.note,
        subject=subject,
        before=asked.before_digest,
        after=state_digest.one_digest(outcome.get("digests", [])),
    )
    AskedRevert.objects.filter(pk=number).update(closed_in=review.pk)
    what = f"Revert {revert.pk} ({revert.mode})" if trial is None else f"The promotion of {trial.winner}"
    title = f"{what} is {revert.state}."
    outbox.notify(kind=str(review.action), title=title, facts=subject, review=review, is_urgent=not is_done)
    return True


def _still_there(by: str) -> str:
    """Return the account that asked, or policy if that account has another name now."""
    try:
        reviews.check_decider(by)
    except Invalid:
        return reviews.POLICY
    return by


def _exclusion(exclude: Exclude) -> decisions.ExclusionRule:
    wrong = {}
    for name in ("networks", "items", "findings"):
        if len(getattr(exclude, name)) > MAX_NAMED:
            wrong[name] = f"Name at most {MAX_NAMED:,} at once."
    networks = []
    for text in exclude.networks[:MAX_NAMED]:
        try:
            network = ip_network(text, strict=False)
        except ValueError:
            network = None
        if network is None or network.prefixlen != (24 if network.version == 4 else 48):
            wrong["networks"] = f"{text[:100]!r} is not a network. Write it as 192.0.2.0/24 or 2001:db8:1::/48."
        networks.append(str(network))
    if any(from_ms >= to_ms for _, from_ms, to_ms in exclude.items):
        wrong["items"] = "The time span of an item must begin before it ends."
    actors = set(exclude.actors)
    if not wrong:
        for number in exclude.findings:
            actors |= _accused(decide_finding.get_finding(number))
    if len(actors) > MAX_EXCLUDED:
        wrong["actors"] = f"You can leave out at most {MAX_EXCLUDED:,} actors at once. Use networks or items instead."
    if wrong:
        raise Invalid(fields=wrong)
    return learning_switch.exclusion(actors=sorted(actors), networks=networks, windows=exclude.items)


def _accused(finding: Finding) -> set[str]:
    """Return the actors of a finding with held or removed events. Reads the log."""
    events = finding.events.values("seq")
    against = EventVerdict.objects.filter(seq__in=events).exclude(verdict=Verdict.ADMIT)
    positions = [Position(*each) for each in against.values_list("xid", "seq")[:MAX_EXCLUDED]]
    return {act.actor for act in lookups.acts_at(positions, since_ms=finding.first_ms)} if positions else set()
