"""Erase an actor: prepare in the background, then switch in one transaction.

    ask_for ──> Erasure row ──task──> run_next: a ShardErasure from before the actor's first event, over later steps
        live steps are taken meanwhile ──> folded too, until almost none is left
        Learner row locked ──> the last steps ──> log, steps, verdicts, checkpoints, Learner ──> commit

Afterwards no row of the log, no verdict and no kept state contains the actor (`traces_of`). The state is that of a
run which never received the actor. Only if the log no longer reaches back far enough, the actor is scrubbed from a
state instead (`shard_erasure`). The Erasure row stays, with a keyed hash and counts. Later events of the actor are
new events of an actor never seen before. This includes an old event that is sent again, because the ids of the
actor's events are forgotten too.

If the worker is killed before the commit, nothing has changed, and the next worker begins again. The worker holds the
lock HISTORY exclusively. So no revert, preview or rebuild folds a log while its rows are removed.
"""

import logging
import time
from typing import Any

from django.conf import settings
from django.db import IntegrityError, connection, transaction

from recommender import ids, locks, wake_workers
from recommender.control import job_progress
from recommender.control.shard_erasure import ShardErasure, bases, traces_of
from recommender.core.checkpoint import CheckpointCorrupt
from recommender.errors import Invalid, NotFound
from recommender.learning import learner
from recommender.learning.refold import LogIncomplete
from recommender.log import event_log
from recommender.models import UNFINISHED, ErasedState, Erasure, Learner

__all__ = ["ask_for", "get", "run_next", "traces_of"]

logger = logging.getLogger(__name__)


def ask_for(*, actor_id: str) -> tuple[Erasure, bool]:
    """Ask for an actor to be erased, and return (erasure, is it new).

    An erasure of the actor that is unfinished already is returned instead. The answer is the same for an unknown
    actor, so that it does not reveal who is known. Raises Invalid.
    """
    if not ids.is_id(actor_id):
        raise Invalid(fields={"id": f"An actor's id must have 1 to {ids.MAX_ID} printable characters."})
    name_hash = ids.name_hash(actor_id)
    try:
        with transaction.atomic():
            erasure, is_new = Erasure.objects.create(actor=actor_id, actor_hash=name_hash), True
    except IntegrityError:
        erasure, is_new = Erasure.objects.get(actor_hash=name_hash, state__in=UNFINISHED), False
    transaction.on_commit(wake_workers.wake_erasures)
    return erasure, is_new


def get(*, erasure_id: int) -> Erasure:
    """Return an erasure, or raise NotFound."""
    erasure = Erasure.objects.filter(pk=erasure_id).first()
    if erasure is None:
        raise NotFound(f"There is no erasure {erasure_id}. Check its number.")
    return erasure


def run_next() -> bool:
    """Carry out the oldest unfinished erasure, and return whether there was one.

    It also returns False while another worker folds the log.
    """
    with locks.hold(locks.HISTORY) as is_alone:
        erasure = Erasure.objects.filter(state__in=UNFINISHED).order_by("id").first() if is_alone else None
        if erasure is None:
            return False
        _run(erasure)
        return True


def _run(erasure: Erasure) -> None:
    began_at = time.monotonic()
    row = learner.get_learner(event_log.shard_of(erasure.actor, settings.SHARDS))
    try:
        outcome = _work_out(erasure, row)
    except (LogIncomplete, CheckpointCorrupt) as error:
        logger.error("%s cannot be done: %s", erasure, error)
        ErasedState.objects.filter(erasure=erasure).delete()
        job_progress.finish(erasure, Erasure.State.FAILED, error=str(error), actor="")
        return
    logger.info("%s done in %.1f s: %d events", erasure, time.monotonic() - began_at, outcome["events"])
    wake_workers.wake(row.shard)


def _work_out(erasure: Erasure, row: Learner) -> dict[str, Any]:
    """Try the bases in turn, and raise LogIncomplete if the log suffices for none."""
    missing = LogIncomplete("the log reaches back to no checkpoint: ask again after the next checkpoint")
    for base in bases(row, erasure.actor):
        way = ShardErasure.on(base, row, erasure)
        try:
            return _carry_out(way, erasure)
        except LogIncomplete as error:
            missing = error
    raise missing


def _carry_out(way: ShardErasure, erasure: Erasure) -> dict[str, Any]:
    say = job_progress.begin(erasure, way.n_left(way.row.step))
    way.advance(way.row.step, say)
    while way.n_left((now := Learner.objects.get(shard=way.shard)).step) > job_progress.FEW_EVENTS:
        way.advance(now.step, say)
    n_scrubbed = way.scrub_others()
    n_archived = _erase_from_archives(erasure.actor)
    with transaction.atomic():
        with connection.cursor() as cursor:
            # one statement deletes all rows of an actor, however busy it was
            cursor.execute("SET LOCAL statement_timeout = 0")
        row = Learner.objects.select_for_update().get(shard=way.shard)
        way.row = row
        way.advance(row.step)
        removed = way.finish()
        outcome = {"is_exact": way.is_exact and not n_scrubbed, "from_step": way.checkpoint.step, **removed}
        if n_archived:
            outcome["archived"] = n_archived
        job_progress.finish(erasure, Erasure.State.DONE, outcome=outcome, actor="")
    return outcome


def _erase_from_archives(actor: str) -> int:
    """Remove the actor from the archives, and return the number of removed events.

    It does no harm when done twice.
    """
    if not settings.ARCHIVE_DIR:
        return 0
    from recommender.batch.collect import archive  # noqa: PLC0415  Polars: 40 MB that no web process needs

    return archive.erase(actor)
