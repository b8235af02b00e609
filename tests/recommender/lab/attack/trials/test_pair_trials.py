"""Tests for places next to an item: their price, and a list without a defence."""

import polars as pl
import pytest

from recommender.core.vocabulary import Kind
from recommender.lab.attack.catalogue.all_attacks import attack
from recommender.lab.attack.defences.defence_kinds import make
from recommender.lab.attack.defences.raw_links import RawLinks
from recommender.lab.attack.report import pair_tables
from recommender.lab.attack.trials import pair_trials
from recommender.lab.attack.trials.pair_trials import PairSight, compare
from recommender.lab.attack.trials.single_run import Trace
from tests.help import small_town


@pytest.fixture(scope="module")
def records():
    """Run a strike on the most read item, with caps and undefended.

    With caps the budgets are 0.9 and 1.5 margins.
    """
    patch = pytest.MonkeyPatch()
    patch.setattr(pair_trials, "ATTACKS", {"A5 all at once": pair_trials.ATTACKS["A5 all at once"]})
    patch.setattr(pair_trials, "ANCHORS", {"hot": 0})
    patch.setattr(pair_trials, "BUDGETS", (30,))
    patch.setattr(pair_trials, "MARGINS", (0.9, 1.5))
    site, warm, start = small_town.site(), small_town.warm(), (0, small_town.start_ms())
    yield [each for name in ("links", "caps") for each in pair_trials.against(name, site, warm, start, seed=1)]
    patch.undo()


def of(records, **wanted):
    return [each for each in records if all(each[key] == value for key, value in wanted.items())]


def test_below_the_margin_nothing_comes_to_stand_beside_an_item(records):
    (below,) = of(records, defence="caps", multiple=0.9)
    assert below["is_below_margin"]
    assert not below["success10"]
    assert below["shown"] == 0
    assert sum(each["violations"] for each in of(records, defence="caps")) == 0


def test_above_it_the_target_is_shown_to_those_who_read_the_item(records):
    (above,) = of(records, defence="caps", multiple=1.5)
    assert above["success10"]
    assert not above["is_below_margin"]
    assert 0 < above["shown"] <= above["readers"]


def test_thirty_accounts_take_a_place_where_nothing_is_defended(records):
    (undefended,) = of(records, defence="links")
    assert undefended["success10"]
    assert undefended["violations"] is None


def test_one_account_that_goes_back_and_forth_counts_each_time_only_where_nothing_is_defended():
    site = small_town.site()
    frame = pl.DataFrame(
        {
            "ts": [1_767_571_200.0 + number for number in range(40)],
            "actor": ["mal"] * 40,
            "item": ["anchor", "target"] * 20,
        }
    )
    batch = type(site).of("one", frame, small_town.CONFIG).batch
    raw, capped = make("links", small_town.CONFIG), make("caps", small_town.CONFIG)
    for defence in (raw, capped):
        defence.step(batch)
    assert raw.beside("anchor", 10)[0] == "target"
    assert capped.beside("anchor", 10) == []


def test_the_price_of_a_place_is_that_of_the_target_and_exact():
    state = small_town.warm().state("caps", small_town.start_ms())
    anchor = "item-1"
    listed = state.beside(anchor, 10)
    assert len(listed) == 10
    dear, cheap = (state.price_beside(anchor, place, "never-seen") for place in (1, 10))
    assert dear >= cheap > 1
    assert state.price_beside(anchor, 1, listed[1]) < dear  # this item already has part of the score


def test_undefended_links_survive_being_saved_and_forget():
    raw = small_town.warm().state("links", small_town.start_ms())
    again = RawLinks.restore(raw.save())
    assert again.beside("item-1", 10) == raw.beside("item-1", 10) != []
    before = raw.beside("item-1", 10)
    raw._forget()
    assert raw.beside("item-1", 10) == before  # the landmark moved, and the order stayed the same
    assert "item-1" not in raw.recommended(1, "item-1", 10)


def test_an_undo_makes_no_link():
    frame = pl.DataFrame(
        {
            "ts": [1_767_571_200.0, 1_767_571_201.0],
            "actor": ["ana"] * 2,
            "item": ["a", "b"],
            "kind": ["click", "undo"],
        }
    )
    batch = type(small_town.site()).of("undone", frame, small_town.CONFIG).batch
    assert batch.kind.tolist() == [Kind.CLICK, Kind.UNDO]
    raw = make("links", small_town.CONFIG)
    raw.step(batch)
    assert raw.beside("a", 10) == []


@pytest.mark.parametrize("code", ["A5", "A6"])
def test_an_attack_keeps_to_its_anchor(code):
    plan = attack(code)(anchor="item-9").plan(small_town.world(), n_actors=5, seed=1)
    assert set(plan.rows["item"]) <= {"item-9", *plan.targets}


def sights(beside, price=5):
    n = len(beside)
    return [PairSight("x", 0, ("t",), beside=each, prices=[(price, price)] * n) for each in (beside, [["a"]] * n)]


@pytest.mark.parametrize(("seconds", "is_success"), [(59, False), (60, True)])
def test_a_minute_beside_the_item_is_a_success_and_a_second_less_is_not(seconds, is_success):
    seen, clean = sights([["a", "t"]] * seconds + [["a"]] * 10)
    found = compare(seen, clean, Trace(n_accounts=[5] * (seconds + 10)), is_bounded=True)
    assert (found["success10"], found["success5"], found["violations"]) == (is_success, is_success, 0)


def test_a_place_below_its_price_is_a_violation():
    seen, clean = sights([["t"]] * 10)
    found = compare(seen, clean, Trace(n_accounts=[4] * 10), is_bounded=True)
    assert found["violations"] == 20  # seconds in the first five, and in the first ten
    assert found["is_below_margin"]


def test_the_table_says_who_is_shown_what(records):
    text = pair_tables.section(
        [each | {"multiple": 30.0} if each["unit"] == "accounts" else each for each in records]
    )
    assert "| no defence | - | 1 of 1 / " in text
    assert "| caps only | - | 0 of 1 / 0 % | 1 of 1 / " in text
    assert pair_tables.section([]) == ""
