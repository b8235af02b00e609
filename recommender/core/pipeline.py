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

A list is judged as it was before the step, because readers were shown that list while the step's events happened.

>>> pipeline = Pipeline(Config())
>>> pipeline.step(pipeline.encode(received_ms=[1000], actors=["ana"], items=["story"])).n_admitted
1
>>> pipeline.board(10).items
['story']
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recommender.core import checkpoint, state_versions
from recommender.core.affinity import Affinity
from recommender.core.config import KIND_WEIGHTS, Config
from recommender.core.decisions import DecidedEvents
from recommender.core.events import Encoder, EventBatch, Texts
from recommender.core.features import Features
from recommender.core.features.feature_columns import R_ORDINAL
from recommender.core.quality import Drift, Evaluation
from recommender.core.quality.drift import Alarm
from recommender.core.quality.evaluation import Answers
from recommender.core.ranking import Ranker, Ranking
from recommender.core.ranking.candidates import Candidates
from recommender.core.ranking.training_lists import BLEND, NAMES, TREND, learned, lists_of, weigh_lessons
from recommender.core.screen import Screen
from recommender.core.screen.holding_queue import Holding, as_events
from recommender.core.screen.pressure import Pressure
from recommender.core.screen.screen import CONFIRMED, CondemnedCrowd, Verdicts, admitted
from recommender.core.step_kernels import survey, weigh
from recommender.core.step_result import (
    NO_STEP,
    NONE_TAKEN_BACK,
    Revised,
    Settled,
    StepResult,
    UnitsTakenBack,
    joined,
)
from recommender.core.trend import Board, Trend
from recommender.core.trend.trend_columns import PLACES, Events
from recommender.core.trust import WEIGHT_ONE
from recommender.core.vocabulary import ADMIT, HOLD, QUARANTINE, Kind, Reason, Ruling

__all__ = ["KIND_WEIGHTS", "Config", "Pipeline"]

_UNCAPPED = np.empty(0, np.int32)
COHORT = int(Reason.COHORT)
# How far back the acts of a condemned crowd are removed. Older acts count for less than a sixteenth. Most of them
# would be by honest newcomers who read this one item and left.
TAKEN_BACK_HALF_LIVES = 4


