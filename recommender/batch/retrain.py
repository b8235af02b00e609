"""Run the batch cycle: collect, merge, train, test, and keep the winner ready.

    archives, files, the log ──merge──> Journal ──challenger_trial──> Report ──┬── no winner ──────────> Trial row
        of a winner: the recorded log, folded again under its Config <─────────┘──> checkpoints, one a shard ──> Trial

A winner is not stored as fitted weights. It is stored as a fold of the log that the learner itself took, step by
step, with its reverts, exclusions and decisions. So it is a checkpoint like any other. The switch to it is a revert
in mode replay (`recommender.control.reverts`), which folds in the events learned since.
`monitoring.operations.request_revert.promote` asks for the switch and records it. If the log no longer reaches back
to the first step, the fold begins with the oldest complete step.

The winner's history has an exclusion of no one in every segment, and so differs from the champion's. Thus neither
history can be taken for a part of the other, and their figures, verdicts and checkpoints are never mixed.
"""

import logging
import resource
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.db import transaction

from recommender import history, locks
from recommender.batch import challenger_trial
from recommender.batch.challenger_trial import Report
from recommender.batch.challengers import challengers
from recommender.batch.collect import archive, open_logs
from recommender.batch.collect.event_sources import LogRows, RowSource
from recommender.batch.collect.merge_logs import Journal, mute
from recommender.core import state_versions
from recommender.core.decisions import ExclusionRule
from recommender.core.pipeline import Config, Pipeline
from recommender.history import Recipe
from recommender.learning import pipeline_settings
from recommender.learning.checkpoints import state_writer
from recommender.learning.checkpoints.state_reader import load_pipeline
from recommender.learning.refold import LogIncomplete, get_exclusion, refold
from recommender.log.event_log import Position
from recommender.log.partitions import partitions
from recommender.models import Checkpoint, Learner, Step, Trial
from recommender.models import Exclusion as ExclusionRow

SLACK = timedelta(minutes=5)  # past a partition's beginning, when rows of the day before may still arrive
MERGE_SHARE = 0.5  # of the memory, which nothing else needs at that point
IMPORTS_MB = 200  # of River, PyOD and compiled loops, which the first steps load

logger = logging.getLogger(__name__)
Wanted = Sequence[tuple[str, Sequence[Any]]]


class RetrainUnderWay(Exception):
    """Another process holds a trial."""


def champion() -> Config:
    """Return the learner's Config, or that of a new learner if there is none."""
    row = Learner.objects.select_related("checkpoint").order_by("shard").first()
    if row is None or row.checkpoint is None:
        return pipeline_settings.configured()
    return load_pipeline(row.checkpoint).config


def sources(paths: Sequence[Path], since: datetime | None) -> list[RowSource]:
    """Return the sources, old ones first: archives, the named files, the log.

    Raises LogFileError.
    """
    since_s = since.timestamp() if since else None
    kept = [path for path in archive.files() if since is None or archive.day_of(path) >= since.astimezone(UTC).date()]
    return [*open_logs.files([*kept, *paths], since_s=since_s), LogRows(since)]


def retrain(
    paths: Sequence[Path] = (),
    *,
    since: datetime | None = None,
    wanted: Wanted = (),
    margin: float,
    memory_mb: int,
    is_kept: bool = True,
    folder: Path | None = None,
    with_yardstick: bool = True,
    say: Callable[[str, int], None] | None = None,
) -> tuple[Report, Trial]:
    """Hold a trial and record it, and prepare the state of a winner.

    Raises RetrainUnderWay, LogFileError, and ValueError for too few events or an unknown setting.

    memory_mb: memory for the whole process. The journal, the frames and all Pipelines fit in it, if it is more than
    IMPORTS_MB and the memory already in use.
    is_kept: prepare the winner's state.
    """
    tell = say or mute
    with locks.hold(locks.RETRAIN) as is_alone:
        if not is_alone:
            raise RetrainUnderWay("another trial is under way: wait until it finishes")
        config = champion()
        entrants = challengers(config, wanted)
        spare = spare_bytes(memory_mb)
        with open_logs.journal_of(
            sources(paths, since), n_bytes=int(MERGE_SHARE * spare), folder=folder, say=say
        ) as journal:
            report = challenger_trial.hold(
                _narrowed(journal, memory_mb),
                config,
                entrants,
                margin=margin,
                n_bytes=max(0, spare - (IMPORTS_MB << 20)),
                with_yardstick=with_yardstick,
                on_progress=lambda n: tell("trial", n),
            )
        return report, keep(report, entrants, is_kept=is_kept)


