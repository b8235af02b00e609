"""Test that replays show in the window of the spliced-in item.

Habits of a whole site do not show.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.core.features import feature_columns as fk
from recommender.core.features.feature_windows import is_odd
from recommender.core.features.near_duplicates import LEAST, duplicate
from recommender.core.pipeline import Pipeline
from recommender.core.screen.forest_refits import ENTITIES
from recommender.core.screen.suspicion import scores
from recommender.core.tables.hashing import find
from tests.help.streams import HOUR, MINUTE, SCREENED, T0, Stream

ATTACK_AT = T0 + 90 * MINUTE
VISIT = [f"item-{n}" for n in (3, 17, 40, 58, 9)]  # the visit that was captured and is replayed
COUNTS = slice(fk.D_COUNTS, fk.D_COUNTS + fk.N_BAND_COUNTERS)


def visit(stream, actor, items, at_ms, rng):
    """Add one reading after the other, with a person's pauses."""
    for item in items:
        stream.add(at_ms, actor, item)
        at_ms += int(rng.lognormal(9.5, 0.7))


def site(n_readers=600, fixed=(), *, seed=1):
    """Return visits of three to seven items by newcomers, over two hours.

    Some items are read far more than others. Every visit has the `fixed` items in it, in any order.
    """
    stream, rng = Stream(), np.random.default_rng(seed)
    popularity = 1 / np.arange(5, 305)
    popularity /= popularity.sum()
    for reader in range(n_readers):
        n = max(int(rng.integers(3, 8)) - len(fixed), 2)
        items = [f"item-{n}" for n in rng.choice(300, n, replace=False, p=popularity)]
        items = rng.permutation([*fixed, *items]).tolist()
        visit(stream, f"reader-{reader}", items, T0 + int(rng.integers(0, 2 * HOUR)), rng)
    return stream


def replay(stream, n, spliced_at, *, is_permuted=False, items=VISIT, seed=2):
    """Add mal's new accounts, which all make the same visit.

    The target is at the place `spliced_at(rng)` of it.
    """
    rng = np.random.default_rng(seed)
    for bot in range(n):
        visited = rng.permutation(items).tolist() if is_permuted else list(items)
        visited.insert(spliced_at(rng), "target")
        visit(stream, f"mal-{bot}", visited, ATTACK_AT + int(rng.integers(0, 10 * MINUTE)), rng)
    return stream


def observed(stream, *, batch=500, down_at=None):
    """Fold a stream, and return each event's `duplicate` and item, and the Pipeline.

    With `down_at`, the Pipeline is written to bytes and made anew before that row.
    """
    stream.rows.sort(key=lambda row: row[0])
    pipeline, pieces = Pipeline(SCREENED), []

    def step(batch):
        observe = pipeline.screen.features.observe

        def watched(*args):
            answer = observe(*args)
            pieces.append(answer[0][:, fk.DUPLICATE])
            return answer

        pipeline.screen.features.observe = watched
        pipeline.step(batch)
        pipeline.screen.features.observe = observe

    for start in range(0, len(stream.rows), batch):
        if start == down_at:
            pipeline = Pipeline.from_bytes(pipeline.to_bytes())
        step(stream.batch(pipeline, start, start + batch))
    return np.concatenate(pieces), np.array([row[3] for row in stream.rows]), pipeline


def window(pipeline, item):
    """Return a copy of the row of an item's window."""
    batch = Stream().add(T0, "ana", item).batch(pipeline)
    features = pipeline.screen.features
    return features.windows[features.item_rows(batch.item)[0]].copy()


def bands(pipeline, item):
    """Return a copy of the row of an item's bands."""
    table, key = pipeline.screen.features.tables["bands"], np.uint64(pipeline.encoder.key(item))
    return table["c"][find(table.slots, table.keys, key)].copy()


def at_the_end(rng):
    return len(VISIT)


def from_the_third_on(rng):
    return int(rng.integers(2, len(VISIT) + 1))


@pytest.mark.parametrize(
    ("spliced_at", "is_permuted"), [(at_the_end, False), (at_the_end, True), (from_the_third_on, False)]
)
def test_thirty_new_accounts_with_one_visit_show_in_the_window_of_the_target(spliced_at, is_permuted):
    found, items, _ = observed(replay(site(), 30, spliced_at, is_permuted=is_permuted))
    assert found[items == "target"][-1] > 0.5
    assert (found[~np.isin(items, [*VISIT, "target"])] < 0.25).all()


@pytest.mark.parametrize("fixed", [(), ("top-0", "top-1", "top-2")])
def test_honest_visits_do_not_show_even_where_all_have_the_same_three_stories_in_them(fixed):
    found, _, pipeline = observed(site(fixed=fixed))
    assert pipeline.screen.features.site[0, fk.I_BANDED1H] > 500 * fk.ONE
    assert found.max() < 0.25


