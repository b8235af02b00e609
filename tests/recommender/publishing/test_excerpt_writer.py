"""Test that the published excerpt gives the same lists as the learner itself."""

import msgspec
import numpy as np
import pytest

from recommender.core.affinity.published_links import published_links
from recommender.core.pipeline import Config, Pipeline
from recommender.core.ranking.candidates import FEATURES
from recommender.core.trust import TrustConfig
from recommender.publishing.excerpt import (
    EXCERPTS,
    VERSIONS,
    Excerpt,
    ExcerptReader,
    Message,
    Remembered,
    read_remembered,
)
from recommender.publishing.excerpt_writer import make_message
from recommender.publishing.item_catalogue import Listing
from recommender.publishing.published_boards import PublishedBoard
from recommender.serving.recommendations import affinities_of, features_of, pulls_of
from recommender.serving.scope_lists import Shelf
from tests.help.made_excerpts import make_message as by_hand
from tests.help.made_excerpts import store_excerpt

START_MS = 1_700_000_000_000
N_ACTORS, N_ITEMS = 400, 30


@pytest.fixture(scope="module")
def learned():
    """Learn actors who go through a site item by item, mostly from n to n + 1."""
    rng = np.random.default_rng(5)
    pipeline = Pipeline(Config(secret="ab" * 16, trust=TrustConfig(floor=1.0), canary_share=0.0))
    rows = []
    for actor in range(N_ACTORS):
        item, at_ms = int(rng.integers(N_ITEMS)), START_MS + int(rng.integers(1_200_000))
        for _ in range(int(rng.integers(2, 8))):
            rows.append((at_ms, f"actor-{actor}", f"item-{item}"))
            item = (item + 1 if rng.random() < 0.7 else int(rng.integers(N_ITEMS))) % N_ITEMS
            at_ms += int(rng.integers(5_000, 60_000))
    rows.sort()
    for first in range(0, len(rows), 100):
        received_ms, actors, items = zip(*rows[first : first + 100], strict=True)
        pipeline.step(pipeline.encode(received_ms=received_ms, actors=actors, items=items))
    return pipeline


def excerpt_of(pipeline, listings=None):
    message = make_message(pipeline, 1, pipeline.stream_ms / 1000, listings or {})
    return Excerpt(msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=Message))


def test_links_are_those_that_affinity_shows(learned):
    excerpt = excerpt_of(learned)
    n_listed = 0
    for row, name in enumerate(excerpt.names):
        known = learned.affinity.neighbours(learned.encoder.key(name), learned.stream_ms)
        place = excerpt.neighbours(row)
        keys = learned.encoder.keys([excerpt.names[target] for target in excerpt.targets[place]])
        assert np.array_equal(keys, known.keys)
        assert np.array_equal(excerpt.actors[place], known.n_actors)
        assert all(ours <= exact for ours, exact in zip(excerpt.prices[place], known.margin_actors, strict=True))
        n_listed += len(keys)
    assert n_listed > N_ITEMS


def test_to_read_it_changes_nothing(learned):
    before = learned.digest()
    published_links(learned.affinity, learned.trend, learned.stream_ms, 1.0)
    excerpt_of(learned)
    assert learned.digest() == before


def test_features_are_those_that_the_learner_judges_by(learned):
    board = learned.board(500)
    shelf = Shelf(PublishedBoard(1, board.items, board.counts.tolist(), 1, 1), [excerpt_of(learned)])
    for actor in ("actor-1", "actor-7", "nobody"):
        known = learned.candidates(actor)
        history = [_name(learned, key) for key in learned.affinity.recent(learned.encoder.key(actor))]
        affinities = affinities_of(shelf, history)
        rows = [learned.trend.names[row] for row in known.rows]
        assert all(name in shelf.shares for name in rows)
        served = features_of(shelf, rows, pulls_of(shelf, history, set(rows)))
        np.testing.assert_allclose(served, known.features, atol=2e-3)
        scores = [shelf.shares[name] + shelf.blend * affinities.get(name, 0.0) for name in rows]
        np.testing.assert_allclose(scores, known.scores, rtol=1e-3, atol=1e-6)


