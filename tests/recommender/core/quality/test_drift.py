"""Test drift: the paper's detector, quick alarms on change only, restarts."""

from dataclasses import replace
from math import log

import numpy as np
import pytest
from river.drift.binary import HDDMA

from recommender.core.pipeline import Pipeline
from recommender.core.quality import Drift
from recommender.core.quality import drift_kernels as dk
from recommender.core.quality.drift import Alarm, DriftConfig, Level, log_likelihood_ratios
from tests.help.streams import SMALL, T0, Stream, fold, readers

HIT, MISS = 1, 21
ORDINARY, TRUSTED = 0, 1
PLAIN = DriftConfig(few=0.0)  # without the term for small counts, which these boards do not have
EVERY = 50  # predictions a step, one second each
FULL = 1 << 16  # this board promises to hit always, so only the base is expected


def predictions(rates, *, seed, trusted=0.0, steady=None):
    """Return answers, int8 (n, 4), with these miss rates.

    The steady list never misses unless `steady` is given.
    """
    rng = np.random.default_rng(seed)
    ranks = np.full((len(rates), 4), HIT, np.int8)
    ranks[rng.random(len(rates)) < rates, 0] = MISS
    ranks[:, 3] = np.where(rng.random(len(rates)) < trusted, TRUSTED, ORDINARY)
    if steady is not None:
        ranks[:, 2] = steady
    return ranks


def run(ranks, drift=None, *, promise=FULL, start=0):
    """Return the alarms, as (number of the prediction after the step, alarm)."""
    drift = drift or Drift(PLAIN, 300)
    alarms = []
    for first in range(start, len(ranks), EVERY):
        now_ms = T0 + 1000 * (first // EVERY)
        if drift.is_due(now_ms):
            drift.look(promise, now_ms)
        step = ranks[first : first + EVERY]
        alarm = drift.learn(step, now_ms)
        if alarm.level:
            alarms.append((first + len(step), alarm))
    return alarms


def stops(alarms):
    return [place for place, alarm in alarms if alarm.level == Level.STOP]


def shifted(rise, *, seed, at=20_000, n=30_000, base=0.3, **how):
    rates = np.full(n, base)
    rates[at:] += rise
    return predictions(rates, seed=seed, **how)


@pytest.mark.parametrize("confidence", [0.001, 0.03])
@pytest.mark.parametrize("seed", range(4))
def test_that_hddm_a_is_rivers_prediction_by_prediction(seed, confidence):
    rng = np.random.default_rng(seed)
    misses = (rng.random(6000) < np.repeat([0.3, 0.5, 0.2, 0.25], 1500)).astype(float)
    theirs, found = HDDMA(drift_confidence=confidence), []
    for place, miss in enumerate(misses.tolist()):
        theirs.update(miss)
        if theirs.drift_detected:
            found.append(place)
    ours = dk.hddm_a_alarms(misses, log(1 / confidence), log(2 / confidence))
    assert ours.tolist() == found
    assert found


def test_that_cusum_is_the_sum_of_log_likelihood_ratios_cut_at_zero():
    ranks = predictions(np.full(3000, 0.3), seed=5)
    drift, warm = Drift(DriftConfig(few=0.0, warm=100), 300), 100
    drift.look(FULL, T0)
    base = total = 0.0
    for n, miss in enumerate((ranks[:, 0] == MISS).tolist(), start=1):
        drift.learn(ranks[n - 1 : n], T0)
        if n > warm:
            total = max(0.0, total + (log((base + 0.08) / base) if miss else log((1 - base - 0.08) / (1 - base))))
        base += (miss - base) / n
        assert drift.base == pytest.approx(base, abs=1e-4)
        assert drift.statistic == pytest.approx(total, abs=0.2)  # cells of the table are 0.001 wide


@pytest.mark.parametrize("seed", range(6))
def test_that_a_level_stream_raises_no_stop(seed):
    assert stops(run(predictions(np.full(100_000, 0.3), seed=seed))) == []


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("rise", "within"), [(0.1, 2000), (0.2, 600)])
def test_that_a_rise_of_the_miss_rate_stops_soon(rise, within, seed):
    found = stops(run(shifted(rise, seed=seed)))
    assert found
    assert 20_000 < found[0] <= 20_000 + within


def test_that_an_alert_comes_before_the_stop_and_both_say_when_it_began():
    alarms = run(shifted(0.2, seed=1))
    (alert_at, alert), (stop_at, stop) = [each for each in alarms if each[0] > 20_000][:2]
    assert (alert.level, stop.level) == (Level.ALERT, Level.STOP)
    assert 20_000 < alert_at < stop_at
    assert alert.changed_ms == stop.changed_ms
    changed_at = (stop.changed_ms - T0) / 1000 * EVERY
    assert 19_500 <= changed_at <= 20_200


def test_that_a_list_that_gets_better_raises_nothing():
    assert [place for place, _ in run(shifted(-0.15, seed=2)) if place > 20_000] == []


def test_that_misses_the_board_expects_are_no_drift():
    """Misses rise because the news is suddenly many stories, and the board expects it."""
    rates = np.full(30_000, 0.3)
    rates[20_000:] = 0.4
    ranks = predictions(rates, seed=3)
    drift = Drift(DriftConfig(promise=1.0, few=0.0), 300)
    assert stops(run(ranks[:20_000], drift, promise=int(0.7 * FULL))) == []
    assert stops(run(ranks, drift, promise=int(0.6 * FULL), start=20_000)) == []


