"""Carry out and record the decisions of `monitoring.policy.freeze_decision`.

    learning.quality_log, in a step's transaction ──> after_step ──> decide ──> alarms | freeze of this shard
    monitoring.follow_up, every second and shard  ──> follow_up  ──> proposal (policy.suspects) | revert | thaw

Every act is a Review by `policy` and a notification, in the same transaction. A freeze affects only the shard whose
list got worse. The learner holds the lock of its own row. If it also took the locks of the others, it could deadlock
with someone who freezes them. `follow_up` runs in the shard's own worker, where the learner would run. So a long
revert in another worker does not delay the thaw.
"""

import logging
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q, Sum
from django.db.models.functions import Greatest

from monitoring.alerts import outbox
from monitoring.audit import reviews
from monitoring.models import AskedRevert, AutoFreeze, Finding, Review
from monitoring.policy import suspects
from monitoring.policy.freeze_decision import (
    KEPT_MINUTES,
    LATENCY_S,
    Action,
    Alarmed,
    FreezeRules,
    FreezeState,
    Normal,
    Panel,
    Rate,
    Signals,
    decide,
)
from recommender import database_clock, history
from recommender.control import learning_switch
from recommender.core import state_versions
from recommender.core.fold.step_result import StepResult
from recommender.core.quality.drift import Level
from recommender.core.vocabulary import HOUR_MS, MINUTE_MS
from recommender.errors import Conflict
from recommender.models import STATE_COLUMNS, Checkpoint, Learner, Step, Watched
from recommender.process_state import remembered

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
WHOLE_LIST = 10.0  # exposure of an alarm: every place of a list of ten
MAX_SUSPECTED = 0.5  # share of the events since a checkpoint that may be removed without a person

logger = logging.getLogger(__name__)

_normals: dict[int, Normal] = {}


def rules() -> FreezeRules:
    """Return the rules from the settings."""
    return FreezeRules(
        auto_freeze=settings.AUTO_FREEZE,
        auto_thaw=settings.AUTO_THAW,
        budget_s=settings.FREEZE_BUDGET_S,
        freezes_a_day=settings.FREEZES_A_DAY,
        lag_alarm_s=settings.LAG_ALARM_S,
    )


def after_step(learner: Learner, step: Step, result: StepResult, watched: Watched | None) -> bool:
    """Look at a step, in its transaction. Returns True if the shard is frozen now.

    1. If there is neither an alarm nor a row of figures, do nothing.
    2. Decide.
    3. Record alarms that were not raised within ALARM_EVERY_S, with a finding.
    4. Freeze the shard, and record it.

    It locks the finding of an alarm that continues, and the chain of the audit log.
    """
    if watched is None and not result.alarm.level:
        return False
    normal = _normal(step.shard)
    figures = vars(watched) if watched else None
    signals = Signals(
        level=Level(step.alarm),
        changed_ms=step.changed_ms or 0,
        stream_ms=step.stream_ms,
        figures=figures,
        panel=_panel(step) if step.alarm == Level.STOP else Panel(),
        lag_s=watched.lag_s if watched else 0.0,
    )
    state = _state(step.shard) if step.alarm == Level.STOP else FreezeState()
    action = decide(signals, state, rules(), normal)
    if watched and figures:
        normal.add(step.stream_ms, figures)
    if step.alarm == Level.STOP:
        # before the chain's lock, because a decision on the finding takes the locks in this order
        _find(step, action)
    for alarm in action.alarms:
        _raise(alarm, step)
    if action.freeze_s:
        _freeze(learner, step, action)
    return bool(action.freeze_s)


def follow_up(shard: int) -> None:
    """Look after an automatic freeze, if there is one.

    It is harmless to run this twice.

    It computes the proposal once, reverts if AUTO_REVERT is on, and thaws when the time has come.
    """
    freeze = AutoFreeze.objects.filter(shard=shard, ended_at=None).first()
    if freeze is None:
        return
    learner = Learner.objects.get(shard=shard)
    if learner.fold_version > state_versions.FOLD_VERSION:
        return  # the newer version looks after its own shard, and this one could not read the state
    if learner.state != Learner.State.FROZEN or learner.frozen_at != freeze.frozen_at:
        _end(freeze, AutoFreeze.Ended.PERSON)
        return
    is_repaired = learner.n_reverts != freeze.n_reverts
    if freeze.checkpoint_id and freeze.suspects is None and not is_repaired:
        _propose(freeze)
    now = database_clock.now()
    state = FreezeState(is_frozen=True, is_ours=True, is_repaired=is_repaired, is_over=now >= freeze.until)
    action = decide(Signals(), state, rules(), Normal())
    if action.is_thaw:
        _thaw(freeze, action.reason)


def take_over() -> int:
    """Hand automatic freezes over to a person, in the caller's transaction.

    From then on only a person ends them. Returns how many there were.
    """
    learners = {row.shard: row.frozen_at for row in Learner.objects.select_for_update().order_by("shard")}
    rows = AutoFreeze.objects.select_for_update().filter(ended_at=None)
    frozen = [each for each in rows if learners.get(each.shard) == each.frozen_at]
    for freeze in frozen:
        _end(freeze, AutoFreeze.Ended.PERSON)
    return len(frozen)


