"""Edit groups, feature rules and API keys, and see how they resolve; read what was changed.

People and their roles stand at the end.
"""

from __future__ import annotations

import logging
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as DjangoRoleAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group as Role
from django.contrib.auth.models import User
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin, TabularInline
from unfold.contrib.filters.admin import DropdownFilter, RangeDateTimeFilter, TextFilter
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.views import ChangeList

from features import catalog, history, policy, snapshot
from features.models import ApiKey, FeatureRule, GitLabUser, Group, Membership, VendorRoute
from features.policy import Decision
from models_registry.changes import ConfigChange
from models_registry.read_only_admin import ReadOnlyAdmin

logger = logging.getLogger(__name__)

VENDOR_WARNING = (
    "Warning: while this is on, prompts with your source code leave your network. A call for a "
    "feature that is on, that no rule gives a model and that names none itself, goes to the vendor "
    "as GitLab sent it, with GitLab's token. Every one of them is on record."
)


class FeatureRuleInline(TabularInline):  # type: ignore[misc]  # Unfold has no types
    model = FeatureRule
    extra = 0
    hide_title = True
    fields = ("feature", "state", "is_locked", "model")
    autocomplete_fields = ("model",)


@admin.register(Group)
class GroupAdmin(ModelAdmin):  # type: ignore[misc]  # Unfold has no types
    list_display = ("path", "gitlab_id", "parent", "brought_by", "rule_count", "member_count")
    list_filter = ("source", ("gone_at", admin.EmptyFieldListFilter))
    list_select_related = ("parent",)
    search_fields = ("path", "=gitlab_id")
    ordering = ("path",)
    autocomplete_fields = ("parent",)
    inlines = (FeatureRuleInline,)
    fields = ("path", "gitlab_id", "parent", "resolution")
    readonly_fields = ("resolution",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Group]:
        rows: QuerySet[Group] = super().get_queryset(request)
        return rows.annotate(rules_total=_count(FeatureRule), members_total=_count(Membership))

    @admin.display(description="Brought by", ordering="source")
    def brought_by(self, group: Group) -> str:
        """Say who brought it, and since when that one does not know it any more."""
        gone = f", gone since {group.gone_at:%Y-%m-%d}" if group.gone_at else ""
        return f"{group.get_source_display()}{gone}"

    @admin.display(description="Rules")
    def rule_count(self, group: Any) -> int:
        return int(group.rules_total)

    @admin.display(description="Members")
    def member_count(self, group: Any) -> int:
        return int(group.members_total)

    @admin.display(description="How it resolves")
    def resolution(self, group: Group) -> SafeString | str:
        """Show for each feature what the request path would decide for this group alone."""
        if not group.pk:
            return "Save the group first."
        config = snapshot.catch_up()
        return format_html_join(
            "",
            "<details><summary>{}: {}</summary>{}</details>",
            (
                (label, _verdict(decision, config), _ladder(decision))
                for slug, label in catalog.choices()
                for decision in (policy.explain(config, feature=slug, group_ids=(group.pk,)),)
            ),
        )


@admin.register(FeatureRule)
class FeatureRuleAdmin(ModelAdmin):  # type: ignore[misc]  # Unfold has no types
    list_display = ("level", "feature", "state", "is_locked", "model", "updated_at")
    list_select_related = ("group", "model")
    list_filter = ("feature", "state", "is_locked", "model")
    search_fields = ("group__path", "model__name")
    ordering = ("group__path", "feature")
    autocomplete_fields = ("group", "model")
    fields = ("group", "feature", "state", "is_locked", "model", "effect")
    readonly_fields = ("effect",)

    @admin.display(description="Level", ordering="group__path")
    def level(self, rule: FeatureRule) -> str:
        return rule.group.path if rule.group else "Whole instance"

    @admin.display(description="How it resolves")
    def effect(self, rule: FeatureRule) -> SafeString | str:
        """Show what the request path would decide where this rule stands."""
        if not rule.pk:
            return "Save the rule first."
        config = snapshot.catch_up()
        group_ids = (rule.group_id,) if rule.group_id else ()
        decision = policy.explain(config, feature=rule.feature, group_ids=group_ids)
        return format_html("<div>{}</div>{}", _verdict(decision, config), _ladder(decision))


@admin.register(ApiKey)
class ApiKeyAdmin(ModelAdmin):  # type: ignore[misc]  # Unfold has no types
    list_display = ("name", "prefix", "group", "is_active", "expires_at", "created_at")
    list_select_related = ("group",)
    list_filter = ("is_active",)
    search_fields = ("name", "prefix", "group__path")
    ordering = ("name",)
    autocomplete_fields = ("group",)
    fields = ("name", "group", "is_active", "may_explain", "expires_at", "prefix", "created_at")
    readonly_fields = ("prefix", "created_at")

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        """Save; show the text of a new key now, for it is kept nowhere."""
        text = "" if change else obj.renew()
        super().save_model(request, obj, form, change)
        if text:
            messages.warning(request, f"Copy the API key now, it is never shown again: {text}")


