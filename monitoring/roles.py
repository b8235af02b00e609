"""Who may do what in the console: three roles, each with all that the one before it may.

    viewer    sees the console                            monitoring.view_console
    reviewer  releases and confirms what was held         monitoring.review
    operator  freezes, thaws, reverts, pins and erases    monitoring.operate

Everybody with a role reads the tables of described items, decisions and messages. An operator also describes and
hides items and makes and revokes API keys: he may stop the model anyway, and a key may no more than he. Accounts are
for superusers: whoever gives out roles could give himself any.

A role is a Django group (migrations 0002, 0006). Superusers may everything; machines come with API keys and their
scopes instead (recommender.api.api_keys). Views ask `require`.
"""

from dataclasses import dataclass
from typing import Any

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
    """Somebody who may come in; `role` is empty for none, `superuser` for one who may everything."""

    username: str
    role: str
    is_active: bool


def require(user: Any, permission: str) -> None:
    """Raises Forbidden unless an active account has one of the permissions above. Nobody logged in has none."""
    if user is None or not user.has_perm(permission):
        needed = _NEEDED.get(permission)
        raise Forbidden(
            f"This needs the role `{needed}`: manage.py roles add {getattr(user, 'username', '') or 'USER'} {needed}"
            if needed
            else f"This needs the permission {permission}."
        )


def make_groups() -> None:
    """The three groups with exactly their permissions; those of other parts that somebody added to them stay."""
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
    """Give an account one role and no other; empty: none any more. It is written down as a decision.

    The console stands in the admin, so an account with a role may log in there (`is_staff`), and one without may not
    unless it is a superuser. Raises NotFound, Invalid.
    """
    if role and role not in CODENAMES:
        raise Invalid(fields={"role": f"Roles are {', '.join(CODENAMES)}."})
    with transaction.atomic():
        user = get_user_model().objects.select_for_update().filter(username=username).first()
        if user is None:
            raise NotFound(f"No account is called {username!r}; manage.py createsuperuser and the console make them.")
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
            note=note or (f"Role of {username}: {role}." if role else f"{username} has no role any more."),
            subject={"account": username, "role": role},
        )
    return user


def list_accounts() -> list[Account]:
    """Accounts that may come into the console, by name; at most 1,000."""
    users = (
        get_user_model()
        .objects.filter(Q(groups__name__in=CODENAMES) | Q(is_superuser=True))
        .distinct()
        .order_by("username")
        .prefetch_related("groups")[:1000]
    )
    return [Account(user.username, role_of(user), user.is_active) for user in users]


def role_of(user: User) -> str:
    """The role of an account: `superuser`, one of CODENAMES, or empty."""
    if user.is_superuser:
        return "superuser"
    names = {group.name for group in user.groups.all()}
    return next((role for role in reversed(CODENAMES) if role in names), "")
