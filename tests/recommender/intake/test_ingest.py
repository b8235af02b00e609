"""POST /api/v1/events stores acknowledged events once; a refusal names its reason.

A refused request stores nothing.
"""

import gzip
import io
import json
import threading
import time
import uuid

import psycopg
import pytest
from django.db import connection, connections

from recommender import database_outage
from recommender.core.vocabulary import ListValidity
from recommender.intake import ingest
from recommender.log import event_log
from recommender.models import Event, Learner
from recommender.serving import list_ids
from tests.help.patience import wait_for


def events(n, **more):
    return {"events": [{"actor": f"a{i}", "item": f"i{i}", **more} for i in range(n)]}


def post(api, body, **more):
    return api.post("/api/v1/events", body, key="ingest", **more)


def test_an_acknowledged_event_is_committed(live_api):
    answer = post(live_api, {"actor": "ana", "item": "article-1", "kind": "like"})
    assert (answer.status, answer.json) == (202, {"accepted": 1, "duplicates": 0, "rejected": []})
    assert answer.headers["content-length"] == str(len(answer.body))
    with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": None}) as other:
        row = other.execute("SELECT actor, item, kind FROM recommender_event").fetchall()
    assert row == [("ana", "article-1", 3)]


def test_a_batch_is_stored_in_its_order(live_api):
    assert post(live_api, events(500)).json["accepted"] == 500
    assert list(Event.objects.order_by("seq").values_list("item", flat=True)) == [f"i{i}" for i in range(500)]


def test_a_bad_event_never_sinks_its_batch(live_api):
    body = {"events": [{"actor": "ana", "item": "a"}, {"actor": "\n", "item": "b"}, {"actor": "ana", "item": "c"}]}
    answer = post(live_api, body)
    assert answer.status == 202
    assert answer.json["accepted"] == 2
    assert [(each["index"], each["code"]) for each in answer.json["rejected"]] == [(1, "invalid_actor")]
    assert Event.objects.count() == 2


def test_a_batch_with_nothing_good_in_it_is_still_answered_event_by_event(live_api):
    answer = post(live_api, {"events": [{}, {}]})
    assert (answer.status, answer.json["accepted"], len(answer.json["rejected"])) == (202, 0, 2)


def test_an_event_id_counts_once_in_a_batch_and_over_batches(live_api):
    once = {"actor": "ana", "item": "a", "event_id": "e1"}
    assert post(live_api, {"events": [once, once]}).json == {"accepted": 1, "duplicates": 1, "rejected": []}
    assert post(live_api, {"events": [once, {**once, "event_id": "e2"}]}).json["duplicates"] == 1
    assert post(live_api, once).json == {"accepted": 0, "duplicates": 1, "rejected": []}
    assert Event.objects.count() == 2


def test_an_event_id_is_the_actors_own(live_api):
    once = {"actor": "ana", "item": "a", "event_id": "e1"}
    others = [{**once, "actor": "mal"}, {**once, "item": "b"}, {**once, "kind": "like"}]
    assert post(live_api, {"events": [once, *others]}).json["accepted"] == 4


def test_the_same_id_with_another_content_is_rejected_with_its_index(live_api):
    sent = {"actor": "ana", "item": "a", "event_id": "e1", "value": 1, "position": 2, "session": "s"}
    later = {**sent, "occurred_at": time.time() - 60, "context": {"ip": "192.0.2.1"}, "campaign": "letter"}
    assert post(live_api, {"events": [sent, later]}).json == {"accepted": 1, "duplicates": 1, "rejected": []}
    body = [
        {"actor": "", "item": "x"},
        later,
        {**sent, "value": 2},
        {**sent, "event_id": "e2"},
        {**sent, "session": ""},
    ]
    answer = post(live_api, {"events": body}).json
    assert (answer["accepted"], answer["duplicates"]) == (1, 1)
    found = [(each["index"], each["code"]) for each in answer["rejected"]]
    assert found == [(0, "invalid_actor"), (2, "conflict"), (4, "conflict")]
    assert list(Event.objects.order_by("seq").values_list("value", flat=True)) == [1.0, 1.0]


