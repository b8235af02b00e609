"""The admin's pages of decisions and messages, for accounts with a role."""

import pytest
from django.contrib import admin
from django.test import Client, RequestFactory

from monitoring import roles
from monitoring.alerts import outbox
from monitoring.models import Notification, Review
from recommender.api import api_keys
from recommender.models import ApiKey, Item

PAGES = ("/admin/monitoring/review/", "/admin/monitoring/notification/")


def signed_in(user):
    client = Client()
    client.force_login(user)
    return client


@pytest.mark.parametrize("role", ["viewer", "reviewer", "operator"])
def test_every_role_may_read_them(accounts, decide, role, settings):
    settings.ALERT_EMAILS = ["olga@example.com"]
    review = decide(note="hit rate fell in Germany", action="freeze")
    outbox.notify(kind="freeze", title="Learning stopped")
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


def test_a_superuser_gives_an_account_a_role_and_it_is_written_down(admin_client, accounts):
    nemo = accounts[""]
    path = f"/admin/auth/user/{nemo.pk}/change/"
    assert "A viewer only looks" in admin_client.get(path).content.decode()
    answer = admin_client.post(path, {"username": "nemo", "email": "", "role": "reviewer", "is_active": "on"})
    assert answer.status_code == 302
    nemo.refresh_from_db()
    assert (roles.role_of(nemo), nemo.is_staff) == ("reviewer", True)
    assert Review.objects.first().subject == {"account": "nemo", "role": "reviewer"}
    n_written = Review.objects.count()
    admin_client.post(path, {"username": "nemo", "email": "", "role": "reviewer", "is_active": ""})
    nemo.refresh_from_db()
    assert not nemo.is_active
    assert Review.objects.count() == n_written


@pytest.mark.parametrize("role", ["viewer", "reviewer", "operator"])
def test_accounts_are_for_superusers(accounts, role):
    assert signed_in(accounts[role]).get("/admin/auth/user/").status_code == 403


def test_operators_keep_items_and_keys_and_others_only_read_items(accounts):
    Item.objects.create(id="story")
    _, secret = api_keys.make_key(name="site", scopes=["read"])
    for role in ("viewer", "reviewer"):
        client = signed_in(accounts[role])
        page = client.get("/admin/recommender/item/")
        assert "story" in page.content.decode()
        assert "Hide: take off" not in page.content.decode()
        client.post("/admin/recommender/item/", {"action": "hide", "_selected_action": ["story"]})
        assert not Item.objects.get().is_hidden_now
        assert client.post("/admin/recommender/item/story/change/", {"title": "x"}).status_code == 403
        assert client.get("/admin/recommender/apikey/").status_code == 403
        assert client.post("/admin/recommender/apikey/add/", {"name": "n", "scopes": ["read"]}).status_code == 403
    olga = signed_in(accounts["operator"])
    olga.post("/admin/recommender/item/", {"action": "hide", "_selected_action": ["story"]})
    assert Item.objects.get().is_hidden_now
    key = ApiKey.objects.get()
    assert secret not in olga.get("/admin/recommender/apikey/").content.decode()
    olga.post("/admin/recommender/apikey/", {"action": "revoke", "_selected_action": [key.pk]})
    assert ApiKey.objects.get().revoked_at
