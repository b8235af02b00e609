"""Test decisions, which work as if made at the beginning, and exclusions.

Excluded events leave no trace.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.core.decisions import DecidedEvents, ExclusionRule, Window
from recommender.core.pipeline import Pipeline
from recommender.core.screen.screen import CONFIRMED
from recommender.core.state_versions import StateNewer
from recommender.core.vocabulary import ADMIT, QUARANTINE, Reason, Ruling
from tests.help.streams import HOUR, SCREENED, SMALL, T0, Stream, fold, pushes, readers, score

TOWN = {"n_events": 6000, "n_actors": 150}  # its readers are known, so strangers are conspicuous
UNSCREENED = replace(SCREENED, screen=replace(SCREENED.screen, is_on=False))


def rows_of(stream, chosen):
    """Return a stream of the rows whose actor and item are chosen."""
    return Stream([row for row in stream.rows if chosen(row[2], row[3])])


def decide(pipeline, ruling, stream):
    nothing = pipeline.encode(received_ms=[], actors=[], items=[])
    return pipeline.step(nothing, [DecidedEvents(ruling, stream.batch(pipeline))])


def counts(pipeline):
    trend = pipeline.trend
    return {
        (half, name): int(count)
        for half in range(2)
        for name, count in zip(trend.names, trend.counts(half), strict=True)
        if count
    }


def attacked(until_s=4045):
    """Return a Pipeline that holds most of a push, and the stream so far."""
    stream = pushes(**TOWN)
    stream = Stream([row for row in stream.rows if row[0] < T0 + 1000 * until_s])
    return fold(stream, SCREENED, every=10), stream


def is_push(actor, item):
    return actor.startswith("mal-") and item == "push-0"


def test_what_is_released_counts_as_if_it_had_never_been_held():
    pipeline, stream = attacked()
    never_held = fold(stream, UNSCREENED)
    assert score(pipeline, "push-0") < score(never_held, "push-0")
    result = decide(pipeline, Ruling.RELEASE, rows_of(stream, is_push))
    assert (result.revised.verdict == ADMIT).all()
    assert len(pipeline.holding) == 0 or "push-0" not in pipeline.holding.names
    # leave out items of which other events are still held
    held = set(pipeline.holding.names)
    mine, theirs = counts(pipeline), counts(never_held)
    assert {key: n for key, n in mine.items() if key[1] not in held} == {
        key: n for key, n in theirs.items() if key[1] not in held
    }


def test_what_is_confirmed_counts_as_if_it_had_never_been_learned():
    pipeline, stream = attacked()
    decide(pipeline, Ruling.RELEASE, rows_of(stream, is_push))
    result = decide(pipeline, Ruling.CONFIRM, rows_of(stream, is_push))
    assert score(pipeline, "push-0") == 0
    assert result.n_retracted == len({row[2] for row in rows_of(stream, is_push).rows})


def test_confirming_what_is_held_quarantines_it_and_a_release_brings_it_back():
    pipeline, stream = attacked()
    n_held = pipeline.holding.names.count("push-0")
    result = decide(pipeline, Ruling.CONFIRM, rows_of(stream, is_push))
    assert n_held
    assert (result.revised.verdict == QUARANTINE).sum() == n_held
    assert (result.revised.reason & CONFIRMED).all()
    decide(pipeline, Ruling.RELEASE, rows_of(stream, is_push))
    assert score(pipeline, "push-0") == pytest.approx(score(fold(stream, UNSCREENED), "push-0"))


def test_a_decision_twice_is_a_decision_once():
    pipeline, stream = attacked()
    decide(pipeline, Ruling.RELEASE, rows_of(stream, is_push))
    before = counts(pipeline)
    decide(pipeline, Ruling.RELEASE, rows_of(stream, is_push))
    assert counts(pipeline) == before


def test_what_a_reviewer_released_no_later_evidence_takes_back():
    stream = pushes(**TOWN)
    pipeline = fold(Stream([row for row in stream.rows if row[0] < T0 + 4_050_000]), SCREENED, every=10)
    released = rows_of(Stream([row for row in stream.rows if row[0] < T0 + 4_050_000]), is_push)
    decide(pipeline, Ruling.RELEASE, released)
    rest = [row for row in stream.rows if row[0] >= T0 + 4_050_000 and not is_push(row[2], row[3])]
    for start in range(0, len(rest), 50):
        pipeline.step(Stream(rest).batch(pipeline, start, start + 50))
    honest = fold(Stream(sorted(released.rows + rest)), UNSCREENED)
    shown = {name for name in honest.trend.names if name == "push-0"}
    assert shown
    ratio = score(pipeline, "push-0") / score(honest, "push-0")
    assert ratio == pytest.approx(1.0)


def test_those_confirmed_are_known_when_they_come_again_together():
    pipeline, stream = attacked()
    decide(pipeline, Ruling.CONFIRM, rows_of(stream, is_push))
    confirmed = sorted({row[2] for row in rows_of(stream, is_push).rows})
    again = Stream([(T0 + 2 * HOUR + 500 * n,) * 2 + (mal, "push-9", 2, 0) for n, mal in enumerate(confirmed)])
    verdicts = pipeline.step(again.batch(pipeline)).verdicts
    assert (verdicts.verdict[10:] == QUARANTINE).all()
    assert (verdicts.reason[10:] & Reason.COHORT).all()


def test_what_is_withheld_counts_no_more_and_nobody_is_known_by_it():
    pipeline, stream = attacked()
    decide(pipeline, Ruling.RELEASE, rows_of(stream, is_push))
    result = decide(pipeline, Ruling.WITHHOLD, rows_of(stream, is_push))
    fakes = sorted({row[2] for row in rows_of(stream, is_push).rows})
    assert result.n_retracted == len(fakes)
    assert score(pipeline, "push-0") == 0
    again = Stream([(T0 + 2 * HOUR + 500 * n,) * 2 + (mal, "push-9", 2, 0) for n, mal in enumerate(fakes)])
    verdicts = pipeline.step(again.batch(pipeline)).verdicts
    assert not (verdicts.reason & Reason.COHORT).any()
    decide(pipeline, Ruling.RELEASE, rows_of(stream, is_push))
    assert score(pipeline, "push-0") > 0


def test_a_decision_survives_a_checkpoint():
    pipeline, stream = attacked()
    decide(pipeline, Ruling.CONFIRM, rows_of(stream, is_push))
    assert Pipeline.from_bytes(pipeline.to_bytes()).digest() == pipeline.digest()


@settings(max_examples=8)
@given(st.integers(0, 10_000), st.integers(1, 40), st.sampled_from([SMALL, SCREENED]))
def test_a_fold_under_an_exclusion_is_the_fold_of_a_log_without_what_it_excludes(seed, share, config):
    rng = np.random.default_rng(seed)
    stream = pushes(n_bots=share, seed=seed % 7)
    actors = sorted({row[2] for row in stream.rows})
    gone = set(rng.choice(actors, share, replace=False).tolist()) | {f"mal-{n}" for n in range(share)}
    item, from_ms, to_ms = "item-3", T0 + HOUR // 2, T0 + HOUR

    excluded, never = Pipeline(config), Pipeline(config)
    exclusion = ExclusionRule(
        actors=excluded.encoder.keys(sorted(gone)),
        windows=(Window(excluded.encoder.key(item), from_ms, to_ms),),
    )
    exclusion = ExclusionRule.from_state(exclusion.state())
    for start in range(T0, T0 + 2 * HOUR + HOUR, 30_000):
        rows = [row for row in stream.rows if start <= row[0] < start + 30_000]
        if rows:
            excluded.step(exclusion.apply(Stream(rows).batch(excluded)))
        kept = [r for r in rows if r[2] not in gone and not (r[3] == item and from_ms <= r[0] < to_ms)]
        if kept:
            never.step(Stream(kept).batch(never))
    assert excluded.digest() == never.digest()


def test_an_exclusion_by_network_leaves_unknown_addresses_alone():
    pipeline = Pipeline(SMALL)
    batch = pipeline.encode(received_ms=[T0] * 3, actors="abc", items="xyz", ips=["192.0.2.1", None, "192.0.3.1"])
    exclusion = ExclusionRule(prefixes=batch.prefix[:1])
    assert exclusion.kept(batch).tolist() == [False, True, True]
    assert readers().batch(pipeline) is not None


def test_an_exclusion_of_an_earlier_version_is_read_and_one_of_a_newer_refused():
    rule = ExclusionRule(actors=np.array([7], np.uint64)).state()
    assert ExclusionRule.from_state({"actors": rule["actors"]}).state() == rule
    with pytest.raises(StateNewer, match="does not know: moods"):
        ExclusionRule.from_state(rule | {"moods": ["fair"]})
