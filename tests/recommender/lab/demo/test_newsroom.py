"""Tests for the invented news site: seeded, alive, and accepted by a server."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest
from django.core.management import CommandError, call_command
from django.db.models import Q

from recommender import counters
from recommender.api import api_keys
from recommender.lab.client import Client
from recommender.lab.demo import Newsroom, followers
from recommender.lab.demo.feed import Feed
from recommender.lab.demo.newsroom import (
    DAY_S,
    EVENTS_A_SESSION,
    EVENTS_A_STORY_SESSION,
    FIRST_STORY_S,
    STORY_RAMP_S,
    story_shape,
)
from recommender.lab.demo.readers import MAX_READERS, SEEN_KEPT
from recommender.models import Event, Item
from tests.help.patience import PATIENCE_S
from tests.help.scripted_server import Script, accept, refuse, serving

START = 1_700_000_000.0


def open_newsroom(seed=1, **options):
    return Newsroom(seed=seed, started_at=START, **options)


@pytest.fixture(scope="module")
def long_day():
    """Return a newsroom after one of its days, and all its events."""
    newsroom = open_newsroom()
    return newsroom, newsroom.events(DAY_S)


def clicks(events, start_s=0.0, end_s=float("inf")):
    return [e for e in events if e["kind"] == "click" and start_s <= e["occurred_at"] - START < end_s]


def test_the_same_seed_gives_the_same_stream_and_another_seed_another():
    first, again, other = (open_newsroom(seed).events(60) for seed in (1, 1, 2))
    assert first == again
    assert {e["event_id"] for e in first}.isdisjoint(e["event_id"] for e in other)


def test_the_stream_is_the_same_however_it_is_cut():
    whole, cut = open_newsroom(), open_newsroom()
    pieces = [event for seconds in (0.1, 0.3, 7.0, 30.05, 22.55) for event in cut.events(seconds)]
    assert whole.events(60.0) == pieces


def test_events_come_in_order_within_their_time_each_with_an_id_of_its_own():
    newsroom = open_newsroom()
    newsroom.events(30)
    events = newsroom.events(30)
    times = [event["occurred_at"] for event in events]
    assert times == sorted(times)
    assert START + 30 <= times[0] <= times[-1] <= START + 60
    assert len({event["event_id"] for event in events}) == len(events)


def test_the_rate_is_what_was_asked_for():
    newsroom = open_newsroom(rate=20.0)
    newsroom._story_due_s = float("inf")
    assert len(newsroom.events(DAY_S)) / DAY_S == pytest.approx(20.0, rel=0.1)


def test_the_mean_number_of_events_in_a_session_is_what_the_rate_is_computed_with():
    newsroom = open_newsroom()
    usual, crowd = [], []
    arrive = newsroom._arrive

    def noting(at_s, story):
        arrive(at_s, story)
        (crowd if story else usual).append(f"s{newsroom.run}-{newsroom._n_sessions}")

    newsroom._arrive = noting
    sizes = Counter(event["session"] for event in newsroom.events(DAY_S))
    settled = usual[: -len(usual) // 10]  # the last ones are not over yet
    assert sum(sizes[each] for each in settled) / len(settled) == pytest.approx(EVENTS_A_SESSION, rel=0.1)
    assert sum(sizes[each] for each in crowd) / len(crowd) == pytest.approx(EVENTS_A_STORY_SESSION, rel=0.1)


def test_there_is_more_going_on_by_day_than_by_night():
    newsroom = open_newsroom()
    newsroom._story_due_s = float("inf")
    quarters = [len(newsroom.events(DAY_S / 4)) for _ in range(4)]
    assert quarters[0] + quarters[1] > 1.5 * (quarters[2] + quarters[3])


def test_items_are_born_are_read_very_unequally_and_are_forgotten(long_day):
    newsroom, events = long_day
    early, late = (Counter(e["item"] for e in clicks(events, *span)) for span in ((0, 120), (DAY_S - 120, DAY_S)))
    assert len(set(late) - set(early)) > len(late) / 2
    assert len(set(early) - {item.id for item in newsroom.items}) > 10
    ranked = sorted(early.values(), reverse=True)
    assert sum(ranked[: len(ranked) // 10]) > 0.25 * sum(ranked)
    assert len(newsroom.items) < 300


def test_all_kinds_of_reading_occur_with_their_context(long_day):
    _, events = long_day
    assert {e["kind"] for e in events} == {"exposure", "click", "view", "like", "share"}
    assert all({"ip", "user_agent", "country"} <= e["context"].keys() for e in events)
    assert all("position" in e for e in events if e["kind"] == "exposure")
    assert len({e["context"]["country"] for e in events}) >= 6


def test_readers_have_favourites_and_come_back(long_day):
    newsroom, events = long_day
    sessions = {}
    for event in events:
        sessions.setdefault(event["actor"], set()).add(event["session"])
    assert sum(len(each) >= 3 for each in sessions.values()) > 50
    assert all(1 <= len(reader.favourites) <= 3 for reader in newsroom._readers._known)


def test_nobody_clicks_the_same_item_twice_in_a_row_of_visits(long_day):
    _, events = long_day
    pairs = Counter((e["actor"], e["item"]) for e in clicks(events))
    assert sum(n > 1 for n in pairs.values()) < 0.01 * len(pairs)


def test_a_story_breaks_after_two_minutes_and_is_the_most_read_a_minute_later(long_day):
    newsroom, events = long_day
    noted = newsroom.take_notes()
    assert [text for at, text in noted if START + FIRST_STORY_S <= at <= START + FIRST_STORY_S + 1] != []
    story = next(iter(newsroom.stories)).id if newsroom.stories else None
    before = Counter(e["item"] for e in clicks(events, 0, FIRST_STORY_S))
    after = Counter(e["item"] for e in clicks(events, FIRST_STORY_S + STORY_RAMP_S, FIRST_STORY_S + 2 * STORY_RAMP_S))
    (top, n_top), (_, n_second) = after.most_common(2)
    assert top not in before
    assert story in (None, top)
    assert n_top > 1.5 * n_second


def test_the_crowd_of_a_story_is_new_comes_from_everywhere_and_reads_on(long_day):
    _, events = long_day
    known = {e["actor"] for e in events if e["occurred_at"] < START + FIRST_STORY_S}
    rush = clicks(events, FIRST_STORY_S, FIRST_STORY_S + 120)
    top = Counter(e["item"] for e in rush).most_common(1)[0][0]
    crowd = [e for e in rush if e["item"] == top]
    assert sum(e["actor"] not in known for e in crowd) > 0.5 * len(crowd)
    assert len({e["context"].get("referrer") for e in crowd}) >= 5
    assert len({e["context"]["ip"] for e in crowd}) > 0.7 * len(crowd)
    readers = {e["actor"] for e in crowd}
    assert sum(e["actor"] in readers and e["item"] != top for e in rush) > 0.2 * len(crowd)


def test_interest_in_a_story_falls_by_a_power_law():
    assert story_shape(-1.0) == 0.0
    assert story_shape(STORY_RAMP_S) == 1.0
    falls = [story_shape(STORY_RAMP_S + s) for s in (60, 120, 240, 480, 960)]
    assert falls == sorted(falls, reverse=True)
    assert falls[-1] > 0.05  # with an exponential, interest would be gone by now


def test_memory_stays_bounded_over_many_days():
    newsroom = open_newsroom(rate=100.0, day_s=60.0)
    for _ in range(16):
        newsroom.events(60.0)
        newsroom.take_new_items()
    assert len(newsroom._readers._known) <= MAX_READERS
    assert max(len(reader.seen) for reader in newsroom._readers._known) <= SEEN_KEPT
    assert len(newsroom.items) < 300
    assert len(newsroom._queue) < 5000


def test_a_site_that_was_closed_goes_on_from_now():
    newsroom = open_newsroom()
    newsroom.events(10)
    newsroom.skip(3600)
    assert newsroom.events(10)[0]["occurred_at"] >= START + 3610


# -- against servers ----------------------------------------------------------------------------------------------


@pytest.fixture
def ingest_key(empty_log):
    return api_keys.make_key(name="demo", scopes=["ingest"])[1]


def feed_into(url, key, newsroom, **options):
    stop = threading.Event()
    client = Client(url, key=key, stop=stop)
    said = []
    feed = Feed(newsroom, client, items=client, stop=stop, say=lambda at, text: said.append(text), **options)
    feed.said, feed.client = said, client
    return feed


@pytest.mark.filterwarnings("ignore:No directory at")  # WhiteNoise, if collectstatic never ran
def test_readers_follow_recommendations_and_their_clicks_are_credited(live_server, ingest_key, publish, monkeypatch):
    publish({"": [("story-1", 900), ("story-2", 800), ("story-3", 700)]})
    monkeypatch.setattr(followers, "SHARE", 1.0)
    monkeypatch.setattr(followers, "MOST_AT_ONCE", 50)
    before = {each.source: each.n_clicks for each in counters.read_recommended()}
    reading = Client(live_server.url, key=api_keys.make_key(name="reads", scopes=["read"])[1])
    feed = feed_into(
        live_server.url,
        ingest_key,
        Newsroom(seed=3, started_at=time.time() - 150),
        followers=followers.Followers(reading, seed=3),
    )
    for _ in range(4):
        feed.send(15)
    feed.client.close()
    reading.close()
    assert not feed.receipt.rejected
    after = {each.source: each.n_clicks for each in counters.read_recommended()}
    assert after["trending"] > before.get("trending", 0)
    assert after.get("not_credited", 0) == before.get("not_credited", 0)
    followed = Event.objects.exclude(recommendation=None)
    assert {"story-1", "story-2"} <= set(followed.values_list("item", flat=True)) <= {"story-1", "story-2", "story-3"}


def test_nobody_waits_for_a_list_that_is_not_answered():
    reading = Client("http://127.0.0.1:1", key="x")
    events = [{"actor": f"reader-{n}", "item": "story", "kind": "click"} for n in range(100)]
    assert followers.Followers(reading, seed=1).follow(events) == []
    assert reading.n_retries == 0


@pytest.mark.filterwarnings("ignore:No directory at")  # WhiteNoise, if collectstatic never ran
def test_the_server_takes_every_event_and_item_of_the_demo(live_server, ingest_key, view_store):
    newsroom = Newsroom(seed=3, started_at=time.time() - 150)
    feed = feed_into(live_server.url, ingest_key, newsroom)
    feed.send(75)
    feed.send(75)
    feed.client.close()
    assert not feed.receipt.rejected
    assert feed.receipt.duplicates == 0
    assert Event.objects.count() == feed.receipt.accepted > 1000
    assert Item.objects.filter(pk__in=[item.id for item in newsroom.items]).count() == len(newsroom.items)
    assert not Event.objects.filter(Q(user_agent=None) | Q(country=None) | Q(ip=None)).exists()


def test_a_batch_the_server_could_not_take_arrives_later_under_the_same_ids():
    script = Script(refuse(503, "unavailable", Retry_After="0"), refuse(429, "backlog_full", Retry_After="0"), accept)
    with serving(script) as url:
        feed = feed_into(url, "a key", open_newsroom())
        feed._site.take_new_items()
        feed.send(5)
        feed.client.close()
    bodies = [body for path, body, _ in script.got if path.endswith("/events")]
    assert len(bodies) == 3
    assert len(set(bodies)) == 1
    assert feed.receipt.accepted > 0


def test_the_command_ends_well_when_told_to_even_while_the_server_is_away():
    process = subprocess.Popen(
        [sys.executable, "manage.py", "demo", "--url", "http://127.0.0.1:9", "--rate", "50"],
        env=os.environ | {"GROUNDSWELL_KEY": "a key", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert "a news site opens" in process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    assert "closed after 0 events" in out


def test_without_a_key_the_command_says_how_to_get_one(monkeypatch):
    monkeypatch.delenv("GROUNDSWELL_KEY", raising=False)
    with pytest.raises(CommandError, match=r"manage\.py keys make"):
        call_command("demo")
