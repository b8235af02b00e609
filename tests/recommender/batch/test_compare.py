"""`compare` and `sweep` measure when stories are listed and how values trade off."""

from dataclasses import replace

import numpy as np
import orjson
import polars as pl
import pytest
from django.core.management import CommandError, call_command

from recommender.batch import compare, sweep
from recommender.batch.candidate_pass import Notes
from recommender.batch.collect import open_logs
from recommender.batch.sweep import SweepPoint, recommend
from recommender.core.pipeline import Pipeline
from recommender.core.vocabulary import DAY_MS, HOUR_MS
from tests.help.log_files import HOUR_S, T0_S, site, written
from tests.help.streams import SMALL

PLAIN = replace(SMALL, horizon_s=86_400)
PNG = b"\x89PNG\r\n"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return written(site(), tmp_path_factory.mktemp("site") / "log.parquet")


@pytest.fixture(scope="module")
def journal(path):
    with open_logs.journal_of(open_logs.files([path])) as made:
        yield made


@pytest.fixture(scope="module")
def found(journal):
    return compare.compare(journal, PLAIN)


def way(found, name):
    return next(each for each in found.ways if each.name == name)


def test_online_lists_a_story_first_and_yesterday_never(found):
    (story,) = found.spikes
    assert way(found, "daily batch").appears_s == [None]
    (hourly_s,) = way(found, "hourly batch").appears_s
    assert story.broke_ms + 1000 * hourly_s == 1000 * (T0_S + 27 * HOUR_S)  # when its hour is over
    (online_s,) = way(found, "online").appears_s
    assert online_s < 300 < hourly_s


def test_all_ways_answer_for_the_same_clicks(found):
    assert len({each.n_predictions for each in found.ways}) == 1
    assert all(sum(n for _, n, _ in each.hours) == each.n_predictions for each in found.ways)
    assert way(found, "online").hr20 > way(found, "daily batch").hr20


def test_the_online_way_is_the_pipeline_as_it_is(found, journal):
    alone = Pipeline(PLAIN)
    for step in journal.steps(alone.encoder, bucket_ms=1000):
        alone.step(step.batch)
    assert way(found, "online").hr20 == alone.evaluation.total("trending").hit_rate


def test_the_daily_list_is_the_most_read_of_the_day_before(journal):
    job = compare.BatchJob("daily batch", DAY_MS)
    first_day = journal.rows.filter(pl.col("ts") < T0_S + 24 * HOUR_S).collect()["item"]
    counts = first_day.value_counts().sort(["count", "item"], descending=[True, False])
    assert job._train(journal, int(1000 * (T0_S + 24 * HOUR_S))) == counts["item"].head(compare.LIST_DEPTH).to_list()
    assert job.n_rows == len(first_day)


def test_places_of_the_largest_story_are_followed_in_every_list(found):
    assert set(found.places) == {"daily batch", "hourly batch", "online"}
    assert (found.places["daily batch"] == compare.NOTED_DEPTH + 1).all()
    assert found.places["online"].min() <= 3
    assert all(len(places) == len(found.at_ms) for places in found.places.values())


def test_a_job_publishes_when_its_span_is_over_and_not_before():
    class Lists:
        def __init__(self):
            self.published = []

        def publish(self, name, keys):
            self.published.append((name, len(keys)))

    lists, trained = Lists(), []

    class Job(compare.BatchJob):
        def _train(self, journal, until_ms):
            trained.append(until_ms)
            return ["a", "b"]

    job = Job("hourly batch", HOUR_MS)
    for minute in (0, 30, 59, 61, 90, 250):
        job.publish(minute * 60_000 + HOUR_MS * 100, None, lists, Pipeline(PLAIN).encoder)
    assert trained == [101 * HOUR_MS, 104 * HOUR_MS]
    assert lists.published == [("hourly batch", 2)] * 2