def test_features_of_what_is_not_on_the_board_are_known_too(learned):
    board, actor = learned.board(500), "actor-1"
    excerpt = excerpt_of(learned)
    whole = Shelf(PublishedBoard(1, board.items, board.counts.tolist(), 1, 1), [excerpt])
    cut = Shelf(PublishedBoard(1, board.items[:5], board.counts.tolist()[:5], 1, 1), [excerpt])
    history = [_name(learned, key) for key in learned.affinity.recent(learned.encoder.key(actor))]
    names = [*board.items[:5], *sorted(board.items[5:])]
    pulls = pulls_of(whole, history, set(names))
    known, served = features_of(whole, names, pulls), features_of(cut, names, pulls)
    is_leader = FEATURES.index("is_leader")
    assert served[:, is_leader].tolist() == [1.0] * 5 + [0.0] * (len(names) - 5)
    np.testing.assert_allclose(np.delete(served, is_leader, 1), np.delete(known, is_leader, 1))


def test_what_the_site_says_of_items_goes_with_them(learned):
    now_s = learned.stream_ms / 1000
    listings = {
        "item-1": Listing(True, 0.0, ("a",)),
        "item-2": Listing(False, now_s + 100, ()),
        "item-3": Listing(False, now_s - 100, ("b", "a")),
    }
    excerpt = excerpt_of(learned, listings)
    assert excerpt.flags[excerpt.rows["item-1"]] == excerpt.flags[excerpt.rows["item-2"]] == 0
    assert excerpt.flags[excerpt.rows["item-3"]] == 1
    assert excerpt.categories(excerpt.rows["item-3"]) == ["b", "a"]
    assert excerpt.categories(excerpt.rows["item-4"]) == []
    assert [excerpt.names[row] for row in np.flatnonzero(excerpt.is_in("a"))] == sorted(
        ["item-1", "item-3"], key=excerpt.rows.get
    )
    assert not excerpt.is_in("never").any()
    assert [excerpt.names[row] for row in excerpt.fresh(3600, 1e9)] == ["item-3"]


def test_of_nothing_learned_there_is_an_excerpt_too():
    excerpt = excerpt_of(Pipeline(Config(secret="ab" * 16)))
    assert excerpt.names == []
    assert excerpt.best.size == excerpt.steady.size == 0


def _name(pipeline, key):
    return pipeline.trend.names[int(np.flatnonzero(pipeline.trend.items.keys[: len(pipeline.trend.names)] == key)[0])]


class TestRemembered:
    """Places and scores of one item by half-life."""

    def test_scores_of_several_shards_are_added_up(self, view_store):
        store_excerpt(view_store, by_hand({"a": (9, 2), "b": (1, 1)}))
        store_excerpt(view_store, by_hand({"b": (0, 3), "c": (0, 1)}), shard=1)
        assert read_remembered("b") == [Remembered(300, 2, 1.0), Remembered(3600, 1, 4.0)]
        assert read_remembered("c") == [Remembered(300, None, 0.0), Remembered(3600, 3, 1.0)]

    def test_what_is_hidden_has_a_score_and_no_place_and_takes_none(self, view_store):
        store_excerpt(view_store, by_hand({"a": (9, 2), "b": (1, 1)}, hidden=["a"]))
        assert read_remembered("a") == [Remembered(300, None, 9.0), Remembered(3600, None, 2.0)]
        assert [each.place for each in read_remembered("b")] == [1, 1]

    def test_items_nobody_heard_of_are_on_no_list(self, view_store):
        store_excerpt(view_store, by_hand({"a": (9, 2)}))
        assert [each.place for each in read_remembered("x")] == [None, None]

    def test_what_an_earlier_release_left_is_no_error(self, view_store, caplog):
        view_store.hset(EXCERPTS, "0", msgspec.msgpack.encode({"version": 1}))
        view_store.hset(VERSIONS, "0", "1")
        assert read_remembered("a") == []
        assert ExcerptReader(view_store).excerpts() == []
        assert "cannot be read" in caplog.text
