"""Fixtures that every test may use; the servers behind them are started by tests/services.py."""

import os
from urllib.parse import urlsplit

import pytest
import redis
from django.conf import settings
from django.db import connection

from recommender import log
from tests.services import PRIVATE


@pytest.fixture(scope="session")
def _view_store_may_be_emptied():
    """A store that somebody named is not emptied when it holds something."""
    if "VIEW_URL" in os.environ.get(PRIVATE, "").split():
        return
    with redis.Redis.from_url(settings.VIEW_URL) as client:
        if client.dbsize():
            pytest.fail(f"The tests empty VIEW_URL, and {settings.VIEW_URL} holds data: name an empty one.")


@pytest.fixture
def view_store(_view_store_may_be_emptied):
    """A client of the store of the published view, which is empty."""
    with redis.Redis.from_url(settings.VIEW_URL) as client:
        client.flushdb()
        yield client
        client.flushdb()


@pytest.fixture
def empty_log(transactional_db):
    """The event log with its partitions and nothing in it: Django's own flush does not know unmanaged tables."""
    log.ensure_partitions()
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE recommender_event, recommender_event_key")


@pytest.fixture
def server_env(transactional_db):
    """The environment for programs a test starts: this worker's database (committed data only), broker and view."""
    url = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{connection.settings_dict['NAME']}")
    return os.environ | {"DATABASE_URL": url.geturl(), "SECRET_KEY": settings.SECRET_KEY}
