"""Test the screen: honest readers pass, and a crowd that goes nowhere does not.

Held events come back whole.
"""

from dataclasses import replace

import numpy as np
import pytest

from recommender.core.events import DIRECT, Encoder
from recommender.core.features import Features
from recommender.core.pipeline import Pipeline
from recommender.core.screen import ScreenConfig
from recommender.core.screen.holding_queue import MAX_HELD, Holding
from recommender.core.vocabulary import ADMIT, HOLD, QUARANTINE, Kind, Reason, reason_names
from tests.help.folded import PUSH_AT, Run, push, site
from tests.help.streams import MINUTE, SCREENED, T0, Stream, score


@pytest.fixture(scope="module")
def honest():
    return Run(site())


def test_honest_readers_are_hardly_ever_held_and_never_quarantined(honest):
    assert (honest.first == HOLD).mean() < 0.01
    assert (honest.last == QUARANTINE).mean() < 0.001


def test_a_crowd_of_fresh_accounts_is_held_then_condemned_and_leaves_nothing():
    run = Run(push(site(), "target"))
    bots = run.of("mal")
    assert (run.first[bots] == HOLD).mean() > 0.8
    assert (run.last[bots] == QUARANTINE).all()
    assert score(run.pipeline, "target") == 0
    assert (run.last[~bots] == QUARANTINE).mean() < 0.001


def test_a_crowd_that_goes_on_to_read_is_released_within_the_minute_and_counts_as_if_never_held():
    stream = push(site(), "story", n=80, name="guest")
    rng = np.random.default_rng(5)
    for guest in range(0, 80, 2):
        at_ms = PUSH_AT + 60_000 + int(rng.integers(0, 30_000)) - 40_000
        stream.add(max(at_ms, PUSH_AT + 59_000), f"guest-{guest}", f"item-{rng.integers(0, 300)}")
    run = Run(stream)
    story = run.of("story")
    assert (run.first[story] == HOLD).any()
    assert (run.last[story] == ADMIT).all()
    free = Run(stream, replace(SCREENED, screen=ScreenConfig(is_on=False)))
    assert score(run.pipeline, "story") == score(free.pipeline, "story") > 0


def test_the_same_accounts_together_again_are_quarantined_and_their_earlier_acts_taken_out():
    stream = push(push(site(), "one", 40), "two", 40, start_ms=PUSH_AT + 20 * MINUTE)
    # Newcomers of this site never go on, so only lockstep can show the crowd.
    screen = replace(SCREENED.screen, return_expected=1e9, is_lockstep_on=True)
    run = Run(stream, replace(SCREENED, screen=screen))
    second = run.of("two")
    assert (run.last[second] == QUARANTINE).mean() > 0.95
    assert score(run.pipeline, "two") <= 2
    assert run.reason[second & (run.first == QUARANTINE)].all()
    assert sum(result.n_retracted for result in run.results) > 0
    assert "lockstep" in reason_names(int(np.bitwise_or.reduce(run.reason[second])))


def test_a_flood_by_one_actor_is_quarantined_and_the_item_is_not():
    stream = site()
    for click in range(200):
        stream.add(PUSH_AT + 1000 * click, "mal-1", "item-0")
    run = Run(stream)
    assert (run.last[run.of("mal")] == QUARANTINE).mean() > 0.85
    assert (run.last[run.of("item-0") & ~run.of("mal")] == ADMIT).mean() > 0.98


def test_an_undo_of_what_is_held_waits_with_it():
    stream = push(site(), "target")
    stream.add(PUSH_AT + 61_000, "mal-79", "target", Kind.UNDO)
    run = Run(stream, replace(SCREENED, screen=replace(SCREENED.screen, return_expected=1e9)))
    free = Run(stream, replace(SCREENED, screen=ScreenConfig(is_on=False)))
    assert score(run.pipeline, "target") == score(free.pipeline, "target")


def test_a_cold_screen_admits_at_the_floor_of_trust():
    run = Run(push(Stream(), "target", start_ms=T0))
    assert (run.last == ADMIT).all()
    assert (run.reason == Reason.UNJUDGED).all()