def test_that_misses_of_the_slower_list_too_are_taken_off():
    rng = np.random.default_rng(4)
    rates = np.full(30_000, 0.2)
    odd = rng.random(30_000) < np.repeat([0.1, 0.2], 15_000)
    ranks = predictions(rates, seed=4, steady=np.where(odd, MISS, HIT))
    ranks[odd & (rng.random(30_000) < 0.4), 0] = MISS
    assert stops(run(ranks)) == []


def flood(seed):
    """Return predictions of which a quarter suddenly are noise from fresh actors.

    None of the noise comes from actors of earned trust.
    """
    before = predictions(np.full(20_000, 0.3), seed=seed, trusted=0.3)
    during = predictions(np.full(1500, 0.3), seed=seed + 100, trusted=0.3)
    noise = predictions(np.ones(500), seed=seed + 200)
    return np.concatenate([before, np.concatenate([during, noise])[np.random.default_rng(seed).permutation(2000)]])


def test_that_noise_from_fresh_actors_seldom_stops_where_the_trusted_see_none():
    """Attack A17 seldom forces a stop, but it sometimes can.

    Now and then the CUSUM of the trusted is above its height without any cause.
    """
    forced = [bool(stops(run(flood(seed)))) for seed in range(12)]
    unguarded = [bool(stops(run(flood(seed), Drift(replace(PLAIN, trusted_share=2.0), 300)))) for seed in range(12)]
    assert all(unguarded)
    assert sum(forced) <= 4


def test_that_trusted_actors_who_miss_confirm_a_stop():
    found = stops(run(shifted(0.15, seed=9, trusted=0.3)))
    assert found
    assert 20_000 < found[0] < 22_000


@pytest.mark.parametrize("cut", [1000, 20_100, 20_300])
def test_that_a_restart_in_mid_stream_gives_the_same_alarms(cut):
    ranks = shifted(0.12, seed=10, trusted=0.2)
    whole, first = Drift(DriftConfig(), 300), Drift(DriftConfig(), 300)
    alarms = run(ranks, whole)
    before = run(ranks[:cut], first)
    second = Drift(DriftConfig(), 300)
    second.restore(first.state())
    assert before + run(ranks, second, start=cut) == alarms
    for name, value in whole.state().items():
        np.testing.assert_array_equal(second.state()[name], value)


def test_that_the_cut_into_steps_changes_no_statistic():
    ranks = shifted(0.05, seed=11, n=24_000)
    one, many = Drift(DriftConfig(), 300), Drift(DriftConfig(), 300)
    one.learn(ranks, T0)
    for first in range(0, len(ranks), 100):
        many._volume = 0  # the number of predictions before a step is fixed for the whole step
        many.learn(ranks[first : first + 100], T0)
    assert one.statistic == many.statistic
    assert one.base == many.base


def test_that_a_stop_starts_anew_and_what_is_then_is_normal():
    ranks = shifted(0.2, seed=12, n=60_000)
    assert len(stops(run(ranks))) == 1


def test_that_what_cannot_be_is_refused():
    for wrong in ({"rise": 0.0}, {"alert_height": 10.0}, {"warm": 1}, {"few": -1.0}, {"confidence": 1.0}):
        with pytest.raises(ValueError, match=r"must|are"):
            DriftConfig(**wrong)


def test_that_the_table_of_ratios_is_fair_to_what_is_expected():
    """Without a rise the sum falls, since the expected ratio is minus a divergence."""
    ratios = log_likelihood_ratios(0.08) / dk.ONE
    p = (np.arange(100, 900) + 0.5) / 1024
    assert ((1 - p) * ratios[100:900, 0] + p * ratios[100:900, 1] < 0).all()


def test_that_a_pipelines_alarms_survive_a_checkpoint_in_mid_stream():
    """Readers act as usual for an hour, then late ones click on unknown items."""
    stream = readers(n_events=6000, n_actors=3000, seconds=3600)
    rng = np.random.default_rng(1)
    config = Pipeline(SMALL).config
    for number in range(3000):
        stream.add(T0 + 3_600_000 + 200 * number, f"late-{number}", f"new-{rng.integers(100_000)}")
    pipeline = Pipeline(config)
    results = [pipeline.step(stream.batch(pipeline, at, at + 100)) for at in range(0, 9000, 100)]
    levels = [result.alarm.level for result in results]
    assert Level.STOP in levels[60:]
    assert Level.STOP not in levels[:60]
    changed_ms = next(result.alarm.changed_ms for result in results if result.alarm.level == Level.STOP)
    assert abs(changed_ms - (T0 + 3_600_000)) < 120_000
    half = fold(Stream(stream.rows[:6100]))
    restored = Pipeline.from_bytes(half.to_bytes())
    again = [restored.step(stream.batch(restored, at, at + 100)).alarm for at in range(6100, 9000, 100)]
    assert again == [result.alarm for result in results[61:]]
    assert restored.digest() == pipeline.digest()


def test_that_no_alarm_is_nothing():
    assert Alarm() == Alarm(Level.NONE, 0)
