"""A trial's winner is the learner's own log under other settings.

One decision promotes it, and another undoes that.
"""

from dataclasses import replace

import pytest
from django.core.management import call_command

from monitoring.models import Review
from monitoring.operations import request_revert, retry_revert, run_trial
from recommender.batch import retrain
from recommender.batch.challenger_trial import Report
from recommender.control import learning_switch, reverts
from recommender.errors import Conflict, NotFound
from recommender.learning import fresh_fold, learner
from recommender.learning.checkpoints.state_reader import load_pipeline
from recommender.log import event_log
from recommender.models import Checkpoint, Learner, Revert, Step, Trial
from tests.help.damaged_states import damage
from tests.help.learner_process import restart, warm
from tests.help.log_files import site, written
from tests.help.log_rows import clicks

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process"),
]
BY = "shell:olga"
SLOW = "half_lives_s.0=600"


def learned(*batches):
    """Learn batches of clicks, one step each."""
    for batch in batches:
        event_log.append(batch)
        learner.learn(0)


def trial_won(name=SLOW):
    """Return a trial that a challenger won."""
    config = retrain.champion()
    entrants = {name: replace(config, half_lives_s=(600, *config.half_lives_s[1:]))}
    report = Report([], name, "it is better", 0.005, 10, 0, 0, entrants)
    return retrain.keep(report, entrants, is_kept=True)


def run_promotion():
    assert reverts.run_next()
    request_revert.close_reverts()
    learner.learn(0)


def test_the_winners_state_is_the_recorded_log_under_its_settings():
    learned(clicks(20), clicks(20, start=20, item="other"))
    trial = trial_won()
    assert trial.state == Trial.State.WAITING
    (number,) = trial.checkpoints
    checkpoint = Checkpoint.objects.get(pk=number)
    assert checkpoint.is_pinned
    assert fresh_fold.verify(checkpoint) == checkpoint.digest
    assert load_pipeline(checkpoint).config.half_lives_s[0] == 600
    assert warm().config.half_lives_s[0] == 300  # no one promoted it
    assert trial.config["secret"] == ""


def test_a_promotion_is_a_decision_and_folds_what_came_since():
    learned(clicks(20))
    trial = trial_won()
    learned(clicks(20, start=20, item="other"))
    review = request_revert.promote(by=BY, note="faster", trial_id=trial.pk)
    assert review.action == Review.Action.PROMOTE
    assert review.subject["winner"] == SLOW
    run_promotion()
    assert warm().config.half_lives_s[0] == 600
    assert warm().n_events == 40
    closing = Review.objects.latest("id")
    assert closing.action == Review.Action.PROMOTE
    assert closing.subject["state"] == Revert.State.DONE
    learned(clicks(5, start=60))
    newest = Checkpoint.objects.latest("id")
    assert fresh_fold.verify(newest) == warm().digest()
    restart()
    learner.learn(0)
    assert warm().digest() == newest.digest


def test_a_promotion_can_be_reverted():
    learned(clicks(20), clicks(20, start=20, item="other"))
    before, figures = warm().digest(), list(Step.objects.order_by("number").values("n_admitted", "first_ordinal"))
    review = request_revert.promote(by=BY, note="faster", trial_id=trial_won().pk)
    run_promotion()
    assert warm().digest() != before
    (left,) = review.subject["from"]
    assert Checkpoint.objects.get(pk=left).is_pinned
    request_revert.revert(by=BY, note="it was not", checkpoint_id=left, mode="replay")
    run_promotion()
    assert warm().digest() == before
    assert list(Step.objects.order_by("number").values("n_admitted", "first_ordinal")) == figures


def test_of_two_who_promote_one_is_told():
    learned(clicks(20))
    trial = trial_won()
    request_revert.promote(by=BY, note="faster", trial_id=trial.pk)
    with pytest.raises(Conflict, match="is not waiting"):
        request_revert.promote(by=BY, note="me too", trial_id=trial.pk)
    assert Review.objects.filter(action=Review.Action.PROMOTE).count() == 1
    with pytest.raises(NotFound):
        request_revert.promote(by=BY, note="which?", trial_id=trial.pk + 1)


def test_a_promotion_waits_for_a_revert_under_way():
    learned(clicks(20))
    trial = trial_won()
    learning_switch.ask_for_revert(
        checkpoint_id=Checkpoint.objects.latest("id").pk, mode="replay", exclusion=None, is_preview=False
    )
    with pytest.raises(Conflict, match="under way"):
        request_revert.promote(by=BY, note="faster", trial_id=trial.pk)
    trial.refresh_from_db()
    assert trial.state == Trial.State.WAITING
    assert not Review.objects.exists()


