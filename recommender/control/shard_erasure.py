"""Erase an actor from one shard: fold its history again without the actor.

    the actor's events in the log ──> first step F ──> base: the newest checkpoint before F without a trace of it,
                                                             or nothing, where the log still holds all
    base ──fold the recorded steps, as if the log did not hold its events──> each kept checkpoint on the way, anew
    one transaction: Steps, log, verdicts, decisions, exclusions, checkpoints, Learner

So the state becomes, bit for bit, that of a run which never received the actor. The same is true of every checkpoint
that a revert may still go back to. They keep their numbers and pins. Checkpoints of other histories are dropped from
F on, and so is a row that the learner named after the fold had passed its step. If that is the active one, the
learner goes on from the newest checkpoint of the fold.

The first acts of an actor may be past retention, so that neither the log nor a checkpoint reaches back to before
them. Then the base is the oldest checkpoint that the log reaches back to, and it is *scrubbed*. `Pipeline.forget`
removes the actor's units and every row under its key. From there on the fold is exact. Two things remain inexact.
Sums over all actors keep the part that the actor added before the base. And for steps before the base, the numbers of
events no longer name the same events.

New states wait in ErasedState. So memory holds only one at a time, and a killed worker has changed nothing.

The pieces of old states lose their name with the switch. They are deleted minutes later, in an object store after
BACKUP_KEEP_DAYS (`recommender.learning.checkpoints.piece_table`).
"""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

import numpy as np
from django.db import connection, transaction
from django.db.models import F, Q

from recommender import history
from recommender.control import actor_rows
from recommender.control.shard_revert import ShardRevert
from recommender.core import actor_traces, state_versions
from recommender.core.checkpoint import CheckpointCorrupt
from recommender.core.pipeline import Config, Pipeline
from recommender.core.state_versions import StateUnfit
from recommender.learning import folded_rows
from recommender.learning.checkpoints import piece_table, state_writer, thinning
from recommender.learning.checkpoints.state_reader import load_pipeline
from recommender.learning.folded_rows import FoldedRows
from recommender.learning.refold import Folded, refold
from recommender.log import event_log
from recommender.log.event_log import Position
from recommender.models import Checkpoint, ErasedState, Erasure, EventVerdict, Learner, Step

logger = logging.getLogger(__name__)

_REPLACE = """
UPDATE recommender_checkpoint AS c
SET data = s.data, header = s.header, pieces = s.pieces, place = s.place, digest = s.digest, n_bytes = s.n_bytes,
    n_new_bytes = s.n_new_bytes, stream_ms = s.stream_ms, n_events = s.n_events,
    n_predicted = s.n_predicted, hr20 = s.hr20
FROM recommender_erasedstate AS s WHERE s.erasure_id = %s AND s.checkpoint_id = c.id
"""


@dataclass(slots=True)
class Base:
    """A state to begin the fold from.

    For a fold from nothing, `checkpoint` is one of step 0 that was never stored.
    """

    checkpoint: Checkpoint
    pipeline: Pipeline
    is_exact: bool


