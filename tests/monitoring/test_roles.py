"""Roles: each may do what the role before it may, and no role means nothing."""

from importlib import import_module
from io import StringIO

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser, Group, Permission
from django.core.management import CommandError, call_command

from monitoring import roles
from monitoring.models import Review
from recommender.errors import Forbidden, Invalid, NotFound

PERMISSIONS = (roles.VIEW_CONSOLE, roles.REVIEW, roles.OPERATE)
MAY = {"": 0, "viewer": 1, "reviewer": 2, "operator": 3}


@pytest.fixture
def accounts(accounts):
    """All of them are there from the beginning."""
    for role in accounts.NAMES:
        accounts[role]
    return accounts


def may(user, permission):
    try:
        roles.require(user, permission)
    except Forbidden:
        return False
    return True


@pytest.mark.parametrize(("role", "n"), MAY.items())
def test_each_role_may_what_the_one_before_it_may_and_one_thing_more(accounts, role, n):
    assert [may(accounts[role], each) for each in PERMISSIONS] == [i < n for i in range(3)]
    assert accounts[role].is_staff == bool(role)


def test_nobody_and_the_deactivated_may_nothing_and_a_superuser_everything(accounts):
    accounts["operator"].is_active = False
    for user in (None, AnonymousUser(), accounts["operator"]):
        assert not any(may(user, each) for each in PERMISSIONS)
    root = get_user_model().objects.create_superuser("root")
    assert all(may(root, each) for each in PERMISSIONS)


def test_who_may_not_is_told_what_it_takes(accounts):
    with pytest.raises(Forbidden, match="roles add rita operator"):
        roles.require(accounts["reviewer"], roles.OPERATE)


def test_the_migration_made_the_groups_as_the_code_would(db):
    def made():
        return {group.name: {*group.permissions.values_list("codename", flat=True)} for group in Group.objects.all()}

    Group.objects.all().delete()
    import_module("monitoring.migrations.0002_roles").make_roles(apps, None)
    import_module("monitoring.migrations.0006_tables").give(apps, None)
    migrated = made()
    assert migrated == {role: set(codenames) for role, codenames in roles.CODENAMES.items()}
    roles.make_groups()
    assert made() == migrated


def test_making_the_groups_again_takes_what_they_should_not_have_and_leaves_the_rest(db):
    roles.make_groups()
    viewer = Group.objects.get(name="viewer")
    foreign = Permission.objects.get(codename="delete_item")
    viewer.permissions.add(Permission.objects.get(codename="operate"), foreign)
    roles.make_groups()
    assert {*viewer.permissions.values_list("codename", flat=True)} == {*roles.CODENAMES["viewer"], "delete_item"}


def test_a_role_replaces_the_one_before_and_is_written_down(accounts):
    roles.assign(username="otto", role="viewer", by="shell:root", note="left the team")
    otto = get_user_model().objects.get(username="otto")
    assert [group.name for group in otto.groups.all()] == ["viewer"]
    review = Review.objects.first()
    assert (review.action, review.by, review.note) == ("settings", "shell:root", "left the team")
    assert review.subject == {"account": "otto", "role": "viewer"}


def test_without_a_role_nobody_comes_into_the_console_but_a_superuser(accounts):
    roles.assign(username="otto", role="", by="policy")
    otto = get_user_model().objects.get(username="otto")
    assert not otto.is_staff
    assert not may(otto, roles.VIEW_CONSOLE)
    get_user_model().objects.create_superuser("root")
    roles.assign(username="root", role="", by="policy")
    assert get_user_model().objects.get(username="root").is_staff


def test_unknown_accounts_and_roles_are_refused(accounts):
    with pytest.raises(NotFound):
        roles.assign(username="nobody", role="viewer", by="policy")
    with pytest.raises(Invalid):
        roles.assign(username="otto", role="king", by="policy")


def test_the_command_gives_lists_and_takes_roles(accounts):
    def run(*arguments):
        out = StringIO()
        call_command("roles", *arguments, stdout=out)
        return out.getvalue()

    assert run("add", "nemo", "reviewer") == "nemo: reviewer\n"
    assert run("list").splitlines() == [
        "reviewer   nemo",
        "operator   otto",
        "reviewer   rita",
        "viewer     vera",
    ]
    assert run("remove", "nemo") == "nemo: no role\n"
    assert "nemo" not in run("list")
    assert Review.objects.first().by.startswith("shell:")
    with pytest.raises(CommandError, match="no account"):
        run("add", "nobody", "viewer")


@pytest.mark.django_db(transaction=True)
def test_roles_can_be_given_where_the_groups_are_gone():
    Group.objects.all().delete()
    get_user_model().objects.create_user("vera")
    roles.assign(username="vera", role="viewer", by="policy")
    assert may(get_user_model().objects.get(username="vera"), roles.VIEW_CONSOLE)
