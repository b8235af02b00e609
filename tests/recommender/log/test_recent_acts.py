"""An actor's acts are known the moment they are acknowledged."""

import pytest

from recommender.log.recent_acts import MAX_EVENTS, NOTHING, recent_of

pytestmark = pytest.mark.usefixtures("empty_log")


def send(api, *events, actor="ana"):
    rows = [{"actor": actor, "item": item, "kind": kind} for item, kind in events]
    assert api.post("/api/v1/events", {"events": rows}, key="ingest").json["rejected"] == []


def test_the_newest_item_comes_first_and_every_item_once(api):
    send(api, ("one", "click"), ("two", "view"), ("one", "like"))
    send(api, ("other", "click"), actor="mal")
    recent = recent_of("ana")
    assert [item for item, _ in recent.acted_on] == ["one", "two"]
    assert recent.seen == {"one", "two"}


def test_what_was_taken_back_says_nothing_and_was_seen_all_the_same(api):
    send(api, ("one", "click"), ("two", "click"), ("one", "undo"))
    recent = recent_of("ana")
    assert [item for item, _ in recent.acted_on] == ["two"]
    assert recent.seen == {"one", "two"}


def test_who_comes_back_to_what_it_took_back_acted_on_it(api):
    send(api, ("one", "click"), ("one", "undo"), ("one", "click"))
    assert [item for item, _ in recent_of("ana").acted_on] == ["one"]


def test_what_was_only_shown_was_not_acted_on(api):
    send(api, ("one", "exposure"))
    assert recent_of("ana") == NOTHING


@pytest.mark.parametrize("actor", ["nobody", "", "'; DROP TABLE recommender_event; --", "ä" * 256])
def test_a_stranger_has_done_nothing(actor):
    assert recent_of(actor) == NOTHING


def test_of_an_actor_that_does_not_stop_the_newest_are_read(api):
    send(api, *((f"item-{n}", "click") for n in range(MAX_EVENTS + 10)))
    recent = recent_of("ana")
    assert len(recent.seen) == MAX_EVENTS
    assert recent.acted_on[0][0] == f"item-{MAX_EVENTS + 9}"
