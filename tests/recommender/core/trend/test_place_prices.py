"""Test that an attacker below the margin never gets in, and one at it does.

The margin is a theorem: below it, no kind of act helps.
"""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.core.affinity.affinity import AffinityConfig
from recommender.core.pipeline import Pipeline
from recommender.core.trend import count_breakdowns
from recommender.core.trend.place_prices import (
    certain_places,
    dependence,
    entry_margin,
    fewest_clickers,
    link_margins,
    margins,
    networks,
)
from recommender.core.trend.trend import PREFIX_ACTORS
from recommender.core.vocabulary import Kind
from tests.help.streams import HOUR, SMALL, T0, TRUSTING, AddressedStream, Stream, addressed, fold, readers

LIST = 5


def certified(pipeline: Pipeline):
    """Return the list, the price of each place, and the best item outside."""
    board = pipeline.board(LIST + 1)
    counts = board.counts.tolist()
    actors, _ = margins(counts[:LIST], counts[LIST], board.unit, board.fresh)
    return board.items[:LIST], actors, board.items[LIST]


def attack(pipeline: Pipeline, events) -> list[str]:
    """Return the list after more events, all at the stream time of the last.

    They come from the addresses given, if any.
    """
    copy = Pipeline.from_bytes(pipeline.to_bytes())
    stream = AddressedStream()
    for actor, item, kind, *ip in events:
        stream.add(copy.stream_ms, actor, item, kind, ip=ip[0] if ip else None)
    copy.step(stream.batch(copy))
    return copy.board(LIST).items


kinds = st.sampled_from([Kind.CLICK, Kind.PURCHASE, Kind.VIEW, Kind.UNDO, Kind.LIKE])


@settings(max_examples=60)
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


@settings(max_examples=60)
@given(st.integers(0, 1000), st.sampled_from([SMALL, TRUSTING]))
def test_as_many_actors_as_the_margin_take_the_last_place(seed, config):
    pipeline = fold(readers(n_events=600, seed=seed, seconds=900), config)
    listed, actors, outsider = certified(pipeline)
    after = attack(pipeline, [(f"mal-{number}", outsider, Kind.CLICK) for number in range(actors[-1])])
    assert outsider in after
    assert listed[-1] not in after


# The knees are so low that honest readers, a few of whom share each network, are over them as well.
KNEELING = replace(SMALL, network_knee=1.5, group_knee=4.0)
FRESH_KNEELING = replace(TRUSTING, network_knee=0.2, group_knee=0.6)
kneeling = st.sampled_from([KNEELING, FRESH_KNEELING])


def home(actor: str) -> str | None:
    """Return a reader's address, in one of 12 prefixes in three groups.

    For every seventh reader it is unknown.
    """
    number = int(actor.split("-")[1])
    return f"10.{number % 3}.{number % 4}.{number % 250}" if number % 7 else None


def kneeling_site(seed, config) -> Pipeline:
    return fold(addressed(readers(n_events=600, seed=seed, seconds=900), home), config)


@settings(max_examples=60)
@given(st.integers(0, 30), st.integers(0, LIST - 1), kneeling, st.data())
def test_fewer_actors_than_the_margin_never_take_the_place_from_networks_of_their_choice(seed, place, config, data):
    pipeline = kneeling_site(seed, config)
    listed, actors, outsider = certified(pipeline)
    n_actors = data.draw(st.integers(1, 200)) % actors[place]
    target = data.draw(st.sampled_from([outsider, "never seen"]))
    addresses = data.draw(st.sampled_from(["own", "one", "readers'", "none"]))
    events = []
    for number in range(n_actors):
        ip = {"own": f"11.{number}.0.1", "one": "11.0.0.1", "readers'": home(f"r-{number}"), "none": None}[addresses]
        kinds_sent = data.draw(st.lists(kinds, min_size=1, max_size=4)) if number < 4 else [Kind.CLICK] * 2
        for kind in kinds_sent:
            events.append((f"mal-{number}", target, kind, ip))
        events.append((f"mal-{number}", listed[place], Kind.VIEW, home("r-1")))  # to crowd a rival's network
        events.append((f"mal-{number}", listed[place], Kind.UNDO, home("r-2")))
    if events:
        assert listed[place] in attack(pipeline, events)