def test_a_promotion_that_fails_leaves_the_winner_waiting(monkeypatch):
    learned(clicks(20))
    trial = trial_won()
    request_revert.promote(by=BY, note="faster", trial_id=trial.pk)
    damage(Checkpoint.objects.filter(pk__in=trial.checkpoints))
    assert reverts.run_next()
    request_revert.close_reverts()
    trial.refresh_from_db()
    assert trial.state == Trial.State.WAITING
    assert Review.objects.latest("id").subject["state"] == Revert.State.FAILED
    assert warm().config.half_lives_s[0] == 300


def test_a_promotion_that_failed_is_tried_again(monkeypatch):
    learned(clicks(20))
    trial = trial_won()
    asked = request_revert.promote(by=BY, note="faster", trial_id=trial.pk).subject["revert"]
    with monkeypatch.context() as patch:
        patch.setattr(reverts, "_work_out", lambda _: 1 / 0)
        assert reverts.run_next()
    again = retry_revert.retry(by=BY, revert_id=asked)
    assert again.pk > asked
    run_promotion()
    trial.refresh_from_db()
    assert trial.state == Trial.State.PROMOTED
    assert warm().config.half_lives_s[0] == 600
    with pytest.raises(Conflict, match="only a failed one"):
        retry_revert.retry(by=BY, revert_id=again.pk)


def test_what_is_wrong_with_a_trial_of_the_schedule_is_not_hidden(monkeypatch, settings):
    def fail(*_, **__):
        raise ValueError("a bug")

    monkeypatch.setattr(retrain, "retrain", fail)
    with pytest.raises(ValueError, match="a bug"):
        run_trial.hold_by_settings()


def test_a_trial_of_the_schedule_with_too_few_events_is_no_failure(caplog):
    learned(clicks(1))
    run_trial.hold_by_settings()
    assert "too few events" in caplog.text


def test_a_later_winner_takes_the_place_of_one_that_waits():
    learned(clicks(20))
    first = trial_won()
    learned(clicks(20, start=20))
    second = trial_won()
    first.refresh_from_db()
    assert (first.state, second.state) == (Trial.State.SUPERSEDED, Trial.State.WAITING)
    assert not Checkpoint.objects.get(pk=first.checkpoints[0]).is_pinned


def test_where_the_log_lost_its_beginning_the_winner_begins_later(monkeypatch):
    learned(clicks(20), clicks(20, start=20, item="other"))
    Step.objects.filter(number=1).delete()
    monkeypatch.setattr(retrain, "_oldest_whole", lambda shard: 2)
    trial = trial_won()
    request_revert.promote(by=BY, note="faster", trial_id=trial.pk)
    run_promotion()
    assert warm().n_events == 20
    assert Learner.objects.get().recipe[0][0] == 2
    assert fresh_fold.verify(Learner.objects.get().checkpoint) == warm().digest()


def test_a_winner_whose_state_was_dropped_cannot_be_promoted():
    learned(clicks(20))
    trial = trial_won()
    Checkpoint.objects.filter(pk__in=trial.checkpoints).delete()
    with pytest.raises(Conflict, match="Hold another trial"):
        request_revert.promote(by=BY, note="faster", trial_id=trial.pk)


def test_a_trial_from_the_command_collects_the_log_and_files_and_keeps_its_table(tmp_path, capsys):
    learned(clicks(20))
    path = written(site(hours=4, n_events=600, story=False), tmp_path / "old.csv")
    call_command(
        "retrain", "--files", str(path), "--try", SLOW, "--margin", "1", "--no-yardstick", "--out", str(tmp_path)
    )
    told = capsys.readouterr().out
    assert "no challenger was better" in told
    trial = Trial.objects.get()
    assert trial.report["n_events"] == 620
    assert [row["name"] for row in trial.report["rows"]] == ["champion", SLOW]
    assert (tmp_path / "retrain.json").exists()


@pytest.mark.parametrize(("promote", "state"), [("auto", "promoted"), ("ask", "waiting"), ("never", "told")])
def test_a_winner_is_promoted_waits_or_is_told(promote, state, monkeypatch):
    learned(clicks(20))
    entrants = {SLOW: replace(retrain.champion(), half_lives_s=(600, 3600))}

    def won(paths, *, is_kept, **more):
        report = Report([], SLOW, "it is better", 0.005, 10, 0, 0, entrants)
        return report, retrain.keep(report, entrants, is_kept=is_kept)

    monkeypatch.setattr(retrain, "retrain", won)
    _, trial = run_trial.hold(by="policy", promote=promote, margin=0.005, memory_mb=2048)
    assert trial.state == state
    assert Review.objects.filter(action=Review.Action.PROMOTE).exists() == (promote == "auto")


def test_one_trial_at_a_time(monkeypatch):
    learned(clicks(20))
    monkeypatch.setattr(retrain.locks, "hold", lambda number: _Refused())
    with pytest.raises(retrain.RetrainUnderWay):
        retrain.retrain(margin=0.005, memory_mb=2048)


class _Refused:
    def __enter__(self):
        return False

    def __exit__(self, *args):
        return None
