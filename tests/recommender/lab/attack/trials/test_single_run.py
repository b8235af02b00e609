"""Tests for single runs: known successes and failures, and the figures of a run."""

import subprocess
import sys

import numpy as np
import orjson
import polars as pl
import pytest
from django.core.management import call_command
from pyod.models.iforest import IForest

from recommender.core.pipeline import Pipeline
from recommender.lab.attack import batch_columns
from recommender.lab.attack.catalogue.all_attacks import attack
from recommender.lab.attack.catalogue.invented_site import Town
from recommender.lab.attack.defences import defence_kinds
from recommender.lab.attack.defences.forest_defence import _Trees
from recommender.lab.attack.delivery.campaign import Campaign
from recommender.lab.attack.report.full_tables import of_log
from recommender.lab.attack.trials import (
    benchmark,
    margin_tightness,
    measured_prices,
    pair_trials,
    run_metrics,
    whole_suite,
)
from recommender.lab.attack.trials.benchmark import Choice
from recommender.lab.attack.trials.honest_cost import Diary, Pages, delays, find_spikes, lateness
from recommender.lab.attack.trials.single_run import Trace, follow
from recommender.lab.attack.trials.whole_suite import LogResult
from tests.help import small_town


def run(defence, code, multiple, variant="plain", seconds=260):
    """Run one attack on the small site, and its clean twin.

    The budget is in prices of the undefended list.
    """
    site, warm, start = small_town.site(), small_town.warm(), small_town.start_ms()
    state = warm.state(defence, start)
    world = site.world(start, state.top(20)[0])
    targets = attack(code).for_bench().plan(world, n_actors=1, seed=1).targets
    bare = warm.state("none", start)
    price = run_metrics.price(float(bare.top(10)[1][-1]), bare.score(targets[0]), 1.0)
    made = attack(code).for_bench().plan(world, n_actors=max(1, round(multiple * price)), seed=1, targets=targets)
    clean = follow(state, site, start, seconds, watch=targets)
    attacked = follow(warm.state(defence, start), site, start, seconds, campaign=Campaign(made, variant))
    return run_metrics.compare(attacked, clean, targets=targets, goal=made.goal, account_weight=1.0), attacked, clean


def test_twice_the_price_buys_a_place_in_an_undefended_list():
    found, _, _ = run("none", "A2", 2.0)
    assert found["success"]
    assert found["best_rank"] <= 10 < found["clean_rank"]


def test_half_the_price_does_not():
    assert not run("none", "A2", 0.5)[0]["success"]


def test_one_account_that_floods_takes_an_undefended_list_and_is_one_unit_to_a_capped_one():
    assert run("none", "A1", 1.0)[0]["success"]
    found, attacked, _ = run("caps", "A1", 4.0)
    assert not found["success"]
    assert found["accounts_used"] == 1
    assert attacked.ledger.summary()["injected"]["events"] > 0


@pytest.mark.parametrize("variant", ["plain", "black-box", "white-box"])
def test_below_the_margin_no_variant_takes_a_capped_place(variant):
    found, _, clean = run("caps", "A2", 0.9, variant, seconds=500)
    assert found["accounts_used"] < min(clean.last) + 1
    assert not found["success"]
    assert found["violations"] == 0


def test_an_attacker_who_sees_the_scores_needs_no_more_than_one_who_does_not():
    blind, seeing = run("caps", "A2", 2.0)[0], run("caps", "A2", 2.0, "white-box")[0]
    assert seeing["success"]
    assert seeing["accounts_used"] <= blind["accounts_used"]


def test_an_attacker_who_sees_the_list_stops_while_he_is_in_it():
    blind, seeing = run("caps", "A2", 4.0)[0], run("caps", "A2", 4.0, "black-box")[0]
    assert seeing["success"]
    assert seeing["accounts_used"] < blind["accounts_used"]


def test_framing_a_rival_with_clicks_does_not_remove_it():
    assert not run("caps", "A10", 2.0)[0]["success"]


def test_every_event_of_both_sides_is_judged_once():
    _, attacked, clean = run("caps", "A4", 1.0)
    totals = [trace.ledger.summary() for trace in (attacked, clean)]
    assert totals[0]["readers"]["events"] == totals[1]["readers"]["events"] > 0
    assert totals[0]["injected"]["events"] > totals[1]["injected"]["events"] == 0


@pytest.mark.parametrize("defence", ["none", "caps", "full", "forest"])
def test_a_saved_defence_goes_on_as_if_it_had_never_been_saved(defence):
    site, warm, start = small_town.site(), small_town.warm(), small_town.start_ms()
    once, again = (follow(warm.state(defence, start), site, start, 60) for _ in range(2))
    whole = warm.state(defence, start)
    follow(whole, site, start, 30)
    rest = follow(type(whole).restore(whole.save()), site, start + 30_000, 30)
    assert once.tops == again.tops
    assert rest.tops == once.tops[30:]


