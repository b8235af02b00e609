"""Tables in the console: findings, decisions and messages to read, and accounts."""

from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminSelectWidget

from monitoring import roles
from monitoring.models import Finding, Notification, Review

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
