"""Test the sizes of clickers between refreshes.

They never give more clickers than are needed, and right after a refresh they are exact.
"""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recommender.core.trend import count_breakdowns
from recommender.core.trend.clickers import Clickers, grown
from recommender.core.trend.place_prices import dependence, fewest_clickers
from recommender.core.vocabulary import Kind
from tests.help.streams import SMALL, T0, TRUSTING, Stream, fold, readers

DEPTH = 8


def told_and_exact(clickers, trend, item, margin):
    contributions = count_breakdowns.contributions(trend, item)
    return fewest_clickers(clickers.sizes(trend)[item], margin), dependence(contributions.tolist(), margin)


def sum_of(sizes):
    return sum(amount for _, amount, _ in sizes)


@settings(max_examples=40)
@example(0, SMALL, [(109, 0, True), (109, 0, False)], 0.5625)
@given(
    st.integers(0, 30),
    st.sampled_from([SMALL, TRUSTING]),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 9), st.booleans()), max_size=80),
    st.floats(0, 1),  # a margin is at most the count
)
def test_what_is_told_between_refreshes_is_never_more_than_it_is(seed, config, acts, share):
    pipeline = fold(readers(n_events=600, seed=seed, seconds=900), config)
    clickers = Clickers(DEPTH)
    clickers.refresh(pipeline.trend)
    stream, now = Stream(), pipeline.stream_ms
    for actor, item, is_undo in acts:
        now += 500
        stream.add(now, f"reader-{actor}", f"item-{item}", Kind.UNDO if is_undo else Kind.CLICK)
    if acts:
        pipeline.step(stream.batch(pipeline))
    assert clickers.is_of(pipeline.trend)
    for item in pipeline.board(DEPTH).items:
        margin = int(share * pipeline.trend.counts()[pipeline.trend.names.index(item)])
        told, exact = told_and_exact(clickers, pipeline.trend, item, margin)
        assert 1 <= told <= exact
    clickers.refresh(pipeline.trend)
    for item, sizes in clickers.sizes(pipeline.trend).items():
        assert sizes == count_breakdowns.sizes(pipeline.trend, DEPTH)[item]


def test_another_trend_or_another_scale_needs_a_refresh():
    pipeline = fold(readers())
    clickers = Clickers(DEPTH)
    assert not clickers.is_of(pipeline.trend)
    clickers.refresh(pipeline.trend)
    assert clickers.is_of(pipeline.trend)
    assert not clickers.is_of(fold(readers()).trend)
    pipeline.step(Stream().add(T0 + 24 * 3_600_000, "ana", "x").batch(pipeline))
    assert not clickers.is_of(pipeline.trend)


@pytest.mark.parametrize("kind", [Kind.UNDO, Kind.CLICK])
def test_what_is_taken_out_and_what_comes_do_not_cancel(kind):
    pipeline = fold(Stream([row for n in range(40) for row in Stream().add(T0, f"a-{n}", "x").rows]))
    clickers = Clickers(DEPTH)
    clickers.refresh(pipeline.trend)
    before = sum_of(clickers.sizes(pipeline.trend)["x"])
    stream = Stream()
    for number in range(10):
        stream.add(T0 + 1000, f"a-{number}", "x", kind).add(T0 + 1000, f"b-{number}", "x")
    pipeline.step(stream.batch(pipeline))
    came = sum_of(clickers.sizes(pipeline.trend)["x"]) - before
    assert came == pytest.approx(10 * pipeline.trend.unit(pipeline.stream_ms), rel=0.001)


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)).map(sorted), min_size=1, max_size=12),
    st.lists(st.integers(1, 40), max_size=3),
    st.integers(0, 400),
    st.booleans(),
)
def test_whoever_grows_by_however_much_the_fewest_clickers_are_no_fewer_than_told(grown_from, new, margin, is_exact):
    """Test contributions that grew, none above 40, and new ones.

    They are known by size, in classes of one or of several.
    """
    old = sorted((before for before, _ in grown_from), reverse=True)
    width = 1 if is_exact else 3
    sizes = [(len(part), sum(part), part[0]) for at in range(0, len(old), width) if (part := old[at : at + width])]
    now = sorted([after for _, after in grown_from] + new, reverse=True)
    margin = min(margin, sum(now))
    told = fewest_clickers(grown(sizes, sum(now) - sum(old), 40), margin)
    assert 1 <= told <= dependence(now, margin)
