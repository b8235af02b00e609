"""The people's side in the console: findings, decisions and messages, to be read."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from monitoring.models import Finding, Notification, Review


class ReadOnlyAdmin(ModelAdmin):
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
