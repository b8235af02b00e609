"""Test crowds that give themselves away, each with its honest look-alike."""

from dataclasses import replace

import numpy as np

from recommender.core.pipeline import Pipeline
from recommender.core.screen import ScreenConfig
from recommender.core.vocabulary import ADMIT, HOLD, QUARANTINE, Kind, Reason, reason_names
from tests.help.folded import PUSH_AT, Run, push, site
from tests.help.streams import HOUR, MINUTE, SCREENED, score

NEVER_LONELY = replace(SCREENED, screen=replace(SCREENED.screen, return_expected=1e9))


def among(rng, n, seconds=120):
    return (PUSH_AT + rng.integers(0, 1000 * seconds, n)).tolist()


def reasons(run, rows):
    return reason_names(int(np.bitwise_or.reduce(run.reason[rows])))


def test_a_crowd_that_clicked_elsewhere_first_and_reads_on_is_condemned():
    stream, rng = site(), np.random.default_rng(2)
    for bot, at_ms in enumerate(among(rng, 80)):
        for earlier in range(1, int(rng.integers(2, 6))):  # some are on their fifth item already
            stream.add(at_ms - 20_000 * earlier, f"mal-{bot}", f"item-{rng.integers(0, 20)}")
        stream.add(at_ms, f"mal-{bot}", "target")
        stream.add(at_ms + 20_000, f"mal-{bot}", f"item-{rng.integers(0, 20)}")
    run = Run(stream, NEVER_LONELY)
    target, bots = run.of("target"), run.of("mal")
    assert score(run.pipeline, "target") == 0
    assert (run.last[target] == QUARANTINE).all()
    assert "camouflage" in reasons(run, target)
    assert (run.last[~bots] == QUARANTINE).mean() < 0.001


def test_a_story_that_newcomers_and_regulars_reach_from_elsewhere_passes():
    stream, rng = site(), np.random.default_rng(3)
    for guest, at_ms in enumerate(among(rng, 60)):
        stream.add(at_ms - 30_000, f"guest-{guest}", f"item-{rng.integers(0, 20)}")
        stream.add(at_ms, f"guest-{guest}", "story")
    for reader, at_ms in enumerate(among(rng, 30)):
        stream.add(at_ms, f"reader-{reader}", "story")
    run = Run(stream, NEVER_LONELY)
    assert (run.last[run.of("story")] == ADMIT).all()


def lecture(share):
    """Run the end of a lecture, when newcomers read three popular items each.

    A share of them reads "text" in place of the second or third.
    """
    stream, rng = site(), np.random.default_rng(9)
    for student, at_ms in enumerate(among(rng, 400, 240)):
        visits = rng.permutation(20)[:3]
        items = [f"item-{visit}" for visit in visits]
        if rng.random() < share:
            items[rng.integers(1, 3)] = "text"
        for place, item in enumerate(items):
            stream.add(at_ms + 20_000 * place, f"guest-{student}", item)
    return Run(stream, NEVER_LONELY)


def test_a_campus_of_newcomers_of_whom_some_come_to_an_item_passes_there_and_elsewhere():
    run = lecture(0.4)
    text = run.of("text")
    assert (run.first[text] == HOLD).any()
    assert (run.last[run.of("guest")] == ADMIT).all()
    assert score(run.pipeline, "text") > 0


def test_newcomers_who_look_around_and_all_come_to_one_item_are_condemned_and_no_bystander_with_them():
    run = lecture(1.0)
    text = run.of("text")
    assert (run.last[text] == QUARANTINE).mean() > 0.9
    assert "camouflage" in reasons(run, text)
    assert (run.last[~text] == QUARANTINE).mean() < 0.001


def followers(first, second):
    """Run newcomers who come to one story in two waves, 90 s apart.

    Each wave reads on with its own probability.
    """
    stream, rng = site(), np.random.default_rng(10)
    for wave, share in enumerate((first, second)):
        for number in range(80):
            at_ms = PUSH_AT + 90_000 * wave + int(rng.integers(0, 50_000))
            stream.add(at_ms, f"wave{wave}-{number}", "story")
            if rng.random() < share:
                stream.add(at_ms + 20_000, f"wave{wave}-{number}", f"item-{rng.integers(0, 20)}")
    run = Run(stream)
    on_story = run.of("story")
    return run, [on_story & run.of(f"wave{wave}") for wave in range(2)]


def test_of_a_crowd_that_has_been_seen_to_read_on_a_sample_is_held():
    run, (first, second) = followers(0.6, 0.6)
    assert (run.first[first] == HOLD).mean() > 0.7
    assert 0.05 < (run.first[second] == HOLD).mean() < 0.4
    assert (run.last[first | second] == ADMIT).all()


def test_of_a_crowd_that_goes_nowhere_every_newcomer_is_held():
    run, (first, second) = followers(0.0, 0.0)
    assert (run.first[second] != ADMIT).mean() > 0.9
    assert (run.last[first | second] == QUARANTINE).all()


def clickers_again(share):
    stream, rng = site(), np.random.default_rng(4)
    for guest, at_ms in enumerate(among(rng, 80)):
        stream.add(at_ms, f"guest-{guest}", "ticker")
        if rng.random() < share:
            stream.add(at_ms + 25_000, f"guest-{guest}", "ticker")
        stream.add(at_ms + 40_000, f"guest-{guest}", f"item-{rng.integers(0, 20)}")
    return Run(stream, NEVER_LONELY)