@admin.register(Membership)
class MembershipAdmin(ModelAdmin):  # type: ignore[misc]  # Unfold has no types
    list_display = ("user_ref", "username", "group", "source")
    list_select_related = ("group",)
    search_fields = ("=user_ref", "group__path")
    ordering = ("pk",)
    autocomplete_fields = ("group",)
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        rows: QuerySet[Membership] = super().get_queryset(request)
        names = GitLabUser.objects.filter(user_ref=OuterRef("user_ref")).values("username")
        return rows.annotate(username=Subquery(names))

    @admin.display(description="User name")
    def username(self, membership: Any) -> str:
        return membership.username or "unknown"


class KindFilter(DropdownFilter):  # type: ignore[misc]  # Unfold has no types
    title = "what"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, str]]:
        return list(history.KINDS.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(kind=self.value()) if self.value() else queryset


class ActorFilter(TextFilter):  # type: ignore[misc]  # Unfold has no types
    title = "who"
    parameter_name = "actor"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(actor=self.value()) if self.value() else queryset


class Changes(ChangeList):  # type: ignore[misc]  # Unfold has no types
    """A page of changes, put into words together."""

    result_list: Any

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows = list(self.result_list)
        for row, words in zip(rows, history.describe(rows), strict=True):
            row.words = words
        self.result_list = rows


@admin.register(ConfigChange)
class ConfigChangeAdmin(ReadOnlyAdmin):
    """Who changed what: a list to read, which nobody edits."""

    list_display = ("changed_at", "actor", "subject", "happened", "version")
    list_display_links = None
    list_filter = (("at", RangeDateTimeFilter), ActorFilter, KindFilter)
    list_filter_submit = True
    list_per_page = 50
    list_max_show_all = 50
    ordering = ("-pk",)
    show_full_result_count = False

    def get_changelist(self, request: HttpRequest, **_: object) -> type[ChangeList]:
        return Changes

    @admin.display(description="When (UTC)", ordering="at")
    def changed_at(self, change: ConfigChange) -> str:
        return f"{change.at:%Y-%m-%d %H:%M:%S}"

    @admin.display(description="What")
    def subject(self, change: Any) -> str:
        return str(change.words.subject)

    @admin.display(description="What happened")
    def happened(self, change: Any) -> str:
        return str(change.words.happened)


@admin.register(VendorRoute)
class VendorRouteAdmin(ModelAdmin):  # type: ignore[misc]  # Unfold has no types
    """One switch. The page's history says who turned it, and when; the row says how it stands."""

    list_display = ("__str__", "leads_to", "updated_at")
    readonly_fields = ("leads_to", "updated_at")
    fieldsets = (
        (None, {"description": VENDOR_WARNING, "fields": ("is_on", "leads_to", "updated_at")}),
    )

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Lead to the switch that is there already."""
        if self.has_add_permission(request) and VendorRoute.objects.exists():
            return redirect("admin:features_vendorroute_change", 1)
        response: HttpResponse = super().add_view(request, form_url, extra_context)
        return response

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Refuse: off is off, and stays in the history."""
        return False

    def save_model(self, request: HttpRequest, obj: VendorRoute, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        facts = {"is_on": obj.is_on, "user": request.user.get_username()}
        logger.warning("vendor_route.switched", extra=facts)

    @admin.display(description="Leads to")
    def leads_to(self, route: VendorRoute) -> str:
        return settings.GATEWAY_VENDOR_ROUTE_URL or "nowhere: GATEWAY_VENDOR_ROUTE_URL is not set"


def _count(model: type[FeatureRule] | type[Membership]) -> Coalesce:
    """Return how many rows of a table a group has; joins would multiply two counts."""
    rows = model.objects.filter(group=OuterRef("pk")).order_by().values("group")
    return Coalesce(Subquery(rows.annotate(total=Count("pk")).values("total")), 0)


def _verdict(decision: Decision, config: snapshot.Snapshot) -> str:
    """Return a decision in one line."""
    if not decision.is_allowed:
        return f"off ({decision.reason})"
    if decision.model_id is None:
        last = ", else by the vendor route" if decision.is_open_to_vendor else ""
        return f"on ({decision.reason}), on the model that GitLab names{last}"
    name = config.models[decision.model_id].name
    return f"on ({decision.reason}), model '{name}' ({decision.model_source})"


def _ladder(decision: Decision) -> SafeString:
    rungs = ((step.level, step.rule, step.effect) for step in decision.ladder)
    return format_html_join("", "<div>{}: {} → {}</div>", rungs)


# People. Whatever is not registered with Unfold's class has invisible inputs.

admin.site.unregister(User)
admin.site.unregister(Role)


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ModelAdmin):  # type: ignore[misc,type-arg]  # Unfold has no types
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Role)
class RoleAdmin(DjangoRoleAdmin, ModelAdmin):  # type: ignore[misc]  # Unfold has no types
    """Django's groups, called roles here: "group" means a GitLab namespace."""

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(request, {"title": "Roles", **(extra_context or {})})