def revert_point(shard: int, changed_ms: int) -> Checkpoint | None:
    """Return the newest checkpoint before a change that is on the history's way."""
    recipe = Learner.objects.values_list("recipe", flat=True).get(shard=shard)
    older = Checkpoint.objects.defer(*STATE_COLUMNS).filter(shard=shard, stream_ms__lt=changed_ms)
    newest = older.order_by("-step", "-id")[:200]
    return next((each for each in newest if history.begins_with(recipe, each.recipe, each.step)), None)


def spent(shard: int) -> tuple[float, int]:
    """Return the seconds of automatic freezes in the last hour, and their number.

    The number is that of 24 hours.
    """
    now = database_clock.now()
    rows = AutoFreeze.objects.filter(shard=shard).filter(Q(frozen_at__gte=now - DAY) | Q(ended_at=None))
    spans = list(rows.values_list("frozen_at", "ended_at"))
    seconds = sum(
        ((end or now) - max(start, now - HOUR)).total_seconds() for start, end in spans if (end or now) > now - HOUR
    )
    return seconds, len(spans)


# -- figures and budget --------------------------------------------------------------------------------------------


def _normal(shard: int) -> Normal:
    """Return the usual figures.

    When the process starts, they come from the rows of the last day.
    """
    if shard not in _normals:
        normal = Normal()
        newest = Watched.objects.filter(shard=shard).order_by("-stream_ms").first()
        if newest:
            since_ms = newest.stream_ms - KEPT_MINUTES * MINUTE_MS
            rows = Watched.objects.filter(shard=shard, stream_ms__gte=since_ms, step__lt=newest.step)
            for row in rows.order_by("stream_ms", "id").values().iterator():
                normal.add(row["stream_ms"], row)
        _normals[shard] = normal
    return _normals[shard]


@remembered
def forget() -> None:
    """Forget the usual figures, so that they are read again."""
    _normals.clear()


def _panel(step: Step) -> Panel:
    changed_ms = step.changed_ms or step.stream_ms
    steps = Step.objects.filter(shard=step.shard, stream_ms__gte=changed_ms - HOUR_MS).exclude(first_ordinal=None)
    sums = {
        f"{name}_{when}": Sum(name, filter=span, default=0)
        for name in ("n_canary", "n_canary_hits", "n_predicted", "n_hits")
        for when, span in (("since", Q(stream_ms__gt=changed_ms)), ("before", Q(stream_ms__lte=changed_ms)))
    }
    told = steps.aggregate(**sums)
    return Panel(
        *(
            Rate(told[f"{n}_{when}"], told[f"{hits}_{when}"])
            for when in ("since", "before")
            for n, hits in (("n_canary", "n_canary_hits"), ("n_predicted", "n_hits"))
        )
    )


def _state(shard: int) -> FreezeState:
    seconds, n_freezes = spent(shard)
    return FreezeState(spent_s=seconds, n_freezes=n_freezes)


# -- actions -------------------------------------------------------------------------------------------------------


def _raise(alarm: Alarmed, step: Step) -> None:
    """Record an alarm and notify people, unless the same was raised a moment ago."""
    since = database_clock.now() - timedelta(seconds=settings.ALARM_EVERY_S)
    lately = reviews.list_reviews(action=Review.Action.ALARM, by=reviews.POLICY, since=since, limit=500)
    if any(row.shard == step.shard and row.subject.get("signal") == alarm.signal for row in lately):
        return
    subject: dict[str, Any] = {"signal": alarm.signal, "step": step.number}
    if step.changed_ms:
        subject["changed_ms"] = step.changed_ms
    review = reviews.record(
        by=reviews.POLICY, action=Review.Action.ALARM, note=alarm.text, shard=step.shard, subject=subject
    )
    outbox.notify(kind="alarm", title=alarm.text, facts=subject, review=review, is_urgent=alarm.is_urgent)


def settle(*, state: str, shard: int | None = None) -> int:
    """Close the open findings on alarms, in the caller's transaction.

    Returns how many there were.
    """
    rows = Finding.objects.filter(kind=Finding.Kind.DRIFT, state=Finding.State.OPEN)
    if shard is not None:
        rows = rows.filter(shard=shard)
    return rows.update(state=state, decided_at=database_clock.now(), updated_at=database_clock.now())


def _find(step: Step, action: Action) -> None:
    """Make a finding of the alarm, for a person to decide on.

    The alarm or the freeze has notified people already. While the shard has an open finding, later stops belong to
    the same alarm, because it stops again with every step until someone acts.
    """
    going_on = Finding.objects.filter(kind=Finding.Kind.DRIFT, state=Finding.State.OPEN, shard=step.shard)
    if going_on.update(last_ms=Greatest("last_ms", step.stream_ms), updated_at=database_clock.now()):
        return
    Finding.objects.create(
        kind=Finding.Kind.DRIFT,
        severity=Finding.Severity.HIGH,
        title=action.reason[:500],
        exposure=WHOLE_LIST,
        shard=step.shard,
        first_ms=min(step.changed_ms or step.stream_ms, step.stream_ms),
        last_ms=step.stream_ms,
        is_stale=False,
        is_told=True,
    )


