"""The site describes its items in bulk, one by one, and in the console."""

from urllib.parse import quote

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from recommender.intake.item_rows import ITEM_REJECTIONS
from recommender.models import Item

FULL = {
    "id": "article-1",
    "title": "It happened",
    "url": "https://site.example/1",
    "categories": ["sport", "local"],
    "published_at": "2026-01-31T12:00:00Z",
    "is_hidden": False,
}


def put(api, body):
    return api.put("/api/v1/items", body, key="ingest")


def get(api, item_id):
    return api.get(path_of(item_id), key="read")


def path_of(item_id):
    return f"/api/v1/items/{quote(item_id)}"


def counts(answer):
    return tuple(answer.json[name] for name in ("created", "updated", "unchanged"))


def test_items_are_created_updated_or_left_alone(api):
    assert counts(put(api, {"items": [FULL, {"id": "article-2"}]})) == (2, 0, 0)
    assert counts(put(api, {"items": [FULL, {"id": "article-2", "title": "Two"}, {"id": "article-3"}]})) == (1, 1, 1)


def test_an_item_is_shown_as_it_was_sent(api):
    put(api, FULL)
    shown = get(api, "article-1").json
    assert {name: shown[name] for name in FULL} == FULL
    assert shown["changed_at"]


def test_put_replaces_the_whole_item(api):
    put(api, FULL)
    put(api, {"id": "article-1", "title": "New"})
    assert get(api, "article-1").json["categories"] == []


def test_of_an_item_sent_twice_the_last_counts(api):
    assert counts(put(api, {"items": [FULL, {**FULL, "title": "Later"}]})) == (1, 0, 1)
    assert get(api, "article-1").json["title"] == "Later"


def test_ten_thousand_items_are_one_request(api):
    rows = [{"id": f"item-{i}", "categories": ["a", "b"], "title": "t" * 50} for i in range(10_000)]
    assert counts(put(api, {"items": rows})) == (10_000, 0, 0)
    answer = put(api, {"items": [*rows, {"id": "one more"}]})
    assert (answer.status, answer.code) == (413, "too_many_events")


@pytest.mark.parametrize(
    ("code", "fields"),
    [
        ("invalid_id", {"id": ""}),
        ("invalid_id", {"id": "i" * 257}),
        ("invalid_id", {"id": "a\0b"}),
        ("invalid_id", {"id": 7}),
        ("invalid_title", {"title": "t" * 501}),
        ("invalid_title", {"title": "\n"}),
        ("invalid_title", {"title": None}),
        ("invalid_url", {"url": "javascript:alert(1)"}),
        ("invalid_url", {"url": "https://a.example/\u202e"}),
        ("invalid_categories", {"categories": "sport"}),
        ("invalid_categories", {"categories": ["c"] * 21}),
        ("invalid_categories", {"categories": [""]}),
        ("invalid_categories", {"categories": ["\ud800"]}),
        ("invalid_published_at", {"published_at": "2026-01-31"}),
        ("invalid_published_at", {"published_at": "0001-01-01T00:00:00+14:00"}),
        ("invalid_published_at", {"published_at": "9999-12-31T23:59:59-14:00"}),
        ("invalid_is_hidden", {"is_hidden": 1}),
    ],
)
def test_a_bad_item_is_rejected_alone(api, code, fields):
    answer = put(api, {"items": [{"id": "good"}, {"id": "bad", **fields}, 7]})
    assert answer.status == 200
    assert [(each["index"], each["code"]) for each in answer.json["rejected"]] == [(1, code), (2, "not_an_object")]
    assert list(Item.objects.values_list("id", flat=True)) == ["good"]
    assert answer.json["rejected"][0]["message"] == ITEM_REJECTIONS[code]


@pytest.mark.parametrize("item_id", ["a/b/c", "a//b", "ä ö/%2F?x#y", "items", "..", "日本", "a'b\"c\\d", "x" * 256])
def test_an_id_may_hold_any_printable_character(api, item_id):
    put(api, {"id": item_id, "title": "found"})
    assert get(api, item_id).json["id"] == item_id
    assert api.patch(path_of(item_id), {"title": "new"}, key="ingest").json["title"] == "new"
    assert api.delete(path_of(item_id), key="ingest").status == 204
    assert get(api, item_id).status == 404


