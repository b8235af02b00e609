"""Fixtures that every test may use.

tests/help/private_servers.py starts the servers behind them.
"""

import os
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
import redis
from django.conf import settings
from django.db import connection
from django.test import TransactionTestCase, override_settings
from django.utils import timezone
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from recommender import database_clock
from recommender.log import origin
from recommender.log.partitions import PARTITIONS_AHEAD, drop_before, ensure_partitions, partitions
from recommender.process_state import clock as process_clock
from recommender.process_state import forget_all
from tests.help import emptied_tables
from tests.help.held_clock import HeldClock, HeldWallClock
from tests.help.patience import PATIENCE_S
from tests.help.private_servers import PRIVATE

# No test asserts a time. An example that compiles a loop, or runs on a busy machine, takes seconds.
hypothesis_settings.register_profile("groundswell", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("groundswell")

# Time limits of the product that a slow machine could pass in a test. Every test gives them PATIENCE_S.
settings.DATABASES["default"]["OPTIONS"]["connect_timeout"] = int(PATIENCE_S)
PATIENT = (
    "monitoring.alerts.outbox.RUN_S",
    "monitoring.alerts.webhook.TIMEOUT_S",
    "monitoring.findings.collect_findings.RUN_S",
    "recommender.api.health.BROKER_TIMEOUT_S",
    "recommender.api.rate_limits.STORE_TIMEOUT_S",
    "recommender.lab.demo.stage.ALIVE_S",
    "recommender.lab.demo.stage.CUE_S",
    "recommender.publishing.published_boards.STORE_TIMEOUT_S",
)

# Each takes a minute or more. If one began last, it would keep one worker busy alone at the end. Longest first.
SLOW = (
    "tests/browser/test_console.py",
    "tests/test_journey.py",
    "tests/recommender/lab/test_replay.py",
    "tests/recommender/core/screen/test_crowds.py",
    "tests/recommender/core/trend/test_place_prices.py",
    "tests/test_stop_switch.py",
    "tests/recommender/core/screen/test_screen.py",
    "tests/recommender/lab/attack/trials/test_single_run.py",
    "tests/monitoring/rehearsals/test_incident.py",
    "tests/monitoring/findings/test_collect_findings.py",
    "tests/recommender/learning/test_histories.py",
    "tests/monitoring/console/test_finding_page.py",
    "tests/recommender/learning/test_old_state.py",
    "tests/recommender/batch/test_challenger_trial.py",
    "tests/recommender/core/test_decisions.py",
    "tests/recommender/batch/test_compare.py",
    "tests/recommender/core/test_pipeline.py",
)


def pytest_collection_modifyitems(items):
    """Put slow files first.

    With `--no-loadscope-reorder`, pytest-xdist hands the files out in this order.
    """
    items.sort(key=lambda item: SLOW.index(name) if (name := item.nodeid.split("::")[0]) in SLOW else len(SLOW))


@pytest.fixture(scope="session", autouse=True)
def _only_filled_tables_are_emptied():
    """Replace Django's flush, which would cost more than most tests that commit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda _case: emptied_tables.empty_all())
        yield


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup, django_db_blocker):
    """Recognise the server of the tests' database.

    A test inside a transaction could not do it.
    """
    with django_db_blocker.unblock():
        origin.current()


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_given_up_within_moments():
    with pytest.MonkeyPatch.context() as patch:
        for name in PATIENT:
            patch.setattr(name, int(PATIENCE_S))
        yield


@pytest.fixture(scope="session", autouse=True)
def _importing_the_web_server_needs_no_database():
    """Leave out the comparison of the secret at the start of a web process.

    It would close the test's connection.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recommender.log.id_secret.check_at_start", lambda: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _passwords_are_hashed_at_once():
    """Hash passwords at once. The product's hasher takes half a second by design."""
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"]):
        yield


@pytest.fixture(autouse=True)
def _a_process_that_remembers_nothing():
    """Empty the process's memory, so that each test begins as a new process does."""
    forget_all()
    yield
    forget_all()


@pytest.fixture(autouse=True)
def _checkpoints_are_there_at_once(settings):
    """Let a learner in this process write its checkpoints itself.

    Tests of the forked process switch it on.
    """
    settings.CHECKPOINT_FORK = False


@pytest.fixture
def clock(monkeypatch):
    """Stop the process's clock until the test moves it.

    `clock.forward(10)` lets ten seconds pass.
    """
    held = HeldClock()
    monkeypatch.setattr(process_clock, "read", held)
    return held


@pytest.fixture
def wall(monkeypatch):
    """Hold the time of day, of Django and of the database as this process knows it.

    `wall.forward(10)` lets ten seconds pass. Inside the database, now() goes on.
    """
    held = HeldWallClock(timezone.now())
    monkeypatch.setattr(timezone, "now", held)
    monkeypatch.setattr(database_clock, "now", held)
    monkeypatch.setattr(database_clock, "unix_s", lambda: held().timestamp())
    return held


@pytest.fixture(scope="session")
def _view_store_may_be_emptied():
    """Fail if a store that VIEW_URL names holds data, because tests empty it."""
    if "VIEW_URL" in os.environ.get(PRIVATE, "").split():
        return
    with redis.Redis.from_url(settings.VIEW_URL) as client:
        if client.dbsize():
            pytest.fail(f"The tests empty VIEW_URL, and {settings.VIEW_URL} holds data. Name an empty store.")


@pytest.fixture
def view_store(_view_store_may_be_emptied):
    """Yield a client of the store of the published boards, which is empty."""
    with redis.Redis.from_url(settings.VIEW_URL) as client:
        client.flushdb()
        yield client
        client.flushdb()


@pytest.fixture(autouse=True)
def _decisions_end_with_their_test(request):
    """Empty the decisions after a test that commits.

    Decisions refuse to be deleted, so Django's flush leaves them alone.
    """
    marker = request.node.get_closest_marker("django_db")
    commits = {"transactional_db", "live_server"} & set(request.fixturenames)
    if not commits and not (marker and marker.kwargs.get("transaction")):
        yield
        return
    request.getfixturevalue("transactional_db")
    yield
    emptied_tables.empty_reviews()


@pytest.fixture
def empty_log(transactional_db):
    """Empty the event log and make today's partitions.

    Django's own flush does not know unmanaged tables.
    """
    today = datetime.now(UTC).date()
    days = [today + timedelta(days=offset) for offset in range(-1, PARTITIONS_AHEAD + 1)]
    if partitions() != days:
        drop_before(days[0])
        ensure_partitions(today=today)
    emptied_tables.empty_log()


@pytest.fixture
def server_env(transactional_db):
    """Return the environment for programs that a test starts.

    It has this worker's database (committed data only), the broker and the view store.
    """
    url = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{connection.settings_dict['NAME']}")
    return os.environ | {"DATABASE_URL": url.geturl(), "SECRET_KEY": settings.SECRET_KEY}
