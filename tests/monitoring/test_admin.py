"""The console's pages of decisions and messages: there to be read by whoever has a role."""

import pytest
from django.contrib import admin
from django.test import Client, RequestFactory

from monitoring import notify
from monitoring.models import Notification, Review

PAGES = ("/admin/monitoring/review/", "/admin/monitoring/notification/")


def signed_in(user):
    client = Client()
    client.force_login(user)
    return client


@pytest.mark.parametrize("role", ["viewer", "reviewer", "operator"])
def test_every_role_may_read_them(accounts, decide, role, settings):
    settings.ALERT_EMAILS = ["olga@example.com"]
    review = decide(note="hit rate fell in Germany", action="freeze")
    notify.notify(kind="freeze", title="Learning stopped")
    client = signed_in(accounts[role])
    assert "hit rate fell in Germany" in client.get(PAGES[0]).content.decode()
    assert "Learning stopped" in client.get(PAGES[1]).content.decode()
    assert review.hash in client.get(f"{PAGES[0]}{review.id}/change/").content.decode()


def test_decisions_are_searched_and_filtered(accounts, decide):
    decide(note="about Germany", action="freeze")
    decide(note="about France", action="thaw", by="api:shop")
    client = signed_in(accounts["viewer"])
    for asked in ("?q=France", "?action__exact=thaw", "?by=api%3Ashop"):
        page = client.get(PAGES[0] + asked).content.decode()
        assert "about France" in page
        assert "about Germany" not in page


@pytest.mark.parametrize("path", PAGES)
def test_who_has_no_role_may_not(accounts, path):
    accounts[""].is_staff = True
    accounts[""].save()
    assert signed_in(accounts[""]).get(path).status_code == 403
    assert Client().get(path).status_code == 302


@pytest.mark.parametrize("model", [Review, Notification])
def test_not_even_a_superuser_may_add_change_or_delete(admin_user, model):
    request = RequestFactory().get("/")
    request.user = admin_user
    page = admin.site.get_model_admin(model)
    assert page.has_view_permission(request)
    assert not page.has_add_permission(request)
    assert not page.has_change_permission(request)
    assert not page.has_delete_permission(request)
    assert not page.get_actions(request)


def test_a_forged_form_changes_nothing(admin_client, decide):
    review = decide()
    for verb in ("change", "delete"):
        answer = admin_client.post(f"/admin/monitoring/review/{review.id}/{verb}/", {"note": "other", "post": "yes"})
        assert answer.status_code == 403
    assert admin_client.post("/admin/monitoring/review/add/", {"note": "n"}).status_code == 403
    assert Review.objects.get().note == review.note
