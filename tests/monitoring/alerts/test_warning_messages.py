"""People are told of a warning when it begins, gets worse, lasts and ends."""

import pytest

from monitoring.alerts.warning_messages import OVER_AFTER, REMIND_AFTER, tell
from monitoring.models import Notification, ToldWarning
from monitoring.tasks import warn
from recommender.upkeep import server_warnings
from recommender.upkeep.database_limits import Connections
from recommender.upkeep.server_warnings import ServerFigures, ServerWarning

pytestmark = pytest.mark.django_db(transaction=True)

OVER_S = OVER_AFTER.total_seconds()
OTHER = ServerWarning("view_store", "The view store is nearly full.", False)
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


def test_people_are_told_when_it_was_missing_for_a_while(wall):
    tell([FULL])
    assert tell([]) == 0
    wall.forward(OVER_S - 1)
    assert tell([]) == 0
    wall.forward(1)
    assert [tell([]), tell([])] == [1, 0]
    assert titles()[-1] == (f"Over: {FULL.text}", False)
    assert tell([FULL]) == 1


def test_a_value_around_its_threshold_is_told_once(wall):
    urgent = ServerWarning(FULL.name, "The database is full tomorrow.", True)
    told = []
    for _ in range(60):
        told.append(tell([urgent]))
        wall.forward(OVER_S / 2)
        told.append(tell([]))
        wall.forward(OVER_S / 2)
    assert told == [1] + [0] * 119
    assert ToldWarning.objects.get().missing_since is not None


def test_a_warning_whose_figure_could_not_be_read_is_neither_seen_nor_missing(wall):
    tell([FULL, OTHER])
    for _ in range(3):
        assert tell([OTHER], lambda name: name != FULL.name) == 0
        wall.forward(OVER_S)
    assert ToldWarning.objects.get(name=FULL.name).missing_since is None
    tell([OTHER])
    wall.forward(OVER_S)
    assert tell([OTHER]) == 1
    assert titles()[-1] == (f"Over: {FULL.text}", False)


def test_the_task_tells_of_a_figure_until_it_is_read_and_quiet(monkeypatch, wall):
    figures = [ServerFigures(connections=Connections(80, 97, "the server"))]
    monkeypatch.setattr(server_warnings, "get_figures", lambda: figures[0])
    warn()
    ((told, _),) = titles()
    figures[0] = ServerFigures(unread=frozenset({"connections"}))
    for _ in range(3):
        warn()
        wall.forward(OVER_S)
    assert len(titles()) == 1
    figures[0] = ServerFigures(connections=Connections(8, 97, "the server"))
    warn()
    wall.forward(OVER_S)
    warn()
    assert titles()[1:] == [(f"Over: {told}", False)]
