"""Every error has one shape, and a server that is away never causes a 500."""

import pytest
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import InterfaceError, OperationalError, connection
from django.http import Http404
from rest_framework import exceptions as drf

from recommender import errors


def test_every_error_has_a_code_a_message_and_fields():
    for kind in errors.ALL:
        body = kind().body["error"]
        assert list(body) == ["code", "message", "fields"]
        assert body["message"].endswith(".")
        assert 400 <= kind.status < 600


def test_no_two_errors_share_a_code():
    codes = [kind.code for kind in errors.ALL]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize(
    ("raised", "status", "code"),
    [
        (drf.ParseError(), 400, "unparsable"),
        (drf.ValidationError({"title": ["too long"]}), 400, "invalid"),
        (drf.ValidationError(["wrong"]), 400, "invalid"),
        (drf.NotAuthenticated(), 401, "not_authenticated"),
        (drf.AuthenticationFailed(), 401, "not_authenticated"),
        (drf.PermissionDenied(), 403, "forbidden"),
        (PermissionDenied(), 403, "forbidden"),
        (drf.NotFound(), 404, "not_found"),
        (Http404(), 404, "not_found"),
        (drf.MethodNotAllowed("PUT"), 405, "method_not_allowed"),
        (drf.NotAcceptable(), 406, "not_acceptable"),
        (RequestDataTooBig(), 413, "body_too_large"),
        (drf.UnsupportedMediaType("text/plain"), 415, "unsupported_media_type"),
        (drf.Throttled(), 429, "rate_limited"),
        (OperationalError(), 503, "unavailable"),
        (InterfaceError(), 503, "unavailable"),
        (errors.BacklogFull(retry_after_s=9), 429, "backlog_full"),
    ],
)
def test_what_others_raise_is_told_in_our_words(raised, status, code):
    response = errors.answer(raised, {})
    assert (response.status_code, response.data["error"]["code"]) == (status, code)
    lean = errors.respond(raised)
    assert (lean.status_code, lean.headers.get("Retry-After")) == (status, response.headers.get("Retry-After"))
    assert ("WWW-Authenticate" in response.headers) == (status == 401)


def test_what_nobody_foresaw_is_logged_and_told_without_details(caplog):
    response = errors.answer(ZeroDivisionError("secret detail"), {})
    assert (response.status_code, response.data["error"]["code"]) == (500, "internal")
    assert "secret detail" not in str(response.data)
    assert "secret detail" in caplog.text


@pytest.mark.parametrize(
    "path", ["/api/v1/nothing", "/api/v1/", "/api/v2/events", "/api/v1/events/", "/health/", "/metrics/x"]
)
def test_an_unknown_address_of_machines_is_answered_in_json(anonymous, path):
    answer = anonymous.get(path)
    assert (answer.status, answer.code) == (404, "not_found")


def test_an_unknown_address_of_people_is_a_page(anonymous):
    answer = anonymous.get("/nothing")
    assert answer.status == 404
    assert answer.headers["content-type"].startswith("text/html")


def test_a_crash_of_a_view_is_answered_in_json_to_machines_only(rf):
    assert errors.server_error(rf.get("/api/v1/x")).headers["Content-Type"] == "application/json"
    assert errors.server_error(rf.get("/admin/")).headers["Content-Type"].startswith("text/html")


def test_without_the_database_every_address_answers_503_or_less(live_api, publish):
    publish({"": []})
    for key, method, path, body in (
        calls := [
            ("read", "GET", "/api/v1/trending", None),
            ("read", "GET", "/api/v1/items/a", None),
            ("ingest", "POST", "/api/v1/events", {"actor": "ana", "item": "a"}),
            ("ingest", "PUT", "/api/v1/items", {"id": "a"}),
            ("ingest", "PATCH", "/api/v1/items/a", {"title": "x"}),
            ("ingest", "DELETE", "/api/v1/items/a", None),
        ]
    ):
        live_api.call(method, path, body, key=key)
    known = dict(connection.settings_dict)
    connection.close()
    connection.settings_dict.update(PORT="1", HOST="127.0.0.1")
    try:
        answers = [live_api.call(method, path, body, key=key) for key, method, path, body in calls]
    finally:
        connection.settings_dict.update(known)
    assert [answer.status for answer in answers] == [200, 503, 503, 503, 503, 503]
    assert {answer.code for answer in answers[1:]} == {"unavailable"}
    assert all(answer.headers["retry-after"] for answer in answers[1:])


def test_refusals_do_not_fill_the_log(api, caplog):
    api.get("/api/v1/trending")
    api.get("/api/v1/items/none", key="read")
    api.post("/api/v1/events", b"{", key="ingest")
    assert not caplog.records