def test_batches_taken_apart_and_merged_are_what_the_log_file_gives():
    pipeline = Pipeline(small_town.CONFIG)
    frame = small_town.site().log.head(50)
    batch = batch_columns.encode(pipeline, frame)
    odd, even = (batch_columns.take(batch, np.arange(first, 50, 2)) for first in (1, 0))
    merged, order = batch_columns.merge([odd, even])
    assert merged.received_ms.tolist() == batch.received_ms.tolist()
    assert list(merged.item_names) == list(batch.item_names)
    assert sorted(order.tolist()) == list(range(50))


def trace(tops, last=5.0, score=0.0, accounts=1):
    n = len(tops)
    return Trace(
        tops=tops,
        last=[last] * n,
        scores={"t": [score] * n},
        n_accounts=[accounts] * n,
    )


def compare(attacked, clean, goal="promote"):
    return run_metrics.compare(attacked, clean, targets=["t"], goal=goal, account_weight=1.0)


def test_a_minute_in_the_list_is_a_success_and_a_second_less_is_not():
    clean = trace([["a", "b"]] * 100)
    for seconds, is_success in ((60, True), (59, False)):
        attacked = trace([["t", "a"]] * seconds + [["a", "b"]] * (100 - seconds))
        found = compare(attacked, clean)
        assert (found["success"], found["contain_s"]) == (is_success, seconds)


def test_a_place_the_target_would_have_had_anyway_is_no_success():
    assert not compare(trace([["t"]] * 100), trace([["a", "t"]] * 100))["success"]


def test_a_rival_missing_for_a_minute_is_a_successful_demotion():
    assert compare(trace([["a"]] * 100), trace([["a", "t"]] * 100), goal="demote")["success"]


def test_a_place_below_its_price_is_a_violation():
    clean = trace([["a"]] * 10, last=5.0)
    assert compare(trace([["t"]] * 10, accounts=4), clean)["violations"] == 10
    assert compare(trace([["t"]] * 10, accounts=6), clean)["violations"] == 0


def test_prices_are_the_smallest_budgets_that_work():
    found = {
        each.rule: each
        for each in measured_prices.measure(small_town.site(), small_town.start_ms(), small_town.warm())
    }
    state = small_town.warm().state("caps", small_town.start_ms())
    assert found["capped"].top10 == int(state.top(10)[1][-1]) + 1
    assert found["capped"].top10 < found["capped"].top1
    assert found["trusted"].top10 >= found["capped"].top10
    assert all(found[rule].top10 <= found[rule].top1 for rule in ("raw", "hot", "ratio"))


