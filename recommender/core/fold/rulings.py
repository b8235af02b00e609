"""Carry out what people decided about events, at the stream time of a step."""

from dataclasses import replace

import numpy as np

from recommender.core.decisions import DecidedEvents
from recommender.core.fold.held_events import together
from recommender.core.fold.pipeline_state import PipelineState
from recommender.core.fold.removals import take_out
from recommender.core.fold.step_result import NO_STEP, Revised, StepResult
from recommender.core.screen.holding_queue import as_events
from recommender.core.screen.screen import CONFIRMED, admitted
from recommender.core.vocabulary import ADMIT, QUARANTINE, Ruling


def carry_out(state: PipelineState, decision: DecidedEvents) -> StepResult:
    """Carry out a decision at stream time, see `Ruling`."""
    events, pairs = decision.events, set(decision.pairs())
    held = state.holding.columns
    is_held = np.fromiter(
        (pair in pairs for pair in zip(held["actor"].tolist(), held["item"].tolist(), strict=True)),
        np.bool_,
        count=len(state.holding),
    )
    taken, names = state.holding.take(is_held)
    if decision.ruling != Ruling.RELEASE:
        n_retracted = take_out(state, events.actor, events.item)
        is_confirmed = decision.ruling == Ruling.CONFIRM
        if is_confirmed:
            state.screen.features.expose(events.actor, state.stream_ms)
        revised = Revised.all(taken["ordinal"], QUARANTINE, CONFIRMED if is_confirmed else 0)
        return replace(NO_STEP, revised=revised, n_retracted=n_retracted)
    state.screen.pardon(events.actor, events.item)
    state.trend.reinstate(events.actor, events.item)
    was_held = set(zip(taken["actor"].tolist(), taken["item"].tolist(), strict=True))
    others = [row for row, pair in enumerate(decision.pairs()) if pair not in was_held]
    rest = events.take(np.array(others, np.int64))
    late = together(as_events(taken), state.weights.weigh(rest, admitted(len(rest)))[0])
    nothing_shown = state.evaluation.shown(state.trend.leaders()[:0], len(late.item))
    _, units = state.trend.learn(late, nothing_shown, [*names, *rest.item_names])
    state.affinity.learn(late.actor, late.item, units)
    revised = Revised.all(taken["ordinal"], ADMIT, 0)
    return replace(NO_STEP, revised=revised, n_released=len(late.item))
