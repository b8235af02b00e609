"""Random histories: state, steps and verdicts are always those of the history.

A walk draws acts that can be done to a learner, on a town under attack: learn, decide, revert, freeze, restart. After
each act everything stored is compared with one fold of the final history from nothing.
"""

import random
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from recommender import ids
from recommender.control import learning_switch, reverts
from recommender.core.pipeline import Pipeline
from recommender.core.vocabulary import Ruling
from recommender.errors import Conflict
from recommender.learning import active_checkpoint, fresh_fold, learner, pipeline_settings, warm_pipeline
from recommender.learning.refold import refold
from recommender.log import event_log
from recommender.log.event_log import Position
from recommender.models import Checkpoint, EventVerdict, Learner, Revert, Step
from tests.help.learner_process import restart, warm
from tests.help.streams import SCREENED, T0, pushes

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process"),
]

WARM_UP_S = 3990
N_ACTS = 16
_AT = """
INSERT INTO recommender_event (received_at, bucket, kind, actor, item)
SELECT to_timestamp(ms / 1000.0), 0, kind, actor, item
FROM unnest(%b::bigint[], %b::smallint[], %b::text[], %b::text[]) WITH ORDINALITY AS t(ms, kind, actor, item, n)
ORDER BY n RETURNING 1
"""


class Town:
    """A stream that is appended bit by bit, at its own times of day, moved to today."""

    def __init__(self):
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        self._shift_ms = int(midnight.timestamp() * 1000) - T0
        self._rows = pushes(n_events=6000, n_actors=150).rows
        self._at = 0

    def append(self, n):
        part = self._rows[self._at : self._at + n]
        self._at += len(part)
        received, _, actors, items, kinds, _ = zip(*part, strict=True)
        event_log.fetch(
            _AT, [[ms + self._shift_ms for ms in received], [int(each) for each in kinds], list(actors), list(items)]
        )

    def append_until(self, second):
        self.append(sum(row[0] < T0 + 1000 * second for row in self._rows) - self._at)


