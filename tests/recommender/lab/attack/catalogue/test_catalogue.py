"""Tests for the attacks: seeded, within budget, and of the documented shape."""

import numpy as np
import polars as pl
import pytest
from django.conf import settings

from recommender.core.vocabulary import Kind
from recommender.lab.attack.catalogue.all_attacks import ATTACKS, CATALOGUE, LOOK_ALIKES, attack
from recommender.lab.attack.catalogue.attack_base import TARGET_CHOICES
from recommender.lab.attack.catalogue.attacks_on_machinery import hashed
from tests.help import small_town

KINDS = {kind.name.lower() for kind in Kind}


def plan(code, n=40, seed=1, *, has_numbers=False, **parameters):
    chosen = attack(code).for_bench(**parameters)
    return chosen.plan(small_town.world(has_numbers=has_numbers), n_actors=n, seed=seed)


def on_target(made):
    return made.rows.filter(pl.col("item").is_in(list(made.targets)))


def test_the_catalogue_is_complete():
    assert list(ATTACKS) == [f"A{number}" for number in range(1, 18)]
    assert list(LOOK_ALIKES) == [f"B{number}" for number in range(1, 6)]
    with pytest.raises(ValueError, match="there is no attack A99"):
        attack("A99")


@pytest.mark.parametrize("code", CATALOGUE)
def test_the_same_seed_makes_the_same_plan_and_another_seed_another(code):
    assert plan(code).rows.equals(plan(code).rows)
    assert not plan(code).rows.equals(plan(code, seed=2).rows)


@pytest.mark.parametrize("code", CATALOGUE)
def test_a_plan_stays_within_its_budget_and_its_rows_are_events(code):
    made = plan(code)
    assert 1 <= made.n_actors <= 40
    assert made.rows["ts"].is_sorted()
    assert made.rows["ts"][0] >= small_town.START_S + 3000
    assert set(made.rows["kind"]) <= KINDS
    assert not made.rows.select("ts", "actor", "item", "kind").null_count().row(0).count(1)
    assert made.goal == "benign" if code in LOOK_ALIKES else made.goal != "benign"


@pytest.mark.parametrize("code", CATALOGUE)
@pytest.mark.parametrize("choice", TARGET_CHOICES)
def test_every_sort_of_target_can_be_chosen(code, choice):
    assert len(set(plan(code, target=choice).targets)) == attack(code).N_TARGETS


@pytest.mark.parametrize("code", CATALOGUE)
def test_a_log_without_addresses_is_attacked_without_addresses(code):
    made = plan(code, has_numbers=True)
    assert made.rows["ip"].null_count() == made.rows["user_agent"].null_count() == len(made.rows)
    assert made.rows["actor"].str.contains(r"^\d+$").all()


def test_an_attack_without_an_account_is_refused():
    with pytest.raises(ValueError, match="at least one account"):
        plan("A4", n=0)


def test_nonsense_parameters_are_refused():
    with pytest.raises(ValueError, match="camouflage"):
        attack("A4")(camouflage=1.0)


def test_camouflage_is_the_share_of_acts_on_popular_items():
    made = plan("A12", n=400, camouflage=0.5, pause_s=200.0)
    assert 0.4 < 1 - len(on_target(made)) / len(made.rows) < 0.6


def test_a1_is_one_account_at_a_constant_beat():
    made = plan("A1")
    assert made.n_actors == 1
    assert len(made.rows) == 4000
    assert np.ptp(np.diff(made.rows["ts"])) <= 0.0021  # times are whole milliseconds


def test_a2_is_one_address_and_a_new_id_for_every_click():
    made = plan("A2")
    assert made.rows["ip"].n_unique() == 1
    assert made.rows["actor"].n_unique() == len(made.rows) == 40


def test_a3_comes_from_few_networks_and_one_program():
    made = plan("A3", n=100)
    assert made.rows["ip"].str.extract(r"^(\d+\.\d+\.\d+)").n_unique() <= 8
    assert made.rows["user_agent"].unique().str.contains("Headless").all()
    assert len(on_target(made)) >= 0.5 * len(made.rows)


def test_a4_comes_from_everywhere_and_looks_like_readers():
    made = plan("A4", n=200)
    assert made.rows["ip"].str.extract(r"^(\d+\.\d+\.\d+)").n_unique() > 100
    assert made.rows["user_agent"].n_unique() > 5
    assert on_target(made).group_by("actor").len()["len"].max() == 1


