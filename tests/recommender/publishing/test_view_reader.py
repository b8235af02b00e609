"""Test that a web process shows the newest boards after a lost store."""

import msgspec

from recommender.publishing.published_boards import BOARDS, HEAD, POLL_EVERY_S, Head, PublishedBoard, ViewReader


def fill(store, version, items):
    store.set(HEAD, msgspec.msgpack.encode(Head(version, 0.0, "learning", None)))
    store.hset(BOARDS, "", msgspec.msgpack.encode(PublishedBoard(version, items, [1] * len(items), 1, 1)))


def test_a_store_that_begins_again_with_a_lower_version_is_read(view_store, clock):
    reader = ViewReader(view_store, clock)
    fill(view_store, 2_000, ["old"])
    assert reader.board("").items == ["old"]
    view_store.flushdb()
    fill(view_store, 1_000, ["new"])
    clock.forward(POLL_EVERY_S)
    assert reader.board("").items == ["new"]


def test_a_board_is_read_once_for_every_head(view_store, clock):
    reader = ViewReader(view_store, clock)
    fill(view_store, 1, ["a"])
    assert reader.board("") is reader.board("")
    clock.forward(POLL_EVERY_S)
    assert reader.board("").items == ["a"]