@dataclass(slots=True)
class ShardErasure(ShardRevert):
    """A ShardRevert over the learner's own history, without an actor.

    The caller must hold the lock HISTORY.
    """

    erasure: Erasure = field(kw_only=True)
    row: Learner = field(kw_only=True)
    is_exact: bool = field(kw_only=True)
    key: int = field(kw_only=True)
    staged: set[int] = field(default_factory=set, kw_only=True)
    taken: list[tuple[Position, int]] = field(default_factory=list, kw_only=True)
    n_decided: int = field(default=0, kw_only=True)

    @classmethod
    def on(cls, base: Base, row: Learner, erasure: Erasure) -> "ShardErasure":
        """Begin at a base, and drop the states that earlier tries left behind."""
        of_shard = Checkpoint.objects.filter(shard=row.shard)
        ErasedState.objects.filter(erasure=erasure, checkpoint_id__in=of_shard.values("id")).delete()
        way = cls(
            shard=row.shard,
            checkpoint=base.checkpoint,
            mode="",
            exclusion_id=None,
            pipeline=base.pipeline,
            at_step=base.checkpoint.step,
            rows=FoldedRows(row.shard, base.checkpoint.step),
            erasure=erasure,
            row=row,
            is_exact=base.is_exact,
            key=base.pipeline.encoder.key(erasure.actor),
        )
        if not base.is_exact:
            base.pipeline.forget(way.key)
            way._stage(base.checkpoint.pk, base.pipeline)
        return way

    def recipe(self, at_step: int) -> history.Recipe:  # noqa: ARG002
        """Return the learner's own history, for that is what is folded again."""
        own: history.Recipe = self.row.recipe
        return own

    def advance(
        self, to_step: int, on_events: Callable[[int], None] | None = None, *, is_staging: bool = True
    ) -> None:
        """Fold up to a step, and stage the new state of each kept checkpoint.

        Raises LogIncomplete.

        is_staging: False while the Learner row is locked, because sending pieces may take seconds. Then `finish`
        drops the checkpoints on the way.
        """

        def note(folded: Folded) -> None:
            n_events = folded.step.n_events
            folded.step.n_events, folded.step.stream_ms = folded.n_events, self.pipeline.stream_ms
            self._note(folded)
            if on_events:
                on_events(n_events)

        on_the_way = _by_step(self.row, self.at_step, to_step) if is_staging else {}
        for step in [*sorted(on_the_way), to_step]:
            recipe = self.row.recipe
            refold(self.pipeline, self.shard, recipe, self.at_step, step, note, erased=self.erasure.actor)
            self.at_step = step
            if step in on_the_way and on_the_way[step] not in self.staged:
                self._stage(on_the_way[step], self.pipeline)

    def keep_if_needed(self) -> None:
        """Keep the present state if the learner could go on from no checkpoint.

        The caller must hold no lock. Raises StoreUnavailable.
        """
        if self._newest_folded() is None:
            self.keep()

    def scrub_others(self) -> int:
        """Scrub the actor from the checkpoints up to the base that still contain it.

        Returns their number.
        """
        n = 0
        others = Checkpoint.objects.filter(shard=self.shard, step__lte=self.checkpoint.step)
        for number in others.exclude(pk__in=self.staged).order_by("id").values_list("pk", flat=True):
            row = Checkpoint.objects.filter(pk=number).first()
            if row is None:
                continue
            pipeline = load_pipeline(row)
            if _knows(pipeline, self.erasure.actor):
                pipeline.forget(pipeline.encoder.key(self.erasure.actor))
                self._stage(number, pipeline)
                n += 1
        return n

    def prepare(self) -> None:
        """Remove the actor from decisions and steps, while the log still has its events.

        It runs in the caller's transaction, before `finish`. `row` must be locked and at `at_step`.
        """
        self.taken = event_log.actor_steps(self.erasure.actor, self.shard)
        self.n_decided = actor_rows.take_out_of_decisions(self.shard, [position for position, _ in self.taken])
        self._shrink_steps(self.taken)

    def finish(self, positions: list[Position]) -> dict[str, int]:
        """Remove the actor from the learner, and return the number of removed rows.

        The caller has deleted the actor's events, because writing verdicts reads the log. Raises PiecesGone if no
        state is left for the learner to go on from. Then the erasure must begin again.

        positions: of the deleted events.
        """
        first = min((number for _, number in self.taken), default=None)
        theirs = EventVerdict.objects.filter(shard=self.shard, seq__in=[each.seq for each in positions])
        n_verdicts = theirs.delete()[0]
        self.rows.write_verdicts()
        n_exclusions = actor_rows.take_out_of_exclusions(self.key)
        clean = self._clean(first)
        clean.add(self._choose_checkpoint(clean))
        n_dropped = self._drop_checkpoints(clean)
        with connection.cursor() as cursor:
            cursor.execute(_REPLACE, [self.erasure.pk])
            n_rewritten = cursor.rowcount
        ErasedState.objects.filter(erasure=self.erasure).delete()
        recipe = self._note_versions()
        Learner.objects.filter(shard=self.shard).update(
            stream_ms=self.pipeline.stream_ms,
            recipe=recipe,
            n_reverts=F("n_reverts") + 1,
            fold_version=state_versions.FOLD_VERSION,
        )
        return {
            "learned": len(self.taken),
            "verdicts": n_verdicts,
            "decided": self.n_decided,
            "exclusions": n_exclusions,
            "checkpoints_rewritten": n_rewritten,
            "checkpoints_dropped": n_dropped,
        }

    def _note_versions(self) -> history.Recipe:
        """Note that this version wrote the new states and folded the steps after the base.

        Returns the learner's recipe.
        """
        version = state_versions.FOLD_VERSION
        recipe = history.relearned(self.row.recipe, self.checkpoint.step, version)
        rewritten = Checkpoint.objects.filter(pk__in=self.staged)
        rewritten.update(fold_version=version)
        if recipe != self.row.recipe:
            for number, step in rewritten.filter(step__gt=self.checkpoint.step).values_list("pk", "step"):
                Checkpoint.objects.filter(pk=number).update(recipe=history.closed(recipe, step))
        return recipe

    def _stage(self, checkpoint_id: int, pipeline: Pipeline) -> None:
        kept = state_writer.keep(pipeline)
        with transaction.atomic():
            piece_table.name(kept["place"], kept["pieces"])
            ErasedState.objects.create(erasure=self.erasure, checkpoint_id=checkpoint_id, **kept)
        self.staged.add(checkpoint_id)

    def _shrink_steps(self, taken: list[tuple[Position, int]]) -> None:
        """Update each Step to the events that the log will still have of it.

        Steps that were not folded again only lose the actor's events.
        """
        self.rows.write_steps()
        by_step = Counter(number for _, number in taken if number not in self.rows.steps)
        gone = {position.seq for position, _ in taken}
        others = list(Step.objects.filter(shard=self.shard, number__in=list(by_step)))
        for step in others:
            if step.excluded:
                stays = [seq not in gone for seq in event_log.read_step(step).seq.tolist()]
                place = np.cumsum(stays) - 1
                step.excluded = [int(place[row]) for row in step.excluded if stays[row]] or None
            step.n_events -= by_step[step.number]
        Step.objects.bulk_update(others, ("n_events", "excluded"), batch_size=folded_rows.BATCH)

    def _clean(self, first: int | None) -> set[int]:
        """Return the checkpoints without the actor, and those with a staged state.

        first: the first step with an event of the actor. None: there is none.
        """
        since = first if self.is_exact else self.checkpoint.step + 1
        of_shard = Checkpoint.objects.filter(shard=self.shard)
        before = of_shard if since is None else of_shard.filter(step__lt=since)
        return {*self.staged, *before.values_list("pk", flat=True)}

    def _choose_checkpoint(self, clean: Collection[int]) -> int:
        """Return the learner's checkpoint, and first replace one that is not clean.

        A learner names a state some time after it took it. The fold may have passed that step in between, so it never
        staged the row. The learner can go on from any state that was folded, because the log has the steps since.
        """
        active = self.row.checkpoint_id
        if active in clean:
            assert active is not None  # every learner has one
            return active
        chosen = self._newest_folded()
        if chosen is None:
            stored = self.name_kept()
            stored.recipe = history.closed(self.row.recipe, stored.step)  # that of a row with this state may differ
            stored.save(update_fields=["recipe"])
            self.staged.add(stored.pk)
            chosen = stored.pk
        Learner.objects.filter(shard=self.shard).update(checkpoint=chosen)
        logger.info("shard %d goes on from checkpoint %d: %s was named meanwhile", self.shard, chosen, active)
        return chosen

    def _newest_folded(self) -> int | None:
        """Return the newest checkpoint that this fold staged, or else its base.

        None if thinning dropped them all, or the base was never stored. It locks the rows in a transaction.
        """
        since = Q(pk=self.checkpoint.pk) | Q(pk__in=self.staged, step__gt=self.checkpoint.step)
        rows = Checkpoint.objects.filter(since, shard=self.shard).order_by("-step", "-id")
        if connection.in_atomic_block:
            rows = rows.select_for_update()
        for number, step, recipe in rows.values_list("pk", "step", "recipe"):
            if history.begins_with(self.row.recipe, recipe, step):
                return int(number)
        return None

    def _drop_checkpoints(self, kept: Collection[int]) -> int:
        """Drop the other checkpoints, which contain the actor."""
        parents = dict(Checkpoint.objects.filter(shard=self.shard).values_list("pk", "parent_id"))
        return thinning.drop_checkpoints(parents, kept)


