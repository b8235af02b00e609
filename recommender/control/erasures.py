"""Erase an actor: prepare in the background, then switch in one transaction.

    ask_for ──> Erasure row ──task──> run_next: a ShardErasure from before the actor's first event, over later steps
        live steps are taken meanwhile ──> folded too, until almost none is left
        Learner row locked ──> the last steps ──> log, steps, verdicts, checkpoints, Learner ──> commit

Afterwards no row of the log, no verdict and no kept state contains the actor (`traces_of`). The state is that of a
run which never received the actor. Only if the log no longer reaches back far enough, the actor is scrubbed from a
state instead (`shard_erasure`). The Erasure row stays, with a keyed hash and counts. Later events of the actor are
new events of an actor never seen before. This includes an old event that is sent again, because the ids of the
actor's events are forgotten too.

An actor that acted before buckets were keyed may be in two shards (recommender.log.buckets). Then both are prepared,
one after the other, and both switch in the one transaction.

If the worker is killed before the commit, nothing has changed, and the next worker begins again. The worker holds the
lock HISTORY exclusively. So no revert, preview or rebuild folds a log while its rows are removed.

An erasure in which anything else goes wrong has failed and changed nothing, and the next one goes on
(`recommender.upkeep.job_failures`). Someone has a right to it. So it keeps the actor's id, warns until it is made
good, and can be tried again (`retry`).
"""

import logging
import re
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from django.conf import settings
from django.db import IntegrityError, connection, transaction

from recommender import ids, locks, wake_workers
from recommender.control import job_progress
from recommender.control.actor_rows import traces_of
from recommender.control.shard_erasure import ShardErasure, bases
from recommender.core import state_versions
from recommender.core.checkpoint import CheckpointCorrupt
from recommender.core.state_versions import StateNewer, StateUnfit
from recommender.errors import Conflict, Invalid, NotFound
from recommender.learning import learner
from recommender.learning.checkpoints.piece_table import PiecesGone
from recommender.learning.refold import LogIncomplete
from recommender.log import event_log
from recommender.models import UNFINISHED, ErasedState, Erasure, Learner
from recommender.upkeep import job_failures

__all__ = ["ask_for", "get", "retry", "run_next", "traces_of"]

logger = logging.getLogger(__name__)


def ask_for(*, actor_id: str) -> tuple[Erasure, bool]:
    """Ask for an actor to be erased, and return (erasure, is it new).

    An erasure of the actor that is unfinished already is returned instead, and a failed one is tried again. The
    answer is the same for an unknown actor, so that it does not reveal who is known. Raises Invalid.
    """
    if not ids.is_id(actor_id):
        raise Invalid(fields={"id": f"An actor's id must have 1 to {ids.MAX_ID} printable characters."})
    of_actor = Erasure.objects.filter(actor_hash__in=ids.name_hashes(actor_id))
    unfinished = of_actor.filter(state__in=UNFINISHED)
    erasure, is_new = unfinished.first(), False
    if erasure is None:
        failed = of_actor.filter(state=Erasure.State.FAILED, actor=actor_id).order_by("-id").first()
        try:
            with transaction.atomic():
                made = _queue_again(failed) if failed else None
                made = made or Erasure.objects.create(actor=actor_id, actor_hash=ids.name_hash(actor_id))
            erasure, is_new = made, True
        except IntegrityError:  # another request was first
            erasure = unfinished.get()
    transaction.on_commit(wake_workers.wake_erasures)
    return erasure, is_new


def retry(*, erasure_id: int) -> Erasure:
    """Queue a failed erasure again. Raises NotFound, Conflict."""
    erasure = get(erasure_id=erasure_id)
    if erasure.state != Erasure.State.FAILED:
        raise Conflict(f"Erasure {erasure_id} is {erasure.state}. You can try only a failed one again.")
    if not erasure.actor:
        raise Conflict(
            f"Erasure {erasure_id} no longer names its actor. Ask for the erasure again, with the actor's id."
        )
    try:
        with transaction.atomic():
            again = _queue_again(erasure)
    except IntegrityError:
        again = None
    if again is None:
        raise Conflict(f"Another erasure of the actor of erasure {erasure_id} is under way.")
    transaction.on_commit(wake_workers.wake_erasures)
    return again


def _queue_again(failed: Erasure) -> Erasure | None:
    """Queue a failed erasure, and return its row.

    Returns None if another process was first. Raises IntegrityError if another erasure of the actor is unfinished.
    """
    queued = {"state": Erasure.State.QUEUED, "error": "", "finished_at": None, "n_done": 0, "n_total": 0}
    row = Erasure.objects.filter(pk=failed.pk, state=Erasure.State.FAILED)
    if not row.update(actor_hash=ids.name_hash(failed.actor), **queued):
        return None
    return Erasure.objects.get(pk=failed.pk)


def get(*, erasure_id: int) -> Erasure:
    """Return an erasure, or raise NotFound."""
    erasure = Erasure.objects.filter(pk=erasure_id).first()
    if erasure is None:
        raise NotFound(f"There is no erasure {erasure_id}. Check its number.")
    return erasure


