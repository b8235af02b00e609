"""Test GET /api/v1/recommendations and /api/v1/items/{id}/similar."""

import time

import pytest

from recommender import counters, database_outage
from recommender.api import views
from recommender.core.vocabulary import Kind, ListValidity
from recommender.publishing import excerpt
from recommender.serving.list_ids import judge, source_of
from tests.help.made_excerpts import make_message, store_excerpt

BOARD = [(f"story-{n}", 10_000 - 100 * n) for n in range(60)]
ITEMS = {f"story-{n}": (10.0 - n / 10, 10.0, 10.0) for n in range(60)} | {
    f"match-{n}": (0.5, 0.5, 0.5) for n in range(9)
}
LINKS = {
    "match-0": [("match-1", 1.5, 40, 900), ("match-2", 0.9, 12, 300), ("match-3", 0.2, 5, 60)],
    "match-1": [("match-4", 0.8, 9, 100)],
}


@pytest.fixture
def site(empty_log, api, publish, view_store, settings):
    """Publish stories that trend, and matches that readers of matches open next."""
    settings.EXPLORE_SHARE = 0.0
    publish({"": BOARD, "category:sports": BOARD[:3]})
    store_excerpt(view_store, make_message(ITEMS, LINKS, categories={"match-2": ["sports"]}))
    return api


def get(api, query="", path="recommendations"):
    return api.get(f"/api/v1/{path}{query and '?' + query}", key="read")


def listed(answer):
    return [each["item"] for each in answer.json["items"]]


def click(api, *items, actor="ana", **more):
    rows = [{"actor": actor, "item": item} | more for item in items]
    assert api.post("/api/v1/events", {"events": rows}, key="ingest").status == 202


def test_a_stranger_gets_what_trends(site):
    answer = get(site, "actor=nobody&limit=5")
    assert listed(answer) == [item for item, _ in BOARD[:5]]
    assert answer.json["items"][0]["reasons"] == [{"source": "trending", "text": "trending now", "category": ""}]
    assert {"as_of", "state", "checkpoint", "age_ms", "ranked_by"} <= set(answer.json)


def test_what_somebody_clicked_a_moment_ago_counts_at_once(site):
    before = get(site, "actor=ana")
    assert "match-1" not in listed(before)
    click(site, "match-0")
    answer = get(site, "actor=ana")
    assert listed(answer)[:2] == ["match-1", "match-2"]
    assert answer.json["items"][0]["reasons"] == [
        {"source": "similar", "text": "readers of match-0 also opened it", "item": "match-0", "actors": 40}
    ]


def test_the_last_item_says_more_than_the_one_before(site):
    click(site, "match-0", "match-1")
    scores = {each["item"]: each["score"] for each in get(site, "actor=ana&limit=60").json["items"]}
    assert scores["match-4"] == pytest.approx(0.5 * 0.8)
    assert scores["match-2"] == pytest.approx(0.5 * 0.3 * 0.9)


def test_what_an_actor_has_seen_is_never_listed_again_on_any_page(site):
    click(site, "match-0", "match-1", "story-0")
    pages = [listed(get(site, f"actor=ana&limit=10&offset={offset}")) for offset in (0, 10, 20)]
    together = [item for page in pages for item in page]
    assert not {"match-0", "match-1", "story-0"} & set(together)
    assert len(together) == len(set(together)) == 30


def test_what_the_actor_looks_at_counts_as_its_last_item(site):
    answer = get(site, "actor=nobody&item=match-0&limit=3")
    assert listed(answer)[0] == "match-1"
    assert "match-0" not in listed(answer)


def test_what_is_excluded_or_hidden_is_not_listed(site, view_store):
    store_excerpt(view_store, make_message(ITEMS, LINKS, hidden=["match-1"], version=2))
    click(site, "match-0")
    answer = get(site, "actor=ana&exclude=match-2,match-3,story-0")
    assert listed(answer)[0] == "story-1"
    assert not {"match-1", "match-2", "story-0"} & set(listed(answer))


def test_a_category_lists_its_own_only(site):
    click(site, "match-0")
    answer = get(site, "actor=ana&category=sports&limit=50")
    assert listed(answer) == ["match-2", "story-0", "story-1", "story-2"]


def test_no_category_takes_more_than_half_of_a_list_that_others_can_fill(site, view_store):
    of_news = {f"story-{n}": ["news"] for n in range(20)}
    store_excerpt(view_store, make_message(ITEMS, LINKS, categories=of_news, version=3))
    items = listed(get(site, "actor=nobody&limit=10"))
    assert items == [f"story-{n}" for n in (*range(5), *range(20, 25))]


def test_a_full_list_comes_before_a_mixed_one(site, view_store):
    everything = {f"story-{n}": ["news"] for n in range(60)}
    store_excerpt(view_store, make_message(ITEMS, categories=everything, version=4))
    assert listed(get(site, "actor=nobody&limit=10")) == [item for item, _ in BOARD[:10]]


@pytest.mark.parametrize(("mode", "best"), [("trend", "story-0"), ("blend", "match-1"), ("ranker", "match-1")])
def test_the_order_that_does_best_is_served(site, view_store, mode, best):
    store_excerpt(view_store, make_message(ITEMS, LINKS, mode=mode, version=8))
    click(site, "match-0")
    answer = get(site, "actor=ana&limit=30")
    assert answer.json["ranked_by"] == mode
    assert listed(answer)[0] == best
    if mode == "ranker":  # this ranker knows only the number of actors behind a link
        assert listed(answer)[:3] == ["match-1", "match-2", "match-3"]
        assert all(0 < each["score"] < 1 for each in answer.json["items"])