class Pipeline:
    """The whole learned state of one shard, see the module.

    Reading methods never change state. `step` writes, and so does `forget`.
    """

    def __init__(self, config: Config) -> None:
        unknown = set(config.kind_weights) ^ set(KIND_WEIGHTS)
        if unknown or not all(0 <= weight <= 1 for weight in config.kind_weights.values()):
            raise ValueError("kind_weights must give every kind a weight in [0, 1]")
        self.config = config
        self.stream_ms = 0
        self.n_events = 0
        features = Features(
            max_actors=config.max_screened_actors,
            max_pairs=config.max_screened_pairs,
            max_items=config.max_items,
            max_links=config.max_links,
            max_recent=config.max_recent,
        )
        self.screen = Screen(config.screen, config.trust.rules(), features)
        self.holding = Holding()
        self.trend = Trend(
            half_lives_s=config.half_lives_s,
            horizon_s=config.horizon_s,
            actor_budget=config.actor_budget,
            trust=config.trust,
            network_knee=config.network_knee,
            group_knee=config.group_knee,
            max_items=config.max_items,
            max_regions=config.max_regions,
            max_networks=config.max_networks,
            max_pairs=config.max_pairs,
            max_actors=config.max_actors,
        )
        self.affinity = Affinity(
            config.affinity,
            horizon_s=config.horizon_s,
            longest_half_life_s=max(config.half_lives_s),
            floor=config.trust.rules().floor,
        )
        self.ranking = Ranking(config.ranking, self.trend, self.affinity, personal_share=config.personal_share)
        self.ranker = Ranker(config.ranker, config.contest, NAMES, trend=TREND, blend=BLEND)
        self.evaluation = Evaluation(max_items=config.max_items, canary_share=config.canary_share)
        self.pressure = Pressure()
        self.drift = Drift(config.drift, config.half_lives_s[0])
        self.encoder = Encoder(bytes.fromhex(config.secret))
        self._weights = np.zeros(len(Kind) + 1, np.int32)
        for kind in Kind:
            self._weights[kind] = round(config.kind_weights[kind.name.lower()] * WEIGHT_ONE)
        self._trust = config.trust.rules()
        self._lateness_ms = 1000 * config.lateness_s
        self._taken_back_ms = 1000 * TAKEN_BACK_HALF_LIVES * config.half_lives_s[0]

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
            self._survey(each)
        decided = [self._decide(each) for each in decisions]
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

    def _survey(self, batch: EventBatch) -> tuple[int, int, int]:
        """Return a batch's first and last arrival and its number of undos.

        Raises ValueError for events that no log can hold.
        """
        is_valid, first_ms, last_ms, n_undos = survey(batch.kind, batch.received_ms, len(self._weights) - 1)
        if not is_valid:
            raise ValueError("a batch holds an unknown kind of act or a time before 1970")
        return first_ms, last_ms, n_undos

    def _step(self, batch: EventBatch, unasked: NDArray[np.bool_] | None = None) -> StepResult:
        first_ms, last_ms, _ = self._survey(batch)
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
        return self.holding.hold_more(batch, verdicts, self._weights[batch.kind])

    def _settle(self, batch: EventBatch, verdicts: Verdicts) -> Settled:
        """Weigh the admitted events, end the holds that are due, and hold new events.

        The released events come before the admitted ones.
        """
        events, n_admitted, n_held = self._weigh(batch, verdicts)
        settled = Settled(events, batch.item_names, n_admitted)
        if self.holding.is_due(self.stream_ms):
            settled = self._end_holds(settled)
        if n_held:
            self._hold(batch, verdicts, events.own_ms)
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
            n_retracted = self._retract(self.screen.features.take_exposed(first_ms), COHORT, revised)
        for crowd in crowds:
            since_ms = self.stream_ms - self._taken_back_ms
            rows = self.screen.features.take_crowd(crowd.item, since_ms, crowd.from_nth)
            n_retracted += self._retract(rows, crowd.reason, revised)
        return UnitsTakenBack(revised, n_retracted)

    def _rank(self, events: Events) -> NDArray[np.int8]:
        """Let the ranker order, and then learn, the candidate lists of a few of the acts.

        Returns the places of the items acted on in the order that is served, int8 (n,), 0 for all other events.
        """
        ranked = np.zeros(len(events.item), np.int8)
        n_acts = int(np.count_nonzero(events.weight > 0))
        is_first = self.ranking.first_acts(events, self.ranker.draw(events.actor, events.item, n_acts))
        weight = weigh_lessons(events, is_first, self.trend, self._trust, self.evaluation.panel)
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

    def _decide(self, decision: DecidedEvents) -> StepResult:
        """Carry out a decision at stream time, see `Ruling`."""
        events, pairs = decision.events, set(decision.pairs())
        held = self.holding.columns
        is_held = np.fromiter(
            (pair in pairs for pair in zip(held["actor"].tolist(), held["item"].tolist(), strict=True)),
            np.bool_,
            count=len(self.holding),
        )
        taken, names = self.holding.take(is_held)
        if decision.ruling != Ruling.RELEASE:
            n_retracted = self._take_out(events.actor, events.item)
            is_confirmed = decision.ruling == Ruling.CONFIRM
            if is_confirmed:
                self.screen.features.expose(events.actor, self.stream_ms)
            revised = Revised.all(taken["ordinal"], QUARANTINE, CONFIRMED if is_confirmed else 0)
            return replace(NO_STEP, revised=revised, n_retracted=n_retracted)
        self.screen.pardon(events.actor, events.item)
        self.trend.reinstate(events.actor, events.item)
        was_held = set(zip(taken["actor"].tolist(), taken["item"].tolist(), strict=True))
        others = [row for row, pair in enumerate(decision.pairs()) if pair not in was_held]
        rest = events.take(np.array(others, np.int64))
        late = _together(as_events(taken), self._weigh(rest, admitted(len(rest)))[0])
        nothing_shown = self.evaluation.shown(self.trend.leaders()[:0], len(late.item))
        _, units = self.trend.learn(late, nothing_shown, [*names, *rest.item_names])
        self.affinity.learn(late.actor, late.item, units)
        revised = Revised.all(taken["ordinal"], ADMIT, 0)
        return replace(NO_STEP, revised=revised, n_released=len(late.item))

    def _end_holds(self, admitted: Settled) -> Settled:
        """Release the held events that are due, or condemn them with their crowd.

        Released events come before the admitted ones.
        """
        held, is_due = self.holding.columns, self.holding.due(self.stream_ms)
        reason, crowds = self.screen.condemned(held, is_due, self.stream_ms)
        is_over = is_due | (reason != 0)
        taken, names = self.holding.take(is_over)
        reason = reason[is_over]
        is_condemned = reason != 0
        released = as_events(taken)._replace(weight=np.where(is_condemned, 0, taken["weight"]).astype(np.int32))
        verdict = np.where(is_condemned, QUARANTINE, ADMIT).astype(np.int8)
        n_condemned = int(np.count_nonzero(is_condemned))
        return Settled(
            events=_together(released, admitted.events),
            names=[*names, *admitted.names],
            n_admitted=admitted.n_admitted,
            n_released=len(reason) - n_condemned,
            n_condemned=n_condemned,
            revised=(Revised(taken["ordinal"], verdict, reason),),
            crowds=crowds,
        )

    def _hold(self, batch: EventBatch, verdicts: Verdicts, own_ms: NDArray[np.int64]) -> None:
        rows = np.flatnonzero(verdicts.verdict == HOLD)
        self.holding.add(
            {
                "due_ms": batch.received_ms[rows] + 1000 * self.config.screen.hold_s,
                "ordinal": self.n_events + rows,
                "received_ms": batch.received_ms[rows],
                "own_ms": own_ms[rows],
                "actor": batch.actor[rows],
                "item": batch.item[rows],
                "kind": batch.kind[rows],
                "country": batch.country[rows],
                "prefix": batch.prefix[rows],
                "weight": self._weights[batch.kind[rows]],
                "reason": verdicts.reason[rows],
                "first_items": self.screen.features.items_of(batch.actor[rows]),
            },
            [batch.item_names[row] for row in rows.tolist()],
        )

    def _retract(self, ring_rows: NDArray[np.int64], reason: int, revisions: list[Revised]) -> int:
        if not len(ring_rows):
            return 0
        keys = ring_rows[:, :2].astype(np.uint64)
        revisions.append(Revised.all(ring_rows[:, R_ORDINAL].copy(), QUARANTINE, reason))
        return self._take_out(np.ascontiguousarray(keys[:, 0]), np.ascontiguousarray(keys[:, 1]))

    def _take_out(self, actors: NDArray[np.uint64], items: NDArray[np.uint64]) -> int:
        """Remove the units of these acts as if they had never been.

        Returns how many units there were.
        """
        self.affinity.retract(actors, items)
        return self.trend.retract(actors, items)

    def _weigh(self, batch: EventBatch, verdicts: Verdicts) -> tuple[Events, int, int]:
        """Return a batch as it is learned, with its numbers of admitted and held events."""
        own_ms, weight = np.empty(len(batch), np.int64), np.empty(len(batch), np.int32)
        n_admitted, n_held = weigh(
            batch.kind,
            batch.received_ms,
            batch.occurred_ms,
            verdicts.verdict,
            _UNCAPPED if verdicts.cap is None else verdicts.cap,
            self._weights,
            self._lateness_ms,
            own_ms,
            weight,
        )
        events = Events(
            batch.received_ms, own_ms, batch.actor, batch.item, batch.kind, batch.country, batch.prefix, weight
        )
        return events, n_admitted, n_held

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

    @property
    def is_fitting(self) -> bool:
        """Return whether a refit runs in a thread.

        `state` waits for its end, and a forked process would wait for ever.
        """
        return self.screen.forests.is_fitting

    # -- state ---------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return everything the future depends on, as nested dicts of arrays and scalars.

        Arrays are copies.
        """
        return _copied(self.views())

    def views(self) -> dict[str, Any]:
        """Return the same without copies.

        Large arrays are views of the Pipeline's own. The next step changes them, and no one may write to them.
        """
        return {
            state_versions.VERSIONS: state_versions.stamp(),
            "config": asdict(self.config),
            "stream_ms": self.stream_ms,
            "n_events": self.n_events,
            "trend": self.trend.state(),
            "affinity": self.affinity.state(),
            "ranker": self.ranker.state(),
            "evaluation": self.evaluation.state(),
            "drift": self.drift.state(),
            "pressure": self.pressure.state(),
            "screen": self.screen.state(),
            "holding": self.holding.state(),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """Return the Pipeline whose `state()` this is, or was in an earlier version.

        Raises StateNewer for a state of a newer version, and StateUnfit or another ValueError for one that does not
        fit.
        """
        state = state_versions.migrate(state)
        try:
            pipeline = cls(Config.from_state(state["config"]))
            pipeline.stream_ms, pipeline.n_events = state["stream_ms"], state["n_events"]
            pipeline.trend.restore(state["trend"], pipeline.stream_ms)
            pipeline.affinity.restore(state["affinity"])
            pipeline.ranker.restore(state["ranker"])
            pipeline.evaluation.restore(state["evaluation"])
            pipeline.drift.restore(state["drift"])
            pipeline.pressure.restore(state["pressure"])
            pipeline.screen.restore(state["screen"])
            pipeline.holding.restore(state["holding"])
        except KeyError as error:
            raise state_versions.StateUnfit(f"the state lacks {error}, and no migration adds it") from error
        return pipeline

    def to_bytes(self) -> bytes:
        """Return a checkpoint as one block, for small states.

        See `recommender.core.checkpoint`.
        """
        return checkpoint.dump(self.views())

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the Pipeline that a checkpoint holds.

        Raises CheckpointCorrupt if a byte differs.
        """
        return cls.from_state(checkpoint.load(data))

    def digest(self) -> str:
        """Return 64 hex digits that are equal exactly if the states are equal."""
        return checkpoint.Layout(self.views()).header.digest


def _copied(state: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _copied(value) if isinstance(value, dict) else value.copy() if isinstance(value, np.ndarray) else value
        for name, value in state.items()
    }


def _together(one: Events, other: Events) -> Events:
    return Events(*(np.concatenate(pair) for pair in zip(one, other, strict=True)))  # type: ignore[arg-type]  # each its type
