"""Test that rows are dropped once no later result depends on them, and only then.

A Pipeline that drops rows and one that never does see the same stream, which is longer than every time in the
configuration. Lists, verdicts, qualities and released events must be equal at every step.
"""

from dataclasses import replace

import numpy as np
import pytest

from recommender.core.affinity.affinity import AffinityConfig
from recommender.core.features import Features
from recommender.core.pipeline import Pipeline
from recommender.core.screen import ScreenConfig
from recommender.core.trend import count_breakdowns
from recommender.core.trend.trend_tables import TrendTables
from recommender.core.trust import TrustConfig
from recommender.core.vocabulary import Kind
from tests.help.streams import HOUR, MINUTE, SMALL, T0, AddressedStream

HOURS = 40
# Three epochs of the longest half-life are 12 hours, and the points of one visit fade within 20 hours.
CONFIG = replace(
    SMALL,
    half_lives_s=(60, 1800),
    horizon_s=2 * 3600,
    lateness_s=2 * 3600,
    trust=TrustConfig(day_h=1.0, idle_half_life_days=1 / 24),
    screen=ScreenConfig(cold_events=200, fit_rows=20, fit_every_s=600, fit_after_s=60),
    affinity=AffinityConfig(half_life_s=60, window_s=3600),
    canary_share=0.05,
)


@pytest.fixture(scope="module")
def site():
    """Return the acts of regulars, strangers, guests of a hit, and a push.

    Most strangers and guests read a second item, and some strangers come back much later.
    """
    rng = np.random.default_rng(3)
    stream = AddressedStream()
    for number in range(9000):
        at_ms = T0 + number * HOURS * HOUR // 9000
        story = int(number / 9000 * 400 - rng.exponential(6))
        who = rng.random()
        if who < 0.4:
            actor = f"regular-{int(rng.integers(60))}"
        elif who < 0.95:
            actor = f"stranger-{number // 4}"  # most newcomers read a second item
        else:
            actor = f"stranger-{int(rng.integers(number + 1))}"  # who may have been here a day ago
        item = f"item-{story}" if rng.random() < 0.97 else f"item-{int(rng.integers(-20, 380))}"
        kind = Kind.UNDO if rng.random() < 0.02 else Kind.CLICK
        ip = f"10.{number % 7}.{hash_of(actor) % 50}.9"
        late = int(rng.integers(HOUR)) if rng.random() < 0.05 else 0
        stream.add(max(T0, at_ms - late), actor, item, kind, received_ms=at_ms, country=hash_of(actor) % 9, ip=ip)
    for bot in range(60):
        at_ms = T0 + 30 * HOUR + 900 * bot
        stream.add(at_ms, f"mal-{bot}", "push", received_ms=at_ms, ip=f"11.0.0.{bot}")
        came_ms = T0 + 20 * HOUR + 900 * bot
        stream.add(came_ms, f"guest-{bot}", "hit", received_ms=came_ms, ip=f"12.0.{bot}.9")
        stream.add(came_ms + 90_000, f"guest-{bot}", "item-200", received_ms=came_ms + 90_000, ip=f"12.0.{bot}.9")
    stream.rows.sort(key=lambda row: row[0])
    return stream


def hash_of(name):
    return sum(name.encode()) * 7919


def told(pipeline, result):
    """Return everything that a step tells, and the board after it."""
    board = pipeline.board(30)
    return (
        result.verdicts.verdict.tolist(),
        result.verdicts.score.tolist(),
        result.verdicts.reason.tolist(),
        result.revised.ordinal.tolist(),
        result.n_released,
        result.n_condemned,
        result.n_retracted,
        result.ranks.tolist(),
        result.personalised.places.tolist(),
        board.items,
        board.counts.tolist(),
        count_breakdowns.region_counts(pipeline.trend).keys(),
    )


def folded(stream, *, down_at=()):
    """Return the results of the steps, and the Pipeline.

    It is made anew from its bytes before the steps in `down_at`.
    """
    pipeline, found = Pipeline(CONFIG), []
    for number, start in enumerate(range(0, len(stream.rows), 60)):
        if number in down_at:
            pipeline = Pipeline.from_bytes(pipeline.to_bytes())
        result = pipeline.step(stream.batch(pipeline, start, start + 60))
        found.append(told(pipeline, result))
    return found, pipeline


