"""Fixtures that receive alerts: a scripted webhook, and mail."""

import pytest
from django.core import mail

from tests.help.delivered_alerts import SECRET
from tests.help.scripted_server import Script, serving


@pytest.fixture
def hook(db, settings):
    """Return a function that scripts a receiver: hook(ok) -> Script."""
    running = []

    def hook(*acts, tls=None):
        script = Script(*acts)
        server = serving(script, tls=tls)
        settings.ALERT_WEBHOOK_URL = server.__enter__() + "/alerts?from=test"
        settings.ALERT_WEBHOOK_SECRET = SECRET
        running.append(server)
        return script

    yield hook
    for server in running:
        server.__exit__(None, None, None)


@pytest.fixture
def mailed(db, settings):
    settings.ALERT_EMAILS = ["olga@example.com", "otto@example.com"]
    return mail.outbox
