"""The undefended list is shown to operators, and to no one else."""

import pytest

from tests.recommender.conftest import *  # noqa: F403 - the API and boards, as fixtures

SERVED = [("story", 3000), ("vote", 2000)]
UNDEFENDED = [("push", 90_000), ("story", 5000)]


def get(api, key="admin"):
    return api.get("/api/v1/model/shadow", key=key)


def test_what_the_defence_held_back_is_told(api, publish):
    publish({"": SERVED, "shadow": UNDEFENDED})
    answer = get(api).json
    assert answer["is_on"]
    assert answer["held_back"] == ["push"]
    assert answer["items"] == [
        {"item": "push", "place": 1, "score": 90.0, "served_place": None, "served_score": 0.0},
        {"item": "story", "place": 2, "score": 5.0, "served_place": 1, "served_score": 3.0},
    ]


def test_without_one_it_says_so(api, publish):
    publish({"": SERVED})
    assert get(api).json == {
        "is_on": False,
        "as_of": pytest.approx(get(api).json["as_of"]),
        "items": [],
        "held_back": [],
    }


def test_before_anything_is_published_there_is_no_view(api, view_store):
    assert get(api).code == "no_view"


@pytest.mark.parametrize("key", [None, "ingest", "read"])
def test_it_takes_an_admin_key(api, publish, key):
    publish({"": SERVED, "shadow": UNDEFENDED})
    assert get(api, key).status in (401, 403)