@settings(max_examples=60)
@given(st.integers(0, 1000), kneeling)
def test_as_many_actors_as_the_margin_each_from_a_network_of_its_own_take_the_last_place(seed, config):
    pipeline = kneeling_site(seed, config)
    listed, actors, outsider = certified(pipeline)
    events = [(f"mal-{n}", outsider, Kind.CLICK, f"{11 + n // 250}.{n % 250}.0.1") for n in range(actors[-1])]
    after = attack(pipeline, events)
    assert outsider in after
    assert listed[-1] not in after


@settings(max_examples=40)
@given(st.integers(0, 30), st.booleans(), st.integers(0, 40), st.booleans(), st.data())
def test_full_prefixes_fewer_than_the_margin_in_networks_never_take_the_place(seed, same_group, earlier, again, data):
    config = replace(TRUSTING, network_knee=0.05, group_knee=data.draw(st.sampled_from([0.1, 2.0])))
    stream = addressed(readers(n_events=600, seed=seed, seconds=900), home)
    where = (lambda n: f"11.0.{n}") if same_group else (lambda n: f"{11 + n}.0.0")
    for number in range(earlier):  # they were active before
        stream.add(T0 + 880_000, f"old-{number}", "item-4", ip=f"{where(number % 3)}.{number}")
    pipeline = fold(stream, config)
    board = pipeline.board(LIST + 1)
    counts = board.counts.tolist()
    needed = networks(counts[:LIST], counts[LIST], board.network)
    place = data.draw(st.integers(0, LIST - 1))
    target = board.items[LIST]
    first = 0 if again else 100
    n_prefixes = min(needed[place] - 1, 6)
    events = [
        (f"mal-{prefix}-{host}", target, Kind.CLICK, f"{where(first + prefix)}.{host}")
        for prefix in range(n_prefixes)
        for host in range(PREFIX_ACTORS)
    ]
    assert not events or board.items[place] in attack(pipeline, events)


def test_as_many_full_prefixes_as_the_margin_in_networks_take_the_place():
    config = replace(TRUSTING, network_knee=0.05, group_knee=1000.0)
    stream = addressed(readers(n_events=3000, seconds=900), lambda _: None)
    for number in range(300):  # so that the first place is worth more than one prefix
        stream.add(T0 + 890_000, f"fan-{number}", "item-0")
    stream.rows.sort(key=lambda row: row[0])
    pipeline = fold(stream, config)
    board = pipeline.board(LIST + 1)
    (needed,) = networks(board.counts[:1].tolist(), int(board.counts[1]), board.network)
    assert needed > 3
    for n_prefixes, is_first in ((needed - 1, True), (needed, False)):
        events = [
            (f"mal-{prefix}-{host}", board.items[1], Kind.CLICK, f"{11 + prefix}.0.0.{host}")
            for prefix in range(n_prefixes)
            for host in range(PREFIX_ACTORS)
        ]
        assert (attack(pipeline, events)[0] == board.items[0]) == is_first


@settings(max_examples=40)
@given(st.integers(0, 30), st.integers(0, LIST - 1), kneeling, st.sampled_from(["largest", "one network"]))
def test_fewer_fake_clickers_than_told_never_cost_an_item_its_place(seed, place, config, chosen):
    stream = addressed(readers(n_events=600, seed=seed, seconds=900), home)
    pipeline = fold(stream, config)
    board = pipeline.board(LIST + 1)
    item, outside = board.items[place], int(board.counts[LIST])
    margin = int(board.counts[place]) - outside
    exact = dependence(count_breakdowns.contributions(pipeline.trend, item).tolist(), margin)
    told = fewest_clickers(count_breakdowns.sizes(pipeline.trend, LIST)[item], margin)
    assert 1 <= told <= exact
    clickers = sorted({row[2] for row in stream.rows if row[3] == item})
    data = pipeline.to_bytes()
    if chosen == "largest":
        clickers = _by_contribution(pipeline, clickers, item)
    else:
        clickers.sort(key=lambda actor: home(actor) or "")
    fakes = clickers[: exact - 1]
    copy = Pipeline.from_bytes(data)
    copy.trend.retract(copy.encoder.keys(fakes), copy.encoder.keys([item] * len(fakes)))
    # minus the rounding of past epochs
    assert copy.trend.counts()[copy.trend.names.index(item)] >= outside - len(clickers)