def test_the_list_that_an_event_names_is_judged_once(live_api):
    recommendation = list_ids.issue(actor="ana", items=["b", "a"], sources=[0, 1], now_s=time.time())
    click = {"actor": "ana", "item": "a", "recommendation": recommendation, "position": 1}
    body = [click, click, {**click, "actor": "mal"}, {**click, "position": 9}, {"actor": "ana", "item": "b"}]
    assert post(live_api, {"events": body}).json["accepted"] == 5
    assert post(live_api, click).json["accepted"] == 1
    found = Event.objects.order_by("seq").values_list("list_validity", flat=True)
    v = ListValidity
    assert list(found) == [v.VALID, v.SPENT, v.OTHER_ACTOR, v.NO_PLACE, None, v.SPENT]


def test_retries_sent_side_by_side_count_once(live_api):
    batch = {"events": [{"actor": "ana", "item": "a", "event_id": str(uuid.uuid4())} for _ in range(200)]}
    accepted = []

    def send():
        accepted.append(post(live_api, batch).json["accepted"])
        connection.close()

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(accepted) == Event.objects.count() == 200


# -- bodies -------------------------------------------------------------------------------------------------------


def test_a_gzip_body_is_unpacked(live_api):
    packed = gzip.compress(json.dumps(events(1000)).encode())
    assert post(live_api, packed, HTTP_CONTENT_ENCODING="gzip").json["accepted"] == 1000


def test_a_body_of_several_gzip_members_is_unpacked(live_api):
    raw = json.dumps(events(10)).encode()
    packed = gzip.compress(raw[:50]) + gzip.compress(raw[50:])
    assert post(live_api, packed, HTTP_CONTENT_ENCODING="gzip").json["accepted"] == 10


def test_a_gzip_bomb_is_refused_at_the_bound(live_api, settings):
    api = live_api
    settings.MAX_INFLATED_BYTES = 100_000
    bomb = gzip.compress(b"[" * 50_000_000)
    answer = post(api, bomb, HTTP_CONTENT_ENCODING="gzip")
    assert (answer.status, answer.code) == (413, "body_too_large")
    exact = json.dumps(events(10)).encode().ljust(100_000)
    assert post(api, gzip.compress(exact), HTTP_CONTENT_ENCODING="gzip").status == 202
    assert post(api, gzip.compress(exact + b" "), HTTP_CONTENT_ENCODING="gzip").status == 413


@pytest.mark.parametrize(
    "body",
    [b"not gzip", gzip.compress(b'{"actor":"ana","item":"a"}')[:-4], gzip.compress(b"")],
    ids=["plain", "cut", "empty"],  # a gzip body holds the time, which differs between workers
)
def test_a_broken_gzip_body_is_unparsable(api, body):
    answer = post(api, body, HTTP_CONTENT_ENCODING="gzip")
    assert (answer.status, answer.code) == (400, "unparsable")


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip"])
def test_another_encoding_is_refused(api, encoding):
    answer = post(api, b"{}", HTTP_CONTENT_ENCODING=encoding)
    assert (answer.status, answer.code) == (415, "unsupported_encoding")


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
def test_what_is_not_called_json_is_refused(api, kind):
    answer = post(api, b'{"actor":"ana","item":"a"}', content_type=kind)
    assert (answer.status, answer.code) == (415, "unsupported_media_type")


def test_json_with_a_charset_is_json(live_api):
    assert post(live_api, events(1), content_type="Application/JSON; charset=utf-8").status == 202


class Untouchable:
    def read(self, size=-1):
        raise AssertionError("the body was read")

    readline = read


def test_a_body_that_says_it_is_too_large_is_not_read(api):
    answer = post(api, b"x", CONTENT_LENGTH=str(100 * 2**20), **{"wsgi.input": Untouchable()})
    assert (answer.status, answer.code) == (413, "body_too_large")


def test_a_body_without_a_key_is_not_read(api):
    assert api.post("/api/v1/events", b"x", **{"wsgi.input": Untouchable()}).status == 401


