"""Each Pipeline in a pass acts as if it ran alone, and only a sound one wins.

Attacked copies give the same results as attacked runs.
"""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from recommender.batch import (
    candidate_pass,
    challenger_trial,
    config_variants,
    factorisation,
    fixed_attacks,
    story_spikes,
)
from recommender.batch.candidate_pass import Churn, Entrant
from recommender.batch.challenger_trial import TrialRow, decide
from recommender.batch.challengers import challengers
from recommender.batch.collect import open_logs
from recommender.batch.fixed_attacks import Assault
from recommender.core.pipeline import Config, Pipeline
from recommender.core.trust import TrustConfig
from recommender.lab.attack import batch_columns
from tests.help.log_files import HOUR_S, T0_S, site, written
from tests.help.streams import SMALL

PLAIN = replace(SMALL, horizon_s=86_400)
FAST = replace(PLAIN, half_lives_s=(60, 3600))


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    """Yield thirty hours of a small site, with a story."""
    path = written(site(), tmp_path_factory.mktemp("site") / "log.parquet")
    with open_logs.journal_of(open_logs.files([path])) as made:
        yield made


def push(journal, n=60, at_s=T0_S + 25 * HOUR_S, item="pushed") -> Assault:
    """Return clicks of n new accounts on one item, a second apart."""
    rows = pl.DataFrame({"ts": at_s + np.arange(n), "actor": [f"mal-{row}" for row in range(n)], "item": [item] * n})
    events = batch_columns.encode(Pipeline(PLAIN), rows)
    return Assault("push", (item,), n, events, int(1000 * at_s), int(1000 * (at_s + 1800)))


def test_each_of_several_is_as_if_it_were_alone(journal):
    alone = Pipeline(FAST)
    for step in journal.steps(alone.encoder, bucket_ms=candidate_pass.STEP_MS):
        alone.step(step.batch)
    both = [Entrant("one", PLAIN, assaults=[push(journal)]), Entrant("other", FAST)]
    candidate_pass.run(journal, both)
    assert both[1].pipeline.digest() == alone.digest()


def test_an_attacked_copy_is_the_run_that_was_attacked(journal, monkeypatch):
    seen = []
    end = candidate_pass.Siege.end

    def look(siege, clean):
        seen.append((siege.pipeline.n_events, siege.pipeline.trend.names, clean.trend.names))
        end(siege, clean)

    monkeypatch.setattr(candidate_pass.Siege, "end", look)
    entrant = Entrant("one", PLAIN, assaults=[push(journal)])
    candidate_pass.run(journal, [entrant])
    before = len(journal.rows.filter(pl.col("ts") < T0_S + 25.5 * HOUR_S).collect())
    ((n_events, attacked, clean),) = seen
    assert n_events - 60 == pytest.approx(before, abs=2)
    assert "pushed" in attacked
    assert "pushed" not in clean
    assert entrant.false_s > 600
    assert 0 < entrant.exposure < 1


def test_attackers_are_not_asked(journal):
    entrant = Entrant("one", PLAIN, assaults=[push(journal)])
    candidate_pass.run(journal, [entrant])
    attacked, clean = entrant.under_attack("trending")
    assert attacked.n == clean.n > 0
    assert attacked.hits <= clean.hits


def test_hits_count_from_the_split_on(journal):
    split_ms = challenger_trial.split_of(journal.rows)
    entrant, whole = Entrant("one", PLAIN, split_ms=split_ms), Entrant("one", PLAIN)
    candidate_pass.run(journal, [entrant, whole])
    assert 0 < entrant.quality("trending").n < whole.quality("trending").n
    assert whole.quality("trending").n == whole.pipeline.evaluation.total("trending").n
    share = 1 - entrant.n_split / entrant.pipeline.n_events
    assert share == pytest.approx(challenger_trial.TEST_SHARE, abs=0.02)


