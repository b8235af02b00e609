"""Test GET /api/v1/trending, its figures, and that it needs no database."""

import json
import time
from itertools import pairwise

import pytest

from recommender.core.trend.place_prices import certain_places, margins
from recommender.publishing import published_boards
from recommender.serving import trending
from tests.help.held_clock import HeldClock

PLACES = [(f"article-{place}", 5000 - 10 * place) for place in range(500)]


def get(api, query="", **more):
    return api.get(f"/api/v1/trending{query and '?' + query}", key="read", **more)


def items(answer):
    return [entry["item"] for entry in answer.json["items"]]


def test_the_best_ten_are_listed_with_scores_and_margins(api, publish):
    publish({"": PLACES}, unit=1000, network=11_000, sizes={"article-0": [(5, 400, 90), (60, 4600, 80)]})
    answer = get(api)
    assert answer.status == 200
    assert items(answer) == [item for item, _ in PLACES[:10]]
    actors, trust = margins([count for _, count in PLACES[:10]], PLACES[10][1], 1000, 1000)
    assert answer.json["items"][0] == {
        "item": "article-0",
        "score": 5.0,
        "margin": {"actors": actors[0], "trust": trust[0], "networks": 1, "clickers": 2},
    }
    assert answer.json["items"][1]["margin"]["clickers"] is None
    scores = [entry["score"] for entry in answer.json["items"]]
    assert all(better >= worse for better, worse in pairwise(scores))


def test_an_answer_says_how_old_it_is_and_where_it_comes_from(api, publish):
    began_at = time.time()
    publish({"": PLACES}, age_s=42.0, state="frozen", checkpoint=812)
    answer = get(api).json
    took_ms = 1000 * (time.time() - began_at)
    assert (answer["state"], answer["checkpoint"]) == ("frozen", 812)
    assert 42_000 <= answer["age_ms"] <= 42_000 + took_ms
    assert answer["as_of"].endswith("Z")
    publish({"": PLACES}, checkpoint=None)
    assert get(api).json["checkpoint"] is None


def test_the_age_grows_while_nothing_is_published(publish, view_store):
    publish({"": PLACES})
    wall = HeldClock(time.time())
    lists = trending.Lists(published_boards.ViewReader(view_store), wall)
    first = json.loads(lists.answer("").body)["age_ms"]
    wall.forward(2)
    assert json.loads(lists.answer("").body)["age_ms"] == first + 2000


@pytest.mark.parametrize("limit", [1, 7, 200])
def test_as_many_places_as_asked_for(api, publish, limit):
    publish({"": PLACES})
    assert len(items(get(api, f"limit={limit}"))) == limit


def test_a_short_board_is_listed_whole_against_nothing(api, publish):
    publish({"": [("a", 2000), ("b", 500)]}, unit=1000)
    assert [entry["margin"] for entry in get(api).json["items"]] == [
        {"actors": 3, "trust": 2.0, "networks": 1, "clickers": None},
        {"actors": 1, "trust": 0.5, "networks": 1, "clickers": None},
    ]


def test_an_answer_says_how_many_places_are_certain(api, publish):
    publish({"": PLACES}, fresh=3, budget=30, network=40)
    counts = [count for _, count in PLACES[:20]]
    expected = [{"actors": n, "places": certain_places(counts, 10, n, 3, 30)} for n in (10, 100, 1000)]
    assert get(api).json["certain_places"] == expected
    assert [each["places"] for each in expected] == sorted((each["places"] for each in expected), reverse=True)
    assert get(api).json["items"][0]["margin"]["networks"] == 100 // 40 + 1
    publish({"": []})
    assert [each["places"] for each in get(api).json["certain_places"]] == [0, 0, 0]


def test_what_a_full_board_does_not_show_counts_as_its_last_place(api, publish):
    publish({"": PLACES}, fresh=1, budget=10**9)
    excluded = ",".join(item for item, _ in PLACES[:200])
    certain = get(api, f"limit=200&exclude={excluded}").json["certain_places"]
    # Places 201 to 400 compete with 401 to 500 and a hundred that count as the 500th, with gaps of 10 and more.
    counts = [count for _, count in PLACES[200:]] + [PLACES[-1][1]] * 100
    assert certain == [{"actors": n, "places": certain_places(counts, 200, n, 1, 10**9)} for n in (10, 100, 1000)]


def test_a_category_and_a_country_have_their_own_board(api, publish):
    publish({"": PLACES, "category:sport & play": [("match", 5)], "country:DE": [("wahl", 5)]})
    assert items(get(api, "category=sport%20%26%20play")) == ["match"]
    assert items(get(api, "country=de")) == ["wahl"]


def test_of_a_category_nobody_knows_the_list_is_empty_until_it_is_not(api, publish):
    publish({"": PLACES})
    assert get(api, "category=chess").json["items"] == []
    publish({"": PLACES, "category:chess": [("mate", 5)]})
    assert items(get(api, "category=chess")) == ["mate"]