def test_an_unknown_item_is_not_found(api):
    for answer in (
        get(api, "nobody"),
        get(api, "nul\0"),
        api.patch("/api/v1/items/nobody", {"title": "x"}, key="ingest"),
        api.delete("/api/v1/items/nobody", key="ingest"),
    ):
        assert (answer.status, answer.code) == (404, "not_found")


def test_patch_changes_what_it_names(api):
    put(api, FULL)
    answer = api.patch("/api/v1/items/article-1", {"is_hidden": True, "colour": "red"}, key="ingest")
    assert answer.status == 200
    assert get(api, "article-1").json == answer.json
    assert (answer.json["is_hidden"], answer.json["title"]) == (True, "It happened")


def test_patch_names_every_field_that_is_wrong_and_changes_nothing(api):
    put(api, FULL)
    body = {"title": "new", "is_hidden": "perhaps", "published_at": "0001-01-01T00:00:00Z"}
    answer = api.patch("/api/v1/items/article-1", body, key="ingest")
    assert (answer.status, answer.code) == (400, "invalid")
    assert sorted(answer.json["error"]["fields"]) == ["is_hidden", "published_at"]
    assert get(api, "article-1").json["title"] == "It happened"


@pytest.mark.parametrize("body", [[], {}, {"id": "other"}, 7, b"{", b'{"title": NaN}'])
def test_patch_with_nothing_to_change_is_refused(api, body):
    put(api, FULL)
    answer = api.patch("/api/v1/items/article-1", body, key="ingest")
    assert answer.status == 400
    assert answer.code in ("invalid", "unparsable")


def test_patch_is_bounded_like_everything_else(api, settings):
    put(api, FULL)
    settings.MAX_BODY_BYTES = 1024
    answer = api.patch("/api/v1/items/article-1", {"title": "x" * 5000}, key="ingest")
    assert (answer.status, answer.code) == (413, "body_too_large")


def test_what_was_written_is_marked_for_the_publisher(api):
    put(api, {"items": [FULL, {"id": "other"}]})
    marks = dict(Item.objects.values_list("id", "changed_xid"))
    assert all(mark > 0 for mark in marks.values())


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_other_methods_are_refused(api, method):
    answer = api.call(method, "/api/v1/items/article-1", {}, key="admin")
    assert (answer.status, answer.code, answer.headers["allow"]) == (
        405,
        "method_not_allowed",
        "GET, PATCH, DELETE, HEAD, OPTIONS",
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=60
)
@given(odd=st.fixed_dictionaries({}, optional=dict.fromkeys(FULL, json_values)) | json_values)
def test_whatever_is_sent_a_good_item_gets_through(api, odd):
    answer = put(api, {"items": [odd, {"id": "good"}]})
    assert answer.status == 200
    assert Item.objects.filter(id="good").exists()
    if isinstance(odd, dict):
        Item.objects.get_or_create(id="patched")
        assert api.patch("/api/v1/items/patched", odd, key="ingest").status in (200, 400)


@pytest.fixture
def olga(db):
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("olga"))
    return client


def test_the_console_finds_hides_and_shows_items(olga, api):
    put(api, {"items": [FULL, {"id": "other", "title": "Elsewhere"}]})
    page = olga.get("/admin/recommender/item/?q=happened").content.decode()
    assert "article-1" in page
    assert "Elsewhere" not in page
    for action, is_hidden in (("hide", True), ("show", False)):
        olga.post("/admin/recommender/item/", {"action": action, "_selected_action": ["article-1"]})
        assert Item.objects.get(id="article-1").is_hidden_now is is_hidden


def test_the_console_changes_an_item_and_marks_it(olga, api):
    put(api, FULL)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id()::text::bigint")
        (xid,) = cursor.fetchone()
    form = {"title": "Changed", "url": "", "categories": "sport", "published_at_0": "", "published_at_1": ""}
    assert olga.post("/admin/recommender/item/article-1/change/", form).status_code == 302
    item = Item.objects.get(id="article-1")
    assert (item.title, item.categories) == ("Changed", ["sport"])
    assert item.changed_xid >= xid