@given(st.lists(st.integers(1, 1 << 45), max_size=60), st.integers(0, 1 << 46))
def test_clickers_told_by_size_are_at_most_those_that_are_needed_and_at_least_two_thirds(contributions, margin):
    classes: dict[tuple[int, bool], list[int]] = {}
    for each in contributions:
        octave = each.bit_length()
        classes.setdefault((octave, 4 * each >= 3 << octave), []).append(each)
    sizes = [(len(found), sum(found), max(found)) for _, found in sorted(classes.items(), reverse=True)]
    exact = dependence(sorted(contributions, reverse=True), margin)
    assert 2 * (exact - 1) / 3 <= fewest_clickers(sizes, margin) <= exact


def test_sizes_are_told_in_a_bounded_number_of_classes_and_add_up_to_the_contributions():
    pipeline = fold(readers(n_events=3000, seconds=7200))
    for item, sizes in count_breakdowns.sizes(pipeline.trend, 128).items():
        contributions = count_breakdowns.contributions(pipeline.trend, item)
        contributions = contributions[contributions > 0]
        assert len(sizes) <= 24
        assert sum(n for n, _, _ in sizes) == len(contributions)
        assert sum(amount for _, amount, _ in sizes) == contributions.sum()
        assert sizes == sorted(sizes, key=lambda each: -each[2])


