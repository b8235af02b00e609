"""The public page shows the list to everyone, during any outage."""

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from monitoring.console import public
from recommender import database_clock
from recommender.models import Item
from tests.recommender.conftest import publish  # noqa: F401 (a fixture)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("view_store")]

PLACES = [(f"item-{n}", 2000 - 100 * n) for n in range(11)]


def look(part=""):
    answer = Client().get("/", {"part": part} if part else {})
    assert answer.status_code == 200
    return answer.content.decode()


def test_it_lists_titles_scores_and_prices_without_a_login(publish):  # noqa: F811
    Item.objects.create(id="item-0", title="Dam gives way above Marlow")
    publish({"": PLACES}, fresh=50)
    page = look()
    first = page.split("<li>")[1]
    assert "Dam gives way above Marlow" in first
    assert "2.00" in first
    assert "price: at least 21 new accounts" in first
    assert page.count("<li>") == 10
    assert "item-9" in page
    assert "item-10" not in page
    assert "</span> learning</span>" in page


def test_it_leads_to_the_console_and_the_documentation_and_says_how_to_send(publish):  # noqa: F811
    publish({"": PLACES})
    page = look()
    assert 'href="/admin/console/"' in page
    assert 'href="/api/docs/"' in page
    assert "http://testserver/api/v1/events" in page


def test_the_undefended_list_is_not_on_it(publish):  # noqa: F811
    publish({"": PLACES, "shadow": [("ring-of-accounts", 9000)]})
    assert "ring-of-accounts" not in look()


def test_before_the_first_click_it_says_how_to_make_one():
    page = look()
    assert "There are no clicks yet" in page
    assert "curl" in page


def test_while_frozen_it_says_so_and_of_when_the_list_is(publish):  # noqa: F811
    publish({"": PLACES}, state="frozen", age_s=30)
    page = look()
    assert "frozen</span> Learning is stopped" in page
    assert "<time" in page


def test_with_the_store_down_the_last_copy_is_served_with_its_age(publish, lose_store):  # noqa: F811
    publish({"": PLACES}, age_s=40)
    look()
    lose_store()
    page = look()
    assert page.count("<li>") == 10
    assert "This list is 4" in page


def test_with_the_database_down_ids_are_listed(publish, monkeypatch):  # noqa: F811
    publish({"": PLACES})

    def refuse(_):
        raise OperationalError

    monkeypatch.setattr(public, "get_titles", refuse)
    assert "item-0" in look()


def test_the_database_is_asked_for_titles_once_and_not_again(publish):  # noqa: F811
    publish({"": PLACES})
    database_clock.learn()
    with CaptureQueriesContext(connection) as first:
        look()
    with CaptureQueriesContext(connection) as again:
        look()
    assert len(first) == 1
    assert len(again) == 0


def test_titles_kept_are_bounded(publish, monkeypatch):  # noqa: F811
    monkeypatch.setattr(public, "MAX_TITLES", 15)
    for run in range(4):
        publish({"": [(f"run-{run}-{n}", 100 - n) for n in range(10)]})
        assert f"run-{run}-9" in look()
    assert len(public._titles) <= 15


def test_a_title_is_no_markup(publish):  # noqa: F811
    Item.objects.create(id="item-0", title="<script>alert(1)</script>")
    publish({"": PLACES})
    assert "<script>alert" not in look()


def test_the_poller_gets_the_list_alone(publish):  # noqa: F811
    publish({"": PLACES})
    part = look(part="1")
    assert "<html" not in part
    assert part.count("<li>") == 10