def bases(row: Learner, actor: str) -> Iterator[Base]:
    """Yield the states that the fold could begin from, best first.

    Exact ones come first: the newest checkpoint that never saw the actor, and older ones, then nothing. Scrubbed ones
    follow, beginning with the oldest checkpoint that the log reaches back to. The caller tries each until the log
    suffices.
    """
    steps = [number for _, number in event_log.actor_steps(actor, row.shard)]
    before = min(steps) - 1 if steps else row.step
    active = row.checkpoint
    assert active is not None  # every learner has one
    pipeline = load_pipeline(active)
    config = pipeline.config
    if steps or _knows(pipeline, actor):
        candidates = sorted(_by_step(row, -1, before).items(), reverse=True)
    else:  # it may have appeared in steps that no checkpoint holds yet
        candidates = [(active.step, active.pk)]
    for _, number in candidates:
        base = _load(number, config)
        if base and _reaches(row, base.checkpoint.step) and not _knows(base.pipeline, actor):
            yield base
    first = Step.objects.filter(shard=row.shard, number=1, first_ordinal=0).first()
    if first and _reaches(row, 0):
        yield Base(Checkpoint(shard=row.shard, step=0, xid=0, seq=0), Pipeline(config), is_exact=True)
    for _, number in sorted(_by_step(row, -1, row.step).items()):
        base = _load(number, config)
        if base and _reaches(row, base.checkpoint.step):
            base.is_exact = False
            yield base