def test_a_broken_screen_holds_and_is_counted(monkeypatch):
    pipeline = Pipeline(SCREENED)
    monkeypatch.setattr(Features, "observe", lambda *_: 1 / 0)
    batch = Stream().add(T0, "ana", "x").batch(pipeline)
    result = pipeline.step(batch)
    assert result.verdicts.verdict.tolist() == [HOLD]
    assert result.verdicts.reason.tolist() == [Reason.UNJUDGED]
    assert (pipeline.screen.n_broken, score(pipeline, "x")) == (1, 0)
    monkeypatch.undo()
    later = pipeline.step(Stream().add(T0 + 61_000, "ben", "y").batch(pipeline))
    assert (later.n_released, later.revised.verdict.tolist()) == (1, [ADMIT])
    assert score(pipeline, "x") > 0


def test_declared_crawlers_are_recorded_and_never_learned():
    pipeline = Pipeline(SCREENED)
    batch = pipeline.encode(
        received_ms=[T0] * 3,
        actors=["bot", "ana", "ben"],
        items=["x"] * 3,
        user_agents=[
            "Googlebot/2.1 (+http://www.google.com/bot.html)",
            "Mozilla/5.0 (X11; Linux) Firefox/140.0",
            None,
        ],
    )
    result = pipeline.step(batch)
    assert result.verdicts.verdict.tolist() == [QUARANTINE, ADMIT, ADMIT]
    assert result.verdicts.reason[0] == Reason.AUTOMATED
    assert score(pipeline, "x") == pytest.approx(2, rel=1e-3)
    assert len(pipeline.screen.features.tables["actors"]) == 2


def test_newcomers_from_one_network_crowding_an_item_are_held():
    stream = site()
    stream.rows.sort(key=lambda row: row[0])
    pipeline = Pipeline(SCREENED)
    rows = [(row[0], row[2], row[3], f"10.{hash_of(row[2])}.1") for row in stream.rows]
    rows += [(PUSH_AT + 700 * i, f"mal-{i}", "target", "203.0.113.9") for i in range(60)]
    rows.sort()
    held = 0
    for start in range(0, len(rows), 50):
        at, actors, items, ips = zip(*rows[start : start + 50], strict=True)
        result = pipeline.step(pipeline.encode(received_ms=at, actors=actors, items=items, ips=list(ips)))
        is_network = (result.verdicts.reason & Reason.NETWORK) != 0
        held += int((is_network & (result.verdicts.verdict == HOLD)).sum())
        assert not (is_network & np.array([not actor.startswith("mal") for actor in actors])).sum() > 3
    assert held > 30


def hash_of(actor: str) -> str:
    key = Encoder(b"").key(actor)
    return f"{key % 40}.{key // 40 % 200}"


def test_context_that_is_not_given_is_neutral():
    batch = Pipeline(SCREENED).encode(received_ms=[T0] * 3, actors=list("abc"), items=list("xyz"))
    assert not any(column.any() for column in (batch.session, batch.prefix, batch.agent, batch.referrer))
    given = Pipeline(SCREENED).encode(
        received_ms=[T0] * 3,
        actors=list("abc"),
        items=list("xyz"),
        sessions=[None, "s", ""],
        ips=["192.0.2.1", "no address", "192.0.2.200"],
        referrers=[None, "", "https://a.example"],
    )
    assert (given.session != 0).tolist() == [False, True, False]
    assert given.prefix[0] == given.prefix[2] != given.prefix[1] == 0
    assert (given.referrer[0], given.referrer[1]) == (0, DIRECT)
    assert given[1:].referrer.tolist() == given.referrer[1:].tolist()


def test_the_queue_of_held_events_is_bounded():
    holding = Holding()
    n = MAX_HELD + 5
    holding.add({name: np.full(n, 99, column.dtype) for name, column in holding.columns.items()}, ["x"] * n)
    assert holding.is_due(0)
    assert holding.due(0).sum() == 5


def test_the_cut_into_steps_changes_no_verdict_on_arrival_once_warm_and_unheld():
    stream = site()
    stream.rows.sort(key=lambda row: row[0])
    config = replace(SCREENED, screen=replace(SCREENED.screen, cold_events=0, fit_rows=10**9))
    flags = []
    for every in (1, 64):
        pipeline, found = Pipeline(config), []
        for start in range(0, 6000, every):
            verdicts = pipeline.step(stream.batch(pipeline, start, min(start + every, 6000))).verdicts
            found.append(np.stack([verdicts.verdict, verdicts.reason]))
        flags.append(np.concatenate(found, axis=1))
    np.testing.assert_array_equal(*flags)