def run_next() -> bool:
    """Carry out the oldest unfinished erasure, and return whether there was one.

    It also returns False while another worker folds the log, and while a newer version learns. An older version's
    shards are first brought to this version.
    """
    if not Erasure.objects.filter(state__in=UNFINISHED).exists() or not learner.claim_all():
        return False
    with locks.hold(locks.HISTORY) as is_alone:
        erasure = Erasure.objects.filter(state__in=UNFINISHED).order_by("id").first() if is_alone else None
        if erasure is None:
            return False
        with job_failures.contained(logger, f"erasure {erasure.pk}", partial(_fail, erasure)):
            _run(erasure)
        return True


def _run(erasure: Erasure) -> None:
    began_at = time.monotonic()
    rows = [learner.get_learner(shard) for shard in event_log.shards_of(erasure.actor, settings.SHARDS)]
    try:
        try:
            outcome = _switch([_prepare(erasure, row) for row in rows], erasure)
        except PiecesGone as error:
            logger.warning("%s begins again: %s", erasure, error)
            outcome = _switch([_prepare(erasure, row) for row in rows], erasure)
    except (LogIncomplete, CheckpointCorrupt, StateNewer, StateUnfit) as error:
        logger.error("%s cannot be done: %s", erasure, error)
        _fail(erasure, str(error))
        return
    logger.info("%s done in %.1f s: %d events", erasure, time.monotonic() - began_at, outcome["events"])
    for row in rows:
        wake_workers.wake(row.shard)


def _fail(erasure: Erasure, error: str) -> None:
    """Record the failure without the actor's id, because many people read it."""
    ErasedState.objects.filter(erasure=erasure).delete()
    job_progress.fail(erasure, re.sub(ids.mention_of(erasure.actor), "(the actor)", error))


def _forget_failed(actor: str) -> None:
    """Remove the actor from its failed erasures, which this one made good."""
    failed = Erasure.objects.filter(actor_hash__in=ids.name_hashes(actor), state=Erasure.State.FAILED)
    failed.update(actor="", actor_hash=ids.name_hash(actor))


def _prepare(erasure: Erasure, row: Learner) -> ShardErasure:
    """Fold a shard's history without the actor, until almost none of it is left.

    It tries the bases in turn, and raises LogIncomplete if the log suffices for none.
    """
    missing = LogIncomplete("the log reaches back to no checkpoint: ask again after the next checkpoint")
    for base in bases(row, erasure.actor):
        way = ShardErasure.on(base, row, erasure)
        try:
            say = job_progress.begin(erasure, way.n_left(row.step))
            way.advance(row.step, say)
            _catch_up(way, say)
        except LogIncomplete as error:
            missing = error
        else:
            return way
    raise missing


def _catch_up(way: ShardErasure, say: Callable[[int], None] | None = None) -> None:
    """Fold what the learner learned meanwhile, until almost none of it is left."""
    while way.n_left((now := Learner.objects.get(shard=way.shard)).step) > job_progress.FEW_EVENTS:
        way.advance(now.step, say)


def _switch(ways: list[ShardErasure], erasure: Erasure) -> dict[str, Any]:
    """Take the last steps and switch, in one transaction. Returns the outcome."""
    n_scrubbed = sum(way.scrub_others() for way in ways)
    n_archived = _erase_from_archives(erasure.actor)
    for way in ways:
        way.advance(Learner.objects.get(shard=way.shard).step)  # the learner went on meanwhile
        _catch_up(way)
        way.keep_if_needed()
    with transaction.atomic():
        with connection.cursor() as cursor:
            # one statement deletes all rows of an actor, however busy it was
            cursor.execute("SET LOCAL statement_timeout = 0")
        shards = [way.shard for way in ways]
        rows = Learner.objects.select_for_update().filter(shard__in=shards).order_by("shard").in_bulk()
        if any(row.fold_version > state_versions.FOLD_VERSION for row in rows.values()):
            raise StateNewer("a newer version took the learner over during the erasure: ask for it again")
        for way in ways:
            way.row = rows[way.shard]
            way.advance(way.row.step, is_staging=False)
            way.prepare()
        positions = event_log.erase(erasure.actor)
        removed = Counter[str]()
        for way in ways:
            removed.update(way.finish(positions))
        outcome = {
            "is_exact": all(way.is_exact for way in ways) and not n_scrubbed,
            "from_step": ways[0].checkpoint.step,
            "events": len(positions),
            **removed,
        }
        if n_archived:
            outcome["archived"] = n_archived
        job_progress.finish(erasure, outcome=outcome, actor="")
        _forget_failed(erasure.actor)
    return outcome


def _erase_from_archives(actor: str) -> int:
    """Remove the actor from the archives, and return the number of removed events.

    It does no harm when done twice.
    """
    if not settings.ARCHIVE_DIR:
        return 0
    from recommender.batch.collect import archive  # noqa: PLC0415  Polars: 40 MB that no web process needs

    return archive.erase(actor)
