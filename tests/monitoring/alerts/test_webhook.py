"""The webhook gets signed messages, and only a prompt success counts."""

import hashlib
import hmac
import itertools
import json
import ssl
import threading
import time
from pathlib import Path

import pytest
from django.utils import timezone

from monitoring.alerts import outbox, webhook
from tests.help.delivered_alerts import SECRET, answer, deliver, make_due, ok, only
from tests.help.patience import PATIENCE_S
from tests.help.scripted_server import closed_port, drop

CERTIFICATE = Path(__file__).with_name("loopback.pem")

pytestmark = pytest.mark.usefixtures("clock", "wall")


def test_the_webhook_gets_a_signed_post(hook, decide):
    script = hook(ok)
    review = decide()
    event_id = outbox.notify(kind="freeze", title="Learning\nstopped", facts={"lists": 3}, review=review)
    began_at = int(time.time())
    assert deliver() == (1, 0)
    [(path, body, headers)] = script.got
    assert path == "/alerts?from=test"
    told = json.loads(body)
    assert (told["id"], told["kind"], told["title"]) == (str(event_id), "freeze", "Learning stopped")
    assert (told["urgent"], told["facts"]) == (True, {"lists": 3})
    assert (told["review"]["id"], told["review"]["hash"]) == (review.id, review.hash)
    assert headers["Content-Type"] == "application/json"
    assert headers["X-Groundswell-Event"] == str(event_id)
    t, v1 = (part.partition("=")[2] for part in headers["X-Groundswell-Signature"].split(","))
    assert began_at <= int(t) <= time.time()
    assert v1 == hmac.new(SECRET.encode(), f"{t}.".encode() + body, hashlib.sha256).hexdigest()
    assert (only().state, only().attempts) == ("sent", 1)
    assert deliver() == (0, 0)
    assert len(script.got) == 1


def test_after_a_failure_the_same_event_is_sent_again(hook):
    script = hook(answer(500), ok)
    outbox.notify(kind="finding", title="A crowd")
    assert deliver() == (0, 1)
    row = only()
    assert (row.state, row.attempts, row.sent_at) == ("pending", 1, None)
    assert "500" in row.last_error
    assert row.next_at > timezone.now()
    assert deliver() == (0, 0)  # not due
    make_due()
    assert deliver() == (1, 0)
    row = only()
    assert (row.state, row.attempts, row.last_error) == ("sent", 2, "")
    assert script.got[0][1] == script.got[1][1]
    assert script.got[0][2]["X-Groundswell-Event"] == script.got[1][2]["X-Groundswell-Event"]


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_every_answer_of_success_is_one(hook, status):
    hook(answer(status))
    outbox.notify(kind="finding", title="A crowd")
    assert deliver() == (1, 0)


@pytest.mark.parametrize("status", [304, 400, 401, 404, 410, 429, 500, 503])
def test_every_other_answer_is_a_failure(hook, status):
    hook(answer(status))
    outbox.notify(kind="finding", title="A crowd")
    assert deliver() == (0, 1)
    assert str(status) in only().last_error


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(hook, status):
    script = hook(answer(status, Location="/elsewhere"))
    outbox.notify(kind="finding", title="A crowd")
    assert deliver() == (0, 1)
    assert len(script.got) == 1
    assert "Redirects are not followed" in only().last_error


def test_a_receiver_that_hangs_up_or_is_away_has_not_got_it(hook, settings):
    hook(drop)
    outbox.notify(kind="finding", title="A crowd")
    assert deliver() == (0, 1)
    settings.ALERT_WEBHOOK_URL = f"http://127.0.0.1:{closed_port()}/secret-token"
    make_due()
    assert deliver() == (0, 1)
    assert "refused" in only().last_error
    assert "secret-token" not in only().last_error


def test_a_receiver_that_stays_silent_is_given_up(hook, monkeypatch):
    monkeypatch.setattr(webhook, "TIMEOUT_S", 0.2)
    enough = threading.Event()
    hook(lambda handler: enough.wait(PATIENCE_S) and drop(handler))
    outbox.notify(kind="finding", title="A crowd")
    assert deliver() == (0, 1)
    enough.set()
    assert "no answer within 0.2 s" in only().last_error


def test_a_receiver_that_answers_a_byte_at_a_time_is_given_up(hook, monkeypatch):
    monkeypatch.setattr(webhook, "TIMEOUT_S", 0.3)
    enough = threading.Event()

    def drip(handler):
        try:
            for byte in itertools.cycle(b"HTTP/1.1 200 OK and so on"):
                handler.wfile.write(bytes([byte]))
                if enough.wait(0.05):
                    break
        except OSError:
            pass
        handler.close_connection = True

    hook(drip)
    outbox.notify(kind="finding", title="A crowd")
    assert deliver() == (0, 1)
    enough.set()
    assert "no answer within 0.3 s" in only().last_error


@pytest.fixture
def tls():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


def test_a_certificate_nobody_vouches_for_is_refused(hook, tls):
    script = hook(ok, tls=tls)
    outbox.notify(kind="finding", title="A crowd")
    assert deliver() == (0, 1)
    assert not script.got
    assert "certificate verify failed" in only().last_error


def test_a_certificate_that_is_vouched_for_is_trusted(hook, tls, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    script = hook(ok, tls=tls)
    outbox.notify(kind="finding", title="A crowd")
    assert deliver() == (1, 0)
    assert len(script.got) == 1
