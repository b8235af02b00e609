"""Tests of the content security policy and of the other headers of the pages."""

import os
import re

import pytest
from django.apps import apps
from django.contrib.staticfiles import finders
from django.test import Client
from unfold.settings import CONFIG_DEFAULTS

from config.csp import ADMIN_POLICY, POLICY

PUBLIC = ["/", "/api/docs/", "/api/docs/?script=", "/api/schema/", "/no-such-page"]
ADMIN = ["/admin/login/", "/admin/console/", "/admin/no-such-page", "/static/console/console.css"]


@pytest.mark.parametrize("path", PUBLIC + ADMIN)
def test_every_answer_has_the_policy_and_the_other_headers(client, db, path):
    answer = client.get(path)
    policy = answer["Content-Security-Policy"]
    assert policy == (ADMIN_POLICY if path.startswith("/admin/") else POLICY)
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Referrer-Policy"] == "same-origin"
    assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
    answer.close()


def test_nothing_written_into_a_page_may_run_and_only_the_admin_evaluates():
    assert "'unsafe-inline'" not in POLICY + ADMIN_POLICY
    assert "'unsafe-eval'" not in POLICY
    assert "https:" not in POLICY + ADMIN_POLICY
    assert ADMIN_POLICY.replace(" 'unsafe-eval'", "") == POLICY
    for needed in ("frame-ancestors 'none'", "base-uri 'none'", "object-src 'none'", "form-action 'self'"):
        assert needed in POLICY


@pytest.mark.parametrize("path", ["/", "/api/docs/", "/admin/login/"])
def test_pages_have_no_script_or_style_in_them(client, db, path):
    page = client.get(path).content.decode()
    assert not re.findall(r"<style|<script(?![^>]*(?:src=|application/json))|\sstyle=|\son\w+=", page)


def test_our_templates_have_no_script_or_style_in_them():
    folder = apps.get_app_config("monitoring").path
    for name in os.listdir(f"{folder}/templates/console"):
        with open(f"{folder}/templates/console/{name}") as file:
            found = re.findall(r"<style|<script(?![^>]*src=)|\sstyle=|\son\w+=\"", file.read())
        assert not found, name


def test_the_theme_s_colours_are_all_in_our_file():
    """Compare our colours with the theme's: if an update adds one, add it to our file."""
    with open(finders.find("console/theme.css")) as file:
        ours = set(re.findall(r"--color-([\w-]+):", file.read()))
    assert ours == {f"{name}-{weight}" for name, weights in CONFIG_DEFAULTS["COLORS"].items() for weight in weights}


def test_forms_need_a_token_and_cookies_stay_with_us(db, admin_user):
    client = Client(enforce_csrf_checks=True)
    page = client.get("/admin/login/")
    cookie = page.cookies["csrftoken"]
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")
    account = {"username": "admin", "password": "password"}
    assert client.post("/admin/login/", account).status_code == 403
    session = client.post("/admin/login/", account | {"csrfmiddlewaretoken": cookie.value}).cookies["sessionid"]
    assert (session["httponly"], session["samesite"]) == (True, "Lax")
    for path in (
        "timeline/freeze",
        "timeline/thaw",
        "timeline/revert",
        "timeline/pin",
        "findings/decide",
        "findings/undo",
    ):
        assert client.post(f"/admin/console/{path}", {"note": "because"}).status_code == 403, path
