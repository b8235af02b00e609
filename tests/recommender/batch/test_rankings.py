"""All rankings answer correctly and get the same questions."""

import orjson
import polars as pl
import pytest
from django.core.management import call_command

from recommender.batch import peer_rankings, rankings
from recommender.core.config import Config
from recommender.core.screen import ScreenConfig
from tests.help.log_files import T0_S, site, written

OPEN = Config(screen=ScreenConfig(is_on=False), personal_share=0.0)
NAMES = ["daily", "decayed", "beside", "trending", "personalised"]


def test_that_everybody_is_asked_the_same_and_twice_comes_to_the_same():
    rows = site(n_events=1500)
    one, other = (rankings.measure(rows, OPEN, NAMES, every=2) for _ in range(2))
    assert {each.n for each in one.answered} == {one.n_asked}
    assert one.n_asked > 200
    assert [each.name for each in one.answered] == NAMES
    assert [(each.hits, each.reciprocal_ranks) for each in one.answered] == [
        (each.hits, each.reciprocal_ranks) for each in other.answered
    ]


def test_that_nothing_is_asked_of_the_warm_up_or_of_what_was_seen():
    rows = pl.DataFrame({"ts": [T0_S + n for n in range(10)], "actor": ["ana"] * 10, "item": list("ababababac")})
    found = rankings.measure(rows, OPEN, ["decayed"])
    assert found.n_asked == 1  # only `c` is asked about


def test_that_the_most_read_are_those_of_the_day_before():
    most_read = peer_rankings.MostRead()
    for day, item in ((0, 1), (0, 1), (0, 2), (1, 3)):
        most_read.advance(day * peer_rankings.DAY_S)
        most_read.learn(0, item, day * peer_rankings.DAY_S)
    assert most_read.best(0, set()) == [1, 2]
    most_read.advance(2 * peer_rankings.DAY_S)
    assert most_read.best(0, set()) == [3]
    most_read.advance(9 * peer_rankings.DAY_S)
    assert most_read.best(0, set()) == []


def test_that_a_decayed_count_prefers_the_new_and_outlives_its_scale():
    count = peer_rankings.DecayedCount(half_life_s=1.0)
    for _ in range(3):
        count.learn(0, 1, 0.0)
    count.learn(0, 2, 2.0)  # 1 against 3/4
    assert count.best(0, set()) == [2, 1]
    count.learn(0, 3, 5000.0)
    assert count.best(0, set())[0] == 3


def test_that_a_decayed_count_finds_the_highest_of_many():
    count = peer_rankings.DecayedCount(half_life_s=1e6)
    for item in range(3000):
        for _ in range(1 + (item * 7) % 50):
            count.learn(0, item, 0.0)
    highest = sorted(count.scores, key=lambda item: (-count.scores[item], item))[:20]
    assert count.best(0, set()) == highest


def test_that_co_occurrence_follows_the_actors_last_items():
    beside = peer_rankings.CoOccurrence()
    for actor in range(3):
        beside.learn(actor, 10, 0.0)
        beside.learn(actor, 11, 1.0)
    beside.learn(9, 10, 2.0)
    assert beside.best(9, {10}) == [11]
    assert beside.best(8, set()) == []


def test_that_unknown_rankings_are_refused():
    with pytest.raises(ValueError, match="no such ranking"):
        rankings.measure(site(n_events=50), OPEN, ["daily", "fortune"])
    with pytest.raises(ValueError, match="at least 1"):
        rankings.measure(site(n_events=50), OPEN, ["daily"], every=0)


@pytest.mark.parametrize("kind", ["knn", "als"])
def test_that_a_model_fitted_daily_knows_the_day_before(kind):
    daily = peer_rankings.Daily(kind)
    daily.advance(0.0)
    for actor in range(40):
        for item in range(4):
            daily.learn(actor, item + 10 * (actor % 2), float(actor))  # two camps
    assert list(daily.best(0, {0, 1})) == []
    daily.advance(peer_rankings.DAY_S)
    assert set(list(daily.best(0, {0, 1, 2}))[:4]) >= {3}
    assert daily.best(99, set())  # a stranger gets the most read


@pytest.mark.parametrize(("limit", "n_rows"), [([], 600), (["--limit", "100"], 100)])
def test_the_command_reads_all_acts_or_as_many_as_it_is_told(tmp_path, capsys, limit, n_rows):
    rows = site(n_events=600, story=False)
    silent = rows.head(5).with_columns(pl.lit("exposure").alias("kind"))
    log = written(pl.concat([silent, rows]).sort("ts"), tmp_path / "log.parquet")
    call_command("peers", str(log), "--rankings", "daily,decayed", "--out", str(tmp_path), *limit)
    assert orjson.loads((tmp_path / "peers.json").read_bytes())["rows"] == n_rows
    assert "most read of the day before" in capsys.readouterr().out
