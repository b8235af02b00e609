"""Erasure of an actor: asked for, worked out in the background, switched to in one transaction.

    ask_for ──> Erasure row ──task──> run_next: Unlearning from before the actor's first event, over the steps since
        live steps are taken meanwhile ──> folded too, until next to none is left
        Learner row locked ──> the last steps ──> log, steps, verdicts, checkpoints, Learner ──> commit

Afterwards no row of the log, no verdict and no kept state knows the actor (`traces_of`), and the state is that of a
run which never received it; only where the log no longer reaches back far enough it is a scrub (`unlearning`). What
stays is the Erasure row, with a keyed hash and counts. Events that come from the actor later are new events, of an
actor never seen before; so is one sent again whose id was known, because the ids of its events are forgotten too.

Killed anywhere before the commit: nothing has changed, and the next worker begins again. It takes the lock on
histories alone: no revert, preview or rebuild folds a log that rows are being taken out of.
"""

import logging
import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import F, Sum
from django.db.models.functions import Now

from recommender import keyed, learner, locks, log, published
from recommender.core.checkpoint import CheckpointCorrupt
from recommender.errors import Invalid, NotFound
from recommender.models import ErasedState, Erasure, Learner, Step
from recommender.refold import LogIncomplete
from recommender.unlearning import Unlearning, bases, traces_of

__all__ = ["ask_for", "get", "run_next", "traces_of"]

UNFINISHED = [Erasure.State.QUEUED, Erasure.State.RUNNING]
MAX_ID = 256  # characters, as ingest takes them
FEW_EVENTS = 5000  # left to fold while the learner waits
PROGRESS_EVERY_S = 1.0

logger = logging.getLogger(__name__)


def ask_for(*, actor_id: str) -> tuple[Erasure, bool]:
    """Have an actor erased, whether it is known or not, so that the answer does not tell. One under way already is
    given instead; whether it is new. Raises Invalid."""
    if not 1 <= len(actor_id) <= MAX_ID or not actor_id.isprintable():
        raise Invalid(fields={"id": f"An actor's id has 1 to {MAX_ID} printable characters."})
    name_hash = keyed.name_hash(actor_id)
    try:
        with transaction.atomic():
            erasure, is_new = Erasure.objects.create(actor=actor_id, actor_hash=name_hash), True
    except IntegrityError:
        erasure, is_new = Erasure.objects.get(actor_hash=name_hash, state__in=UNFINISHED), False
    transaction.on_commit(published.wake_erasures)
    return erasure, is_new


def get(*, erasure_id: int) -> Erasure:
    """Raises NotFound."""
    erasure = Erasure.objects.filter(pk=erasure_id).first()
    if erasure is None:
        raise NotFound(f"There is no erasure {erasure_id}.")
    return erasure


def run_next() -> bool:
    """Carry out the oldest erasure there is; False where there is none, or others are folding the log."""
    with locks.hold(locks.HISTORY) as is_alone:
        erasure = Erasure.objects.filter(state__in=UNFINISHED).order_by("id").first() if is_alone else None
        if erasure is None:
            return False
        _run(erasure)
        return True


def _run(erasure: Erasure) -> None:
    began_at = time.monotonic()
    row = learner.get_learner(log.shard_of(erasure.actor, settings.SHARDS))
    try:
        outcome = _work_out(erasure, row)
    except (LogIncomplete, CheckpointCorrupt) as error:
        logger.error("%s cannot be done: %s", erasure, error)
        ErasedState.objects.filter(erasure=erasure).delete()
        _finish(erasure, Erasure.State.FAILED, error=str(error))
        return
    logger.info("%s done in %.1f s: %d events", erasure, time.monotonic() - began_at, outcome["events"])
    published.wake(row.shard)


def _work_out(erasure: Erasure, row: Learner) -> dict[str, Any]:
    """Try the bases in turn. Raises LogIncomplete where the log suffices for none."""
    missing = LogIncomplete("no checkpoint is left that the log reaches back to")
    for base in bases(row, erasure.actor):
        way = Unlearning.on(base, row, erasure)
        try:
            return _carry_out(way, erasure)
        except LogIncomplete as error:
            missing = error
    raise missing


def _carry_out(way: Unlearning, erasure: Erasure) -> dict[str, Any]:
    Erasure.objects.filter(pk=erasure.pk).update(
        state=Erasure.State.RUNNING, heartbeat_at=Now(), n_done=0, n_total=_events_since(way, way.row.step)
    )
    say = _progress(erasure)
    way.advance(way.row.step, say)
    while _events_since(way, (now := Learner.objects.get(shard=way.shard)).step) > FEW_EVENTS:
        way.advance(now.step, say)
    n_scrubbed = way.scrub_others()
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = 0")  # rows of a busy actor go in one statement
        row = Learner.objects.select_for_update().get(shard=way.shard)
        way.row = row
        way.advance(row.step)
        removed = way.finish()
        outcome = {"is_exact": way.is_exact and not n_scrubbed, "from_step": way.checkpoint.step, **removed}
        _finish(erasure, Erasure.State.DONE, outcome=outcome)
    return outcome


def _events_since(way: Unlearning, to_step: int) -> int:
    steps = Step.objects.filter(shard=way.shard, number__gt=way.at_step, number__lte=to_step)
    return int(steps.aggregate(n=Sum("n_events", default=0))["n"])


def _progress(erasure: Erasure) -> Callable[[int], None]:
    """Tells the row how far it is, at most once in PROGRESS_EVERY_S."""
    n_new, due_at = 0, time.monotonic() + PROGRESS_EVERY_S

    def say(n_events: int) -> None:
        nonlocal n_new, due_at
        n_new += n_events
        if time.monotonic() >= due_at:
            Erasure.objects.filter(pk=erasure.pk).update(n_done=F("n_done") + n_new, heartbeat_at=Now())
            n_new, due_at = 0, time.monotonic() + PROGRESS_EVERY_S

    return say


def _finish(erasure: Erasure, state: str, *, outcome: dict[str, Any] | None = None, error: str = "") -> None:
    done = {"n_done": F("n_total")} if state == Erasure.State.DONE else {}
    Erasure.objects.filter(pk=erasure.pk).update(
        state=state, actor="", outcome=outcome or {}, error=error, finished_at=Now(), heartbeat_at=Now(), **done
    )