class Walk:
    """Acts drawn at random, each of which must leave everything consistent."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.town = Town()
        self.done = []

    def act(self):
        acts = {self.learn: 6, self.decide: 3, self.revert: 3, self.freeze: 1, self.restart: 1, self.checkpoint: 2}
        act = self.rng.choices(list(acts), list(acts.values()))[0]
        self.done.append(act.__name__)
        act()

    def learn(self):
        self.town.append(self.rng.randint(5, 60))
        learner.learn(0)

    def decide(self):
        ruling = self.rng.choice(list(Ruling))
        rows = list(EventVerdict.objects.values_list("xid", "seq"))
        step = Step.objects.get(number=self.rng.randint(1, Step.objects.count()))
        events = event_log.read_step(step)
        rows += list(zip(events.xid.tolist(), events.seq.tolist(), strict=True))[:3]
        chosen = self.rng.sample(rows, min(len(rows), self.rng.randint(1, 12)))
        learning_switch.decide(ruling=ruling, positions=[Position(*each) for each in chosen], since_ms=1)
        learner.learn(0)

    def revert(self):
        mode = self.rng.choice(Revert.Mode.values)
        self.done[-1] += f" {mode}"
        exclusion = None
        if mode == Revert.Mode.EXCLUDE:
            bots = [f"mal-{number}" for number in range(40)] + [f"reader-{number}" for number in range(150)]
            exclusion = learning_switch.exclusion(actors=self.rng.sample(bots, 40))
        asked = learning_switch.ask_for_revert(
            checkpoint_id=self.rng.choice(list(Checkpoint.objects.values_list("id", flat=True))),
            mode=mode,
            exclusion=exclusion,
            is_preview=self.rng.random() < 0.1,
        )
        assert reverts.run_next()
        asked.refresh_from_db()
        assert asked.state == Revert.State.DONE, asked.error

    def freeze(self):
        learning_switch.freeze()
        self.town.append(10)
        assert learner.learn(0) == 0
        if self.rng.random() < 0.5:
            self.revert()
        learning_switch.thaw()
        with pytest.raises(Conflict):
            learning_switch.thaw()

    def restart(self):
        restart()

    def checkpoint(self):
        learner.learn(0)
        active_checkpoint.write(learner.in_memory(0), Learner.objects.get())


def words_of_history(row):
    """Fold the learner's history once from nothing, and return the expected results.

    1. The digest.
    2. The newest verdict of each event that got one, by `seq`.
    3. The events whose verdict changed more than once after the first.
    4. The figures of the steps.
    """
    pipeline = Pipeline(pipeline_settings.configured())
    words, ordinal_at, figures, said = {}, {}, {}, Counter()

    def note(folded):
        first, result = folded.first_ordinal, folded.result
        ordinal_at.update({seq: first + n for n, seq in enumerate(folded.seq.tolist())})
        for place in np.flatnonzero(result.verdicts.verdict).tolist():
            words[first + place] = int(result.verdicts.verdict[place])
        words.update(zip(result.revised.ordinal.tolist(), result.revised.verdict.tolist(), strict=True))
        said.update(set(result.revised.ordinal.tolist()))
        for decision in folded.decided:
            for seq in decision.seq:
                if seq in ordinal_at:
                    words[ordinal_at[seq]] = 0 if decision.ruling == Ruling.RELEASE else 2
                    said[ordinal_at[seq]] += 1
        figures[folded.step.number] = (first, folded.excluded.tolist(), result.n_admitted, result.quality.hits)

    refold(pipeline, 0, row.recipe, 0, row.step, note)
    seq_at = {ordinal: seq for seq, ordinal in ordinal_at.items()}
    several = {seq_at[ordinal] for ordinal, n in said.items() if n > 1}
    return pipeline.digest(), {seq_at[ordinal]: verdict for ordinal, verdict in words.items()}, several, figures


def check(several_before):
    """Compare everything stored with the history, and return the number of verdicts.

    After a revert into the middle of several verdicts on an event, only the first and the last are known.
    """
    learner.learn(0)
    row = Learner.objects.get()
    assert fresh_fold.verify(row.checkpoint) == row.checkpoint.digest
    digest, words, several, figures = words_of_history(row)
    assert warm().digest() == digest
    assert warm_pipeline.restore(row).pipeline.digest() == digest
    counted = Step.objects.exclude(first_ordinal=None).order_by("number")
    stored = counted.values_list("number", "first_ordinal", "excluded", "n_admitted", "n_hits")
    assert {number: (first, out or [], *rest) for number, first, out, *rest in stored} == figures
    several_before |= several
    rows = dict(EventVerdict.objects.values_list("seq", "verdict"))
    differ = {seq: (rows.get(seq, 0), words.get(seq, 0)) for seq in rows.keys() | words.keys()}
    wrong = {seq: pair for seq, pair in differ.items() if pair[0] != pair[1] and seq not in several_before}
    assert wrong == {}
    by_step = defaultdict(set)
    for number, position in EventVerdict.objects.values_list("step", "seq"):
        by_step[number].add(position)
    for number, positions in by_step.items():
        assert positions <= set(event_log.read_step(Step.objects.get(number=number)).seq.tolist())
    return len(rows)


@pytest.mark.parametrize("seed", range(5))
def test_every_walk_ends_where_its_history_folded_from_nothing_does(seed, settings, monkeypatch):
    monkeypatch.setattr(pipeline_settings, "configured", lambda: replace(SCREENED, secret=ids.secret()))
    settings.STEP_EVENTS = 400
    settings.CHECKPOINT_EVERY_S = 1e9
    walk = Walk(seed)
    walk.town.append_until(WARM_UP_S)
    learner.learn(0)
    settings.STEP_EVENTS = 12
    walk.checkpoint()
    several, n_verdicts = set(), []
    for _ in range(N_ACTS):
        walk.act()
        try:
            n_verdicts.append(check(several))
        except AssertionError as error:
            raise AssertionError(f"after {', '.join(walk.done)}") from error
    assert max(n_verdicts) > 0
