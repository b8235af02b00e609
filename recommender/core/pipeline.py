"""The Pipeline: all numerical state, and the only thing that learns.

READ THIS FIRST.

    Pipeline.step(batch):   _screen     every event is judged ──> verdicts: admit | hold | quarantine
                            _settle     held and due: released at its own time, or condemned with its crowd
                            _learn      each admitted or released event is first predicted from the current lists,
                                        then counted at its actor's trust (trend, affinity). A few acts teach the
                                        ranker in which order it should have put the candidates
                            _evaluate   how good were the lists? (evaluation) do they get worse? (drift)
                            _take_back  acts that turn out to be a cohort's or a crowd's are removed (trend.retract)

State is a fold: `Pipeline = fold(checkpoint, log range, decisions)`. It uses no clock, no settings and no random
numbers. Time comes from the events. Everything else comes from the `Config` it was made with, which every checkpoint
contains. This one property gives crash recovery, revert, release and "the same without the attackers".

Stream time is the largest `received_ms` seen, so it never runs back. An event's own time is the time its client
claims. It is never after the event's arrival, and never earlier than the arrival less the lateness allowed.

A step can give new verdicts on earlier events. They are in its `revised`, which names events by their number in the
fold (0 is the first ever taken). So the caller that stores verdicts can store the new ones. A new verdict falls on
the end of a step, and so does the fitting of forests. The cut into steps is therefore part of the history.

The parts of the state and their storage are in `core.fold.pipeline_state`. Decisions of people come before the batch
(`core.fold.rulings`).

A list is judged as it was before the step, because readers were shown that list while the step's events happened.

>>> pipeline = Pipeline(Config())
>>> pipeline.step(pipeline.encode(received_ms=[1000], actors=["ana"], items=["story"])).n_admitted
1
>>> pipeline.board(10).items
['story']
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recommender.core.config import KIND_WEIGHTS, Config
from recommender.core.decisions import DecidedEvents
from recommender.core.events import EventBatch, Texts
from recommender.core.fold import held_events, removals
from recommender.core.fold.pipeline_state import PipelineState
from recommender.core.fold.rulings import carry_out
from recommender.core.fold.step_result import (
    NO_STEP,
    NONE_TAKEN_BACK,
    Revised,
    Settled,
    StepResult,
    UnitsTakenBack,
    joined,
)
from recommender.core.quality.drift import Alarm
from recommender.core.quality.evaluation import Answers
from recommender.core.ranking.candidates import Candidates
from recommender.core.ranking.training_lists import learned, lists_of, weigh_lessons
from recommender.core.screen.screen import CondemnedCrowd, Verdicts
from recommender.core.trend import Board
from recommender.core.trend.trend_columns import PLACES, Events
from recommender.core.vocabulary import Kind, Reason

__all__ = ["KIND_WEIGHTS", "Config", "Pipeline"]

COHORT = int(Reason.COHORT)


class Pipeline(PipelineState):
    """The whole learned state of one shard, see the module.

    Reading methods never change state. `step` writes, and so does `forget`.
    """

    # -- learning ------------------------------------------------------------------------------------------------

    def step(
        self,
        batch: EventBatch,
        decisions: Sequence[DecidedEvents] = (),
        *,
        unasked: NDArray[np.bool_] | None = None,
    ) -> StepResult:
        """Carry out decisions, then screen, evaluate and learn one mini-batch.

        The batch is in log order. Without a batch and decisions nothing changes. Raises ValueError for kinds or times
        that no log can hold, and then leaves the state unchanged.

        unasked: (n,), events that are learned but not counted in any quality. A trial marks its attack's events with
        it.
        """
        if not decisions:
            return self._step(batch, unasked) if len(batch) else NO_STEP
        for each in (batch, *(decision.events for decision in decisions)):
            self.weights.survey(each)
        decided = [carry_out(self, each) for each in decisions]
        result = self._step(batch, unasked) if len(batch) else NO_STEP
        return replace(
            result,
            revised=joined([*(each.revised for each in decided), result.revised]),
            n_released=result.n_released + sum(each.n_released for each in decided),
            n_retracted=result.n_retracted + sum(each.n_retracted for each in decided),
        )

    def forget(self, actor: int) -> None:
        """Remove an actor's units, and drop every row kept under its key.

        Use it where no log is left to fold again without the actor. Some sums do not tell actors apart (windows, the
        site's shares, forests, quality). The actor's part in them stays and fades. So the result differs from a fold
        that never received the actor. O(rows).
        """
        key = np.uint64(actor)
        held = self.holding.columns
        items = np.concatenate([held["item"][held["actor"] == key], self.trend.forget(key)])
        self.holding.take(held["actor"] == key)
        self.affinity.forget(key)
        self.ranker.forget(actor)
        self.screen.features.forget(key, items)

    def _step(self, batch: EventBatch, unasked: NDArray[np.bool_] | None = None) -> StepResult:
        first_ms, last_ms, _ = self.weights.survey(batch)
        self.stream_ms = max(self.stream_ms, last_ms)
        verdicts = self._screen(batch)
        settled = self._settle(batch, verdicts)
        ranks, personal, ranked = self._learn(settled.events, settled.names)
        if unasked is not None:
            for places in (ranks, personal, ranked):
                places[-len(batch) :][unasked] = 0  # released events come before the batch's
        answers, alarm = self._evaluate(ranks, personal, ranked)
        taken_back = self._take_back(verdicts.n_exposed, settled.crowds, first_ms)
        self.n_events += len(batch)
        return StepResult(
            n_events=len(batch),
            n_admitted=settled.n_admitted,
            quality=answers.everybody,
            verdicts=verdicts,
            revised=joined([*settled.revised, *taken_back.revised]),
            n_released=settled.n_released,
            n_condemned=settled.n_condemned,
            n_retracted=taken_back.n_retracted,
            trusted=answers.trusted,
            canary=answers.canary,
            alarm=alarm,
            personalised=answers.personalised,
            ranks=ranks,
        )

    def _screen(self, batch: EventBatch) -> Verdicts:
        """Judge a batch.

        If an actor acts on an item on which it has a held act, the new act is held too, or it adds nothing.
        """
        verdicts = self.screen.judge(batch, self.trend.trusted, self.n_events, self.stream_ms)
        self.pressure.learn(verdicts, self.stream_ms)
        return self.holding.hold_more(batch, verdicts, self.weights.by_kind[batch.kind])

    def _settle(self, batch: EventBatch, verdicts: Verdicts) -> Settled:
        """Weigh the admitted events, end the holds that are due, and hold new events.

        The released events come before the admitted ones.
        """
        events, n_admitted, n_held = self.weights.weigh(batch, verdicts)
        settled = Settled(events, batch.item_names, n_admitted)
        if self.holding.is_due(self.stream_ms):
            settled = held_events.end_holds(self, settled)
        if n_held:
            held_events.hold(self, batch, verdicts, events.own_ms)
        return settled

    def _learn(
        self, events: Events, names: Sequence[str]
    ) -> tuple[NDArray[np.int8], NDArray[np.int8], NDArray[np.int8]]:
        """Predict every event from the current lists, then count it at its actor's trust.

        Returns the places of the items acted on, in three kinds of lists. First in the lists for all, (n, 4), see
        `Trend.learn`. Second in the actor's own candidates, (n,). Third in these as the ranker orders them, (n,).
        """
        self.trend.advance(self.stream_ms)
        self.affinity.advance(self.stream_ms)
        self.evaluation.advance(self.stream_ms)
        self._look()
        shown = self.evaluation.shown(self.trend.leaders(), len(events.item))
        personal = self.ranking.predict(events, self.stream_ms)
        ranked = self._rank(events)
        ranks, units = self.trend.learn(events, shown, names)
        self.affinity.learn(events.actor, events.item, units)
        return ranks, personal, ranked

    def _evaluate(
        self, ranks: NDArray[np.int8], personal: NDArray[np.int8], ranked: NDArray[np.int8]
    ) -> tuple[Answers, Alarm]:
        """Count the places, and check whether the lists get worse."""
        return self.evaluation.learn(ranks, personal, ranked), self.drift.learn(ranks, self.stream_ms)

    def _take_back(self, n_exposed: int, crowds: Sequence[CondemnedCrowd], first_ms: int) -> UnitsTakenBack:
        """Remove earlier acts of cohorts and crowds.

        The cohorts are those exposed in this step, the crowds those condemned in it.
        """
        if not n_exposed and not crowds:
            return NONE_TAKEN_BACK
        revised: list[Revised] = []
        n_retracted = 0
        if n_exposed:
            n_retracted = removals.retract(self, self.screen.features.take_exposed(first_ms), COHORT, revised)
        for crowd in crowds:
            since_ms = removals.since_ms(self)
            rows = self.screen.features.take_crowd(crowd.item, since_ms, crowd.from_nth)
            n_retracted += removals.retract(self, rows, crowd.reason, revised)
        return UnitsTakenBack(revised, n_retracted)

    def _rank(self, events: Events) -> NDArray[np.int8]:
        """Let the ranker order, and then learn, the candidate lists of a few of the acts.

        Returns the places of the items acted on in the order that is served, int8 (n,), 0 for all other events.
        """
        ranked = np.zeros(len(events.item), np.int8)
        n_acts = int(np.count_nonzero(events.weight > 0))
        is_first = self.ranking.first_acts(events, self.ranker.draw(events.actor, events.item, n_acts))
        weight = weigh_lessons(events, is_first, self.trend, self.trust_rules, self.evaluation.panel)
        rows = self.ranker.choose(events.actor, events.item, weight, n_acts, self.stream_ms)
        if len(rows):
            lists = lists_of(self.ranking, events, rows, weight, self.evaluation.steady, self.stream_ms)
            mode = self.ranker.mode_number
            ranked[rows] = self.ranker.learn(lists, self.stream_ms)[:, mode]
        return ranked

    def _look(self) -> None:
        """Give evaluation and drift, now and then, figures from a pass over all items."""
        if self.evaluation.is_steady_due(self.stream_ms):
            self.evaluation.put_steady(self.trend.best(min(1, len(self.config.half_lives_s) - 1)), self.stream_ms)
        if self.drift.is_due(self.stream_ms):
            self.drift.look(self.trend.promise(PLACES), self.stream_ms)

    # -- reading -------------------------------------------------------------------------------------------------

    def encode(
        self,
        *,
        received_ms: ArrayLike,
        actors: Sequence[str],
        items: Sequence[str],
        occurred_ms: ArrayLike | None = None,
        kind: ArrayLike | None = None,
        country: ArrayLike | None = None,
        sessions: Texts | None = None,
        ips: Texts | None = None,
        user_agents: Texts | None = None,
        referrers: Texts | None = None,
    ) -> EventBatch:
        """Make a batch of plain columns.

        Kinds default to click, `occurred_ms` to `received_ms`, all others to unknown.
        """
        received = np.asarray(received_ms, np.int64)
        n = len(received)
        return self.encoder.encode(
            received_ms=received,
            occurred_ms=received if occurred_ms is None else np.asarray(occurred_ms, np.int64),
            actors=actors,
            items=items,
            kind=np.full(n, Kind.CLICK, np.int8) if kind is None else np.asarray(kind, np.int8),
            country=np.zeros(n, np.int16) if country is None else np.asarray(country, np.int16),
            sessions=sessions,
            ips=ips,
            user_agents=user_agents,
            referrers=referrers,
        )

    def board(self, depth: int) -> Board:
        """Return the best items of the served half-life at stream time.

        At most `LIST_DEPTH` of them.
        """
        return self.trend.board(depth, self.stream_ms)

    def candidates(self, actor: str, recent: Sequence[str] = ()) -> Candidates:
        """Return items an actor might act on next, by the blend.

        See `core.ranking.candidates`.
        recent: items of the actor's last acts that are not learned yet, newest first.
        """
        last = self.encoder.keys(recent)
        steady = self.evaluation.steady
        return self.ranking.gather(self.encoder.key(actor), self.stream_ms, recent=last, steady=steady)

    def recommend(self, actor: str, recent: Sequence[str] = ()) -> Candidates:
        """Return an actor's candidates in the order that is served.

        The ranker orders them unless it is bypassed. The server does more to a list, which is not done here: it caps
        categories and adds new items. 0.1 ms.
        """
        found = self.candidates(actor, recent)
        return found.ordered(self.ranker.scores(learned(found, self.config.ranking.blend)))
