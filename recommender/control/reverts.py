"""Revert learners: prepare in the background, then switch in one transaction.

    ask_for_revert ──> Revert row ──task──> run_next: a ShardRevert per shard, from its checkpoint over later steps
        live steps are taken meanwhile ──> folded too, until almost none is left
        preview: the outcome is recorded, nothing is changed
        else:    Learner rows locked ──> the last steps folded ──> Steps, verdicts, Learner rows written ──> commit

The work is done on a copy, and readers are served meanwhile. If the worker is killed before the commit, nothing has
changed, and the next worker begins again. If it is killed after the commit, the revert is done. A session's advisory
lock shows that a worker is busy. The server releases it when the worker dies.

A revert in which anything else goes wrong has failed and changed nothing. The next one goes on
(`recommender.upkeep.job_failures`).
"""

import logging
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import Sum

from recommender import locks, wake_workers
from recommender.control import job_progress
from recommender.control.shard_revert import ShardRevert
from recommender.core import state_versions
from recommender.core.checkpoint import CheckpointCorrupt
from recommender.core.state_versions import StateNewer, StateUnfit
from recommender.learning import learner, warm_pipeline
from recommender.learning.checkpoints.piece_table import PiecesGone
from recommender.learning.refold import LogIncomplete
from recommender.models import UNFINISHED, Checkpoint, Learner, Revert, Step
from recommender.publishing import published_boards
from recommender.publishing.item_catalogue import Catalogue
from recommender.publishing.publisher import add_tallies, build_boards, tally
from recommender.upkeep import job_failures

SHOWN = 20  # places compared

logger = logging.getLogger(__name__)


def run_next() -> bool:
    """Carry out the oldest revert that no worker is busy with.

    Returns False if there is none, and while a newer version learns. An older version's shards are first brought to
    this version.
    """
    if not Revert.objects.filter(state__in=UNFINISHED).exists() or not learner.claim_all():
        return False
    for revert in Revert.objects.filter(state__in=UNFINISHED).order_by("id"):
        with locks.hold(revert.pk) as is_alone, locks.hold(locks.HISTORY, is_shared=True) as is_free:
            if is_alone and is_free:
                with job_failures.contained(logger, f"revert {revert.pk}", partial(job_progress.fail, revert)):
                    _run(revert)
                return True
    return False


def _run(revert: Revert) -> None:
    revert.refresh_from_db()
    if revert.state not in UNFINISHED:
        return
    began_at = time.monotonic()
    try:
        outcome = _work_out(revert)
    except (LogIncomplete, CheckpointCorrupt, StateNewer, StateUnfit, Checkpoint.DoesNotExist) as error:
        logger.error("%s cannot be done: %s", revert, error)
        job_progress.fail(revert, str(error))
        return
    logger.info("%s done in %.1f s: %d events", revert, time.monotonic() - began_at, outcome["events"])
    for shard in Learner.objects.values_list("shard", flat=True):
        wake_workers.wake(shard)


def _work_out(revert: Revert) -> dict[str, Any]:
    began_at = time.monotonic()
    checkpoints = [Checkpoint.objects.get(pk=pk) for pk in revert.checkpoints]
    ways = [ShardRevert.begin(each, revert.mode, revert.exclusion_id) for each in checkpoints]
    rows = {row.shard: row for row in Learner.objects.filter(shard__in=[way.shard for way in ways])}
    total = sum(way.n_left(rows[way.shard].step) for way in ways)
    say = job_progress.begin(revert, total)
    for way in ways:
        if not revert.is_preview:
            way.retrace(rows[way.shard].recipe)
        way.advance(rows[way.shard].step, say)
        while way.n_left((row := Learner.objects.get(shard=way.shard)).step) > job_progress.FEW_EVENTS:
            way.advance(row.step, say)
    outcome = _describe(ways, list(rows.values())) | _describe_versions(checkpoints, revert.mode)
    outcome["took_s"] = round(time.monotonic() - began_at, 3)
    if revert.is_preview:
        job_progress.finish(revert, outcome=outcome)
        return outcome
    for is_last_try in (False, True):
        for way in ways:
            way.keep()
        try:
            _switch(revert, ways, outcome, began_at)
            break
        except PiecesGone as error:
            if is_last_try:
                raise
            logger.warning("%s stores its states again: %s", revert, error)
    return outcome