def test_a_crowd_that_comes_back_to_click_the_same_again_is_condemned():
    run = clickers_again(1.0)
    ticker = run.of("ticker")
    assert score(run.pipeline, "ticker") == 0
    assert "insistent" in reasons(run, ticker)


def test_a_crowd_half_of_which_reloads_a_page_passes():
    run = clickers_again(0.5)
    ticker = run.of("ticker")
    assert (run.first[ticker] == HOLD).any()
    assert (run.last[ticker] == ADMIT).all()


def leavers(least_s, most_s):
    stream, rng = site(), np.random.default_rng(5)
    for guest, at_ms in enumerate(among(rng, 80)):
        stream.add(at_ms, f"guest-{guest}", "story")
        later_ms = at_ms + int(1000 * rng.uniform(least_s, most_s))
        stream.add(later_ms, f"guest-{guest}", f"item-{rng.integers(0, 20)}")
    return Run(stream, NEVER_LONELY)


def test_a_crowd_that_leaves_within_seconds_for_filler_is_condemned():
    run = leavers(2, 12)
    assert score(run.pipeline, "story") == 0
    assert "hasty" in reasons(run, run.of("story"))


def test_a_crowd_that_reads_before_it_goes_on_passes():
    run = leavers(8, 50)
    assert (run.last[run.of("story")] == ADMIT).all()


def takers_back(share):
    """Run known readers who click one item, partly take it back, then click another.

    No share of newcomers gives known readers away.
    """
    stream, rng = site(), np.random.default_rng(6)
    for reader in range(40):
        at_ms = PUSH_AT + int(rng.integers(0, 40_000))
        stream.add(at_ms, f"reader-{reader}", "one")
        if rng.random() < share:
            stream.add(at_ms + 90_000, f"reader-{reader}", "one", Kind.UNDO)
    for reader in range(40):
        stream.add(PUSH_AT + 20 * MINUTE + int(rng.integers(0, 40_000)), f"reader-{reader}", "two")
    return Run(stream, replace(SCREENED, screen=replace(SCREENED.screen, is_lockstep_on=False)))


def test_who_took_back_a_burst_together_is_known_at_the_next_one():
    run = takers_back(1.0)
    two = run.of("two")
    assert (run.first[two] == QUARANTINE).mean() > 0.9  # all except the first few, before it is a burst
    assert "cohort" in reasons(run, two)


def test_a_burst_of_which_a_third_is_taken_back_makes_no_cohort():
    run = takers_back(0.33)
    assert (run.last[run.of("two")] == ADMIT).all()


def test_known_accounts_that_meet_again_on_another_item_are_a_cohort_and_lose_both():
    stream = site()
    for item, start_ms in (("one", PUSH_AT - HOUR), ("two", PUSH_AT)):
        push(stream, item, 60, name="reader", start_ms=start_ms, seconds=40)
    run = Run(stream)
    two = run.of("two")
    assert "lockstep" in reasons(run, two)
    assert (run.last[two] == QUARANTINE).mean() > 0.9
    assert score(run.pipeline, "one") == 0


def test_readers_of_a_story_who_scatter_over_what_follows_it_are_no_cohort():
    stream, rng = site(), np.random.default_rng(7)
    for reader in range(200):
        at_ms = PUSH_AT + int(rng.integers(0, 90_000))
        stream.add(at_ms, f"reader-{reader}", "story")
        for follow_up in rng.permutation(4)[: rng.integers(0, 3)]:
            stream.add(at_ms + int(rng.integers(30_000, 200_000)), f"reader-{reader}", f"follow-up-{follow_up}")
    run = Run(stream)
    assert not run.reason[run.of("story") | run.of("follow")].astype(bool).any()
    assert (run.last != QUARANTINE).all()


def test_another_act_on_what_is_held_adds_nothing_before_and_nothing_after():
    stream = push(site(), "target", 80)
    for bot in range(80):  # seconds later, while all are held
        stream.add(PUSH_AT + 60_000, f"mal-{bot}", "target")
        stream.add(PUSH_AT + 240_000, f"mal-{bot}", "target")  # long after all were condemned
    run = Run(stream)
    assert score(run.pipeline, "target") == 0
    assert "shunned" in reasons(run, run.of("target"))


def test_who_reads_again_while_held_counts_once_as_if_never_held():
    stream, rng = site(), np.random.default_rng(8)
    for guest, at_ms in enumerate(among(rng, 60, 60)):
        stream.add(at_ms, f"guest-{guest}", "story", Kind.VIEW)
        if guest % 2:
            stream.add(at_ms + 20_000, f"guest-{guest}", "story")  # a click is the stronger act
        stream.add(at_ms + 30_000, f"guest-{guest}", f"item-{rng.integers(0, 300)}")
    run, free = Run(stream, NEVER_LONELY), Run(stream, replace(SCREENED, screen=ScreenConfig(is_on=False)))
    story = run.of("story")
    assert (run.first[story] == HOLD).any()
    assert (run.reason[story] & Reason.HELD_TOO).any()
    assert score(run.pipeline, "story") == score(free.pipeline, "story") > 0


def test_the_sites_own_meetings_survive_a_checkpoint():
    stream = push(push(site(), "one", 40), "two", 40, start_ms=PUSH_AT + 20 * MINUTE)
    whole = Run(stream).pipeline
    assert Pipeline.from_bytes(whole.to_bytes()).digest() == whole.digest()
