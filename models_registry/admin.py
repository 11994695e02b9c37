"""Edit and test models; see who went through the door. A key goes in and is never shown again."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from models_registry import connection_test_page, egress_report, model_checks
from models_registry.egress_ledger import as_entry
from models_registry.forms import SelfHostedModelForm
from models_registry.models import EgressDestination, ModelCheck, SelfHostedModel
from models_registry.read_only_admin import ReadOnlyAdmin

USED_BY = '<div><a class="text-primary-600 dark:text-primary-500" href="{}">{}</a></div>'


@admin.register(SelfHostedModel)
class SelfHostedModelAdmin(ModelAdmin):  # type: ignore[misc]  # Unfold has no types
    form = SelfHostedModelForm
    change_form_after_template = "admin/models_registry/selfhostedmodel/test.html"
    list_display = (
        "name",
        "family",
        "provider_name",
        "endpoint",
        "state",
        "connection",
        "connection_since",
        "used_by_count",
    )
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
                    "ca_bundle_file",
                )
            },
        ),
        ("Capabilities", {"fields": ("has_native_fim", "takes_prefill", "is_reasoning")}),
        ("Limits", {"fields": ("context_window", "first_byte_s", "idle_s", "deadline_s")}),
        ("Use", {"fields": ("used_by", "created_at", "updated_at")}),
    )

    class Media:
        css = {"all": ("models_registry/pages.css",)}
        js = ("models_registry/connection_test.js",)

    # The list

    def get_queryset(self, request: HttpRequest) -> QuerySet[SelfHostedModel]:
        rows: QuerySet[SelfHostedModel] = super().get_queryset(request)
        checks = model_checks.ended(OuterRef("current__digest"))
        return rows.annotate(
            rule_count=Count("rules"),
            check_state=Subquery(checks.values("state")[:1]),
            check_since=Subquery(checks.values("since")[:1]),
            check_failed_step=Subquery(checks.values("failed_step")[:1]),
        )

    @admin.display(description="Provider", ordering="provider")
    def provider_name(self, model: SelfHostedModel) -> str:
        """Return the provider's label without its examples."""
        return model.get_provider_display().partition(" (")[0]

    @display(  # type: ignore[untyped-decorator]
        description="Connection",
        label={
            ModelCheck.State.PASSED: "success",
            ModelCheck.State.FAILED: "danger",
            "untested": "default",
        },
    )
    def connection(self, model: Any) -> tuple[str, str]:
        """Tell how the last test of the model, as it is now, ended."""
        if not model.check_state:
            return "untested", "not tested"
        if model.check_failed_step:
            return model.check_state, f"fails at {model.check_failed_step}"
        return model.check_state, "works"

    @admin.display(description=f"Since ({settings.TIME_ZONE})")
    def connection_since(self, model: Any) -> str:
        return _moment(model.check_since)

    @admin.display(description="Used by", ordering="rule_count")
    def used_by_count(self, model: Any) -> str:
        return "1 rule" if model.rule_count == 1 else f"{model.rule_count} rules"

    @admin.display(description="Used by")
    def used_by(self, model: SelfHostedModel) -> SafeString | str:
        """List the rules that name this model; they keep it from being deleted."""
        rules = model.rules.select_related("group").order_by("group__path", "feature")
        links = [(reverse("admin:features_featurerule_change", args=(r.pk,)), r) for r in rules]
        return format_html_join("", USED_BY, links) or "No rule"

    # One model, and its connection test

    def get_urls(self) -> list[URLPattern]:
        view = require_POST(self.admin_site.admin_view(self.test_view))
        name = "models_registry_selfhostedmodel_test"
        return [
            path("add/test/", view, name=name),
            path("<int:model_id>/test/", view, name=name),
            *super().get_urls(),
        ]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Add the last connection test, and where to start another."""
        model: SelfHostedModel | None = kwargs.get("obj")
        context |= connection_test_page.context(model, form=context["adminform"].form)
        if self._may_test(request, model):
            name = "admin:models_registry_selfhostedmodel_test"
            context["test_url"] = reverse(name, args=(model.pk,) if model else ())
        response: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return response

    def test_view(self, request: HttpRequest, model_id: int | None = None) -> HttpResponseBase:
        """Test what the form says, saved or not."""
        stored = self.get_object(request, str(model_id)) if model_id else None
        if model_id and stored is None:
            raise Http404
        if not self._may_test(request, stored):
            raise PermissionDenied
        form = self.get_form(request, stored)(request.POST, request.FILES, instance=stored)
        return connection_test_page.answer(request, form)

    def _may_test(self, request: HttpRequest, model: SelfHostedModel | None) -> bool:
        if model is None:
            return bool(self.has_add_permission(request))
        return bool(self.has_change_permission(request, model))


@admin.register(EgressDestination)
class EgressDestinationAdmin(ReadOnlyAdmin):
    list_display = (
        "destination",
        "purpose",
        "times_reached",
        "first",
        "last",
        "times_refused",
        "to_allow",
    )
    list_display_links = None  # the list says everything
    list_filter = (("purpose", ChoicesDropdownFilter),)
    list_before_template = "admin/models_registry/egressdestination/allowed.html"
    search_fields = ("host",)
    ordering = ("-refused_at", "host", "port")

    class Media:
        css = {"all": ("models_registry/pages.css",)}

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show what may be reached above what was."""
        context = {"title": "Egress", "allowed": egress_report.allowed(), **(extra_context or {})}
        response: HttpResponse = super().changelist_view(request, context)
        return response

    @admin.display(description="Destination", ordering="host")
    def destination(self, row: EgressDestination) -> str:
        return as_entry(row.host, row.port)

    @admin.display(description="Reached", ordering="reached")
    def times_reached(self, row: EgressDestination) -> str:
        return f"{row.reached:,}" if row.reached else "-"

    @admin.display(description=f"First ({settings.TIME_ZONE})", ordering="first_at")
    def first(self, row: EgressDestination) -> str:
        return _moment(row.first_at)

    @admin.display(description="Last", ordering="last_at")
    def last(self, row: EgressDestination) -> str:
        return _moment(row.last_at)

    @admin.display(description="Refused", ordering="refused_at")
    def times_refused(self, row: EgressDestination) -> str:
        return f"{row.refused}, last {_moment(row.refused_at)}" if row.refused else "-"

    @admin.display(description="To allow it")
    def to_allow(self, row: EgressDestination) -> str:
        return egress_report.to_allow(row) if row.refused else "-"


def _moment(at: datetime | None) -> str:
    return f"{timezone.localtime(at):%Y-%m-%d %H:%M}" if at else "-"
