"""Every page of the console opens for accounts with a role, and for no one else."""

import re

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from recommender.models import Learner

PAGES = ["overview", "queue", "items", "actors", "timeline", "audit"]


def signed_in(user):
    client = Client()
    client.force_login(user)
    return client


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("role", ["viewer", "reviewer", "operator"])
def test_every_role_may_open_every_page(accounts, name, role):
    answer = signed_in(accounts[role]).get(reverse(f"console:{name}"))
    assert answer.status_code == 200
    assert "Learning:" in answer.content.decode()


@pytest.mark.parametrize("name", PAGES)
def test_who_has_no_role_may_not(accounts, name):
    accounts[""].is_staff = True
    accounts[""].save()
    address = reverse(f"console:{name}")
    assert signed_in(accounts[""]).get(address).status_code == 403
    assert Client().get(address).status_code == 302


@pytest.mark.parametrize("name", ["freeze", "thaw", "ask-revert", "pin"])
def test_a_viewer_who_forges_a_form_is_refused(accounts, name):
    answer = signed_in(accounts["viewer"]).post(reverse(f"console:{name}"), {"note": "because"})
    assert answer.status_code == 403


def test_a_form_leads_back_to_no_other_site(accounts):
    client = signed_in(accounts["operator"])
    Learner.objects.create(shard=0, state="frozen", frozen_at=timezone.now())
    answer = client.post(reverse("console:thaw"), {"note": "x", "next": "https://elsewhere.example/"})
    assert answer["Location"] == reverse("console:overview")


@pytest.mark.parametrize(
    ("address", "title"),
    [
        ("/admin/console/", "Overview"),
        ("/admin/console/findings/", "Findings"),
        ("/admin/console/items/a/b/", "Items"),
        ("/admin/console/timeline/revert", "Model"),
        ("/admin/recommender/apikey/", "API keys"),
    ],
)
def test_the_sidebar_marks_the_page_one_is_on_and_no_other(accounts, address, title):
    page = signed_in(accounts["operator"]).get(address).content.decode()
    sidebar = page.split('id="nav-sidebar-apps"')[1]
    marked = [link for link in re.findall(r"<a [^>]*>.*?</a>", sidebar, re.DOTALL) if "active" in link.split(">")[0]]
    assert len(marked) == 1, marked
    assert title in marked[0]


def test_who_signs_in_without_coming_from_a_page_sees_the_overview(accounts):
    accounts["viewer"].set_password("a long pass phrase")
    accounts["viewer"].save()
    form = {"username": accounts["viewer"].username, "password": "a long pass phrase"}
    answer = Client().post(reverse("admin:login"), form, follow=True)
    assert answer.redirect_chain[-1][0] == reverse("console:overview")
    assert answer.status_code == 200
