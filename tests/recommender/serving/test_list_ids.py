"""Test that clicks are credited to their source, and forged ids are not."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.counters import RECOMMENDED_CLICKS
from recommender.serving import list_ids
from recommender.serving.list_ids import MAX_AGE_S, SOURCES, issue, source_of

NOW_S = 1_800_000_000.5


@given(sources=st.lists(st.integers(0, 3), min_size=1, max_size=200), actor=st.text(min_size=1, max_size=50))
def test_every_place_of_a_list_says_its_source(sources, actor):
    actor = actor.encode("utf-8", "replace").decode()
    recommendation = issue(actor=actor, sources=sources, now_s=NOW_S)
    assert len(recommendation) <= 128  # the most that an event may carry
    told = [
        source_of(recommendation=recommendation, actor=actor, position=place, now_s=NOW_S)
        for place in range(len(sources))
    ]
    assert told == [SOURCES[each] for each in sources]


def test_an_id_is_good_for_its_actor_its_hour_and_its_places_only():
    good = {
        "recommendation": issue(actor="ana", sources=[0, 1], now_s=NOW_S),
        "actor": "ana",
        "position": 1,
        "now_s": NOW_S + MAX_AGE_S - 1,
    }
    assert source_of(**good) == "trending"
    for wrong in (
        {"actor": "mal"},
        {"position": 2},
        {"position": -1},
        {"position": 10**6},
        {"now_s": NOW_S + MAX_AGE_S + 1},
        {"now_s": NOW_S - 10},
    ):
        assert source_of(**good | wrong) is None


def test_an_id_with_any_bit_changed_is_not_ours():
    recommendation = issue(actor="ana", sources=[0, 1, 2], now_s=NOW_S)
    for place, letter in enumerate(recommendation[:-1]):  # the last letter has unused bits
        other = "A" if letter != "A" else "B"
        changed = recommendation[:place] + other + recommendation[place + 1 :]
        assert source_of(recommendation=changed, actor="ana", position=0, now_s=NOW_S) is None


@pytest.mark.parametrize("sent", ["", "a", "ä" * 20, "=" * 16, "A" * 128, "../../etc", "AAAA AAAA"])
def test_what_is_no_id_is_no_error(sent):
    assert source_of(recommendation=sent, actor="mal", position=0, now_s=NOW_S) is None


@pytest.mark.parametrize("sources", [[], [0] * 201])
def test_a_list_has_places_and_not_too_many(sources):
    with pytest.raises(ValueError, match="1 to 200 places"):
        list_ids.issue(actor="ana", sources=sources, now_s=NOW_S)


@pytest.mark.usefixtures("empty_log")
def test_a_click_that_is_sent_in_counts_for_its_source(api):
    def clicks(source):
        return RECOMMENDED_CLICKS.labels(source)._value.get()

    before = {source: clicks(source) for source in (*SOURCES, "not_credited")}
    recommendation = issue(actor="ana", sources=[1, 0], now_s=time.time())
    click = {"actor": "ana", "item": "story", "recommendation": recommendation, "position": 1}
    api.post(
        "/api/v1/events", {"events": [click, click | {"kind": "exposure"}, click | {"actor": "mal"}]}, key="ingest"
    )
    assert clicks("similar") == before["similar"] + 1
    assert clicks("trending") == before["trending"]
    assert clicks("not_credited") == before["not_credited"] + 1
