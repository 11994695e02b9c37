"""Edit models. The API key is write-only: it goes in, and no page ever shows it again."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldBooleanSwitchWidget

from models_registry.fields import CannotDecrypt, clear_text
from models_registry.models import SelfHostedModel

USED_BY = '<div><a class="text-primary-600 dark:text-primary-500" href="{}">{}</a></div>'


class SelfHostedModelForm(forms.ModelForm):  # type: ignore[type-arg]  # generic only in the stubs
    """A model's form, with the key as a field that is always empty."""

    new_api_key = forms.CharField(
        label="API key",
        required=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
    )
    remove_api_key = forms.BooleanField(
        label="Remove the stored key", required=False, widget=UnfoldBooleanSwitchWidget
    )

    class Meta:
        model = SelfHostedModel
        fields = ("name", "state", *SelfHostedModel.COLUMNS)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["new_api_key"].help_text = (
            "A key is stored. Leave this blank to keep it."
            if self.instance.api_key
            else "No key is stored. Leave this blank if the backend wants none."
        )

    def clean(self) -> dict[str, Any] | None:
        """Put the key where it belongs; a key that cannot be read any more cannot be kept."""
        cleaned = super().clean() or self.cleaned_data
        typed, is_removed = cleaned.get("new_api_key"), cleaned.get("remove_api_key")
        if typed and is_removed:
            self.add_error("remove_api_key", "Either type a new key or remove the stored one.")
        elif typed or is_removed:
            self.instance.api_key = typed or ""
        elif not self._can_keep_key():
            self.add_error(
                "new_api_key",
                "The stored key cannot be decrypted with GATEWAY_ENCRYPTION_KEYS. "
                "Type it again or remove it.",
            )
        return cleaned

    def _can_keep_key(self) -> bool:
        try:
            clear_text(self.instance.api_key)
        except CannotDecrypt:
            return False
        return True


@admin.register(SelfHostedModel)
class SelfHostedModelAdmin(ModelAdmin):  # type: ignore[misc]  # Unfold has no types
    form = SelfHostedModelForm
    list_display = ("name", "family", "provider", "endpoint", "state", "used_by_count")
    list_filter = ("state", "family", "provider")
    search_fields = ("name", "endpoint", "identifier")
    ordering = ("name",)
    readonly_fields = ("used_by", "created_at", "updated_at")
    fieldsets = (
        ("Identity", {"fields": ("name", "family", "state")}),
        (
            "Connection",
            {
                "fields": (
                    "provider",
                    "endpoint",
                    "identifier",
                    "new_api_key",
                    "remove_api_key",
                    "ca_bundle",
                )
            },
        ),
        ("Capabilities", {"fields": ("has_native_fim", "takes_prefill", "is_reasoning")}),
        ("Limits", {"fields": ("context_window", "first_byte_s", "idle_s", "deadline_s")}),
        ("Use", {"fields": ("used_by", "created_at", "updated_at")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[SelfHostedModel]:
        rows: QuerySet[SelfHostedModel] = super().get_queryset(request)
        return rows.annotate(rule_count=Count("rules"))

    @admin.display(description="Used by", ordering="rule_count")
    def used_by_count(self, model: Any) -> str:
        return "1 rule" if model.rule_count == 1 else f"{model.rule_count} rules"

    @admin.display(description="Used by")
    def used_by(self, model: SelfHostedModel) -> SafeString | str:
        """List the rules that name this model; they keep it from being deleted."""
        rules = model.rules.select_related("group").order_by("group__path", "feature")
        links = [(reverse("admin:features_featurerule_change", args=(r.pk,)), r) for r in rules]
        return format_html_join("", USED_BY, links) or "No rule"