def test_the_fixed_attacks_are_fixed(journal):
    starts = fixed_attacks.starts(journal.rows, challenger_trial.split_of(journal.rows))
    one, other = (fixed_attacks.plan(journal.rows, PLAIN, starts) for _ in range(2))
    assert [each.code for each in one] == ["A4", "A9"] * (fixed_attacks.N_STARTS // 2)
    for ours, theirs in zip(one, other, strict=True):
        assert ours.targets == theirs.targets
        assert np.array_equal(ours.events.actor, theirs.events.actor)
        assert ours.events.received_ms.min() >= ours.from_ms


def test_the_story_is_found_and_the_second_it_broke(journal):
    (story,) = story_spikes.find(journal.rows)
    acts = journal.rows.filter(pl.col("item") == "story").collect()["ts"].to_numpy()
    assert story.item == "story"
    assert story.broke_ms == int(acts[0] * 1000)
    assert len(story.at_ms) == 200


def test_a_trial_tells_who_hits_more_and_whom_attacks_move(journal):
    trusting = replace(PLAIN, trust=TrustConfig(floor=0.05))
    report = challenger_trial.hold(journal, trusting, {"naive": PLAIN}, with_yardstick=False)
    champion, naive = report.rows
    assert (champion.name, naive.name) == ("champion", "naive")
    assert champion.n_predictions == naive.n_predictions > 500
    assert naive.exposure > champion.exposure
    assert report.winner is None
    assert report.as_json()["rows"][0]["name"] == "champion"
    assert report.table().row_count == 2


def test_with_little_memory_the_table_is_the_same(journal):
    other = {"fast": FAST}
    at_once = challenger_trial.hold(journal, PLAIN, other, with_yardstick=False)
    in_turn = challenger_trial.hold(journal, PLAIN, other, with_yardstick=False, n_bytes=1)
    blank = {"events_per_s": None, "state_bytes": None, "note": ""}
    assert "cut to" in in_turn.rows[0].note
    assert [replace(row, **blank) for row in at_once.rows] == [replace(row, **blank) for row in in_turn.rows]


def row(name, hr20, exposure=0.0, *, n=100_000, **more):
    return TrialRow(name=name, n_predictions=n, hr20=hr20, mrr20=0.2, exposure=exposure, **more)


@pytest.mark.parametrize(
    ("challenger", "winner"),
    [
        (row("new", 0.52), "new"),
        (row("new", 0.504), None),  # below the margin
        (row("new", 0.52, exposure=0.2), None),  # attacks get more
        (row("new", 0.52, n=100), None),  # noise
        (row("new", 0.52, hr20_attacked=0.4, hr20_unattacked=0.52), None),  # readers lose more
        (row("new", 0.9, is_servable=False), None),
    ],
)
def test_the_winner_is_better_by_the_margin_and_no_easier_to_rig(challenger, winner):
    champion = row("champion", 0.5, hr20_attacked=0.49, hr20_unattacked=0.5)
    assert decide([champion, challenger], 0.005)[0] == winner


def test_challengers_are_other_settings_that_this_version_has():
    made = challengers(Config())
    assert made["half_lives_s.0=150"].half_lives_s[0] == 150
    assert made["trust.floor=0.1"].trust.floor == 0.1
    assert all(each != Config() for each in made.values())
    with pytest.raises(ValueError, match="no setting"):
        challengers(Config(), [("nothing.there", ["1"])])


@pytest.mark.parametrize("text", ["floor", "=1", "trust.floor=", ""])
def test_a_setting_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match="SETTING=VALUE"):
        config_variants.parse(text)


@pytest.mark.parametrize(("path", "value"), [("half_lives_s.0", "fast"), ("screen.is_on", "perhaps")])
def test_a_value_of_another_type_is_refused(path, value):
    with pytest.raises(ValueError, match="cannot be"):
        config_variants.vary(Config(), path, value)


def test_churn_counts_places_that_changed_in_a_minute():
    churn, pipeline = Churn(), Pipeline(PLAIN)
    for minute, item in enumerate(["a", "a", "b"]):
        at_ms = 1_767_571_200_000 + 60_000 * minute
        pipeline.step(pipeline.encode(received_ms=[at_ms], actors=[f"actor-{minute}"], items=[item]))
        churn.note(at_ms, pipeline)
    assert (churn.n_minutes, churn.n_changed) == (2, 1)


def test_a_factorisation_is_a_yardstick_where_the_library_is(journal):
    if not factorisation.is_there():
        pytest.skip("implicit is not installed (the extra `batch`)")
    found = factorisation.measure(journal.rows, challenger_trial.split_of(journal.rows) / 1000, n_bytes=2**24)
    assert found.n > 500
    assert 0 < found.hits < found.n


def test_without_the_library_the_table_says_so(journal, monkeypatch):
    monkeypatch.setattr(challenger_trial.factorisation, "is_there", lambda: False)
    report = challenger_trial.hold(journal, PLAIN, {})
    assert "not installed" in report.rows[-1].note
    assert report.reason == "there is no challenger"
