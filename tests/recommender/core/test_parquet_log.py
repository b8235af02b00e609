"""Test log files: cut by time only, read in chunks, refused with a reason."""

import numpy as np
import polars as pl
import pytest

from recommender.core import parquet_log
from recommender.core.events import Encoder, country_code
from recommender.core.parquet_log import LogFile, LogFileError
from recommender.core.vocabulary import Kind


def write(path, **columns):
    frame = {"ts": [1.0, 1.5, 2.0, 5.25], "actor": ["a", "b", "a", "c"], "item": ["x", "x", "y", "z"]} | columns
    pl.DataFrame({name: values for name, values in frame.items() if values is not None}, strict=False).write_parquet(
        path
    )
    return path


def steps(path, bucket_ms=1000, **options):
    return list(LogFile(path, **options).steps(Encoder(b""), bucket_ms=bucket_ms))


def test_steps_are_buckets_of_time(tmp_path):
    found = steps(write(tmp_path / "log.parquet"))
    assert [step.batch.received_ms.tolist() for step in found] == [[1000, 1500], [2000], [5250]]
    assert [step.rows.tolist() for step in found] == [[0, 1], [2], [3]]
    assert found[0].batch.item_names == ["x", "x"]


def test_chunks_do_not_cut_a_step(tmp_path, monkeypatch):
    path = write(tmp_path / "log.parquet")
    monkeypatch.setattr(parquet_log, "CHUNK_ROWS", 1)
    assert [step.rows.tolist() for step in steps(path, bucket_ms=60_000)] == [[0, 1, 2, 3]]
    assert [step.rows.tolist() for step in steps(path)] == [[0, 1], [2], [3]]


def test_optional_columns_are_read(tmp_path):
    path = write(tmp_path / "log.parquet", kind=["view", None, "undo", "click"], country=["DE", None, "xx", "FR"])
    batches = [step.batch for step in steps(path)]
    assert np.concatenate([batch.kind for batch in batches]).tolist() == [
        Kind.VIEW,
        Kind.CLICK,
        Kind.UNDO,
        Kind.CLICK,
    ]
    assert batches[0].country.tolist() == [country_code("DE"), 0]


def test_kinds_unknown_here_are_taken_for_clicks_and_named(tmp_path):
    log = LogFile(write(tmp_path / "log.parquet", kind=["edit", "click", "undo", None]))
    kinds = [int(kind) for step in log.steps(Encoder(b""), bucket_ms=1000) for kind in step.batch.kind]
    assert kinds == [Kind.CLICK, Kind.CLICK, Kind.UNDO, Kind.CLICK]
    assert log.unknown_kinds == {"edit"}


def test_a_claimed_time_is_read_and_missing_ones_are_ours(tmp_path):
    path = write(tmp_path / "log.parquet", occurred_at=[0.5, None, 2.0, 5.0])
    assert [step.batch.occurred_ms.tolist() for step in steps(path)] == [[500, 1500], [2000], [5000]]


def test_codes_for_countries_are_not_taken_for_countries(tmp_path):
    assert steps(write(tmp_path / "log.parquet", country=[1, 2, 3, 4]))[0].batch.country.tolist() == [0, 0]


def test_numbers_can_be_ids(tmp_path):
    assert steps(write(tmp_path / "log.parquet", item=[7, 8, 9, 10]))[0].batch.item_names == ["7", "8"]


def test_a_limit_and_actors_left_out(tmp_path):
    path = write(tmp_path / "log.parquet")
    assert [step.rows.tolist() for step in steps(path, limit=3, without=frozenset("a"))] == [[1]]


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"ts": [2.0, 1.0, 3.0, 4.0]}, "row 1: earlier"),
        ({"ts": [1.0, float("nan"), 3.0, 4.0]}, "unix seconds"),
        ({"ts": [1.0, float("inf"), 3.0, 4.0]}, "unix seconds"),
        ({"ts": [-1.0, 1.0, 3.0, 4.0]}, "unix seconds"),
        ({"ts": [1.7e12, 1.7e12, 1.7e12, 1.7e12]}, "milliseconds"),
        ({"ts": [1.0, None, 3.0, 4.0]}, "row 1 has no ts"),
        ({"actor": ["a", "b", None, "c"]}, "row 2 has no actor"),
        ({"item": None}, "no column item"),
    ],
)
def test_a_log_that_cannot_be_learned_is_refused_with_the_reason(tmp_path, columns, reason):
    with pytest.raises(LogFileError, match=reason):
        steps(write(tmp_path / "log.parquet", **columns))


def test_what_is_no_parquet_is_refused(tmp_path):
    (tmp_path / "log.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(LogFileError, match="cannot be read as Parquet"):
        LogFile(tmp_path / "log.parquet")
    with pytest.raises(LogFileError, match="cannot be read as Parquet"):
        LogFile(tmp_path / "missing.parquet")
