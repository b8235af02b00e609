"""Test networks against a concave reference.

The counts are exact for any cut of the stream, monotone, and never hard-capped.
"""

from collections import defaultdict
from dataclasses import replace
from math import inf, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.core.events import country_code, group_of, network_of
from recommender.core.pipeline import KIND_WEIGHTS, Pipeline
from recommender.core.tables import decay
from recommender.core.trend import count_breakdowns, count_kernels
from recommender.core.vocabulary import Kind
from tests.help.streams import HOUR, MINUTE, SCREENED, SMALL, T0, TRUSTING, AddressedStream, fold, score

KNEES = (1.0, 2.5)
TIGHT = replace(SMALL, network_knee=KNEES[0], group_knee=KNEES[1], actor_budget=10_000)
IPS = ["10.0.1.1", "10.0.1.2", "10.0.2.1", "10.0.3.1", "10.1.1.1", "2001:db8:1::1", "2001:db8:2::1", None]
TOLERANCE = 4e-4

rows_of_acts = st.lists(
    st.tuples(
        st.integers(0, 40 * MINUTE),  # gap to the previous act
        st.integers(-HOUR, 8 * HOUR),  # its lateness, negative: from the future
        st.sampled_from("abcdefghijkl"),
        st.sampled_from("xxxy"),
        st.sampled_from([Kind.VIEW, Kind.CLICK, Kind.CLICK, Kind.CLICK, Kind.UNDO, Kind.EXPOSURE]),
        st.sampled_from(IPS),
        st.sampled_from([0, 0, 0, country_code("AE"), country_code("AF")]),
        st.booleans(),
    ),
    max_size=60,
)


def stream_of(rows) -> AddressedStream:
    stream, now = AddressedStream(), T0
    for gap, late, actor, item, kind, ip, country, is_late in rows:
        now += gap // 20
        stream.add(now - late * is_late, actor, item, kind, received_ms=now, ip=ip, country=country)
    return stream


def phi(amount, knee):
    return amount if amount <= knee else 2 * sqrt(knee * amount) - knee


def reference(stream, now_ms, config, retracted=()):
    """Compute the scores from units as in test_trend.reference, by the formula itself.

    Each unit has the network it came from.
    """
    units = defaultdict(list)
    for received, claimed, actor, item, kind, _, ip in stream.rows:
        at, weight = min(max(claimed, received - config.lateness_s * 1000), received), KIND_WEIGHTS[kind.name.lower()]
        unit = units[actor, item][-1] if units[actor, item] else {"at": -inf, "weight": 0, "is_undone": False}
        if kind == Kind.UNDO:
            unit["is_undone"] = True
        elif weight and at - unit["at"] >= config.horizon_s * 1000:
            units[actor, item].append({"at": at, "weight": weight, "is_undone": False, "ip": ip})
        elif weight and unit["at"] - at < config.horizon_s * 1000:
            unit.update(at=min(at, unit["at"]), weight=max(weight, unit["weight"]), is_undone=False)
    half_ms = 1000 * config.half_lives_s[0]
    tick = now_ms * decay.TICKS // half_ms
    fade = 2.0 ** (-(tick % 64) / decay.TICKS)  # the knees are those of the last of 64 ticks
    sums, without = defaultdict(float), defaultdict(float)
    for (actor, item), known in units.items():
        for unit in known:
            if unit["is_undone"] or ((actor, item) in retracted and unit is known[-1]):
                continue
            weight = unit["weight"] * 2.0 ** ((unit["at"] - now_ms) / half_ms)
            if unit["ip"] is None:
                without[item] += weight
            else:
                sums[item, network_of(unit["ip"])] += weight
    groups = defaultdict(float)
    for (item, network), amount in sums.items():
        groups[item, group_of(network)] += phi(amount, config.network_knee * fade)
    scores = defaultdict(float, without)
    for (item, _), amount in groups.items():
        scores[item] += phi(amount, config.group_knee * fade)
    return scores