def test_a5_shows_the_anchor_just_before_the_target():
    made = plan("A5")
    by_actor = made.rows.sort("actor", "ts", maintain_order=True).group_by("actor", maintain_order=True).agg("item")
    assert all(items == [small_town.world().board[0], made.targets[0]] for items in by_actor["item"].to_list())


def test_a7_gives_one_click_an_account_over_the_whole_time():
    made = plan("A7")
    assert len(made.rows) == made.n_actors
    assert made.end_s - made.rows["ts"][0] > 1200


def test_a8_grows_from_wave_to_wave():
    made = on_target(plan("A8", n=400))
    waves = ((made["ts"] - made["ts"][0]) // 125).cast(int).value_counts(sort=False).sort("ts")["count"].to_list()
    assert waves[-1] > 5 * waves[0]
    assert np.corrcoef(waves, range(len(waves)))[0, 1] > 0.9


def test_a9_and_a14_use_accounts_with_a_history():
    known = set(small_town.log().filter(pl.col("ts") < small_town.START_S + 2000)["actor"])
    stolen, hired = plan("A9"), plan("A14")
    assert set(stolen.rows["actor"]) <= known
    assert set(hired.rows["actor"]) <= known
    assert hired.rows["referrer"].unique().to_list() == ["https://tasks.example/"]


def test_a10_frames_an_item_that_stands_in_the_list():
    made = plan("A10")
    assert made.goal == "demote"
    assert made.targets[0] == small_town.world().board[4]
    assert made.rows["ip"].n_unique() == 1


def test_a11_splices_the_target_into_visits_that_happened():
    made = plan("A11")
    visits = {tuple(item for _, item in visit[:8]) for visit in small_town.world().sessions}
    by_actor = made.rows.group_by("actor", maintain_order=True).agg("item")
    for items in by_actor["item"].to_list():
        assert made.targets[0] in items
        assert any(sorted(visit) == sorted(i for i in items if i != made.targets[0]) for visit in visits)


def test_a12_bursts_takes_back_and_comes_again_with_the_same_accounts():
    made = plan("A12", n=100)
    starts = []
    for target in made.targets:
        rows = made.rows.filter(pl.col("item") == target)
        acts, undos = rows.filter(pl.col("kind") == "click")["ts"], rows.filter(pl.col("kind") == "undo")["ts"]
        assert acts.max() - acts.min() <= 70
        assert acts.max() < undos.min() <= acts.min() + 70 + 110
        assert len(acts) == len(undos) >= 0.9 * 100
        starts.append(acts.min())
    assert np.diff(starts).min() > 100


def test_a13_is_one_phone_in_three_networks():
    made = plan("A13", n=200)
    assert made.rows["ip"].str.extract(r"^(\d+\.\d+\.\d+)").n_unique() <= 3
    assert made.rows["user_agent"].n_unique() == 1


def test_a15_chooses_ids_by_their_unkeyed_hash():
    assert all(hashed(actor) % 64 == 0 for actor in plan("A15").rows["actor"])


def test_a16_keeps_the_rate_of_hits_where_it_was():
    made = plan("A16", n=2000)
    share = made.rows["item"].is_in(small_town.world().board).mean()
    assert share == pytest.approx(0.69, abs=0.03)


def test_b1_and_b2_come_together_but_differ():
    crowd, link = plan("B1", n=300), plan("B2", n=300)
    assert crowd.rows["referrer"].n_unique() > 1
    assert set(link.rows["referrer"]) == {"https://social.example/p/1"}
    assert link.rows["user_agent"].n_unique() == 1


def test_b4_is_many_people_behind_one_address():
    made = plan("B4", n=100)
    assert made.rows["ip"].n_unique() == 1
    assert made.n_actors == 100


def test_b5_says_what_it_is():
    assert plan("B5").rows["user_agent"].str.to_lowercase().str.contains("bot").all()


def test_the_documentation_lists_every_attack_under_its_name():
    text = (settings.BASE_DIR / "docs" / "reference" / "attacks.md").read_text()
    for code, each in CATALOGUE.items():
        assert f"| {code} | {each.TITLE} |" in text
