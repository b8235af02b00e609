"""A verdict is stored with the step that gave it.

A newer verdict is stored with its own step.
"""

from math import nan

import numpy as np
import pytest

from recommender.api import metrics
from recommender.core.features.feature_columns import FEATURES
from recommender.core.pipeline import Revised, StepResult
from recommender.core.quality.evaluation import NOTHING
from recommender.core.screen.evidence import UNKNOWN, Evidence
from recommender.core.screen.screen import Verdicts, admitted
from recommender.core.trend import count_breakdowns
from recommender.core.vocabulary import Reason, Verdict
from recommender.learning import fresh_fold, learner, verdict_writer
from recommender.log import event_log
from recommender.models import Checkpoint, EventVerdict, Learner, Step
from tests.help.log_rows import actors_of, clicks, events

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("view_store", "empty_log")]

CRAWLER = "Googlebot/2.1 (+http://www.google.com/bot.html)"


@pytest.fixture(autouse=True)
def _fresh_process(settings, clock):
    settings.PUBLISH_EVERY_S = settings.CHECKPOINT_EVERY_S = 0.0


def test_a_declared_crawler_is_recorded_and_never_learned():
    event_log.append(events(["ana", "bot", "ben"], ["x", "x", "x"], user_agent=["Mozilla/5.0", CRAWLER, None]))
    learner.learn(0)
    (row,) = EventVerdict.objects.all()
    assert (row.ordinal, row.step, row.verdict) == (1, 1, Verdict.QUARANTINE)
    assert row.reasons & Reason.AUTOMATED
    step = Step.objects.get()
    assert (step.n_events, step.n_admitted, step.n_quarantined) == (3, 2, 1)
    row_of_learner = Learner.objects.get()
    assert (row_of_learner.n_quarantined, row_of_learner.n_held, row_of_learner.n_unjudged) == (1, 0, 2)
    assert b'groundswell_events_screened_total{shard="0",verdict="quarantined"} 1.0' in metrics.render()
    (first,) = actors_of(event_log.read_step(step))[row.ordinal :][:1]
    assert first == "bot"
    assert count_breakdowns.contributions(learner.in_memory(0).pipeline.trend, "x").size == 2


def test_admitted_events_need_no_row():
    event_log.append(clicks(20))
    learner.learn(0)
    assert EventVerdict.objects.count() == 0


def test_an_event_is_found_again_by_its_number():
    for number in range(3):
        event_log.append(clicks(5, start=5 * number))
        learner.learn(0)
    found = verdict_writer.positions_of(shard=0, ordinals=[14, 0, 7, 99])
    stored = [event_log.read_step(step) for step in Step.objects.order_by("number")]
    expected = [(stored[2], 4, 3), (stored[0], 0, 1), (stored[1], 2, 2)]
    for (number, position), (part, row, step) in zip(found[:3], expected, strict=True):
        assert (number, position) == (step, (int(part.xid[row]), int(part.seq[row])))
    assert found[3] == (0, event_log.Position())


def test_the_screen_is_part_of_the_fold():
    agents = [CRAWLER if number % 3 == 0 else "Mozilla/5.0" for number in range(60)]
    for number in range(3):
        part = slice(20 * number, 20 * number + 20)
        actors = [f"actor-{n}" for n in range(part.start, part.stop)]
        event_log.append(events(actors, ["x"] * 20, user_agent=agents[part], ip=[f"192.0.2.{number}"] * 20))
        learner.learn(0)
    newest = Checkpoint.objects.latest("id")
    assert fresh_fold.verify(newest) == newest.digest
    assert EventVerdict.objects.count() == 20


def test_with_the_screen_off_everything_is_admitted(settings):
    settings.SCREEN = False
    event_log.append(events(["bot"], ["x"], user_agent=[CRAWLER]))
    learner.learn(0)
    assert EventVerdict.objects.count() == 0
    assert count_breakdowns.contributions(learner.in_memory(0).pipeline.trend, "x").size == 1


def test_a_verdict_is_stored_with_its_evidence():
    rng = np.random.default_rng(1)
    percentiles = rng.integers(0, 101, (3, len(FEATURES))).astype(np.uint8)
    percentiles[0, 1] = UNKNOWN
    p_values = np.array([[0.5, 0.25, nan], [nan] * 3, [nan, 0.125, 0.75]], np.float32)
    evidence = Evidence(np.array([0, 2, 3]), percentiles, p_values, 0.001)
    verdict = np.array([1, 0, 2, 1, 1], np.int8)  # the last is a held undo, with nothing known against it
    screened = Verdicts(verdict, np.full(5, 0.5, np.float32), np.full(5, 72, np.int32), evidence=evidence)
    event_log.append(clicks(5))
    stored = event_log.read(after=event_log.Position(), since_ms=0, limit=5)
    verdict_writer.store(shard=0, first_ordinal=7, step=4, events=stored, result=StepResult(5, 1, NOTHING, screened))
    rows = list(EventVerdict.objects.order_by("ordinal"))
    assert [row.ordinal for row in rows] == [7, 9, 10, 11]
    assert [(row.xid, row.seq) for row in rows] == [(stored.xid[at], stored.seq[at]) for at in (0, 2, 3, 4)]
    assert [row.was_held for row in rows] == [True, False, True, True]
    assert [row.p_values for row in rows] == [[0.5, 0.25, None], None, [None, 0.125, 0.75], None]
    assert [row.alpha for row in rows] == [0.001, 0.001, 0.001, None]
    assert verdict_writer.percentiles(rows[0])[FEATURES[1]] is None
    assert list(verdict_writer.percentiles(rows[1]).values()) == percentiles[1].tolist()
    assert verdict_writer.percentiles(rows[3]) == {}


def test_what_is_revised_twice_in_a_step_has_the_last_word_and_every_reason():
    event_log.append(clicks(3))
    learner.learn(0)
    held = Verdicts(np.array([1, 0, 0], np.int8), np.zeros(3, np.float32), np.full(3, 1, np.int32))
    stored = event_log.read(after=event_log.Position(), since_ms=0, limit=3)
    revised = Revised(np.array([0, 2, 0]), np.array([0, 2, 2], np.int8), np.array([0, 4, 2], np.int32))
    verdict_writer.store(shard=0, first_ordinal=0, step=1, events=stored, result=StepResult(3, 2, NOTHING, held))
    verdict_writer.store(
        shard=0, first_ordinal=3, step=2, events=stored, result=StepResult(0, 0, NOTHING, admitted(0), revised)
    )
    first, last = EventVerdict.objects.order_by("ordinal")
    assert (first.ordinal, first.step, first.verdict, first.reasons, first.revised_in) == (0, 1, 2, 3, 2)
    assert (last.ordinal, last.step, last.verdict, last.reasons, last.was_held) == (2, 1, 2, 4, False)