@settings(max_examples=200)
@given(rows_of_acts, st.integers(1, 9), st.data())
def test_scores_equal_the_reference_and_do_not_depend_on_cuts_or_restarts(rows, every, data):
    stream = stream_of(rows)
    pipeline = Pipeline(TIGHT)
    restart = data.draw(st.integers(0, 60))
    for start in range(0, len(stream.rows), every):
        pipeline.step(stream.batch(pipeline, start, start + every))
        if start // every == restart:
            pipeline = Pipeline.from_bytes(pipeline.to_bytes())
    retracted = {(actor, "x") for actor in data.draw(st.sets(st.sampled_from("abcdef")))}
    actors = [actor for actor, _ in retracted]
    pipeline.trend.retract(pipeline.encoder.keys(actors), pipeline.encoder.keys(["x"] * len(actors)))
    expected = reference(stream, pipeline.stream_ms, TIGHT, retracted)
    for item in "xy":
        assert score(pipeline, item) == pytest.approx(expected[item], rel=TOLERANCE, abs=1e-4)
    in_one = fold(stream, TIGHT, every=1000)
    in_one.trend.retract(pipeline.encoder.keys(actors), pipeline.encoder.keys(["x"] * len(actors)))
    np.testing.assert_array_equal(pipeline.trend.counts(), in_one.trend.counts())
    again = Pipeline.from_bytes(pipeline.to_bytes())
    np.testing.assert_array_equal(pipeline.trend.counts(), again.trend.counts())
    np.testing.assert_array_equal(pipeline.trend.leaders(), again.trend.leaders())
    assert again.digest() == pipeline.digest()


@settings(max_examples=100)
@given(rows_of_acts, st.integers(1, 5))
def test_the_sorted_leaders_are_what_a_full_sort_of_the_scores_gives_after_every_step(rows, every):
    stream = stream_of([(*row[:3], row[2] if row[7] else row[3], *row[4:]) for row in rows])  # more items
    pipeline = Pipeline(TIGHT)
    for start in range(0, len(stream.rows), every):
        pipeline.step(stream.batch(pipeline, start, start + every))
        again = Pipeline.from_bytes(pipeline.to_bytes()).trend
        trend = pipeline.trend
        np.testing.assert_array_equal(trend.counts(), again.counts())
        counts, keys = trend.counts(), trend.items.keys[: len(trend.items)]
        listed = np.flatnonzero(counts > 0)
        listed = listed[np.lexsort((keys[listed], -counts[listed]))]
        np.testing.assert_array_equal(trend.leaders(), keys[listed])
        np.testing.assert_array_equal(again.leaders(), keys[listed])


@settings(max_examples=200)
@given(rows_of_acts, st.sampled_from("abcmnop"), st.sampled_from(IPS), st.sampled_from([Kind.VIEW, Kind.CLICK]))
def test_an_act_lowers_no_score_and_adds_at_most_its_weight(rows, actor, ip, kind):
    pipeline = fold(stream_of(rows).add(T0, "ana", "y", received_ms=T0 + 3 * HOUR), TIGHT)
    act = AddressedStream().add(pipeline.stream_ms, actor, "x", kind, ip=ip)
    before = dict(zip(pipeline.trend.names, pipeline.trend.counts().tolist(), strict=True))
    unit = pipeline.trend.unit(pipeline.stream_ms)
    pipeline.step(act.batch(pipeline))
    after = dict(zip(pipeline.trend.names, pipeline.trend.counts().tolist(), strict=True))
    assert before.get("x", 0) <= after.get("x", 0) <= before.get("x", 0) + unit
    assert all(after[item] == count for item, count in before.items() if item != "x")


def crowd(n, ip_of, item="x"):
    stream = AddressedStream()
    for number in range(n):
        stream.add(T0, f"{item}-{number}", item, ip=ip_of(number))
    return stream


def test_below_the_knee_a_network_counts_in_full_and_no_address_is_held_against_nobody():
    assert score(fold(crowd(5, lambda _: "10.0.0.1")), "x") == 5
    assert score(fold(crowd(500, lambda _: None)), "x") == 500
    assert score(fold(crowd(40, lambda n: f"10.0.{n}.1")), "x") == 40
    assert len(fold(crowd(500, lambda _: None)).trend.networks) == 0


def test_many_actors_in_one_prefix_count_twice_the_root():
    for n in (20, 500):
        expected = 2 * sqrt(5 * n) - 5
        expected = expected if expected <= 40 else 2 * sqrt(40 * expected) - 40
        assert score(fold(crowd(n, lambda number: f"10.0.7.{number % 250}")), "x") == pytest.approx(
            expected, rel=0.006
        )


def test_many_prefixes_of_one_group_count_twice_the_root_of_the_groups_knee():
    n = 250
    assert score(fold(crowd(n, lambda number: f"10.0.{number}.9")), "x") == pytest.approx(
        2 * sqrt(40 * n) - 40, rel=0.006
    )


def test_a_campus_behind_one_address_goes_on_counting_with_falling_returns():
    scores = [score(fold(crowd(n, lambda _: "192.0.2.1")), "x") for n in (50, 100, 200, 400, 800)]
    steps = np.diff(scores) / [50, 100, 200, 400]
    assert (steps > 0).all()
    assert (np.diff(steps) < 0).all()


