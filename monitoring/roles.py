"""The three roles of the console. Each may do all that the role before it may.

    viewer    sees the console                            monitoring.view_console
    reviewer  releases and confirms held events           monitoring.review
    operator  freezes, thaws, reverts, pins and erases    monitoring.operate

Every role may read the tables of described items, decisions and messages. An operator may also describe and hide
items, and make and revoke API keys. This gives him nothing new: he may stop the model anyway, and a key may do no
more than he. Only superusers manage accounts, because anyone who gives out roles could give himself any role.

A role is a Django group (migrations 0002, 0006). Superusers may do everything. Programs use API keys with scopes
instead (recommender.api.api_keys). Views call `require`.
"""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission, User
from django.db import transaction
from django.db.models import Q

from monitoring.audit import reviews
from monitoring.models import Review
from recommender.errors import Forbidden, Invalid, NotFound

VIEW_CONSOLE = "monitoring.view_console"
REVIEW = "monitoring.review"
OPERATE = "monitoring.operate"

VIEWER, REVIEWER, OPERATOR = "viewer", "reviewer", "operator"
_SEES = ("view_console", "view_review", "view_notification", "view_item")
_KEEPS = ("add_item", "change_item", "view_apikey", "add_apikey", "change_apikey")
CODENAMES: dict[str, tuple[str, ...]] = {
    VIEWER: _SEES,
    REVIEWER: (*_SEES, "review"),
    OPERATOR: (*_SEES, "review", "operate", *_KEEPS),
}
_NEEDED = {VIEW_CONSOLE: VIEWER, REVIEW: REVIEWER, OPERATE: OPERATOR}


@dataclass(frozen=True, slots=True)
class Account:
    """An account of the console.

    role: empty for none, `superuser` for one that may do everything.
    """

    username: str
    role: str
    is_active: bool


def require(user: Any, permission: str) -> None:
    """Raise Forbidden unless an active account has one of the permissions above.

    A request without a login has none.
    """
    if user is None or not user.has_perm(permission):
        needed = _NEEDED.get(permission)
        raise Forbidden(
            f"You need the role `{needed}` for this. An administrator can give it to you:"
            f" {settings.COMMAND} roles add {getattr(user, 'username', '') or 'USER'} {needed}"
            if needed
            else f"You need the permission {permission} for this."
        )


def make_groups() -> None:
    """Make the three groups with exactly their permissions.

    Permissions of other apps that someone added to a group stay.
    """
    with transaction.atomic():
        ours = Permission.objects.filter(
            content_type__app_label__in=("monitoring", "recommender"),
            codename__in={name for names in CODENAMES.values() for name in names},
        )
        for role, codenames in CODENAMES.items():
            group, _ = Group.objects.get_or_create(name=role)
            group.permissions.remove(*ours.exclude(codename__in=codenames))
            group.permissions.add(*ours.filter(codename__in=codenames))


def assign(*, username: str, role: str, by: reviews.By, note: str = "") -> User:
    """Give an account one role and no other, or none if the role is empty.

    This is recorded as a decision. The console is part of the admin, so an account with a role may log in there
    (`is_staff`). An account without one may not, unless it is a superuser. Raises NotFound, Invalid.
    """
    if role and role not in CODENAMES:
        raise Invalid(fields={"role": f"Choose one of {', '.join(CODENAMES)}."})
    with transaction.atomic():
        user = get_user_model().objects.select_for_update().filter(username=username).first()
        if user is None:
            raise NotFound(
                f"There is no account {username!r}. Make it in the console, or with"
                f" {settings.COMMAND} createsuperuser."
            )
        if role:
            make_groups()
        user.groups.remove(*Group.objects.filter(name__in=CODENAMES))
        if role:
            user.groups.add(Group.objects.get(name=role))
        user.is_staff = bool(role) or user.is_superuser
        user.save(update_fields=["is_staff"])
        reviews.record(
            by=by,
            action=Review.Action.SETTINGS,
            note=note or (f"Role of {username}: {role}." if role else f"{username} no longer has a role."),
            subject={"account": username, "role": role},
        )
    return user


def list_accounts() -> list[Account]:
    """List the accounts that may use the console, by name, at most 1,000."""
    users = (
        get_user_model()
        .objects.filter(Q(groups__name__in=CODENAMES) | Q(is_superuser=True))
        .distinct()
        .order_by("username")
        .prefetch_related("groups")[:1000]
    )
    return [Account(user.username, role_of(user), user.is_active) for user in users]


def role_of(user: User) -> str:
    """Return the role of an account: `superuser`, one of CODENAMES, or empty."""
    if user.is_superuser:
        return "superuser"
    names = {group.name for group in user.groups.all()}
    return next((role for role in reversed(CODENAMES) if role in names), "")
