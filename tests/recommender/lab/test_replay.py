"""Tests for `manage.py replay`: its three files, and exact exclusion of actors."""

import os
from pathlib import Path

import numpy as np
import orjson
import polars as pl
import pytest
from django.core.management import CommandError, call_command

from tests.help.streams import pushes

DATA = Path(os.environ.get("GROUNDSWELL_DATA", Path(__file__).parents[4] / "shared" / "data"))


def write_log(path, n=3000, seed=3, **columns):
    rng = np.random.default_rng(seed)
    ts = 1.7e9 + np.sort(rng.random(n)) * 7200
    frame = {"ts": ts, "actor": rng.integers(0, 200, n), "item": rng.zipf(1.5, n) % 50}
    pl.DataFrame(frame | columns).write_parquet(path)
    return path


def run(*arguments, **options):
    call_command("replay", *map(str, arguments), **options)
    return orjson.loads((options["out"] / "summary.json").read_bytes()) if "out" in options else None


def test_a_replay_writes_verdicts_boards_and_summary(tmp_path):
    summary = run(write_log(tmp_path / "log.parquet"), out=tmp_path / "out")
    assert summary["events"] == summary["verdicts"]["admit"] == 3000
    assert 0 < summary["mrr20"]["trending"] < summary["hr20"]["trending"] <= 1
    verdicts = pl.read_parquet(tmp_path / "out" / "verdicts.parquet")
    assert verdicts["row"].to_list() == list(range(3000))
    boards = pl.read_parquet(tmp_path / "out" / "boards.parquet")
    margins = ["margin_actors", "margin_trust", "margin_networks", "margin_clickers"]
    assert boards.columns == ["ts", "rank", "item", "score", *margins]
    told = boards.filter(pl.col("margin_clickers").is_not_null())
    assert (told["ts"].unique() // 60).is_unique().all()  # one per minute
    assert (told["ts"] // 60).n_unique() == (boards["ts"] // 60).n_unique()
    assert boards.select((pl.col("margin_networks") <= pl.col("margin_actors")).all()).item()
    assert told["margin_clickers"].min() >= 1
    last = boards.filter(pl.col("ts") == boards["ts"].max())
    assert last["rank"].to_list() == list(range(1, 21))
    assert last["score"].is_sorted(descending=True)
    assert (boards["ts"].unique() // 10).is_unique().all()  # one per ten seconds


def test_two_replays_have_one_digest(tmp_path):
    path = write_log(tmp_path / "log.parquet")
    assert run(path, out=tmp_path / "1")["digest"] == run(path, out=tmp_path / "2")["digest"]


def test_excluded_actors_leave_no_trace(tmp_path):
    path = write_log(tmp_path / "log.parquet")
    (tmp_path / "actors").write_text("3\n17\n42\n")
    excluded = run(path, out=tmp_path / "1", exclude_actors=tmp_path / "actors")
    never = pl.read_parquet(path).filter(~pl.col("actor").is_in([3, 17, 42]))
    never.write_parquet(tmp_path / "never.parquet")
    assert 0 < excluded["events"] < 3000
    assert excluded["digest"] == run(tmp_path / "never.parquet", out=tmp_path / "2")["digest"]


def test_attackers_that_were_held_and_retracted_leave_no_trace_either(tmp_path):
    rows = pushes(n_events=6000, n_actors=150).rows
    frame = pl.DataFrame({"ts": [row[0] / 1000 for row in rows], "actor": [row[2] for row in rows]})
    frame = frame.with_columns(item=pl.Series([row[3] for row in rows]))
    frame.write_parquet(tmp_path / "attacked.parquet")
    frame.filter(~pl.col("actor").str.starts_with("mal-")).write_parquet(tmp_path / "log.parquet")
    (tmp_path / "actors").write_text("\n".join(f"mal-{bot}" for bot in range(40)))
    attacked = run(tmp_path / "attacked.parquet", out=tmp_path / "1")
    assert attacked["verdicts"]["was_held"] + attacked["verdicts"]["quarantine"] > 0
    without = run(tmp_path / "attacked.parquet", out=tmp_path / "2", exclude_actors=tmp_path / "actors")
    assert without["digest"] == run(tmp_path / "log.parquet", out=tmp_path / "3")["digest"] != attacked["digest"]


def test_labels_score_the_verdicts_and_are_never_learned(tmp_path):
    label = np.arange(3000) % 10 == 0
    labelled = run(write_log(tmp_path / "1.parquet", label=label.astype(np.int8)), out=tmp_path / "1")
    plain = run(write_log(tmp_path / "2.parquet"), out=tmp_path / "2")
    assert labelled["digest"] == plain["digest"]
    assert (labelled["recall"], labelled["honest_loss"]) == (0, 0)
    assert "recall" not in plain


def test_a_log_that_cannot_be_read_is_an_error_with_a_reason(tmp_path):
    with pytest.raises(CommandError, match="cannot be read as Parquet"):
        run(tmp_path / "missing.parquet")


@pytest.mark.skipif(not (DATA / "globo_news.parquet").exists(), reason=f"no globo_news.parquet in {DATA}")
def test_online_learning_beats_yesterdays_list_on_a_real_news_site(tmp_path):
    # a day and a third: yesterday's list is empty before the first midnight
    summary = run(DATA / "globo_news.parquet", out=tmp_path, limit=150_000)
    assert summary["hr20"]["trending"] > 0.6
    assert summary["hr20"]["trending"] > 3 * summary["hr20"]["daily"]
