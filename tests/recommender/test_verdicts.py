"""Verdicts are kept with the step that gave them, and the last word with the step that spoke it."""

from math import inf

import pytest

from recommender import learner, log, metrics, verdicts
from recommender.core.screen import Reason, Verdict
from recommender.models import Checkpoint, EventVerdict, Learner, Step
from tests.recommender.logs import clicks, events

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("view_store", "empty_log")]

CRAWLER = "Googlebot/2.1 (+http://www.google.com/bot.html)"


@pytest.fixture(autouse=True)
def _fresh_process(settings, monkeypatch):
    settings.PUBLISH_EVERY_S = settings.CHECKPOINT_EVERY_S = 0.0
    monkeypatch.setattr(learner, "CHECKPOINT_SHARE", inf)
    monkeypatch.setattr(learner, "PUBLISH_SHARE", inf)
    learner._warm.clear()
    yield
    learner._warm.clear()


def test_a_declared_crawler_is_recorded_and_never_learned():
    log.append(events(["ana", "bot", "ben"], ["x", "x", "x"], user_agent=["Mozilla/5.0", CRAWLER, None]))
    learner.learn(0)
    (row,) = EventVerdict.objects.all()
    assert (row.ordinal, row.step, row.verdict) == (1, 1, Verdict.QUARANTINE)
    assert row.reasons & Reason.AUTOMATED
    step = Step.objects.get()
    assert (step.n_events, step.n_admitted, step.n_quarantined) == (3, 2, 1)
    row_of_learner = Learner.objects.get()
    assert (row_of_learner.n_quarantined, row_of_learner.n_held, row_of_learner.n_unjudged) == (1, 0, 2)
    assert b'groundswell_events_screened_total{shard="0",verdict="quarantined"} 1.0' in metrics.render()
    (first,) = log.read_step(step).actors[row.ordinal :][:1]
    assert first == "bot"
    assert learner._warm[0].pipeline.trend.contributions("x").size == 2


def test_admitted_events_need_no_row():
    log.append(clicks(20))
    learner.learn(0)
    assert EventVerdict.objects.count() == 0


def test_an_event_is_found_again_by_its_number():
    for number in range(3):
        log.append(clicks(5, start=5 * number))
        learner.learn(0)
    found = verdicts.positions_of(shard=0, ordinals=[14, 0, 7, 99])
    stored = [log.read_step(step) for step in Step.objects.order_by("number")]
    expected = [(stored[2], 4, 3), (stored[0], 0, 1), (stored[1], 2, 2)]
    for (number, position), (part, row, step) in zip(found[:3], expected, strict=True):
        assert (number, position) == (step, (int(part.xid[row]), int(part.seq[row])))
    assert found[3] == (0, log.Position())


def test_the_screen_is_part_of_the_fold():
    agents = [CRAWLER if number % 3 == 0 else "Mozilla/5.0" for number in range(60)]
    for number in range(3):
        part = slice(20 * number, 20 * number + 20)
        actors = [f"actor-{n}" for n in range(part.start, part.stop)]
        log.append(events(actors, ["x"] * 20, user_agent=agents[part], ip=[f"192.0.2.{number}"] * 20))
        learner.learn(0)
    newest = Checkpoint.objects.latest("id")
    assert learner.verify(newest) == newest.digest
    assert EventVerdict.objects.count() == 20


def test_with_the_screen_off_everything_is_admitted(settings):
    settings.SCREEN = False
    log.append(events(["bot"], ["x"], user_agent=[CRAWLER]))
    learner.learn(0)
    assert EventVerdict.objects.count() == 0
    assert learner._warm[0].pipeline.trend.contributions("x").size == 1
