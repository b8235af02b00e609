"""Tests for the demo's botnet: its shape, its stream, how the Pipeline holds it."""

from collections import Counter

import numpy as np
import pytest
import redis

from recommender.core.config import Config
from recommender.core.pipeline import Pipeline
from recommender.core.shadow_trend import Shadow
from recommender.core.vocabulary import HOLD, QUARANTINE, Kind, Reason
from recommender.errors import Conflict
from recommender.lab.demo import stage
from recommender.lab.demo.botnet import (
    ATTACK_EVERY_S,
    ATTACK_S,
    FIRST_ATTACK_S,
    N_ACCOUNTS,
    SOONEST_AGAIN_S,
    SOONEST_S,
    DemoBotnet,
)
from recommender.lab.demo.headlines import CATEGORIES
from recommender.lab.demo.newsroom import FIRST_STORY_S
from recommender.lab.demo.readers import _AGENTS
from recommender.lab.demo.stage import CUE, PLAYING, Stage, cue_attack, read_playing
from recommender.lab.demo.timetable import Programme
from tests.recommender.lab.demo.test_newsroom import START, open_newsroom

PACE = 2.0
CONTEXT = ("ip", "user_agent", "referrer")
REVISED = ("ordinal", "verdict", "reason")
KINDS = {kind.name.lower(): int(kind) for kind in Kind}


def open_botnet(seed=1, **options):
    return DemoBotnet(seed=seed, started_at=START, run="test", **options)


def open_programme(seed=1, pace=1.0, rate=5.0):
    return Programme(open_newsroom(seed, pace=pace, rate=rate), open_botnet(seed, pace=pace))


def one_attack(seed=1):
    return open_botnet(seed).events(FIRST_ATTACK_S + ATTACK_S + 30)


def of_botnet(event):
    return "-b" in event["event_id"]


# -- what it is -----------------------------------------------------------------------------------------------------


def test_the_same_seed_attacks_alike_and_another_seed_otherwise():
    first, again, other = (one_attack(seed) for seed in (1, 1, 2))
    assert first == again
    assert {each["actor"] for each in first}.isdisjoint(each["actor"] for each in other)


def test_an_attack_is_the_same_however_it_is_cut():
    cut = open_botnet()
    pieces = [
        event for until_s in np.arange(0.25, FIRST_ATTACK_S + ATTACK_S + 30.25, 0.25) for event in cut.events(until_s)
    ]
    assert pieces == one_attack()


def test_each_account_acts_once_or_twice_on_one_article_and_nowhere_else():
    events = one_attack()
    clicks = [each for each in events if each["kind"] == "click"]
    assert len(clicks) == len({each["actor"] for each in clicks}) == N_ACCOUNTS
    assert len({each["item"] for each in events}) == 1
    assert max(Counter(each["actor"] for each in events).values()) == 2
    assert {each["kind"] for each in events} == {"click", "like", "share"}


def test_each_account_has_a_browser_and_an_address_as_readers_have():
    clicks = [each for each in one_attack() if each["kind"] == "click"]
    contexts = [each["context"] for each in clicks]
    assert {each["user_agent"] for each in contexts} == set(_AGENTS)
    assert len({each["ip"] for each in contexts}) > 0.85 * len(contexts)
    assert len({each["country"] for each in contexts}) >= 6
    assert len({each.get("referrer") for each in contexts}) >= 5
    assert len({each["session"] for each in clicks}) == len(clicks)


def test_an_attack_comes_in_order_within_its_time_and_under_ids_of_its_own():
    events = one_attack()
    times = [each["occurred_at"] - START for each in events]
    assert times == sorted(times)
    assert times[0] >= FIRST_ATTACK_S
    assert times[-1] <= FIRST_ATTACK_S + ATTACK_S + 20
    assert len({each["event_id"] for each in events}) == len(events)


