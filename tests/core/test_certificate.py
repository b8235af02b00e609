"""The margin is a theorem: an attacker below it never gets in, whatever it does; at it, it does."""

from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.core.certificate import certain_places, dependence, margins
from recommender.core.events import Kind
from recommender.core.pipeline import Pipeline
from tests.streams import HOUR, SMALL, T0, TRUSTING, Stream, fold, readers

LIST = 5


def certified(pipeline: Pipeline):
    """The list, the price of each place, and the best item outside."""
    board = pipeline.board(LIST + 1)
    counts = board.counts.tolist()
    actors, _ = margins(counts[:LIST], counts[LIST], board.unit, board.fresh)
    return board.items[:LIST], actors, board.items[LIST]


def attack(pipeline: Pipeline, events) -> list[str]:
    """The list after more events, all within the millisecond after the last."""
    copy = Pipeline.from_bytes(pipeline.to_bytes())
    stream = Stream()
    for actor, item, kind in events:
        stream.add(copy.stream_ms, actor, item, kind)
    copy.step(stream.batch(copy))
    return copy.board(LIST).items


kinds = st.sampled_from([Kind.CLICK, Kind.PURCHASE, Kind.VIEW, Kind.UNDO, Kind.LIKE])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 30), st.integers(0, LIST - 1), st.sampled_from([SMALL, TRUSTING]), st.data())
def test_fewer_actors_than_the_margin_never_take_the_place(seed, place, config, data):
    pipeline = fold(readers(n_events=600, seed=seed, seconds=900), config)
    listed, actors, outsider = certified(pipeline)
    n_actors = data.draw(st.integers(1, 200)) % actors[place]
    target = data.draw(st.sampled_from([outsider, "never seen", "item-59"]))
    events = []
    for number in range(n_actors):
        sent = data.draw(st.lists(kinds, min_size=1, max_size=5)) if number < 5 else [Kind.CLICK] * 3
        events += [(f"mal-{number}", target, kind) for kind in sent]
    if events:
        after = attack(pipeline, events)
        assert listed[place] in after


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([SMALL, TRUSTING]))
def test_as_many_actors_as_the_margin_take_the_last_place(seed, config):
    pipeline = fold(readers(n_events=600, seed=seed, seconds=900), config)
    listed, actors, outsider = certified(pipeline)
    after = attack(pipeline, [(f"mal-{number}", outsider, Kind.CLICK) for number in range(actors[-1])])
    assert outsider in after
    assert listed[-1] not in after


def test_a_greedy_attacker_who_sees_every_score_needs_the_margin():
    pipeline = fold(readers(n_events=1500, n_actors=600))
    listed, actors, outsider = certified(pipeline)
    sent = 0
    while listed[-1] in attack(
        pipeline, [(f"mal-{n}", outsider, Kind.CLICK) for n in range(sent)] or [("m", "n", 8)]
    ):
        sent += 1
    assert sent == actors[-1]


def test_an_empty_place_costs_one_actor():
    board = fold(Stream().add(T0, "ana", "x")).board(10)
    assert margins(board.counts.tolist(), 0, board.unit, board.fresh) == ([2], [1.0])


def test_margins_hold_across_half_lives_and_epochs():
    pipeline = fold(readers(n_events=3000, seconds=5 * 3600))
    assert pipeline.stream_ms > T0 + 4 * HOUR
    listed, actors, outsider = certified(pipeline)
    for place in range(LIST):
        few = [(f"mal-{n}", outsider, Kind.CLICK) for n in range(actors[place] - 1)]
        assert not few or listed[place] in attack(pipeline, few)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 30), st.integers(0, LIST - 1), st.sampled_from([SMALL, TRUSTING]))
def test_an_item_stays_until_as_many_of_its_own_clickers_are_fake_as_certified(seed, place, config):
    stream = readers(n_events=600, seed=seed, seconds=900)
    pipeline = fold(stream, config)
    board = pipeline.board(LIST + 1)
    item, outside = board.items[place], int(board.counts[LIST])
    contributions = pipeline.trend.contributions(item)
    assert abs(contributions.sum() - board.counts[place]) <= len(contributions)  # rounding of epochs gone by
    fewest = dependence(contributions.tolist(), int(board.counts[place]) - outside)
    clickers = sorted({row[2] for row in stream.rows if row[3] == item})
    by_weight = sorted(clickers, key=lambda actor: _contribution(pipeline, actor, item), reverse=True)
    for n_fake, stays in ((fewest - 1, True), (fewest, False)):
        copy = Pipeline.from_bytes(pipeline.to_bytes())
        fakes = by_weight[:n_fake]
        copy.trend.retract(copy.encoder.keys(fakes), copy.encoder.keys([item] * len(fakes)))
        left = copy.trend.counts()[copy.trend.names.index(item)]
        assert (left >= outside) == stays


def _contribution(pipeline, actor, item) -> int:
    copy = Pipeline.from_bytes(pipeline.to_bytes())
    before = copy.trend.counts()[copy.trend.names.index(item)]
    copy.trend.retract(copy.encoder.keys([actor]), copy.encoder.keys([item]))
    return int(before - copy.trend.counts()[copy.trend.names.index(item)])


def test_nobody_contributes_to_what_nobody_clicked():
    assert fold(readers(n_events=10)).trend.contributions("nothing").size == 0


small = st.integers(0, 12)


@settings(max_examples=300, deadline=None)
@given(st.lists(small, min_size=1, max_size=7), st.integers(1, 4), st.integers(0, 4), st.integers(1, 3), st.data())
def test_the_list_certificate_is_what_trying_every_attack_finds(counts, k, n_actors, unit, data):
    budget = data.draw(st.integers(unit, 3 * unit))
    counts = sorted(counts, reverse=True)
    padded = counts + [0] * (2 * k)  # items nobody has seen can be pushed too
    listed, outside = [count for count in counts[:k] if count], padded[k if len(counts) >= k else len(counts) :]
    k_listed = len([count for count in counts[:k] if count])
    outside = padded[k_listed:]
    worst = 0
    for n_dropped in range(1, k_listed + 1):
        to_beat = listed[k_listed - n_dropped]
        costs = [to_beat - count for count in outside[:n_dropped]]  # each must be exceeded, by however little
        if all(cost < n_actors * unit for cost in costs) and sum(costs) < n_actors * budget:
            worst = n_dropped
    assert certain_places(counts, k, n_actors, unit, budget) == k_listed - worst
