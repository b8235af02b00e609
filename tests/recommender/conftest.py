"""Fixtures that call the API as a client does.

They call the real WSGI application without a server. `api` has one key per scope.
"""

import io
import json
import time
from contextlib import contextmanager, nullcontext
from urllib.parse import unquote_to_bytes

import msgspec
import pytest
import redis
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, connection

from recommender.api import api_keys
from recommender.core import checkpoint, checkpoint_reader
from recommender.learning.checkpoints.retention_tiers import Tier
from recommender.publishing import excerpt, published_boards
from recommender.publishing.published_boards import BOARDS, HEAD, Head, PublishedBoard

SECRETS = {scope: f"key-of-a-client-that-may-{scope}" for scope in ("ingest", "read", "admin")}


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, {name.lower(): value for name, value in headers}, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        """Return the code of an error."""
        return self.json["error"]["code"]


@contextmanager
def _without_closing_connections():
    """Keep the end of a request from closing the test's database connection."""
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    yield
    for signal in signals:
        signal.connect(close_old_connections)


class Api:
    """A client of the application.

    api.get(path, key="read")
    api.post(path, {...}, key="ingest")
    """

    def call(self, method, path, body=None, *, key=None, secret=None, content_type="application/json", **environ):
        from config.wsgi import application

        path, _, query = path.partition("?")
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        secret = secret or SECRETS.get(key)
        request = {
            "REQUEST_METHOD": method,
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": "localhost",
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(raw),
            "wsgi.errors": io.StringIO(),
            **({} if body is None else {"CONTENT_TYPE": content_type, "CONTENT_LENGTH": str(len(raw))}),
            **({"HTTP_AUTHORIZATION": f"Bearer {secret}"} if secret else {}),
            **environ,
        }
        with _without_closing_connections() if connection.in_atomic_block else nullcontext():
            return self._answer(application, request)

    @staticmethod
    def _answer(application, request):
        started = []
        response = application(
            {name: value for name, value in request.items() if value is not None},
            lambda status, headers: started.append((int(status.split()[0]), headers)),
        )
        answer = Answer(*started[0], b"".join(response))
        response.close()
        return answer

    def get(self, path, **more):
        return self.call("GET", path, **more)

    def post(self, path, body, **more):
        return self.call("POST", path, body, **more)

    def put(self, path, body, **more):
        return self.call("PUT", path, body, **more)

    def patch(self, path, body, **more):
        return self.call("PATCH", path, body, **more)

    def delete(self, path, **more):
        return self.call("DELETE", path, **more)


@pytest.fixture
def anonymous(db):
    """Return a client of the API for which no key was made."""
    return Api()


@pytest.fixture
def api(anonymous):
    """Return a client of the API with one key per scope."""
    for scope, secret in SECRETS.items():
        api_keys.make_key(name=f"the {scope} client", scopes=[scope], secret=secret)
    return anonymous


@pytest.fixture
def live_api(empty_log, api):
    """Return the same client where commits are real and the log is empty."""
    return api


@pytest.fixture
def publish(view_store, clock):
    """Publish boards as the learner does: publish({"": [("item", count), ...]})."""

    def publish(boards, *, unit=1000, fresh=None, age_s=0.0, state="learning", checkpoint=7, version=None, **more):
        version = version or time.time_ns() // 1000
        packed = {
            scope: msgspec.msgpack.encode(
                PublishedBoard(
                    version, [name for name, _ in places], [n for _, n in places], unit, fresh or unit, **more
                )
            )
            for scope, places in boards.items()
        }
        view_store.delete(BOARDS)
        view_store.hset(BOARDS, mapping=packed)
        view_store.set(HEAD, msgspec.msgpack.encode(Head(version, time.time() - age_s, state, checkpoint)))
        clock.forward(published_boards.POLL_EVERY_S)
        return version

    return publish


@pytest.fixture
def lose_store(view_store, clock):
    """Yield lose_store(), which makes the view store refuse all calls.

    It also moves the clock on, so that every poll of the store is due.
    """

    def refuse(*arguments, **more):
        raise redis.ConnectionError("gone")

    with pytest.MonkeyPatch.context() as patch:

        def lose():
            patch.setattr(redis.Redis, "execute_command", refuse)
            clock.forward(max(published_boards.POLL_EVERY_S, excerpt.POLL_EVERY_S))

        yield lose


@pytest.fixture
def fresh_process(settings, clock):
    """Set up a learner that publishes and keeps a checkpoint after every step.

    No time limits apply, and no policy is evaluated.
    """
    settings.AFTER_STEP = ""
    settings.CANARY_SHARE = 0.0
    settings.PUBLISH_EVERY_S = 0.0
    settings.CHECKPOINT_SCHEDULE = (Tier(1e-5, 3600),)
    settings.CHECKPOINT_EVERY_S = 0.0


@pytest.fixture
def small_pieces(monkeypatch):
    """Cut states into pieces of at most 1 KB.

    So a small state has many pieces, and some of them stay the same from step to step.
    """
    monkeypatch.setattr(checkpoint, "PIECE_BYTES", 1024)
    for each in (checkpoint, checkpoint_reader):
        monkeypatch.setattr(each, "PACKED_BYTES", 256)
