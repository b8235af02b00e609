"""People are told of a warning when it begins, gets worse, lasts and ends."""

import pytest

from monitoring.alerts.warning_messages import REMIND_AFTER, tell
from monitoring.models import Notification, ToldWarning
from monitoring.tasks import warn
from recommender.upkeep import server_warnings
from recommender.upkeep.server_warnings import ServerWarning

pytestmark = pytest.mark.django_db(transaction=True)

FULL = ServerWarning("database_space", "The database is nearly full. Give it more space.", False)


@pytest.fixture(autouse=True)
def _someone_listens(settings):
    settings.ALERT_WEBHOOK_URL = "http://127.0.0.1:1/"
    settings.ALERT_WEBHOOK_SECRET = "a secret of sixteen"


def titles():
    return list(Notification.objects.order_by("id").values_list("title", "is_urgent"))


def test_a_warning_is_told_once_and_again_after_a_day(wall, caplog):
    assert [tell([FULL]) for _ in range(3)] == [1, 0, 0]
    assert titles() == [(FULL.text, False)]
    assert FULL.text in caplog.text
    wall.forward(REMIND_AFTER.total_seconds())
    assert tell([FULL]) == 1
    assert ToldWarning.objects.get().began_at < ToldWarning.objects.get().told_at


def test_a_warning_that_becomes_urgent_is_told_at_once():
    worse = ServerWarning(FULL.name, "The database is full tomorrow.", True)
    tell([FULL])
    assert [tell([worse]), tell([worse]), tell([FULL])] == [1, 0, 0]
    assert titles()[-1] == (worse.text, True)


def test_people_are_told_when_it_is_over():
    tell([FULL])
    assert [tell([]), tell([])] == [1, 0]
    assert titles()[-1] == (f"Over: {FULL.text}", False)
    assert tell([FULL]) == 1


def test_the_task_tells(monkeypatch):
    monkeypatch.setattr(server_warnings, "list_warnings", lambda: [FULL])
    warn()
    assert titles() == [(FULL.text, False)]