@pytest.fixture(scope="module")
def dropping(site):
    return folded(site)


@pytest.fixture(scope="module")
def keeping(site):
    """Return the same of a Pipeline that never drops a row."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(TrendTables, "sweep", lambda self, now_ms: None)
        patched.setattr(TrendTables, "sweep_networks", lambda self: None)
        patched.setattr(Features, "advance", lambda self, now_ms: None)
        return folded(site)


def test_the_stream_is_worth_it(keeping):
    found, _ = keeping
    assert {verdict for step in found for verdict in step[0]} >= {0, 1}
    assert sum(step[4] for step in found) > 20
    assert sum(step[5] for step in found) > 20


def test_no_result_depends_on_a_dropped_row(dropping, keeping):
    for number, (one, other) in enumerate(zip(dropping[0], keeping[0], strict=True)):
        assert one == other, f"step {number}"


def rows_of(pipeline):
    tables = {name: getattr(pipeline.trend, name) for name in ("items", "regions", "networks", "actors", "pairs")}
    tables |= {name: pipeline.screen.features.tables[name] for name in ("links", "sketches", "actors", "pairs")}
    return {name: len(table) for name, table in tables.items()}


def test_rows_that_no_longer_matter_are_dropped(dropping, keeping):
    few, all_ = rows_of(dropping[1]), rows_of(keeping[1])
    assert few["networks"] < 0.1 * all_["networks"]
    assert few["sketches"] < 0.1 * all_["sketches"]
    assert few["items"] < 0.7 * all_["items"]
    assert few["regions"] < 0.7 * all_["regions"]
    assert few["links"] < all_["links"]


def test_an_actor_is_dropped_when_its_points_have_faded(site):
    """Points of one visit halve every hour here, so they fade in half a day.

    A day of this configuration is an hour.
    """
    _, pipeline = folded(site)
    stream = AddressedStream().add(T0 + HOURS * HOUR + 60 * HOUR, "ana", "item-1")
    n_before = len(pipeline.trend.actors)
    pipeline.step(stream.batch(pipeline))
    assert len(pipeline.trend.actors) < 0.2 * n_before


def test_pairs_are_not_dropped_for_their_age(dropping, keeping):
    """An act on an item that the actor has seen is never its first act again."""
    assert rows_of(dropping[1])["pairs"] == rows_of(keeping[1])["pairs"]


def test_names_are_those_of_the_rows(dropping):
    pipeline = dropping[1]
    keys = pipeline.encoder.keys(pipeline.trend.names)
    np.testing.assert_array_equal(keys, pipeline.trend.items.keys[: len(keys)])


@pytest.mark.parametrize("down_at", [(1,), (40, 41), (75, 110, 149)])
def test_a_restart_before_or_after_a_boundary_changes_nothing(site, dropping, down_at):
    found, pipeline = folded(site, down_at=down_at)
    assert found == dropping[0]
    assert pipeline.digest() == dropping[1].digest()


def test_a_sketch_lasts_as_long_as_its_actor_is_young():
    """Put an actor's first item before the hour, and the others after it."""
    stream = AddressedStream()
    for number in range(300):
        stream.add(T0 + number * 1000, f"reader-{number % 40}", f"item-{number % 25}")
    for at_ms, item in ((58, "item-1"), (61, "item-2"), (90, "item-3")):
        stream.add(T0 + HOUR + at_ms * MINUTE, "young", item)
    pipeline = Pipeline(CONFIG)
    for start in range(0, len(stream.rows), 20):
        pipeline.step(stream.batch(pipeline, start, start + 20))
    sketches = pipeline.screen.features.tables["sketches"]
    key = pipeline.encoder.key("young")
    assert key in sketches.keys[: len(sketches)].tolist()
    later = AddressedStream().add(T0 + 5 * HOUR, "ana", "item-1")
    pipeline.step(later.batch(pipeline))
    assert key not in sketches.keys[: len(sketches)].tolist()
