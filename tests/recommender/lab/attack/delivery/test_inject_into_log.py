"""Tests for injected logs: the log and the attack, told apart by two columns.

Only a score may read these columns.
"""

import polars as pl
import pytest
from django.core.management import CommandError, call_command
from polars.testing import assert_frame_equal

from recommender.core.parquet_log import LogFile
from recommender.core.pipeline import Config
from recommender.lab.attack.catalogue.all_attacks import attack
from recommender.lab.attack.delivery import inject_into_log
from recommender.lab.replay import replay
from tests.help import small_town


def plan(code="A4", n=60, *, has_numbers=False):
    world = small_town.world(has_numbers=has_numbers)
    return code, attack(code).for_bench().plan(world, n_actors=n, seed=1)


@pytest.mark.parametrize("has_numbers", [False, True])
def test_every_row_of_the_log_is_kept_in_its_order(has_numbers):
    log = small_town.log(has_numbers=has_numbers).with_columns(row=pl.int_range(pl.len()), depth=pl.lit(1.5))
    injected = inject_into_log.inject(log, [plan(has_numbers=has_numbers), plan("A12", has_numbers=has_numbers)])
    honest = injected.filter(pl.col("attack").is_null())
    assert_frame_equal(honest.select(log.columns), log)
    assert injected["ts"].is_sorted()
    assert honest["label"].sum() == 0


def test_attack_rows_carry_what_the_log_has_columns_for_and_nothing_else():
    code, made = plan()
    injected = inject_into_log.inject(small_town.log(), [(code, made)])
    rows = injected.filter(pl.col("attack") == code)
    assert injected.columns == [*small_town.log().columns, "label", "attack"]
    assert_frame_equal(rows.select("ts", "actor", "item", "ip"), made.rows.select("ts", "actor", "item", "ip"))
    assert rows["label"].unique().to_list() == [1]


def test_a_column_of_codes_takes_only_what_fits():
    log = small_town.log(has_numbers=True).with_columns(referrer=pl.lit(3, pl.Int8))
    injected = inject_into_log.inject(log, [plan("A14")])  # ids and referrers are text
    assert injected.schema["referrer"] == pl.Int8
    assert injected.schema["actor"] == pl.String
    assert injected.filter(pl.col("label") == 1)["referrer"].null_count() == plan("A14")[1].rows.height


def test_look_alikes_are_labelled_honest():
    injected = inject_into_log.inject(small_town.log(), [plan("B1")])
    assert injected["label"].sum() == 0
    assert (injected["attack"] == "B1").sum() > 0


def test_the_pipeline_does_not_see_labels(tmp_path):
    injected = inject_into_log.inject(small_town.log(), [plan()])
    digests = []
    for name, frame in (("with", injected), ("without", injected.drop("label", "attack"))):
        frame.write_parquet(tmp_path / name)
        digests.append(replay(LogFile(tmp_path / name), Config())[0].digest())
    assert digests[0] == digests[1]


def test_without_the_attackers_the_injected_log_is_the_log(tmp_path):
    code, made = plan("A4")
    small_town.log().write_parquet(tmp_path / "log")
    inject_into_log.inject(small_town.log(), [(code, made)]).write_parquet(tmp_path / "injected")
    without = LogFile(tmp_path / "injected", without=frozenset(made.rows["actor"]))
    assert replay(without, Config())[0].digest() == replay(LogFile(tmp_path / "log"), Config())[0].digest()


def test_the_command_injects_into_a_file(tmp_path, capsys):
    small_town.log().write_parquet(tmp_path / "log")
    out = tmp_path / "out"
    call_command("attack", "inject", str(tmp_path / "log"), "--out", str(out), "--attack", "A3", "--budget", "25")
    written = pl.read_parquet(out)
    assert written.filter(pl.col("label") == 1)["actor"].n_unique() == 25
    assert "small botnet: 25 accounts" in capsys.readouterr().out


def test_a_file_that_is_no_log_is_an_error(tmp_path):
    pl.DataFrame({"ts": [1.0]}).write_parquet(tmp_path / "log")
    with pytest.raises(CommandError, match="has no column actor, item"):
        call_command("attack", "inject", str(tmp_path / "log"), "--out", "x", "--attack", "A3", "--budget", "5")