def _knows(pipeline: Pipeline, actor: str) -> bool:
    return actor_traces.count(pipeline.views(), pipeline.encoder.key(actor)) > 0


def _by_step(row: Learner, after_step: int, to_step: int) -> dict[int, int]:
    """Return the kept checkpoints of the learner's history, by step.

    If two are of one step, the active one counts, or else the newest.
    """
    found: dict[int, int] = {}
    between = Checkpoint.objects.filter(shard=row.shard, step__gt=after_step, step__lte=to_step)
    for number, step, recipe in between.order_by("step", "id").values_list("pk", "step", "recipe"):
        if history.begins_with(row.recipe, recipe, step) and found.get(step) != row.checkpoint_id:
            found[step] = number
    return found


def _load(number: int, config: Config) -> Base | None:
    checkpoint = Checkpoint.objects.filter(pk=number).first()
    if checkpoint is None:
        return None
    try:
        pipeline = load_pipeline(checkpoint)
    except (CheckpointCorrupt, StateUnfit) as error:
        logger.warning("%s cannot be read, the fold begins at another one: %s", checkpoint, error)
        return None
    return Base(checkpoint, pipeline, is_exact=True) if pipeline.config == config else None


def _reaches(row: Learner, step: int) -> bool:
    """Return whether the log still has the first step of the history after `step`."""
    since = history.segments(row.recipe, step, row.step)
    if not since:
        return True
    following = Step.objects.filter(shard=row.shard, number=since[0].first).first()
    return following is not None and len(event_log.read_step(following)) == following.n_events
