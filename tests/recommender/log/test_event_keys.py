"""The keys made at intake are those that a learner makes of the texts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender import ids
from recommender.core.events import Encoder, is_declared
from recommender.log.event_keys import content_of, log_key
from tests.help.log_rows import events

texts = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=30)
ips = st.ip_addresses().map(str)
KEY = b"0123456789abcdef"


@given(
    rows=st.lists(
        st.tuples(texts, texts, *[st.none() | texts] * 3, st.none() | ips | st.just("no address")), max_size=5
    )
)
def test_they_are_the_encoders(rows):
    columns = [list(column) for column in zip(*rows, strict=True)] or [[]] * 6
    actors, items, sessions, agents, referrers, addresses = columns
    new = events(actors, items, session=sessions, user_agent=agents, referrer=referrers, ip=addresses)
    keys, n = new.keys(), len(rows)
    batch = Encoder(bytes.fromhex(ids.secret())).encode(
        received_ms=np.zeros(n, np.int64),
        occurred_ms=np.zeros(n, np.int64),
        actors=actors,
        items=items,
        kind=np.ones(n, np.int8),
        country=np.zeros(n, np.int16),
        sessions=sessions,
        ips=addresses,
        user_agents=agents,
        referrers=referrers,
    )
    for ours, theirs in (
        (keys.actor, batch.actor),
        (keys.item, batch.item),
        (keys.session, batch.session),
        (keys.network, batch.prefix),
        (keys.agent, batch.agent),
        (keys.referrer, batch.referrer),
        (keys.is_crawler, batch.is_automated),
    ):
        assert ours == theirs.tolist()
    assert keys.is_crawler == [is_declared(agent) for agent in agents]


def test_an_event_is_the_same_only_with_actor_item_kind_id_and_site():
    same = {"event_key": KEY, "actor": "ana", "item": "story", "kind": 2, "site": 1}
    others = [{"event_key": KEY[::-1]}, {"actor": "mal"}, {"item": "other"}, {"kind": 3}, {"site": 2}]
    others += [{"actor": "anas", "item": "tory"}, {"site": 256}]
    keys = [log_key(**same | each) for each in ({}, *others)]
    assert len(set(keys)) == len(keys)
    assert log_key(**same) == keys[0]


def test_the_key_of_an_event_outlives_the_secret(settings):
    before = events(["ana"], ["story"], key=[KEY]).keys()
    settings.SECRET_KEY = "another secret key, of at least 32 characters"
    after = events(["ana"], ["story"], key=[KEY]).keys()
    assert before.log_key == after.log_key
    assert before.actor != after.actor


@pytest.mark.parametrize(
    "part", [{"value": 2.0}, {"position": 4}, {"position": None}, {"session": "t"}, {"recommendation": None}]
)
def test_content_is_value_position_session_and_list(part):
    sent = {"value": 1.0, "position": 3, "session": "s", "recommendation": "r"}
    assert content_of(**sent) != content_of(**sent | part)


def test_a_session_that_is_empty_is_none():
    assert content_of(1.0, 2, "", None) == content_of(1.0, 2, None, "")