def test_excluded_items_leave_their_place_to_the_next(api, publish):
    publish({"": [("a", 9), ("b", 8), ("c", 7), ("d,e", 6), ("f", 5)]})
    assert items(get(api, "exclude=a&exclude=c,zzz")) == ["b", "d,e", "f"]
    assert items(get(api, "exclude=d%2Ce&limit=4")) == ["a", "b", "c", "f"]
    assert len(items(get(api, "limit=200&exclude=" + ",".join(str(i) for i in range(200))))) == 5


def test_two_hundred_excluded_leave_two_hundred(api, publish):
    publish({"": PLACES})
    excluded = ",".join(item for item, _ in PLACES[:200])
    assert items(get(api, f"limit=200&exclude={excluded}")) == [item for item, _ in PLACES[200:400]]


@pytest.mark.parametrize(
    ("field", "query"),
    [
        ("limit", "limit=0"),
        ("limit", "limit=201"),
        ("limit", "limit=-1"),
        ("limit", "limit=ten"),
        ("limit", "limit="),
        ("limit", "limit=%D9%A1"),
        ("limit", "limit=" + "9" * 5000),
        ("category", "category="),
        ("category", "category=%00"),
        ("category", "category=" + "c" * 101),
        ("country", "country=DEU"),
        ("country", "country=%C3%84%C3%96"),
        ("country", "country=de&category=sport"),
        ("exclude", "exclude=" + ",".join(map(str, range(201)))),
    ],
)
def test_a_parameter_that_makes_no_sense_is_named(api, publish, field, query):
    publish({"": PLACES})
    answer = get(api, query)
    assert (answer.status, answer.code) == (400, "invalid")
    assert list(answer.json["error"]["fields"]) == [field]


@pytest.mark.parametrize("query", ["%ff%fe", "a=b", "&&&=&", "limit=5;limit=6", "x" * 5000, "&".join(["a=1"] * 2000)])
def test_a_strange_query_is_answered(api, publish, query):
    publish({"": PLACES})
    assert get(api, query).status in (200, 400)


def test_who_has_the_newest_list_is_not_sent_it_again(api, publish):
    publish({"": PLACES})
    tag = get(api).headers["etag"]
    again = get(api, HTTP_IF_NONE_MATCH=f'"other", {tag}')
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    assert get(api, "limit=5", HTTP_IF_NONE_MATCH=tag).status == 200
    publish({"": PLACES[1:]})
    assert get(api, HTTP_IF_NONE_MATCH=tag).status == 200


def test_a_change_of_state_is_worth_sending(api, publish):
    version = publish({"": PLACES})
    tag = get(api).headers["etag"]
    publish({"": PLACES}, state="frozen", version=version)
    answer = get(api, HTTP_IF_NONE_MATCH=tag)
    assert (answer.status, answer.json["state"]) == (200, "frozen")


def test_a_new_board_is_served_within_the_polling_time(api, publish):
    publish({"": [("old", 1)]})
    assert items(get(api)) == ["old"]
    publish({"": [("new", 1)]})
    assert items(get(api)) == ["new"]


def test_before_anything_is_published_the_answer_says_so(api, view_store):
    answer = get(api)
    assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "no_view", "1")
    assert "learner" in answer.json["error"]["message"]


def test_without_the_store_the_last_list_is_served_and_its_age_stated(api, publish, lose_store):
    publish({"": PLACES})
    before = get(api)
    lose_store()
    after = get(api)
    assert (after.status, items(after)) == (200, items(before))
    assert after.json["age_ms"] >= before.json["age_ms"]
    assert get(api, "limit=3").status == 200
    answer = get(api, "category=never-asked-for")
    assert (answer.status, answer.code) == (503, "no_view")


def test_a_list_costs_no_query(api, publish, django_assert_num_queries):
    publish({"": PLACES})
    get(api)
    with django_assert_num_queries(0):
        for query in ("", "limit=3", "category=none", "limit=nonsense"):
            get(api, query)


def test_answers_kept_by_query_are_bounded(publish, view_store):
    publish({"": PLACES})
    lists = trending.Lists(published_boards.ViewReader(view_store))
    for i in range(1200):
        lists.answer(f"limit=200&exclude=x{i}")
    kept = sum(len(answer.start) for answer in lists._kept.values())
    assert kept <= trending.MAX_CACHED_BYTES
    lists.answer("exclude=" + "x" * 2 * trending.MAX_CACHED_QUERY)
    assert all(len(query) <= trending.MAX_CACHED_QUERY for query in lists._kept)


def test_head_and_other_methods(api, publish):
    publish({"": PLACES})
    assert api.call("HEAD", "/api/v1/trending", key="read").status == 200
    answer = api.call("POST", "/api/v1/trending", {}, key="admin")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