def _switch(revert: Revert, ways: Sequence[ShardRevert], outcome: dict[str, Any], began_at: float) -> None:
    """Take the last steps and switch, in one transaction.

    It completes the outcome. Raises PiecesGone.
    """
    with transaction.atomic():
        locked = {row.shard: row for row in Learner.objects.select_for_update().order_by("shard")}
        locked_at = time.monotonic()
        if any(row.fold_version > state_versions.FOLD_VERSION for row in locked.values()):
            raise StateNewer("a newer version took the learners over during the revert: ask for the revert again")
        stored = []
        for way in ways:
            way.advance(locked[way.shard].step)
            stored.append(way.switch(locked[way.shard]))
        outcome["events"] = sum(way.n_folded for way in ways)
        outcome["digests"] = [checkpoint.digest for checkpoint in stored]
        outcome["locked_s"] = round(time.monotonic() - locked_at, 3)
        outcome["took_s"] = round(time.monotonic() - began_at, 3)
        job_progress.finish(revert, outcome=outcome)


def _describe(ways: Sequence[ShardRevert], rows: Sequence[Learner]) -> dict[str, Any]:
    """Describe a revert's effect: events, quality since the checkpoint, main list.

    `_work_out` adds an upgrade that it goes back over. It also adds how long the revert took, and for how much of
    that time learning was locked out.
    """
    steps = [Step.objects.filter(shard=way.shard, number__gt=way.checkpoint.step) for way in ways]
    sums = [each.aggregate(n=Sum("n_predicted", default=0), hits=Sum("n_hits", default=0)) for each in steps]
    boards = {"before": _board_now(rows), "after": _board([way.pipeline for way in ways])}
    return {
        "events": sum(way.n_folded for way in ways),
        "excluded": sum(way.n_excluded for way in ways),
        "quality": {
            "before": _quality(sum(each["n"] for each in sums), sum(each["hits"] for each in sums)),
            "after": _quality(sum(way.n_predicted for way in ways), sum(way.n_hits for way in ways)),
        },
        "boards": boards,
        "changes": compare(
            [place["item"] for place in boards["before"]], [place["item"] for place in boards["after"]]
        ),
    }


def _describe_versions(checkpoints: Sequence[Checkpoint], mode: str) -> dict[str, Any]:
    """Describe a revert to a state of an earlier version.

    Empty if there is no such state.
    """
    version = state_versions.FOLD_VERSION
    older = [each for each in checkpoints if each.fold_version < version]
    if not older:
        return {}
    first = min(older, key=lambda each: each.fold_version)
    since = "" if mode == Revert.Mode.DROP else " The present version learned the events since then again."
    return {
        "upgrade": {
            "from_version": first.fold_version,
            "to_version": version,
            "note": f"Checkpoint {first.pk} is from before an upgrade."
            f" {state_versions.release_of(first.fold_version)} (fold version {first.fold_version}) wrote it,"
            f" and this is {state_versions.release_of(version)} (fold version {version}).{since}"
            " Lists and verdicts can differ from those of that time.",
        }
    }


def compare(before: Sequence[str], after: Sequence[str]) -> dict[str, Any]:
    """Return which items enter, leave or move, with places from 1.

    >>> compare(["a", "b"], ["b", "c"])
    {'enters': ['c'], 'leaves': ['a'], 'moves': [{'item': 'b', 'from': 2, 'to': 1}]}
    """
    was = {item: place for place, item in enumerate(before, 1)}
    now = {item: place for place, item in enumerate(after, 1)}
    return {
        "enters": [item for item in after if item not in was],
        "leaves": [item for item in before if item not in now],
        "moves": [
            {"item": item, "from": was[item], "to": place}
            for item, place in now.items()
            if item in was and was[item] != place
        ],
    }


def _board_now(rows: Sequence[Learner]) -> list[dict[str, Any]]:
    """Return the list that readers see now, or would see if the view is empty.

    The view is read first, because it costs nothing. Restoring a learner takes as long as folding the events it
    learned since its checkpoint.
    """
    board = published_boards.ViewReader(published_boards.connect()).board("")
    return _places(board) if board else _board([warm_pipeline.restore(row).pipeline for row in rows])


def _board(pipelines: Sequence[Any]) -> list[dict[str, Any]]:
    catalogue = Catalogue()
    catalogue.refresh()
    return _places(build_boards(add_tallies([tally(each, {}) for each in pipelines]), catalogue.listings, 0)[""])


def _places(board: published_boards.PublishedBoard) -> list[dict[str, Any]]:
    return [{"item": item, "score": round(board.score(place), 6)} for place, item in enumerate(board.items[:SHOWN])]


def _quality(n: int, hits: int) -> dict[str, Any]:
    return {"predictions": n, "hr20": round(hits / n, 5) if n else None}
