"""Tables in the console: findings, decisions, messages, items and accounts."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminSelectWidget

from monitoring import roles
from monitoring.models import Finding, Notification, Review
from monitoring.operations import hide_item
from recommender.errors import Conflict
from recommender.intake import items as described
from recommender.models import Item

if TYPE_CHECKING:  # Unfold's classes have no types. They are Django's, and take no model in brackets at run time.
    from django.contrib.auth import forms as auth_forms
    from django.contrib.auth.forms import AdminPasswordChangeForm, UserCreationForm

    AnyModelAdmin = admin.ModelAdmin[Any]
    AccountModelAdmin = admin.ModelAdmin[User]
    DjangoUserAdmin = UserAdmin[User]
    UserChangeForm = auth_forms.UserChangeForm[User]
else:
    from unfold.admin import ModelAdmin
    from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

    AnyModelAdmin, AccountModelAdmin, DjangoUserAdmin = ModelAdmin, ModelAdmin, UserAdmin


class ReadOnlyAdmin(AnyModelAdmin):
    show_full_result_count = False
    list_per_page = 50

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Review)
class ReviewAdmin(ReadOnlyAdmin):
    list_display = ["id", "at", "action", "by", "scope", "note"]
    list_filter = ["action", ("at", admin.DateFieldListFilter), "by"]
    search_fields = ["note"]


@admin.register(Finding)
class FindingAdmin(ReadOnlyAdmin):
    list_display = ["id", "state", "kind", "severity", "title", "n_events", "n_actors", "updated_at"]
    list_filter = ["state", "kind", "severity"]
    search_fields = ["title", "item"]


@admin.register(Notification)
class NotificationAdmin(ReadOnlyAdmin):
    list_display = ["created_at", "channel", "kind", "title", "state", "attempts", "last_error"]
    list_filter = ["state", "channel", "kind"]
    search_fields = ["title"]


@admin.register(Item)
class ItemAdmin(AnyModelAdmin):
    """Describe items as the site does, and hide them as an operator does.

    An item without a description is here only while an operator hides it.
    """

    list_display = ["id", "title", "categories", "published_at", "is_hidden", "hidden_by", "n_show_attempts"]
    list_filter = ["is_hidden", ("hidden_at", admin.EmptyFieldListFilter)]
    search_fields = ["id", "title"]
    fields = ["id", "title", "url", "categories", "published_at", "changed_at"]
    readonly_fields = ["changed_at"]
    actions = ["hide", "show"]
    show_full_result_count = False
    list_per_page = 50

    def get_queryset(self, request: HttpRequest) -> QuerySet[Item]:
        items: QuerySet[Item] = super().get_queryset(request)
        return items.filter(Q(is_described=True) | Q(hidden_at__isnull=False))

    def get_readonly_fields(self, request: HttpRequest, obj: Item | None = None) -> list[str]:
        return ["id", *self.readonly_fields] if obj else self.readonly_fields

    def save_model(self, request: HttpRequest, obj: Item, form: Any, change: bool) -> None:
        obj.is_described, obj.deleted_at = True, None
        names = ["title", "url", "categories", "published_at", "is_described", "deleted_at", "changed_at"]
        obj.save(update_fields=names if change else None)

    def delete_model(self, request: HttpRequest, obj: Item) -> None:
        self._delete([obj])

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Item]) -> None:
        self._delete(queryset)

    @admin.action(description="Hide: remove from every list", permissions=["change"])
    def hide(self, request: HttpRequest, items: QuerySet[Item]) -> None:
        self._decide(request, items, is_hidden=True, note="Hidden in the list of items.", done="hidden")

    @admin.action(description="Show: allow on lists again", permissions=["change"])
    def show(self, request: HttpRequest, items: QuerySet[Item]) -> None:
        self._decide(request, items, is_hidden=False, note="Shown in the list of items.", done="shown")

    @staticmethod
    def _decide(request: HttpRequest, items: QuerySet[Item], *, is_hidden: bool, note: str, done: str) -> None:
        n_done, n_before = 0, 0
        for item in items.order_by("id"):
            try:
                hide_item.set_hidden(by=cast(User, request.user), note=note, item_id=item.id, is_hidden=is_hidden)
                n_done += 1
            except Conflict:
                n_before += 1
        before = f" {n_before} already {done}." if n_before else ""
        messages.success(request, f"{n_done} {done}.{before}")

    @staticmethod
    def _delete(items: Iterable[Item]) -> None:
        for item in items:
            if item.is_described:
                described.delete_item(item_id=item.id)


class AccountForm(UserChangeForm):
    role = forms.ChoiceField(
        choices=[("", "none"), *((role, role) for role in roles.CODENAMES)],
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text="A viewer only looks. A reviewer can also release and confirm, an operator also freeze and revert.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["role"].initial = self.role_before = roles.role_of(self.instance)


# Roles are groups, which the code makes and fills. No one edits them here.
admin.site.unregister(Group)
admin.site.unregister(User)


@admin.register(User)
class AccountAdmin(DjangoUserAdmin, AccountModelAdmin):
    """Accounts: superusers make them, give them a role, or deactivate them.

    `manage.py createsuperuser` makes the superusers.
    """

    form, add_form, change_password_form = AccountForm, UserCreationForm, AdminPasswordChangeForm
    list_display = ["username", "role", "is_active", "last_login"]
    list_filter = ["is_active"]
    search_fields = ["username", "email"]
    fieldsets = [
        (None, {"fields": ["username", "password", "email", "role", "is_active"]}),
        ("History", {"fields": ["is_superuser", "last_login", "date_joined"]}),
    ]
    readonly_fields = ["is_superuser", "last_login", "date_joined"]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse to delete accounts, because decisions name them. Deactivate them instead."""
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        accounts: QuerySet[User] = super().get_queryset(request)
        return accounts.prefetch_related("groups")

    def role(self, account: User) -> str:
        return roles.role_of(account) or "none"

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        role = form.cleaned_data.get("role", "")
        if change and role != form.role_before and not obj.is_superuser:
            roles.assign(username=obj.username, role=role, by=cast(User, request.user))
