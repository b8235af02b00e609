"""Keys open the URLs of their scopes until they are revoked.

This also tests how keys are made and revoked.
"""

import re
from io import StringIO

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from recommender.api import api_keys
from recommender.errors import Invalid, NotFound
from recommender.models import ApiKey


def run(*arguments):
    out = StringIO()
    call_command("keys", *arguments, stdout=out)
    return out.getvalue()


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic a2V5OmtleQ==",
        "Bearer short",
        "Bearer " + "x" * 10_000,
        "Bearer gsw_ÿ" + "x" * 40,
    ],
)
def test_without_a_key_nobody_is_let_in(api, header):
    answer = api.get("/api/v1/trending", HTTP_AUTHORIZATION=header)
    assert (answer.status, answer.code) == (401, "not_authenticated")
    assert answer.headers["www-authenticate"] == 'Bearer realm="groundswell"'


def test_an_unknown_key_is_not_let_in(api):
    answer = api.get("/api/v1/trending", secret="gsw_" + "x" * 43)
    assert (answer.status, answer.code) == (401, "not_authenticated")


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "/api/v1/events", "ingest"),
        ("GET", "/api/v1/trending", "read"),
        ("PUT", "/api/v1/items", "ingest"),
        ("GET", "/api/v1/items/a", "read"),
        ("PATCH", "/api/v1/items/a", "ingest"),
        ("DELETE", "/api/v1/items/a", "ingest"),
    ],
)
def test_a_key_opens_what_its_scope_says_and_admin_opens_all(api, method, path, scope):
    for name in ("ingest", "read", "admin"):
        answer = api.call(method, path, {} if method != "GET" else None, key=name)
        if name in (scope, "admin"):
            assert answer.status not in (401, 403)
        else:
            assert (answer.status, answer.code) == (403, "forbidden")
    assert api.call(method, path).status == 401


def test_the_word_bearer_has_no_case(api):
    secret = api_keys.make_key(name="a", scopes=["ingest"])[1]
    assert api.post("/api/v1/events", {}, HTTP_AUTHORIZATION=f"bearer  {secret}").status == 202


def test_only_a_hash_of_a_key_is_kept(db):
    key, secret = api_keys.make_key(name="site", scopes=["ingest"])
    assert re.fullmatch(r"gsw_[A-Za-z0-9_-]{43}", secret)
    row = ApiKey.objects.filter(pk=key.pk).values_list().get()
    assert secret not in str(row)
    assert secret.startswith(key.start)
    assert len(key.start) == 12


def test_of_a_short_chosen_key_little_is_shown(db):
    key, _ = api_keys.make_key(name="site", scopes=["ingest"], secret="sixteen-letters!")
    assert key.start == "sixte"


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("name", {"name": ""}),
        ("name", {"name": "n" * 101}),
        ("scopes", {"scopes": []}),
        ("scopes", {"scopes": ["root"]}),
        ("rate_per_s", {"rate_per_s": 0}),
        ("key", {"secret": "short"}),
        ("key", {"secret": "with spaces in the middle"}),
        ("key", {"secret": "schlüssel-schlüssel"}),
    ],
)
def test_a_key_that_makes_no_sense_is_not_made(db, field, wrong):
    with pytest.raises(Invalid) as caught:
        api_keys.make_key(**{"name": "site", "scopes": ["read"], **wrong})
    assert list(caught.value.fields) == [field]
    assert not ApiKey.objects.exists()


def test_ensuring_a_key_twice_makes_one_and_never_revives(db):
    secret = "first-run-0123456789"
    first = api_keys.ensure_key(name="first", scope="read", secret=secret)
    assert api_keys.ensure_key(name="first", scope="read", secret=secret).pk == first.pk
    api_keys.revoke_key(key="first")
    assert api_keys.ensure_key(name="first", scope="read", secret=secret).revoked_at is not None


def test_a_revoked_key_is_refused(api):
    assert api.post("/api/v1/events", {}, key="ingest").status == 202
    api_keys.revoke_key(key="the ingest client")
    assert api.post("/api/v1/events", {}, key="ingest").status == 401
    with pytest.raises(NotFound):
        api_keys.revoke_key(key="the ingest client")


