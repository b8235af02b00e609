"""Find the actors who most likely spoilt a list.

A reviewer finds them preselected next to a proposed checkpoint.

    events since the checkpoint ──> held or quarantined (EventVerdict): their actors ─────────────────┐
    units since the checkpoint  ──> on items that rose into the list since, if nearly all the weight  ├──> Exclusion
                                    behind them is from actors with little trust: those actors ───────┘

This is a guess, and a person must check it: a news story that breaks has new readers behind it as well. The present
state of the list is the learner's last one. It is restored next to the live one, and nothing is changed.
"""

from dataclasses import dataclass

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from recommender.core import decisions
from recommender.core.health_figures import LOW_WEIGHT
from recommender.core.pipeline import Pipeline
from recommender.core.trend.trend_columns import PLACES
from recommender.core.trust import WEIGHT_ONE
from recommender.core.vocabulary import Verdict
from recommender.learning import warm_pipeline
from recommender.learning.checkpoints.state_reader import load_pipeline
from recommender.learning.refold import encode
from recommender.log import event_log
from recommender.log.event_log import Position
from recommender.models import Checkpoint, EventVerdict, Learner

MAX_EVENTS = 200_000  # events that are read
MAX_ACTORS = 20_000
CARRIED = 0.8  # of an item's weight since the checkpoint


@dataclass(frozen=True, slots=True)
class Suspects:
    """An exclusion of n_actors, who made n_events of the n_since events read.

    n_items: items that rose by such actors.
    """

    exclusion: decisions.ExclusionRule
    n_actors: int
    n_events: int
    n_since: int
    n_items: int


def since(*, shard: int, checkpoint_id: int) -> Suspects:
    """Find the suspects in the events after a checkpoint, at most MAX_EVENTS.

    It takes 5 us an event, and the time of a restore.
    """
    row, checkpoint = Learner.objects.get(shard=shard), Checkpoint.objects.get(pk=checkpoint_id)
    now = warm_pipeline.restore(row).pipeline
    risen = _risen(now, load_pipeline(checkpoint), checkpoint.stream_ms)
    events = event_log.read(
        after=Position(checkpoint.xid, checkpoint.seq),
        until=Position(row.xid, row.seq),
        since_ms=checkpoint.stream_ms,
        limit=MAX_EVENTS,
        shard=shard,
        shards=settings.SHARDS,
    )
    batch = encode(now, events)
    actors = batch.actor
    is_behind = np.isin(batch.item, risen) & (weights_of(now, actors) < LOW_WEIGHT)
    stopped = EventVerdict.objects.filter(shard=shard, step__gt=checkpoint.step)
    seqs = stopped.exclude(verdict=Verdict.ADMIT).values_list("seq", flat=True)
    is_stopped = np.isin(events.seq, np.fromiter(seqs[:MAX_EVENTS], np.int64))
    chosen, n_acts = np.unique(actors[is_stopped | is_behind], return_counts=True)
    chosen = np.sort(chosen[np.argsort(-n_acts, kind="stable")][:MAX_ACTORS])
    n_events = int(np.isin(actors, chosen).sum())
    return Suspects(decisions.ExclusionRule(actors=chosen), len(chosen), n_events, len(events), len(risen))


def _risen(now: Pipeline, before: Pipeline, since_ms: int) -> NDArray[np.uint64]:
    """Return the keys of items that entered the list by actors with little trust.

    Such actors have at least CARRIED of the item's weight since the checkpoint.
    """
    pairs = now.trend.pairs
    is_since = (pairs["at_ms"] > since_ms) & (pairs["weight"] > 0)  # an undone or removed unit carries nothing
    item, weight = pairs["item"][is_since], pairs["weight"][is_since]
    risen = []
    for key in np.setdiff1d(now.trend.leaders()[:PLACES], before.trend.leaders()[:PLACES]):
        weights = weight[item == key]
        if weights.sum() and weights[weights < LOW_WEIGHT].sum() >= CARRIED * weights.sum():
            risen.append(key)
    return np.array(risen, np.uint64)


def weights_of(pipeline: Pipeline, actors: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the weights of acts of these actors by their trust, in WEIGHT_ONE.

    Unknown actors have the floor.
    """
    rules, known = pipeline.config.trust.rules(), pipeline.trend.actors
    keys = known.keys[: len(known)]
    order = np.argsort(keys)
    places = np.minimum(np.searchsorted(keys, actors, sorter=order), max(0, len(keys) - 1))
    if not len(keys):
        return np.full(len(actors), rules.floor, np.int64)
    rows = order[places]
    earned = np.where(keys[rows] == actors, known["earned"][rows], 0).astype(np.int64)
    return rules.floor + (WEIGHT_ONE - rules.floor) * np.minimum(earned, rules.full) // rules.full