def test_it_comes_again_with_other_accounts_and_another_article():
    botnet = open_botnet()
    first = botnet.events(FIRST_ATTACK_S + ATTACK_EVERY_S / 2)
    second = botnet.events(FIRST_ATTACK_S + 1.5 * ATTACK_EVERY_S)
    assert len({each["item"] for each in first + second}) == 2
    assert {each["actor"] for each in first}.isdisjoint(each["actor"] for each in second)


def test_it_describes_its_article_and_says_what_it_does():
    botnet = open_botnet()
    (item,) = {each["item"] for each in botnet.events(FIRST_ATTACK_S + 10)}
    (described,) = botnet.take_new_items()
    ((at, note),) = botnet.take_notes()
    assert described["id"] == item
    assert set(described["categories"]) <= set(CATEGORIES)
    assert at == START + FIRST_ATTACK_S
    assert described["title"] in note


def test_a_faster_pace_brings_it_sooner_but_not_before_the_screen_knows_the_site():
    assert open_botnet(pace=2.0).due_s == FIRST_ATTACK_S / 2
    hasty = open_botnet(pace=10.0)
    assert hasty.due_s == SOONEST_S
    hasty.events(SOONEST_S + 1)
    assert hasty.due_s == SOONEST_S + SOONEST_AGAIN_S


# -- the programme --------------------------------------------------------------------------------------------------


def test_the_honest_stream_is_the_same_with_the_botnet_and_without():
    programme, alone = open_programme(pace=PACE), open_newsroom(pace=PACE, rate=5.0)
    seconds = FIRST_ATTACK_S / PACE + 20
    together = programme.events(seconds)
    assert any(of_botnet(each) for each in together)
    assert [each for each in together if not of_botnet(each)] == alone.events(seconds)
    honest, described = alone.take_new_items(), programme.take_new_items()
    assert [each for each in described if each in honest] == honest
    assert len(described) == len(honest) + 1


def test_the_events_of_both_are_in_order():
    times = [each["occurred_at"] for each in open_programme(pace=PACE).events(FIRST_ATTACK_S / PACE + 20)]
    assert times == sorted(times)


def test_a_cue_starts_the_attack_at_once_and_once():
    programme = open_programme()
    programme.events(30)
    assert programme.playing().attack is None
    assert programme.attack_now()
    begun = programme.events(20)
    assert any(of_botnet(each) for each in begun)
    assert programme.playing().attack.began_at == START + 30
    assert not programme.attack_now()
    assert programme.playing().next_attack_at == START + 30 + ATTACK_EVERY_S


def test_an_attack_ends():
    programme = open_programme()
    programme.attack_now()
    programme.events(ATTACK_S + 40)
    assert programme.playing().attack is None


def test_without_a_botnet_there_is_nothing_to_start_and_nothing_to_tell():
    programme = Programme(open_newsroom())
    assert not programme.attack_now()
    assert programme.playing() is None
    assert programme.events(1.0) == open_newsroom().events(1.0)


def test_a_site_that_was_closed_is_attacked_later():
    programme = open_programme()
    programme.skip(3600)
    programme.attack_now()
    assert all(each["occurred_at"] >= START + 3600 for each in programme.events(10))


# -- the stage ------------------------------------------------------------------------------------------------------


def test_the_console_is_told_what_is_played_while_the_demo_runs(view_store):
    programme = open_programme()
    assert read_playing() is None
    Stage(programme, view_store).attend()
    assert read_playing() == programme.playing()
    assert 0 < view_store.ttl(PLAYING) <= stage.ALIVE_S


def test_the_console_cues_the_attack(view_store):
    programme = open_programme()
    Stage(programme, view_store).attend()
    cue_attack()
    assert 0 < view_store.ttl(CUE) <= stage.CUE_S
    Stage(programme, view_store).attend()
    assert view_store.get(CUE) is None
    assert any(of_botnet(each) for each in programme.events(10))


def test_where_no_demo_runs_there_is_nothing_to_cue(view_store):
    with pytest.raises(Conflict, match="No demo runs here"):
        cue_attack()
    assert view_store.get(CUE) is None