def test_new_items_get_their_share_of_the_places_and_are_said_to_be_new(site, view_store, settings):
    settings.EXPLORE_SHARE = 0.2
    now_s = time.time()
    published = {"match-7": now_s - 60, "match-8": now_s - 90, "story-50": now_s - 60, "match-6": now_s - 10**6}
    store_excerpt(view_store, make_message(ITEMS, LINKS, published=published, hidden=["match-8"], version=5))
    answer = get(site, "actor=nobody&limit=10")
    fresh = [each for each in answer.json["items"] if each["reasons"][0]["source"] == "fresh"]
    assert [each["item"] for each in fresh] == ["match-7"]  # one is hidden, one known well, one old
    assert len(listed(answer)) == 10


def test_a_click_on_a_place_is_credited_to_where_it_came_from(site):
    click(site, "match-0")
    answer = get(site, "actor=ana&limit=4").json
    sent = answer["recommendation"]
    for place, each in enumerate(answer["items"]):
        found, _ = judge(
            recommendation=sent, actor="ana", item=each["item"], position=place, kind=Kind.CLICK, now_s=time.time()
        )
        assert found == ListValidity.VALID
        assert source_of(recommendation=sent, position=place) == each["reasons"][0]["source"]


def test_a_place_that_goes_to_a_new_item_is_signed_for_that_item(site, view_store, settings):
    settings.EXPLORE_SHARE = 0.2
    store_excerpt(view_store, make_message(ITEMS, LINKS, published={"match-7": time.time() - 60}, version=5))
    answer = get(site, "actor=ana&limit=10").json
    names = [each["item"] for each in answer["items"]]
    assert "match-7" in names
    for place, item in enumerate(names):
        found, _ = judge(
            recommendation=answer["recommendation"],
            actor="ana",
            item=item,
            position=place,
            kind=Kind.CLICK,
            now_s=time.time(),
        )
        assert found == ListValidity.VALID


def test_without_the_database_the_trend_is_served(site, monkeypatch):
    click(site, "match-0")
    monkeypatch.setattr(
        views, "recent_of", lambda actor: (_ for _ in ()).throw(database_outage.OperationalError("gone"))
    )
    answer = get(site, "actor=ana&limit=3")
    assert answer.status == 200
    assert listed(answer) == ["story-0", "story-1", "story-2"]


def test_without_the_store_the_last_copy_is_served(site, lose_store):
    click(site, "match-0")
    first = listed(get(site, "actor=ana"))
    lose_store()
    assert listed(get(site, "actor=ana")) == first


def test_before_anything_was_learned_it_is_said(empty_log, api, view_store):
    assert get(api, "actor=ana").status == 503
    assert get(api, path="items/match-0/similar").status == 503


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("", "actor"),
        ("actor=", "actor"),
        ("actor=" + "a" * 257, "actor"),
        ("actor=a%00b", "actor"),
        ("actor=ana&offset=-1", "offset"),
        ("actor=ana&offset=801", "offset"),
        ("actor=ana&offset=1e3", "offset"),
        ("actor=ana&item=a%0Ab", "item"),
        ("actor=ana&limit=0", "limit"),
        ("actor=ana&country=DEU", "country"),
    ],
)
def test_what_cannot_be_asked_is_said_by_name(site, query, field):
    answer = get(site, query)
    assert (answer.status, answer.code) == (400, "invalid")
    assert field in answer.json["error"]["fields"]


def test_a_key_that_may_not_read_gets_nothing(site):
    assert site.get("/api/v1/recommendations?actor=ana", key="ingest").status == 403
    assert site.get("/api/v1/items/match-0/similar").status == 401


# -- similar ------------------------------------------------------------------------------------------------------


def test_what_goes_with_an_item_says_its_support_and_its_price(site):
    answer = get(site, "limit=2", "items/match-0/similar")
    assert answer.json["items"] == [
        {"item": "match-1", "score": 1.5, "support": {"actors": 40}, "margin": {"actors": 900}},
        {"item": "match-2", "score": pytest.approx(0.9), "support": {"actors": 12}, "margin": {"actors": 300}},
    ]


@pytest.mark.parametrize("item", ["story-5", "never-heard-of", "a/b", "%20"])
def test_beside_what_few_went_on_from_nothing_stands(site, item):
    assert get(site, path=f"items/{item}/similar").json["items"] == []


def test_shards_add_up(site, view_store, clock):
    store_excerpt(
        view_store, make_message(ITEMS, {"match-0": [("match-3", 2.0, 30, 500), ("match-1", 0.1, 3, 4)]}), shard=1
    )
    clock.forward(excerpt.POLL_EVERY_S)
    items = get(site, path="items/match-0/similar").json["items"]
    assert [(each["item"], each["support"]["actors"]) for each in items] == [
        ("match-3", 35),
        ("match-1", 43),
        ("match-2", 12),
    ]


def test_lists_are_counted_by_source(site):
    def shown():
        return {each.source: each.n_shown for each in counters.read_recommended()}

    before = shown()
    get(site, "actor=nobody&limit=7")
    assert shown() == before | {"trending": before.get("trending", 0) + 7}