def test_a_spike_shown_as_soon_as_without_a_defence_is_not_late():
    frame = Town(days=1.3, n_readers=12_000, seed=4).make()
    site = type(small_town.site()).of("town", frame, small_town.CONFIG)
    warm = type(small_town.warm())(site, [int(site.batch.received_ms[-1]) // 5000 * 5000])
    diary = Diary(site)
    warm.fold("caps", on_step=diary.note)
    spikes, pages = find_spikes(site), diary.pages()
    found = lateness(delays(spikes, pages, pages))
    assert found["spikes"] > 0
    assert all(found[key]["late"] == 0 for key in ("exact", "top20", "top10"))
    assert pages.summary["held"] == 0


def test_the_benchmark_writes_records_and_a_table():
    choice = Choice(attacks=("A2",), look_alikes=("B1",), defences=("none", "caps"), prices=(0.5, 2.0), seeds=1)
    records = list(benchmark.run(small_town.site(), choice, small_town.warm(), [small_town.start_ms()]))
    orjson.dumps(records, option=orjson.OPT_SERIALIZE_NUMPY)
    frame = pl.DataFrame(records, infer_schema_length=None)
    won = frame.filter(pl.col("success"))
    assert set(frame["defence"]) == {"none", "caps"}
    assert won["multiple"].min() == 2.0
    assert frame["violations"].fill_null(0).sum() == 0
    table = of_log(LogResult("small", records=records))
    assert "| A2 one host, a new id for every click | 1/1 | 1/1 / 1/1 / 1/1 |" in table
    assert "flash crowd" in table


@pytest.fixture
def _few_pairs(monkeypatch):
    """Try one attack on links, with one budget. test_pair_trials.py has the others."""
    monkeypatch.setattr(pair_trials, "ATTACKS", dict([*pair_trials.ATTACKS.items()][:1]))
    monkeypatch.setattr(pair_trials, "BUDGETS", pair_trials.BUDGETS[:1])
    monkeypatch.setattr(pair_trials, "MARGINS", pair_trials.MARGINS[:1])


@pytest.mark.usefixtures("_few_pairs")
def test_the_command_runs_and_leaves_raw_results(tmp_path, capsys):
    small_town.log().write_parquet(tmp_path / "log.parquet")
    call_command(
        "attack", "run", "--log", str(tmp_path / "log.parquet"), "--attacks", "A1,B2", "--budgets", "2",
        "--seeds", "1", "--defences", "none,caps,oracle", "--variants", "plain", "--no-honest", "--jobs", "1",
        "--out", str(tmp_path / "out"),
    )  # fmt: skip
    lines = (tmp_path / "out" / "log.jsonl").read_text().splitlines()
    assert {orjson.loads(line)["attack"] for line in lines} == {"A1", "B2"}
    assert "| A1 one account floods | 1 of 1 / - |" in capsys.readouterr().out
    assert "| attack | without defence | with Groundswell |" in (tmp_path / "out" / "readme.md").read_text()
    assert "## log" in (tmp_path / "out" / "benchmark.md").read_text()


@pytest.fixture
def short_log(tmp_path):
    path = tmp_path / "log.parquet"
    small_town.log().write_parquet(path)
    return str(path)


def test_the_number_of_processes_changes_no_record(short_log):
    choice = Choice(
        attacks=("A12",), look_alikes=("B1",), defences=("none", "caps"), prices=(2.0,), variants=("plain",), seeds=1,
        pairs=("links",),
    )  # fmt: skip
    one, two = (whole_suite.measure([short_log], choice, small_town.CONFIG, n_processes=n)[0] for n in (1, 2))
    assert one.records
    assert one.tightness
    assert one.pairs
    for name in ("records", "honest", "tightness", "pairs", "starts_s"):
        assert getattr(one, name) == getattr(two, name), name


def test_the_margin_of_a_capped_list_is_nearly_what_a_strike_needs():
    site, warm, start = small_town.site(), small_town.warm(), small_town.start_ms()
    (found,) = margin_tightness.measure("caps", site, warm, (0, start), seed=1)
    assert found["margin"] <= found["needed"] <= 1.5 * found["margin"]


def test_the_smallest_budget_is_searched_upwards_from_the_margin_and_given_up_at_eight():
    assert margin_tightness.smallest(lambda n: n >= 7, 7) == 7
    assert margin_tightness.smallest(lambda n: n >= 30, 10) == 30
    assert margin_tightness.smallest(lambda n: False, 10) is None


def test_a_place_among_pages_is_that_of_its_step():
    tops = np.array([[0, 1] + [-1] * 18, [1, 0] + [-1] * 18, [1] + [-1] * 19], np.int32)
    pages = Pages(np.array([5000, 10_000, 15_000]), tops, {"a": 0, "b": 1}, {})
    times, ranks = pages.ranks("a", 5000, 15_001)
    assert (times.tolist(), ranks.tolist()) == ([5000, 10_000, 15_000], [1, 2, 21])
    assert pages.ranks("unknown", 0, 20_000)[1].tolist() == [21, 21, 21]


def test_a_crowd_is_late_by_the_place_it_held_without_a_defence():
    then = trace([["x"] * 5] * 10 + [["t"]] * 90)
    assert run_metrics.delays(trace([["x"]] * 80 + [["t"]] * 20), then, "t") == {"same": 70.0, "20": 70.0, "10": 70.0}
    assert run_metrics.delays(trace([["x"]] * 100), then, "t")["same"] is None
    assert run_metrics.delays(then, trace([["x"]] * 100), "t") == {}


def test_the_lone_forests_trees_score_in_the_order_of_pyod():
    rng = np.random.default_rng(1)
    fitted = IForest(n_estimators=10, random_state=0).fit(rng.normal(size=(500, 6)))
    strange = 2 * rng.normal(size=(40, 6))
    assert (
        np.argsort(_Trees(fitted).scores(strange)).tolist() == np.argsort(fitted.decision_function(strange)).tolist()
    )


def test_a_defence_is_made_by_its_name_and_restored_by_its_kind():
    config = small_town.site().config
    for name in defence_kinds.DEFENCES:
        made = defence_kinds.make(name, config)
        assert type(made) is defence_kinds.kind(name)
        assert type(made).restore(made.save()).top(5)[0] == []
    switches = {
        name: (made.pipeline.config.trust.floor == 1.0, made.pipeline.config.screen.is_on)
        for name in ("caps", "trust", "full")
        if (made := defence_kinds.make(name, config))
    }
    assert switches == {"caps": (True, False), "trust": (False, False), "full": (False, True)}
    with pytest.raises(
        ValueError, match=r"no defence oracles\. Choose one of none, caps, forest, trust, full, links"
    ):
        defence_kinds.make("oracles", config)


def test_whoever_fits_no_forest_does_not_wait_for_pyod():
    code = "import sys, recommender.lab.attack.defences.defence_kinds; print('pyod' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "False"


def test_the_town_is_the_same_for_the_same_seed_and_has_everything_in_it():
    town, again = (Town(days=0.3, n_readers=20_000, seed=2).make() for _ in range(2))
    assert town.equals(again)
    assert not town.equals(Town(days=0.3, n_readers=20_000, seed=3).make())
    shares = dict(town["attack"].fill_null("").value_counts(normalize=True).iter_rows())
    assert shares["B5"] == pytest.approx(0.05, abs=0.02)
    assert {"", "B1", "B2", "B3", "B5", "automation"} == set(shares)
    assert town["ts"].is_sorted()
    assert town["label"].sum() == 0
    assert (town["ip"] == "10.99.1.1").sum() > 0