def test_an_attack_under_way_is_not_started_again(view_store):
    programme = open_programme()
    programme.attack_now()
    programme.events(5)
    Stage(programme, view_store).attend()
    with pytest.raises(Conflict, match="under way"):
        cue_attack()


def test_the_demo_plays_on_while_the_store_is_away():
    class Away:
        def getdel(self, key):
            raise redis.ConnectionError(key)

    programme = open_programme()
    Stage(programme, Away()).attend()
    assert programme.events(10)


# -- against the real Pipeline --------------------------------------------------------------------------------------


class Played:
    """The demo through a Pipeline, as a learner takes it, and its undefended list."""

    def __init__(self, seconds):
        self.pipeline = Pipeline(Config())
        self.shadow = Shadow(self.pipeline.config)
        self.verdicts, self.was_held, self.reasons, self.items = {}, set(), Counter(), []
        self.tops, self.undefended = [], []  # by second: the first 20
        self.story = self.bait = ""
        self.programme = open_programme(pace=PACE, rate=40.0)
        for _ in range(seconds):
            self._take(self.programme.events(1.0))

    def _take(self, events):
        first = self.pipeline.n_events
        batch = self.pipeline.encode(
            received_ms=[int(each["occurred_at"] * 1000) for each in events],
            actors=[each["actor"] for each in events],
            items=[each["item"] for each in events],
            kind=[KINDS[each["kind"]] for each in events],
            sessions=[each["session"] for each in events],
            **{
                f"{name}s": [each["context"].get(name) for each in events]
                for name in ("ip", "user_agent", "referrer")
            },
        )
        result = self.pipeline.step(batch)
        self.shadow.learn(batch)
        self.items += [each["item"] for each in events]
        for number, verdict in enumerate(result.verdicts.verdict.tolist(), first):
            self.verdicts[number] = verdict
            if verdict == HOLD:
                self.was_held.add(number)
        revised = result.revised
        for number, verdict, reason in zip(
            *map(list, (revised.ordinal, revised.verdict, revised.reason)), strict=True
        ):
            self.verdicts[int(number)] = int(verdict)
            self.reasons[self.items[number], int(reason)] += 1
        self.tops.append(self.pipeline.board(20).items)
        self.undefended.append(self.shadow.trend.board(20, self.shadow.stream_ms).items)
        playing = self.programme.playing()
        self.story = playing.story.item if playing.story else self.story
        self.bait = playing.attack.item if playing.attack else self.bait

    def numbers(self, item):
        return [number for number, each in enumerate(self.items) if each == item]


@pytest.fixture(scope="module")
def played():
    return Played(round(FIRST_ATTACK_S / PACE + ATTACK_S + 75))


def test_the_story_rises_to_the_top_within_two_minutes_and_none_of_its_readers_is_condemned(played):
    breaks = round(FIRST_STORY_S / PACE)
    assert not any(played.story in top for top in played.tops[:breaks])
    assert any(top[0] == played.story for top in played.tops[breaks : breaks + 120])
    condemned = [number for number in played.numbers(played.story) if played.verdicts[number] == QUARANTINE]
    assert condemned == []


def test_the_attacked_item_is_among_the_first_without_a_defence_and_never_listed_with_it(played):
    assert min(top.index(played.bait) for top in played.undefended if played.bait in top) < 5
    assert not any(played.bait in top for top in played.tops)


def test_the_attack_is_held_and_then_condemned_for_what_gave_it_away(played):
    attack = played.numbers(played.bait)
    held = [number for number in attack if number in played.was_held]
    assert len(held) > 0.75 * N_ACCOUNTS
    assert all(played.verdicts[number] == QUARANTINE for number in held)
    assert played.reasons[played.bait, int(Reason.NO_RETURN)] > 0.75 * N_ACCOUNTS


def test_nobody_else_is_condemned(played):
    others = [number for number, item in enumerate(played.items) if item != played.bait]
    n_condemned = sum(played.verdicts[number] == QUARANTINE for number in others)
    assert n_condemned < 0.001 * len(others)