def test_a_chunked_body_is_read_up_to_the_bound(live_api, settings):
    settings.MAX_BODY_BYTES = 10_000
    chunked = {"CONTENT_LENGTH": None, "HTTP_TRANSFER_ENCODING": "chunked"}
    raw = json.dumps(events(3)).encode()
    assert post(live_api, raw, **chunked).json["accepted"] == 3
    assert post(live_api, raw.ljust(10_000), **chunked).status == 202
    endless = io.BufferedReader(io.BytesIO(raw.ljust(50_000_000)))
    answer = post(live_api, raw, **chunked, **{"wsgi.input": endless})
    assert (answer.status, answer.code) == (413, "body_too_large")
    assert endless.tell() < 100_000


@pytest.mark.parametrize(
    ("status", "code", "body"),
    [
        (400, "unparsable", b"{"),
        (400, "unparsable", b""),
        (413, "too_many_events", json.dumps({"events": [{}] * 10_001}).encode()),
    ],
)
def test_a_body_that_cannot_be_answered_event_by_event_is_refused_whole(api, status, code, body):
    answer = post(api, body)
    assert (answer.status, answer.code) == (status, code)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_other_methods_are_refused(api, method):
    answer = api.call(method, "/api/v1/events", key="ingest")
    assert (answer.status, answer.code, answer.headers["allow"]) == (405, "method_not_allowed", "POST")


# -- when it is too much, or something is away --------------------------------------------------------------------


def test_past_the_backlog_limit_clients_are_told_to_wait(live_api, settings, clock):
    settings.BACKLOG_LIMIT = 100
    Learner.objects.create(shard=0, seq=event_log.last_seq())
    assert post(live_api, events(100)).status == 202
    clock.forward(ingest.BACKLOG_CHECK_EVERY_S)
    answer = post(live_api, events(1))
    assert (answer.status, answer.code) == (429, "backlog_full")
    assert int(answer.headers["retry-after"]) >= 1
    Learner.objects.update(seq=event_log.last_seq())
    clock.forward(ingest.BACKLOG_CHECK_EVERY_S)
    assert post(live_api, events(1)).status == 202


def test_a_broken_connection_costs_one_request_at_most(live_api):
    assert post(live_api, events(1)).status == 202
    with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": None}, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [connection.connection.info.backend_pid])
    first, second = post(live_api, events(1)), post(live_api, events(1))
    assert first.status in (202, 503)
    assert second.status == 202
    if first.status == 503:
        assert first.code == "unavailable"
        assert int(first.headers["retry-after"]) >= 1


@pytest.fixture
def stopped_database(live_api):
    """Lose the connection to PostgreSQL, with no server listening any more."""
    post(live_api, events(1))
    port = connection.settings_dict["PORT"], connection.settings_dict["HOST"]
    connection.close()
    connection.settings_dict.update(PORT="1", HOST="127.0.0.1")
    yield
    connection.close()
    connection.settings_dict.update(PORT=port[0], HOST=port[1])


def test_without_the_database_ingest_says_when_to_come_back_and_recovers(live_api, stopped_database):
    for _ in range(3):
        answer = post(live_api, events(1))
        assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "unavailable", "1")


def test_while_connecting_fails_it_is_not_tried_for_every_request(live_api, stopped_database, monkeypatch):
    tries = []
    backend = connections["default"]
    connect = backend.get_new_connection
    monkeypatch.setattr(backend, "get_new_connection", lambda params: (tries.append(1), connect(params))[1])
    for _ in range(50):
        assert post(live_api, events(1)).status == 503
    assert len(tries) == 1


def test_after_the_database_is_back_events_are_stored_again(live_api):
    connection.close()
    known = dict(connection.settings_dict)
    connection.settings_dict.update(PORT="1", HOST="127.0.0.1")
    try:
        assert post(live_api, events(1)).status == 503
    finally:
        connection.settings_dict.update(known)
    wait_for(lambda: not database_outage.outage.is_on)
    assert post(live_api, events(1)).status == 202
