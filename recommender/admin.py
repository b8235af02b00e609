"""The recommender's page in the console: API keys.

The rules are in `api.api_keys`. These forms call them. `monitoring.admin` has the page of items, because operators
decide there.
"""

from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from unfold.admin import ModelAdmin

from recommender.api import api_keys
from recommender.models import ApiKey

# Unfold's ModelAdmin has no types and is Django's. Neither takes its model in brackets at run time.
if TYPE_CHECKING:
    KeyModelAdmin = admin.ModelAdmin[ApiKey]
    KeyModelForm = forms.ModelForm[ApiKey]
else:
    KeyModelAdmin = ModelAdmin
    KeyModelForm = forms.ModelForm


class KeyForm(KeyModelForm):
    scopes = forms.MultipleChoiceField(choices=ApiKey.Scope.choices, widget=forms.CheckboxSelectMultiple)

    class Meta:
        model = ApiKey
        fields = ["name", "scopes", "rate_per_s"]


@admin.register(ApiKey)
class ApiKeyAdmin(KeyModelAdmin):
    """Make and revoke keys.

    A key is never changed or deleted, so that there is always a record of the things it was allowed to do.
    """

    form = KeyForm
    list_display = ["name", "start", "scopes", "rate_per_s", "created_at", "revoked_at"]
    list_filter = [("revoked_at", admin.EmptyFieldListFilter)]
    search_fields = ["name", "start"]
    actions = ["revoke"]

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return obj is None and super().has_change_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: ApiKey, form: KeyForm, change: bool) -> None:
        made, secret = api_keys.make_key(name=obj.name, scopes=form.cleaned_data["scopes"], rate_per_s=obj.rate_per_s)
        obj.pk, cast(Any, obj).secret = made.pk, secret

    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None) -> HttpResponse:
        """Return the page that shows the new key once.

        A redirect would have to keep the secret somewhere.
        """
        context: dict[str, Any] = self.admin_site.each_context(request) | {
            "title": f"Key of {obj.name}",
            "secret": cast(Any, obj).secret,
            "opts": self.opts,
        }
        return TemplateResponse(request, "admin/recommender/apikey/made.html", context)

    @admin.action(description="Revoke", permissions=["change"])
    def revoke(self, request: HttpRequest, chosen: QuerySet[ApiKey]) -> None:
        n_revoked = api_keys.revoke_keys(chosen=chosen)
        messages.success(request, f"{n_revoked} revoked. All web processes refuse them within ten seconds.")