def test_the_count_of_a_country_is_at_most_the_items_score_and_neighbours_in_the_alphabet_are_counted_apart():
    stream = AddressedStream()
    for number in range(100):
        stream.add(T0, f"a-{number}", "x", ip="10.0.0.1", country=country_code("IS" if number % 2 else "IT"))
    pipeline = fold(stream)
    for country in ("IS", "IT"):
        _, counts = count_breakdowns.region_counts(pipeline.trend)[country]
        assert counts.tolist() == pipeline.trend.counts().tolist()
    apart = fold(AddressedStream().add(T0, "a", "x", country=country_code("AE")).add(T0, "b", "x", country=32 + 1))
    regions = count_breakdowns.region_counts(apart.trend)
    assert {name: len(rows) for name, (rows, _) in regions.items()} == {"AE": 1, "AF": 1}


def test_other_half_lives_count_linearly():
    assert score(fold(crowd(100, lambda _: "10.0.0.1")), "x", half=1) == pytest.approx(100)


def test_what_is_above_the_knee_is_released_from_a_hold_as_if_it_had_never_been_held():
    stream = AddressedStream()
    for number in range(3000):
        stream.add(T0 + number * 1000, f"reader-{number % 900}", f"item-{number % 40}", ip=f"10.{number % 90}.1.1")
    for number in range(60):
        stream.add(T0 + 2_000_000 + 300 * number, f"new-{number}", "hot", ip="192.0.2.1")
        stream.add(T0 + 2_018_000 + 800 * number, f"new-{number}", f"item-{number % 30}", ip="192.0.2.1")
    stream.rows.sort(key=lambda row: row[0])
    stream.add(T0 + 3_200_000, "ana", "item-1")
    config = replace(SCREENED, network_knee=1.0)
    screened, plain = Pipeline(config), fold(stream, replace(SMALL, network_knee=1.0))
    n_held = 0
    for start in range(0, len(stream.rows), 100):
        result = screened.step(stream.batch(screened, start, start + 100))
        n_held += int((result.verdicts.verdict == 1).sum())
        assert result.n_condemned == result.n_retracted == 0
    assert n_held > 20
    assert len(screened.holding) == 0
    assert score(screened, "hot") == score(plain, "hot") < 60 * 2 ** (-1000 / 300)


def test_networks_stay_within_their_bound_and_rows_never_stand_alone():
    config = replace(SMALL, max_networks=64, max_items=64, network_knee=0.01, group_knee=0.02)
    stream = AddressedStream()
    for number in range(3000):
        item = f"item-{number % 7 if number % 3 else number}"
        stream.add(T0 + 100 * number, f"mal-{number}", item, ip=f"10.{number % 5}.{number % 11}.1")
        if number % 4 == 0:
            stream.add(T0 + 100 * number, f"mal-{number // 2}", f"item-{(number // 2) % 7}", Kind.UNDO)
    pipeline = Pipeline(config)
    for start in range(0, len(stream.rows), 50):
        pipeline.step(stream.batch(pipeline, start, start + 50))
        trend = pipeline.trend
        assert len(trend.networks) <= 64 + 100
        again = Pipeline.from_bytes(pipeline.to_bytes())
        np.testing.assert_array_equal(trend.counts(), again.trend.counts())
        np.testing.assert_array_equal(trend.leaders(), again.trend.leaders())


def test_time_alone_brings_a_networks_units_below_the_knee():
    stream = crowd(40, lambda _: "10.0.0.1")
    stream.add(T0 + 30 * MINUTE, "ana", "y")  # after six half-lives, 40 units are 0.6
    pipeline = fold(stream, every=40)
    assert score(pipeline, "x") == pytest.approx(40 / 64, rel=TOLERANCE)
    assert pipeline.trend._tables.n_over[0] == 0


def test_the_excess_never_falls_as_the_amount_grows_and_never_grows_faster():
    rng = np.random.default_rng(1)
    for knee in (1 << 30, 5 << 38, 40 << 37):
        amounts = np.sort(rng.integers(knee // 2, knee << 14, 2000))
        excess = [count_kernels.excess_of(int(amount), knee) for amount in amounts]
        assert (np.diff(excess) >= 0).all()
        assert (np.diff(excess) <= np.diff(amounts)).all()


@pytest.mark.parametrize("wrong", [{"network_knee": 0.0}, {"group_knee": -1.0}, {"group_knee": inf}])
def test_knees_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match="knees"):
        Pipeline(replace(TRUSTING, **wrong))
