"""Begin and end the holds of events.

    hold: the batch's held events ──> the holding queue
    end_holds: those that are due ──> released at their own time, or condemned with their crowd

What is released is learned in the same step.
"""

import numpy as np
from numpy.typing import NDArray

from recommender.core.events import EventBatch
from recommender.core.fold.pipeline_state import PipelineState
from recommender.core.fold.step_result import Revised, Settled
from recommender.core.screen.holding_queue import as_events
from recommender.core.screen.screen import Verdicts
from recommender.core.trend.trend_columns import Events
from recommender.core.vocabulary import ADMIT, HOLD, QUARANTINE


def hold(state: PipelineState, batch: EventBatch, verdicts: Verdicts, own_ms: NDArray[np.int64]) -> None:
    """Keep the held events of a batch, until they are due or condemned."""
    rows = np.flatnonzero(verdicts.verdict == HOLD)
    state.holding.add(
        {
            "due_ms": batch.received_ms[rows] + 1000 * state.config.screen.hold_s,
            "ordinal": state.n_events + rows,
            "received_ms": batch.received_ms[rows],
            "own_ms": own_ms[rows],
            "actor": batch.actor[rows],
            "item": batch.item[rows],
            "kind": batch.kind[rows],
            "country": batch.country[rows],
            "prefix": batch.prefix[rows],
            "weight": state.weights.by_kind[batch.kind[rows]],
            "reason": verdicts.reason[rows],
            "first_items": state.screen.features.items_of(batch.actor[rows]),
        },
        [batch.item_names[row] for row in rows.tolist()],
    )


def end_holds(state: PipelineState, admitted: Settled) -> Settled:
    """Release the held events that are due, or condemn them with their crowd.

    Released events come before the admitted ones.
    """
    held, is_due = state.holding.columns, state.holding.due(state.stream_ms)
    reason, crowds = state.screen.condemned(held, is_due, state.stream_ms)
    is_over = is_due | (reason != 0)
    taken, names = state.holding.take(is_over)
    reason = reason[is_over]
    is_condemned = reason != 0
    released = as_events(taken)._replace(weight=np.where(is_condemned, 0, taken["weight"]).astype(np.int32))
    verdict = np.where(is_condemned, QUARANTINE, ADMIT).astype(np.int8)
    n_condemned = int(np.count_nonzero(is_condemned))
    return Settled(
        events=together(released, admitted.events),
        names=[*names, *admitted.names],
        n_admitted=admitted.n_admitted,
        n_released=len(reason) - n_condemned,
        n_condemned=n_condemned,
        revised=(Revised(taken["ordinal"], verdict, reason),),
        crowds=crowds,
    )


def together(one: Events, other: Events) -> Events:
    """Join two runs of events, in this order."""
    return Events(*(np.concatenate(pair) for pair in zip(one, other, strict=True)))  # type: ignore[arg-type]  # each its type