def _freeze(learner: Learner, step: Step, action: Action) -> None:
    learning_switch.freeze(shard=step.shard)
    frozen_at = Learner.objects.values_list("frozen_at", flat=True).get(shard=step.shard)
    assert frozen_at is not None  # it was set just now
    point = revert_point(step.shard, step.changed_ms or step.stream_ms)
    freeze = AutoFreeze.objects.create(
        shard=step.shard,
        frozen_at=frozen_at,
        until=database_clock.now() + timedelta(seconds=action.freeze_s),
        step=step.number,
        n_reverts=learner.n_reverts,
        changed_ms=step.changed_ms or step.stream_ms,
        reason=action.reason,
        checkpoint_id=point.pk if point else None,
    )
    subject = {
        "freeze": freeze.pk,
        "step": step.number,
        "changed_ms": freeze.changed_ms,
        "checkpoint": freeze.checkpoint_id,
        "at_most_s": round(action.freeze_s + LATENCY_S) if settings.AUTO_THAW else None,
    }
    review = reviews.record(
        by=reviews.POLICY,
        action=Review.Action.FREEZE,
        note=action.reason,
        shard=step.shard,
        subject=subject,
        before=point.digest if point else "",
    )
    outbox.notify(kind="freeze", title=f"Frozen: {action.reason}", facts=subject, review=review, is_urgent=True)
    logger.warning("shard %d frozen after step %d: %s", step.shard, step.number, action.reason)


def _propose(freeze: AutoFreeze) -> None:
    """Find the suspects and record the proposal.

    Request the revert if AUTO_REVERT is on.
    """
    assert freeze.checkpoint_id is not None  # the caller has checked it
    found = suspects.since(shard=freeze.shard, checkpoint_id=freeze.checkpoint_id)
    freeze.suspects = found.exclusion.state()
    freeze.n_suspects, freeze.n_suspected, freeze.n_since = found.n_actors, found.n_events, found.n_since
    subject = {
        "freeze": freeze.pk,
        "checkpoint": freeze.checkpoint_id,
        "suspects": found.n_actors,
        "suspected_events": found.n_events,
        "events_since": found.n_since,
        "risen_items": found.n_items,
    }
    is_safe = 0 < found.n_events <= MAX_SUSPECTED * found.n_since
    with transaction.atomic():
        if settings.AUTO_REVERT and is_safe:
            try:
                with transaction.atomic():
                    asked = learning_switch.ask_for_revert(
                        checkpoint_id=freeze.checkpoint_id,
                        mode="exclude",
                        exclusion=found.exclusion,
                        is_preview=False,
                    )
                freeze.revert_id = subject["revert"] = asked.pk
            except Conflict as error:
                logger.warning("no automatic revert of shard %d: %s", freeze.shard, error)
        freeze.save()
        did = "Reverting to" if freeze.revert_id else "Proposal: revert to"
        note = (
            f"{did} checkpoint {freeze.checkpoint_id}, without {found.n_actors} suspected actors"
            f" ({found.n_events} of {found.n_since} events since then)."
        )
        action = Review.Action.REVERT if freeze.revert_id else Review.Action.NOTE
        review = reviews.record(by=reviews.POLICY, action=action, note=note, shard=freeze.shard, subject=subject)
        if freeze.revert_id:
            AskedRevert.objects.create(revert_id=freeze.revert_id, by=reviews.POLICY, note=note)
        outbox.notify(kind="proposal", title=note, facts=subject, review=review, is_urgent=True)


def _thaw(freeze: AutoFreeze, reason: str) -> None:
    with transaction.atomic():
        learner = Learner.objects.select_for_update().get(shard=freeze.shard)
        if learner.state != Learner.State.FROZEN or learner.frozen_at != freeze.frozen_at:
            return  # a person was faster
        learning_switch.thaw(shard=freeze.shard)
        _end(freeze, AutoFreeze.Ended.POLICY)
        # the history was repaired; if the freeze only ran out, a person must still judge the alarm
        if learner.n_reverts != freeze.n_reverts:
            settle(state=str(Finding.State.EXPIRED), shard=freeze.shard)
        assert freeze.ended_at is not None  # it was set just now
        lasted_s = (freeze.ended_at - freeze.frozen_at).total_seconds()
        subject = {"freeze": freeze.pk, "step": learner.step, "lasted_s": round(lasted_s, 1)}
        review = reviews.record(
            by=reviews.POLICY, action=Review.Action.THAW, note=reason, shard=freeze.shard, subject=subject
        )
        outbox.notify(kind="thaw", title=f"Thawed: {reason}", facts=subject, review=review, is_urgent=True)


def _end(freeze: AutoFreeze, by: str) -> None:
    freeze.ended_at, freeze.ended_by = database_clock.now(), by
    freeze.save(update_fields=["ended_at", "ended_by"])
