"""Rehearse an incident: a flooded list, a freeze, and a revert to the clean state.

    Town (honest readers, invented) + a flood ──event_log.append_at, learner.learn──> the real learner, step by step
        quality falls ──> alarm ──> freeze, in the step of the alarm ──> proposal ──> revert without the attackers
        ──> thaw ──> the rest of the honest stream                                            digest ─┐
    the honest stream alone ──> another learner, which never got the attack                   digest ─┴─ equal?

The database must be empty. The screen is off, since the incident begins when an attack has got past it. No story
breaks. In steps of half an hour a story would look like a change, so learning does not freeze in such steps. The
flood ends when learning stops. Time is moved, so that two and a half days pass in a minute and the stream ends now.

The rehearsal checks each expected fact by name. The command exits with 1 if one does not hold.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from django.test.utils import override_settings

from monitoring.audit import reviews
from monitoring.models import AutoFreeze, Review
from monitoring.operations import request_revert
from monitoring.policy import enforcement
from recommender.control import learning_switch, reverts
from recommender.core.pipeline import Pipeline
from recommender.core.vocabulary import MINUTE_MS, Kind
from recommender.lab import emptying
from recommender.lab.attack.catalogue.accounts import Accounts
from recommender.lab.attack.catalogue.invented_site import DAY_S, START_S, Town
from recommender.lab.attack.catalogue.known_site import World, as_text, see
from recommender.learning import learner, quality_log, warm_pipeline
from recommender.log import event_log
from recommender.log.event_log import NewEvents
from recommender.models import Learner, Revert, Step

SHARD = 0
LONG_S, SHORT_S = 1800.0, 10.0  # length of the steps long before the attack, and around it
FLOOD_AT_S = 2 * DAY_S + 14 * 3600.0
BEFORE_S, AFTER_S = 2400.0, 900.0
SEEN_S = 300.0  # the frozen list is compared with the honest clicks of this time after a freeze
PLACES = 20
KINDS = {kind.name.lower(): int(kind) for kind in Kind}
OPERATOR = "shell:incident"


@dataclass(frozen=True, slots=True)
class IncidentPlan:
    """Size of the incident.

    n_readers: readers of the town.
    n_accounts, n_items, flood_s: so many accounts flood so many items in this time.
    """

    n_readers: int = 20_000
    n_accounts: int = 300
    n_items: int = 20
    flood_s: float = 60.0
    seed: int = 1


@dataclass(slots=True)
class Moment:
    """A row of the timeline."""

    stream_ms: int
    step: int
    what: str
    hit_rate: float | None = None
    digest: str = ""
    review: int | None = None


@dataclass(slots=True)
class Story:
    """Course of the incident, and the facts that were checked."""

    moments: list[Moment] = field(default_factory=list)
    checks: list[tuple[str, bool]] = field(default_factory=list)

    def check(self, what: str, is_so: bool) -> bool:
        self.checks.append((what, bool(is_so)))
        return bool(is_so)

    @property
    def holds(self) -> bool:
        return bool(self.checks) and all(is_so for _, is_so in self.checks)


class Incident:
    """An incident that `run` plays.

    It needs a database without events, and leaves one with events.
    """

    def __init__(self, plan: IncidentPlan, say: Callable[[Moment], object] = repr) -> None:
        self.plan, self._say = plan, say
        self.story = Story()
        days = (FLOOD_AT_S + AFTER_S) / DAY_S
        town = as_text(Town(days=np.ceil(days), n_readers=plan.n_readers, n_stories=0, seed=plan.seed).make())
        flood_s = START_S + FLOOD_AT_S
        self.honest = town.filter(pl.col("ts") < flood_s + AFTER_S)
        self.attack = self._flood(see(self.honest, flood_s, board=[]), flood_s)
        self.targets = set(self.attack["item"].unique())
        self.culprits = set(self.attack["actor"].unique())
        self._offset_s = time.time() - 60 - (flood_s + AFTER_S)  # the stream ends a minute ago

    def _flood(self, world: World, at_s: float) -> pl.DataFrame:
        plan, rng = self.plan, np.random.default_rng([self.plan.seed, 0xF1])
        accounts = Accounts.fresh(world, rng, plan.n_accounts)
        who = np.repeat(np.arange(plan.n_accounts), plan.n_items)
        items = np.tile(np.array(world.new_ids(rng, plan.n_items)), plan.n_accounts).tolist()
        return accounts.act(who, at_s + rng.random(len(who)) * plan.flood_s, items).sort("ts")

    def run(self) -> Story:
        """Let the attacked learner run, then the clean one."""
        if not self._attacked():
            return self.story
        digest = self._pipeline().digest()
        self._tell("the honest stream is learned to its end", digest=digest)
        self._empty()
        n_freezes = Review.objects.filter(action=Review.Action.FREEZE, by=reviews.POLICY).count()
        for rows in self._steps(self.honest):
            self._learn(rows)
        clean = self._pipeline().digest()
        self._tell("another learner learned the honest stream alone", digest=clean)
        self.story.check("the digest equals that of a learner that never got the attack", digest == clean)
        after = Review.objects.filter(action=Review.Action.FREEZE, by=reviews.POLICY).count()
        self.story.check("nothing froze without an attack", after == n_freezes)
        report = reviews.verify_chain()
        self._tell(f"the chain of {report.n_rows} decisions was checked", review=report.head.id)
        self.story.check("the chain of the audit log is intact", report.is_intact)
        return self.story

    # -- the story ------------------------------------------------------------------------------------------------

    def _attacked(self) -> bool:
        usual, fallen = _Rate(), _Rate()
        n_predicted, n_false, first_false_ms = 0, 0, 0
        flood_ms = self._ms(START_S + FLOOD_AT_S)
        mixed = pl.concat([self.honest, self.attack], how="diagonal").sort("ts", maintain_order=True)
        is_frozen = has_begun = False
        rest = self._steps(mixed)
        for rows in rest:
            at_ms = self._ms(rows["ts"][0])
            listed = self._listed() if at_ms > flood_ms - 30 * MINUTE_MS else set()
            if at_ms >= flood_ms and not has_begun:
                self._tell("the flood begins", hit_rate=usual.value)
                has_begun = True
            if listed:
                (fallen if first_false_ms else usual).add(rows, listed, self.culprits)
            self._learn(rows)
            if Learner.objects.get().state == Learner.State.FROZEN and not has_begun:
                return self.story.check("nothing freezes before the flood", is_so=False)
            if has_begun:
                n_false = len(self._listed() & self.targets)
                step = Step.objects.get(number=Learner.objects.get().step)
                if n_false and not first_false_ms:
                    first_false_ms = step.stream_ms
                    self._tell("the first false item is in the top 20", hit_rate=usual.value)
                if first_false_ms:
                    n_predicted += step.n_predicted
                if Learner.objects.get().state == Learner.State.FROZEN:
                    is_frozen = True
                    break
        if not self.story.check("learning froze by itself", is_frozen):
            return False
        waiting = next(rest).filter(~pl.col("actor").is_in(list(self.culprits)))
        now_s = float(waiting["ts"][0])
        next_s = self.honest.filter(pl.col("ts").is_between(now_s, now_s + SEEN_S))
        fallen.add(next_s, self._listed(), self.culprits)
        self._frozen(n_predicted, n_false, usual, fallen)
        self._append(waiting)
        self.story.check("while frozen, events wait and nothing is learned", learner.learn(SHARD) == 0)
        if not self._repaired():
            return False
        self._learn(pl.DataFrame(), wait=True)
        for rows in rest:
            honest = rows.filter(~pl.col("actor").is_in(list(self.culprits)))
            if len(honest):
                self._learn(honest)
        return True

    def _frozen(self, n_predicted: int, n_false: int, usual: "_Rate", fallen: "_Rate") -> None:
        freeze = AutoFreeze.objects.get(ended_at=None)
        step = Step.objects.get(number=freeze.step)
        review = Review.objects.filter(action=Review.Action.FREEZE).latest("id")
        alarm = f"alarm and freeze, {n_predicted} predictions after the first false item ({n_false} false items now)"
        digest = self._pipeline().digest()
        self._tell(alarm, hit_rate=fallen.value, digest=digest, review=review.id)
        self._tell(f"why: {freeze.reason}", review=review.id)
        self.story.check("the hit rate of honest readers fell by 0.10 or more", usual.value - fallen.value >= 0.10)
        self.story.check("the step of the alarm is the last one learned", step.alarm == Step.Alarm.STOP)
        self.story.check("the last step learned is the learner's", Learner.objects.get().step == step.number)

    def _repaired(self) -> bool:
        enforcement.follow_up(SHARD)
        freeze = AutoFreeze.objects.latest("id")
        checkpoint_id, suspects = freeze.checkpoint_id, freeze.suspects
        self.story.check("a revert is proposed", bool(checkpoint_id) and suspects is not None)
        if not checkpoint_id or suspects is None:
            return False
        point = learning_switch.get_checkpoint(checkpoint_id)
        self.story.check("the proposed checkpoint is from before the change", point.stream_ms < freeze.changed_ms)
        suspected = learning_switch.exclusion(actors=sorted(self.culprits))
        named = set(map(int, suspects["actors"]))
        acted = {int(key) for key in suspected.actors}
        self._tell(
            f"proposed: checkpoint {point.pk}, {freeze.n_suspects} suspects ({len(named & acted)} of"
            f" {len(acted)} attackers among them, {len(named - acted)} honest)",
            review=Review.objects.latest("id").id,
            digest=point.digest,
        )
        self.story.check("at least 90 % of the attackers are suspects", len(named & acted) >= 0.9 * len(acted))
        asked = request_revert.revert(
            by=OPERATOR,
            note="Rehearsal: revert and replay without the attackers.",
            checkpoint_id=point.pk,
            mode="exclude",
            exclude=request_revert.Exclude(actors=sorted(self.culprits)),
        )
        while reverts.run_next():
            pass
        asked.refresh_from_db()
        request_revert.close_reverts()
        if not self.story.check("the revert is done", asked.state == Revert.State.DONE):
            return False
        learner.learn(SHARD)
        self._tell(
            f"reverted: {asked.outcome['events']} events replayed, {asked.outcome['excluded']} excluded",
            digest=self._pipeline().digest(),
            review=Review.objects.latest("id").id,
        )
        self.story.check("no false item is left in the list", not self._listed() & self.targets)
        enforcement.follow_up(SHARD)
        freeze.refresh_from_db()
        lasted_s = (freeze.ended_at - freeze.frozen_at).total_seconds() if freeze.ended_at else -1.0
        self._tell(f"thawed by itself after {lasted_s:.1f} s", review=Review.objects.latest("id").id)
        is_learning = Learner.objects.get().state == Learner.State.LEARNING
        return self.story.check("learning goes on", is_learning)

    # -- the stream -----------------------------------------------------------------------------------------------

    def _steps(self, rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """Cut rows into steps by time alone, so that they are the same without the attack."""
        since = pl.col("ts") - START_S
        near_s = FLOOD_AT_S - BEFORE_S
        bucket = pl.when(since < near_s).then(since // LONG_S).otherwise(1e6 + (since - near_s) // SHORT_S)
        for _, part in rows.with_columns(bucket.alias("bucket")).group_by("bucket", maintain_order=True):
            yield part

    def _ms(self, ts: float) -> int:
        return int(1000 * (ts + self._offset_s))

    def _append(self, rows: pl.DataFrame) -> None:
        columns = {name: rows[name].to_list() for name in ("actor", "item", "session", "ip", "country")}
        agents = {name: rows[name].to_list() for name in ("user_agent", "referrer")}
        events = NewEvents(
            kind=[KINDS[kind] for kind in rows["kind"]],
            **columns,
            **agents,
        )
        event_log.append_at(events, [ts + self._offset_s for ts in rows["ts"]])

    def _learn(self, rows: pl.DataFrame, *, wait: bool = False) -> None:
        """Let the learner take one step of these rows.

        wait: take only the events that already wait.
        """
        if not wait:
            self._append(rows)
        is_long = not wait and rows["ts"][0] < START_S + FLOOD_AT_S - BEFORE_S
        with override_settings(AUTO_FREEZE=False) if is_long else nullcontext():
            self._take_step()

    def _take_step(self) -> None:
        quality_log.forget()  # Figures are due by the real clock, and here hours pass in a second.
        stop_at = time.monotonic() + 60
        while not learner.learn(SHARD):
            if time.monotonic() > stop_at:
                row = Learner.objects.get()
                raise TimeoutError(
                    f"the learner took no step in 60 s: {row}, {[r.note for r in reviews.list_reviews()][:5]}"
                )
            time.sleep(0.0005)

    def _empty(self) -> None:
        emptying.empty()
        AutoFreeze.objects.all().delete()
        enforcement.forget()

    # -- the learner's state -----------------------------------------------------------------------------------------

    def _pipeline(self) -> Pipeline:
        warm = learner.in_memory(SHARD)
        return warm.pipeline if warm else warm_pipeline.restore(Learner.objects.get()).pipeline

    def _listed(self) -> set[str]:
        return set(self._pipeline().board(PLACES).items)

    def _tell(self, what: str, **more: Any) -> None:
        row = Learner.objects.get()
        moment = Moment(row.stream_ms, row.step, what, **more)
        self.story.moments.append(moment)
        self._say(moment)


@dataclass(slots=True)
class _Rate:
    """Share of honest clicks on the first 20 items of the list."""

    n: int = 0
    hits: int = 0

    def add(self, rows: pl.DataFrame, listed: set[str], culprits: set[str]) -> None:
        items = rows.filter((pl.col("kind") == "click") & ~pl.col("actor").is_in(list(culprits)))["item"]
        self.n += len(items)
        self.hits += int(items.is_in(list(listed)).sum())

    @property
    def value(self) -> float:
        return self.hits / self.n if self.n else 0.0