def test_replays_show_on_a_site_whose_readers_all_have_three_stories_in_common_too():
    found, items, _ = observed(replay(site(fixed=("top-0", "top-1", "top-2")), 30, at_the_end))
    assert found[items == "target"][-1] > 0.5


def test_a_visit_of_which_two_items_in_five_were_replaced_shows_less():
    stream, rng = site(), np.random.default_rng(4)
    for bot in range(30):
        visited = [*rng.permutation(VISIT)[:3], *(f"item-{n}" for n in rng.integers(100, 300, 2)), "target"]
        visit(stream, f"mal-{bot}", visited, ATTACK_AT + int(rng.integers(0, 10 * MINUTE)), rng)
    found, items, _ = observed(stream)
    assert found[items == "target"][-1] < 0.25


def test_the_order_of_a_visit_makes_no_difference_to_what_is_met():
    found = [
        bands(observed(replay(site(), 30, at_the_end, is_permuted=is_permuted))[2], "target")
        for is_permuted in (False, True)
    ]
    for counts in found:
        assert counts[COUNTS].max() == 30
    met = [set(counts[fk.D_BANDS : fk.D_BANDS + 8][counts[COUNTS] > 8].tolist()) for counts in found]
    assert met[0] == met[1]
    assert len(met[0]) == 1


def test_below_three_items_nothing_is_known_and_nothing_is_said():
    found, items, pipeline = observed(replay(site(), 60, at_the_end, items=VISIT[:1]))
    assert (found[items == "target"] == 0).all()
    assert not window(pipeline, "target")[[fk.I_BANDED1H, fk.I_SHARED1H]].any()


def test_fewer_than_eight_visits_say_nothing():
    found, items, pipeline = observed(replay(site(), LEAST - 1, at_the_end))
    assert (found[items == "target"] == 0).all()
    assert window(pipeline, "target")[fk.I_BANDED1H] > 0


def test_readers_of_an_hour_and_more_are_not_entered():
    stream, rng = site(), np.random.default_rng(5)
    for bot in range(30):
        stream.add(T0 + 1000 * bot, f"old-{bot}", "item-0")
        visit(stream, f"old-{bot}", [*VISIT, "target"], ATTACK_AT + int(rng.integers(0, 10 * MINUTE)), rng)
    found, items, pipeline = observed(stream)
    assert (found[items == "target"] == 0).all()
    assert window(pipeline, "target")[fk.I_BANDED1H] == 0


def test_what_came_once_is_forgotten_within_hours():
    stream = replay(site(), 30, at_the_end)
    visit(stream, "late", [*VISIT, "target"], T0 + 12 * HOUR, np.random.default_rng(6))
    _, _, pipeline = observed(stream)
    assert sorted(bands(pipeline, "target")[COUNTS].tolist())[-2:] == [0, 1]


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 6), st.integers(0, 2 * HOUR)), min_size=1, max_size=300))
@settings(max_examples=30)
def test_whatever_comes_counters_and_feature_stay_within_their_bounds(acts):
    stream = Stream()
    for actor, item, at_ms in acts:
        stream.add(T0 + at_ms, f"a-{actor}", f"i-{item}")
    found, _, pipeline = observed(stream, batch=64)
    assert ((found >= 0) & (found <= 1)).all()
    assert (pipeline.screen.features.tables["bands"]["c"][:, COUNTS] >= 0).all()
    for w in (*pipeline.screen.features.windows[:7], pipeline.screen.features.site[0]):
        assert 0 <= w[fk.I_SHARED1H] <= w[fk.I_BANDED1H] <= w[fk.I_N1H]
        assert 0 <= duplicate(w, pipeline.screen.features.site[0]) <= 1


def test_a_checkpoint_in_the_middle_of_the_replays_changes_nothing():
    stream = replay(site(), 30, at_the_end)
    found, items, pipeline = observed(stream)
    middle = int(np.median(np.flatnonzero(items == "target"))) // 500 * 500
    again, _, other = observed(stream, down_at=middle)
    np.testing.assert_array_equal(found, again)
    assert pipeline.digest() == other.digest()


def test_no_forest_and_no_score_reads_it():
    assert all(columns.stop <= fk.DUPLICATE for columns in ENTITIES.values())
    features, verdict = np.zeros((1, fk.N_FEATURES)), np.zeros(1, np.int8)
    features[0, [fk.NEWNESS, fk.BURST]] = 0.5
    before = scores(features, verdict)
    features[0, fk.DUPLICATE] = 1.0
    assert scores(features, verdict) == before
    assert not is_odd(features[0] * (np.arange(fk.N_FEATURES) == fk.DUPLICATE))