def test_the_command_writes_table_and_pictures(path, tmp_path, capsys):
    call_command("compare", str(path), "--out", str(tmp_path), "--stories", "3")
    said = capsys.readouterr().out
    assert "hourly batch" in said
    largest = next(line for line in said.splitlines() if "largest story" in line)
    online, personalised = (cell.strip() for cell in largest.split("│")[-3:-1])
    assert (online.isdecimal(), personalised) == (True, "-")  # there is no common personalised list
    found = orjson.loads((tmp_path / "compare.json").read_bytes())
    assert [each["name"] for each in found["ways"]][:3] == ["daily batch", "hourly batch", "online"]
    assert found["stories"][0]["item"] == "story"
    for name in ("story.png", "hours.png"):
        assert (tmp_path / name).read_bytes().startswith(PNG)


def test_a_log_without_a_story_is_compared_too(tmp_path):
    path = written(site(hours=3, n_events=300, story=False), tmp_path / "log.csv")
    call_command("compare", str(path), "--out", str(tmp_path))
    assert (tmp_path / "story.png").read_bytes().startswith(PNG)


def test_a_file_that_is_no_log_ends_the_command(tmp_path):
    (tmp_path / "log.csv").write_text("a,b\n1,2\n")
    with pytest.raises(CommandError, match="no column ts, actor, item"):
        call_command("compare", str(tmp_path / "log.csv"))


@pytest.fixture(scope="module")
def swept(journal):
    return sweep.sweep(journal, PLAIN, "half_lives_s.0", [60, 7200])


def test_a_short_half_life_adapts_fast_and_a_long_one_is_calm(swept):
    fast, slow = swept.points
    assert fast.adaptivity > slow.adaptivity
    assert fast.churn > slow.churn
    assert 0 < fast.damage < 1
    assert swept.recommended in ("60", "7200")
    assert (swept.now, swept.n_stories, swept.n_attacks) == ("300", 1, 4)


def test_values_tried_in_turn_give_the_same_points(journal, swept):
    assert sweep.sweep(journal, PLAIN, "half_lives_s.0", [60, 7200], beside=1).points == swept.points


def point(value, hr20, damage, churn=0.1):
    return SweepPoint(value=value, hr20=hr20, mrr20=0.1, adaptivity=0.5, damage=damage, false_s=0.0, churn=churn)


@pytest.mark.parametrize(
    ("other", "recommended"),
    [
        (point("b", 0.72, 0.0), "b"),  # hits more
        (point("b", 0.72, 0.05), "a"),  # but the damage is larger
        (point("b", 0.72, 0.0, churn=0.2), "a"),  # but the churn is larger
        (point("b", 0.70, 0.0), "a"),  # equal, so the first
    ],
)
def test_what_is_worth_most_is_recommended(other, recommended):
    assert recommend([point("a", 0.70, 0.0), other]) == recommended


def test_the_sweep_command_draws_and_recommends(path, tmp_path, capsys):
    call_command("sweep", str(path), "--over", "trust.floor=0.05,1.0", "--out", str(tmp_path), "--no-screen")
    assert "recommended: trust.floor=" in capsys.readouterr().out
    assert (tmp_path / "sweep.png").read_bytes().startswith(PNG)
    assert len(orjson.loads((tmp_path / "sweep.json").read_bytes())["points"]) == 2


def test_a_setting_that_is_not_there_ends_the_command(path):
    with pytest.raises(CommandError, match="no setting"):
        call_command("sweep", str(path), "--over", "ranker.nothing=1")


def test_notes_are_taken_in_their_windows_only():
    notes = Notes([(10, 20), (15, 30)])
    assert [at for at in range(0, 40, 5) if notes.wants(at)] == [10, 15, 20, 25]
    notes.add(10, ["a", "b"])
    at_ms, places = notes.places("b")
    assert (at_ms.tolist(), places.tolist()) == ([10], [2])
    assert np.array_equal(notes.places("c")[1], [21])
