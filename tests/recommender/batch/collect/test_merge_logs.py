"""A merged log has each event once, in order of time, under any memory budget.

The sources may overlap in any way.
"""

import numpy as np
import polars as pl
import pytest

from recommender.batch.collect import open_logs
from recommender.batch.collect.event_sources import FileRows
from recommender.batch.collect.merge_logs import Budget, merge
from recommender.core.events import Encoder
from recommender.core.parquet_log import LogFile, LogFileError
from tests.help.log_files import site, written

SMALL = Budget(rows=300, chunk=70, pairs=100)
LARGE = Budget.of(2**28)


def merged(paths, folder, budget=SMALL):
    return merge([FileRows(path) for path in paths], folder, budget)


def test_a_log_merged_in_small_pieces_is_the_log(tmp_path):
    log = site()
    journal = merged([written(log, tmp_path / "log.parquet")], tmp_path / "out")
    found = journal.rows.select("ts", "actor", "item", "kind").collect()
    assert found.equals(log.select("ts", "actor", "item", "kind"))
    assert len(journal.files) > 10
    assert journal.n_rows == journal.n_read == len(log)


def test_the_same_sources_give_the_same_log_whatever_the_memory(tmp_path):
    log = site().sample(fraction=1.0, shuffle=True, seed=1)
    paths = [written(log[:2500], tmp_path / "a.parquet"), written(log[2000:], tmp_path / "b.csv")]
    small, large = merged(paths, tmp_path / "s"), merged(paths, tmp_path / "l", LARGE)
    assert small.rows.collect().equals(large.rows.collect())
    assert small.n_rows == len(log)
    assert len(large.files) == 1


def test_a_merge_by_event_id_removes_duplicates_and_keeps_the_old_row(tmp_path):
    log = site(n_events=500).with_columns(pl.int_range(pl.len()).cast(pl.String).alias("event_id"))
    again = log[100:300].with_columns(pl.col("ts") + 7200, pl.lit("again").alias("session"))  # hours later
    paths = [written(log, tmp_path / "old.parquet"), written(again, tmp_path / "new.csv")]
    journal = merged(paths, tmp_path / "out")
    assert journal.n_read == len(log) + 200
    assert journal.n_rows == len(log)
    assert "again" not in journal.rows.collect()["session"].to_list()


def test_the_same_event_id_of_another_actor_or_item_is_another_event(tmp_path):
    log = site(n_events=500).with_columns(pl.int_range(pl.len()).cast(pl.String).alias("event_id"))
    others = [log[:50].with_columns(pl.lit("other").alias(name)) for name in ("actor", "item")]
    paths = [written(each, tmp_path / f"{number}.parquet") for number, each in enumerate([log, *others])]
    assert merged(paths, tmp_path / "out").n_rows == len(log) + 100


def test_without_ids_only_the_very_same_act_is_a_duplicate(tmp_path):
    log = site(n_events=500)
    other = log[:50].with_columns(pl.lit("view").alias("kind"))
    journal = merged([written(log, tmp_path / "a.parquet"), written(pl.concat([log, other]), tmp_path / "b.parquet")],
                     tmp_path / "out")  # fmt: skip
    assert journal.n_rows == len(log) + 50


def test_steps_of_a_journal_are_those_of_one_file(tmp_path):
    path = written(site(), tmp_path / "log.parquet")
    journal = merged([path], tmp_path / "out")
    one, many = LogFile(path).steps(Encoder(b""), bucket_ms=1000), journal.steps(Encoder(b""), bucket_ms=1000)
    for ours, theirs in zip(many, one, strict=True):
        assert np.array_equal(ours.batch.received_ms, theirs.batch.received_ms)
        assert np.array_equal(ours.batch.actor, theirs.batch.actor)


def test_rows_before_a_time_and_past_a_limit_are_left_out(tmp_path):
    log = site(story=False)
    path = written(log, tmp_path / "log.parquet")
    since_s = float(log["ts"][1000])
    with open_logs.journal_of(open_logs.files([path], since_s=since_s, limit=3000)) as journal:
        assert journal.n_rows == len(log[:3000].filter(pl.col("ts") >= since_s))


def test_a_folder_is_all_its_files(tmp_path):
    log = site(n_events=300)
    written(log[:100], tmp_path / "a.csv")
    written(log[100:], tmp_path / "b.parquet")
    with open_logs.journal_of(open_logs.files([tmp_path])) as journal:
        assert journal.rows.select("item").collect().equals(log.select("item"))


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"ts": [1.0], "actor": ["a"]}, "no column item"),
        ({"ts": [1.7e12], "actor": ["a"], "item": ["i"]}, "milliseconds"),
        ({"ts": [1.0], "actor": [None], "item": ["i"]}, "a row has no actor"),
    ],
)
@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_file_that_is_no_log_is_refused(tmp_path, columns, said, suffix):
    path = written(pl.DataFrame(columns), tmp_path / f"log.{suffix}")
    with pytest.raises(LogFileError, match=said):
        merged([path], tmp_path / "out")


def test_a_file_of_another_kind_is_refused(tmp_path):
    with pytest.raises(LogFileError, match=r"use a \.parquet or \.csv"):
        FileRows(tmp_path / "log.json")