def test_another_process_forgets_a_revoked_key_within_ten_seconds(api, clock):
    assert api.post("/api/v1/events", {}, key="ingest").status == 202
    ApiKey.objects.update(revoked_at="2026-01-01T00:00:00Z")  # as another process does it
    assert api.post("/api/v1/events", {}, key="ingest").status == 202
    clock.forward(api_keys.CACHE_S)
    assert api.post("/api/v1/events", {}, key="ingest").status == 401


def test_a_known_key_costs_no_query(api, django_assert_num_queries):
    api.get("/api/v1/trending", key="read")
    with django_assert_num_queries(0):
        api.get("/api/v1/trending", key="read")


def test_while_the_database_is_away_known_keys_stay_good_and_others_are_told_to_wait(live_api, publish, clock):
    publish({"": [("a", 1)]})
    assert live_api.get("/api/v1/trending", key="read").status == 200
    clock.forward(3600)
    known = dict(connection.settings_dict)
    connection.close()
    connection.settings_dict.update(PORT="1", HOST="127.0.0.1")
    try:
        assert live_api.get("/api/v1/trending", key="read").status == 200
        answer = live_api.get("/api/v1/trending", key="admin")
        assert (answer.status, answer.code) == (503, "unavailable")
    finally:
        connection.settings_dict.update(known)


def test_a_flood_of_unknown_keys_is_not_remembered(api):
    for i in range(50):
        api.get("/api/v1/trending", secret=f"gsw_unknown_{i:032}")
    assert len(api_keys.known_keys) == 0


# -- the command --------------------------------------------------------------------------------------------------


def test_the_command_makes_lists_and_revokes(db):
    secret = run("make", "site", "--scope", "ingest", "--scope", "read", "--rate", "500").strip()
    key = ApiKey.objects.get()
    assert (key.name, key.scopes, key.rate_per_s) == ("site", ["ingest", "read"], 500)
    listed = run("list")
    assert "site" in listed
    assert "ingest,read" in listed
    assert secret not in listed
    assert "revoked site" in run("revoke", key.start)
    assert "revoked 2" in run("list")


def test_the_command_takes_a_chosen_key_once(db):
    assert run("make", "site", "--scope", "read", "--key", "chosen-key-0123456789") == "chosen-key-0123456789\n"
    with pytest.raises(CommandError, match="in use"):
        run("make", "other", "--scope", "read", "--key", "chosen-key-0123456789")
    with pytest.raises(CommandError, match="keys list"):
        run("revoke", "nobody")


# -- the console --------------------------------------------------------------------------------------------------


@pytest.fixture
def olga(db):
    """Return the client of Olga, an operator who is signed in to the console."""
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("olga"))
    return client


def test_the_console_shows_a_new_key_once(olga, api):
    page = olga.post("/admin/recommender/apikey/add/", {"name": "site", "scopes": ["read"], "rate_per_s": ""})
    secret = re.search(r"gsw_[A-Za-z0-9_-]{43}", page.content.decode()).group()
    assert "no-store" in page["Cache-Control"]
    assert api.get("/api/v1/items/none", secret=secret).status == 404
    for path in ("", f"{ApiKey.objects.get(name='site').pk}/change/"):
        assert secret not in olga.get(f"/admin/recommender/apikey/{path}").content.decode()


def test_the_console_shows_what_is_wrong_with_a_key(olga):
    page = olga.post("/admin/recommender/apikey/add/", {"name": "", "scopes": []})
    assert page.status_code == 200
    assert not ApiKey.objects.exists()


def test_the_console_revokes_keys_and_deletes_none(olga, api):
    ids = list(ApiKey.objects.values_list("pk", flat=True))
    olga.post("/admin/recommender/apikey/", {"action": "revoke", "_selected_action": ids})
    assert not ApiKey.objects.filter(revoked_at=None).exists()
    assert olga.post(f"/admin/recommender/apikey/{ids[0]}/delete/", {"post": "yes"}).status_code == 403
