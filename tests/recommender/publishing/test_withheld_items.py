"""Hidden and deleted items leave the lists before a learner has published."""

import msgspec
import pytest
import redis
from django.db import transaction

from recommender.learning import learner
from recommender.log import event_log
from recommender.models import Item
from recommender.publishing import withheld_items
from recommender.publishing.published_boards import (
    BOARDS,
    HEAD,
    POLL_EVERY_S,
    Head,
    PublishedBoard,
    ViewReader,
    withheld_key,
)
from recommender.publishing.withheld_items import FORGET_AFTER_S, give_back, withhold
from tests.help.log_rows import clicks

pytestmark = pytest.mark.django_db(transaction=True)
BOARD = PublishedBoard(7, ["a", "b", "c"], [30, 20, 10], 1, 1, sizes={"a": [(1, 30, 30)]})


@pytest.fixture
def reader(view_store, clock):
    """Return a reader of a stored board."""
    view_store.set(HEAD, msgspec.msgpack.encode(Head(7, 0.0, "learning", None)))
    view_store.hset(BOARDS, "", msgspec.msgpack.encode(BOARD))
    return ViewReader(view_store, clock)


@pytest.fixture
def listed(reader, clock):
    """Return a function that polls and returns the board."""

    def listed():
        clock.forward(POLL_EVERY_S)
        return reader.board("")

    return listed


def test_a_withheld_item_is_left_out_until_it_is_given_back(listed):
    assert listed().items == ["a", "b", "c"]
    withhold(["b", "x"])
    board = listed()
    assert (board.items, board.counts) == (["a", "c"], [30, 10])
    assert board is listed()
    assert board.version != BOARD.version
    give_back(["b", "never"])
    assert listed().items == ["a", "b", "c"]


def test_other_withheld_items_make_another_version(listed):
    versions = {listed().version}
    for each in "abc":
        withhold([each])
        versions.add(listed().version)
    assert len(versions) == 4
    assert listed().items == []


def test_an_item_that_is_on_no_list_changes_no_board(listed):
    withhold(["x"])
    assert listed().version == BOARD.version


def test_nothing_is_withheld_before_the_commit_and_after_a_rollback(listed):
    with transaction.atomic():
        withhold(["a"])
        assert listed().items == ["a", "b", "c"]
        transaction.set_rollback(True)
    assert listed().items == ["a", "b", "c"]


def test_every_shard_must_have_published(listed, settings, view_store):
    settings.SHARDS = 2
    withhold(["a"])
    view_store.delete(withheld_key(0))
    assert listed().items == ["b", "c"]
    view_store.delete(withheld_key(1))
    assert listed().items == ["a", "b", "c"]


def test_a_set_is_bounded(view_store, monkeypatch):
    monkeypatch.setattr(withheld_items, "MAX_WITHHELD", 10)
    withhold([f"a-{n}" for n in range(8)])
    withhold([f"b-{n}" for n in range(8)])
    assert view_store.scard(withheld_key(0)) == 8


def test_without_a_store_nothing_fails_and_the_last_items_stay_withheld(listed, lose_store):
    withhold(["a"])
    assert listed().items == ["b", "c"]
    lose_store()
    withhold(["b"])
    give_back(["a"])
    assert listed().items == ["b", "c"]


@pytest.mark.usefixtures("empty_log", "fresh_process")
class TestLearned:
    def test_a_publisher_forgets_what_its_lists_are_without_when_readers_have_them(self, view_store, clock):
        event_log.append(clicks(5))
        learner.learn(0)
        Item.objects.create(id="story", is_hidden=True)
        withhold(["story"])
        learner.learn(0)
        assert view_store.smembers(withheld_key(0)) == {b"story"}
        clock.forward(FORGET_AFTER_S)
        withhold(["other"])
        learner.learn(0)
        assert view_store.smembers(withheld_key(0)) == {b"other"}
        learner.learn(0)
        clock.forward(FORGET_AFTER_S)
        learner.learn(0)
        assert view_store.smembers(withheld_key(0)) == set()

    def test_a_change_that_the_store_did_not_take_is_written_when_it_is_back(self, view_store, clock):
        event_log.append(clicks(5))
        learner.learn(0)
        Item.objects.create(id="story", is_hidden=True)

        def refuse(*arguments, **more):
            raise redis.ConnectionError("gone")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(redis.client.Pipeline, "execute", refuse)
            learner.learn(0)
        clock.forward(10)
        learner.learn(0)
        assert ViewReader(view_store, clock).board("").items == []