def keep(report: Report, entrants: Mapping[str, Config], *, is_kept: bool) -> Trial:
    """Record a trial with the winner's checkpoints.

    They replace those of an earlier winner that still waits.
    """
    rows: list[Checkpoint] = []
    state, error = Trial.State.STAYS, ""
    if report.winner is not None:
        state = Trial.State.TOLD
        if is_kept:
            try:
                rows = ready(replace(entrants[report.winner], secret=champion().secret))
                state = Trial.State.WAITING
            except LogIncomplete as cause:
                error = str(cause)
    with transaction.atomic():
        if rows:
            dismiss_waiting()
        return Trial.objects.create(
            state=state,
            winner=report.winner or "",
            report=report.as_json() | ({"error": error} if error else {}),
            config=asdict(replace(entrants[report.winner], secret="")) if report.winner else {},
            checkpoints=[row.pk for row in rows],
        )


def dismiss_waiting() -> None:
    """Give up winners that were never promoted, in the caller's transaction."""
    waiting = list(Trial.objects.select_for_update().filter(state=Trial.State.WAITING))
    for each in waiting:
        Checkpoint.objects.filter(pk__in=each.checkpoints).update(is_pinned=False)
    Trial.objects.filter(pk__in=[each.pk for each in waiting]).update(state=Trial.State.SUPERSEDED)


def ready(config: Config) -> list[Checkpoint]:
    """Return a checkpoint for each shard, made by a learner with this Config.

    Each is the recorded log, folded under this Config. They are in the order of shards, and pinned until someone
    decides on them. Raises LogIncomplete.
    """
    kept = []
    with locks.hold(locks.HISTORY, is_shared=True) as is_free:
        if not is_free:
            raise LogIncomplete("an actor is being erased from the log: hold the trial again when that is done")
        for row in Learner.objects.order_by("shard"):
            if row.fold_version != state_versions.FOLD_VERSION:
                raise LogIncomplete(
                    f"shard {row.shard} is learned by another version: hold the trial again after the upgrade"
                )
            pipeline, recipe = _fold(config, row)
            position = Position(row.xid, row.seq)
            columns = state_writer.keep(pipeline)
            with transaction.atomic():
                stored = state_writer.name_checkpoint(columns, row.shard, row.step, position, recipe, None)
                Checkpoint.objects.filter(pk=stored.pk).update(is_pinned=True)
            kept.append(stored)
    if not kept:
        raise LogIncomplete("nothing was learned here yet: hold the trial again when a learner has run")
    return kept


def _fold(config: Config, row: Learner) -> tuple[Pipeline, Recipe]:
    """Fold from the first step, or from the oldest complete one if the log lacks it."""
    firsts = [1, *filter(None, [_oldest_whole(row.shard)])]
    missing = LogIncomplete("no step is still recorded, so the winner's state cannot be folded")
    for first in firsts:
        recipe, pipeline = marked(row.recipe, first), Pipeline(config)
        try:
            refold(pipeline, row.shard, recipe, 0, row.step)
        except LogIncomplete as error:
            missing = error
            continue
        return pipeline, recipe
    raise missing


def _oldest_whole(shard: int) -> int | None:
    """Return the first recorded step whose events are all in existing partitions."""
    days = partitions()
    if not days:
        return None
    since = datetime(days[0].year, days[0].month, days[0].day, tzinfo=UTC) + SLACK
    before = Step.objects.filter(shard=shard, stream_ms__gte=int(1000 * since.timestamp()))
    number = before.order_by("number").values_list("number", flat=True).first()
    return None if number is None else number + 1


def marked(recipe: Recipe, first: int) -> Recipe:
    """Return the history from a step on, with copies of its exclusions.

    The copies exclude the same events. The module's docstring explains their purpose.
    """
    copies: dict[int | None, int] = {}
    kept: Recipe = []
    for start, last, number, *_ in history.relearned(recipe, 0, state_versions.FOLD_VERSION):
        assert start is not None
        if last is not None and last < first:
            continue
        if number not in copies:
            rule = (get_exclusion(number) or ExclusionRule()).state()
            copies[number] = ExclusionRow.objects.create(rule=rule).pk
        kept.append([max(start, first), last, copies[number]])
    return history.relearned(kept, 0, state_versions.FOLD_VERSION)


def spare_bytes(memory_mb: int) -> int:
    """Return the bytes that the process may still take.

    It is at least an eighth of `memory_mb`.
    """
    return max(memory_mb << 17, (memory_mb << 20) - resident_bytes())


def resident_bytes() -> int:
    """Return the memory that the process uses now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def peak_bytes() -> int:
    """Return the most memory that the process ever used."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _narrowed(journal: Journal, memory_mb: int) -> Journal:
    """Return the journal with smaller pieces.

    The Pipelines now need the memory.
    """
    return replace(journal, chunk=min(journal.chunk, max(2000, memory_mb * 32)))