@pytest.mark.parametrize("n_shards", [1, 3])
def test_a_prefix_spread_over_shards_adds_at_most_what_is_said(n_shards):
    stream = AddressedStream()
    for number in range(PREFIX_ACTORS // n_shards):
        stream.add(T0, f"mal-{number}", "x", ip="11.0.0.1")
    trend = fold(stream, replace(TRUSTING, network_knee=0.5)).trend
    assert 0.98 * trend.network(T0, n_shards) < n_shards * trend.counts()[0] <= trend.network(T0, n_shards)


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


@settings(max_examples=60)
@given(st.integers(0, 30), st.integers(0, LIST - 1), st.sampled_from([SMALL, TRUSTING]))
def test_an_item_stays_until_as_many_of_its_own_clickers_are_fake_as_certified(seed, place, config):
    stream = readers(n_events=600, seed=seed, seconds=900)
    pipeline = fold(stream, config)
    board = pipeline.board(LIST + 1)
    item, outside = board.items[place], int(board.counts[LIST])
    contributions = count_breakdowns.contributions(pipeline.trend, item)
    assert abs(contributions.sum() - board.counts[place]) <= len(contributions)  # the rounding of past epochs
    fewest = dependence(contributions.tolist(), int(board.counts[place]) - outside)
    clickers = sorted({row[2] for row in stream.rows if row[3] == item})
    data = pipeline.to_bytes()
    by_weight = _by_contribution(pipeline, clickers, item)
    for n_fake, stays in ((fewest - 1, True), (fewest, False)):
        copy = Pipeline.from_bytes(data)
        fakes = by_weight[:n_fake]
        copy.trend.retract(copy.encoder.keys(fakes), copy.encoder.keys([item] * len(fakes)))
        left = copy.trend.counts()[copy.trend.names.index(item)]
        assert (left >= outside) == stays


def _by_contribution(pipeline, clickers, item) -> list[str]:
    """Order clickers of an item by what it loses without each, the largest first."""
    copy, state = Pipeline.from_bytes(pipeline.to_bytes()), pipeline.trend.state()
    row = copy.trend.names.index(item)

    def left_without(actor) -> int:
        copy.trend.restore(state, pipeline.stream_ms)
        copy.trend.retract(copy.encoder.keys([actor]), copy.encoder.keys([item]))
        return int(copy.trend.counts()[row])

    return sorted(clickers, key=left_without)


def test_nobody_contributes_to_what_nobody_clicked():
    assert count_breakdowns.contributions(fold(readers(n_events=10)).trend, "nothing").size == 0


small = st.integers(0, 12)


@settings(max_examples=300)
@given(st.lists(small, min_size=1, max_size=7), st.integers(1, 4), st.integers(0, 4), st.integers(1, 3), st.data())
def test_the_list_certificate_is_what_trying_every_attack_finds(counts, k, n_actors, unit, data):
    budget = data.draw(st.integers(unit, 3 * unit))
    counts = sorted(counts, reverse=True)
    padded = counts + [0] * (2 * k)  # items that no one has seen can be pushed too
    listed, outside = [count for count in counts[:k] if count], padded[k if len(counts) >= k else len(counts) :]
    k_listed = len([count for count in counts[:k] if count])
    outside = padded[k_listed:]
    worst = 0
    for n_dropped in range(1, k_listed + 1):
        to_beat = listed[k_listed - n_dropped]
        costs = [to_beat - count for count in outside[:n_dropped]]  # each must be exceeded, by any amount
        if all(cost < n_actors * unit for cost in costs) and sum(costs) < n_actors * budget:
            worst = n_dropped
    assert certain_places(counts, k, n_actors, unit, budget) == k_listed - worst


# Lists of links: "who read x also read y".
LINKED = replace(SMALL, affinity=AffinityConfig(min_actors=3, min_weight=2.0))
FRESH_LINKED = replace(TRUSTING, affinity=AffinityConfig(min_actors=3, min_weight=0.15))


def beside(pipeline: Pipeline, item: str, depth: int = LIST):
    return pipeline.affinity.neighbours(pipeline.encoder.key(item), pipeline.stream_ms, depth)


def inject(pipeline: Pipeline, anchor: str, target: str, n_actors: int, n_times: int = 1):
    """Send new actors from the anchor to the target, all at once.

    Returns the Pipeline and the list next to the anchor afterwards.
    """
    copy = Pipeline.from_bytes(pipeline.to_bytes())
    stream = Stream()
    for _ in range(n_times):
        for number in range(n_actors):
            stream.add(copy.stream_ms - 1, f"mal-{number}", anchor, received_ms=copy.stream_ms)
            stream.add(copy.stream_ms, f"mal-{number}", target)
    copy.step(stream.batch(copy))
    return copy, beside(copy, anchor)


@settings(max_examples=25)
@given(st.integers(0, 30), st.sampled_from([LINKED, FRESH_LINKED]), st.integers(0, 3), st.data())
def test_fewer_actors_than_the_margin_never_put_an_item_beside_another(seed, config, hub, data):
    pipeline = fold(readers(n_events=500, seed=seed, seconds=900), config)
    anchor = f"item-{hub}"
    shown = beside(pipeline, anchor)
    key_of = pipeline.encoder.key
    hidden = [f"item-{n}" for n in range(60) if n != hub and key_of(f"item-{n}") not in set(shown.keys.tolist())]
    target = data.draw(st.sampled_from([*hidden[:12], "never seen"]))
    is_full = len(shown.keys) == LIST
    price = shown.margin_actors[-1] if is_full else shown.entry
    n_actors = data.draw(st.integers(0, 400)) % price
    if n_actors:
        _, after = inject(pipeline, anchor, target, n_actors, n_times=data.draw(st.integers(1, 3)))
        assert key_of(target) not in after.keys.tolist()


@settings(max_examples=15)
@given(st.integers(0, 100), st.sampled_from([LINKED, FRESH_LINKED]), st.integers(0, 3))
def test_as_many_actors_as_the_margin_put_the_nearest_item_beside_another(seed, config, hub):
    pipeline = fold(readers(n_events=500, seed=seed, seconds=900), config)
    anchor = f"item-{hub}"
    shown = beside(pipeline, anchor)
    price = shown.margin_actors[-1] if len(shown.keys) == LIST else shown.entry
    targets = [f"item-{n}" for n in range(60) if n != hub] + ["never seen"]
    listed = set(shown.keys.tolist())
    outside = [target for target in targets if pipeline.encoder.key(target) not in listed]
    # one more than the price, because with equal counts the keys decide
    enters = [
        pipeline.encoder.key(target) in inject(pipeline, anchor, target, price + 1)[1].keys.tolist()
        for target in outside
    ]
    assert any(enters)


links_outside = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 8)), max_size=5)


@settings(max_examples=300)
@given(st.integers(0, 80), links_outside, st.integers(1, 9), st.integers(0, 50), st.integers(1, 9))
def test_the_margin_of_a_link_is_the_least_crowd_that_passes_all_rules(count, outside, fresh, least, min_actors):
    def passes(n_new):
        return any(c + n_new * fresh >= max(count, least) and n + n_new >= min_actors for c, n in [*outside, (0, 0)])

    price, _ = link_margins([count], outside, 100, fresh, least, min_actors)
    assert passes(price[0])
    assert price[0] == 1 or not passes(price[0] - 1)
    assert entry_margin(outside, fresh, least, min_actors) <= price[0]


def test_one_actor_is_never_enough_however_often_it_comes():
    pipeline = fold(readers(n_events=500), LINKED)
    _, after = inject(pipeline, "item-1", "push", 1, n_times=50)
    assert pipeline.encoder.key("push") not in after.keys.tolist()
