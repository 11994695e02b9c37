"""The list's filters: what one can type and choose. What they mean stands in `criteria`.

None looks its choices up in the log. To add one, add a field to `Criteria`, a class here, and its
name to FILTERS.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from django.http import HttpRequest
from unfold.contrib.filters.admin import (
    DropdownFilter,
    RangeDateTimeFilter,
    RangeNumericListFilter,
    TextFilter,
)

from features.catalog import FEATURES
from gateway.audit.causes import CAUSES
from gateway.audit.models import CallerKind, State


class Choice(DropdownFilter):  # type: ignore[misc]  # Unfold has no types
    """One of a few values that the code knows."""

    offered: ClassVar[Iterable[tuple[str, str]]]

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, str]]:
        return list(self.offered)


class Text(TextFilter):  # type: ignore[misc]  # Unfold has no types
    """A text that has to be equal."""


class Range(RangeNumericListFilter):  # type: ignore[misc]  # Unfold has no types
    """From and to, both included."""


class StateFilter(Choice):
    title, parameter_name = "outcome", "state"
    offered = State.choices


class CauseFilter(Choice):
    title, parameter_name = "cause", "cause"
    offered = tuple((code, code) for code in sorted(CAUSES))


class FeatureFilter(Choice):
    title, parameter_name = "feature", "feature"
    offered = tuple((feature.slug, feature.label) for feature in FEATURES.values())


class KindFilter(Choice):
    title, parameter_name = "kind of caller", "kind"
    offered = CallerKind.choices


class UserFilter(Text):
    title, parameter_name = "user (GitLab's id, or global id)", "user"


class KeyFilter(Text):
    title, parameter_name = "API key (name)", "key"


class GroupFilter(Text):
    title, parameter_name = "group (with / at its end: and those below)", "group"


class ModelFilter(Text):
    title, parameter_name = "model (name)", "model"


class RouteFilter(Text):
    title, parameter_name = "route (such as /v2/code/completions)", "endpoint"


class DurationFilter(Range):
    title, parameter_name = "total time in ms", "ms"


class TokensFilter(Range):
    title, parameter_name = "tokens, prompt and answer", "tokens"


FILTERS: tuple[Any, ...] = (
    ("opened_at", RangeDateTimeFilter),
    StateFilter,
    CauseFilter,
    FeatureFilter,
    GroupFilter,
    UserFilter,
    KeyFilter,
    ModelFilter,
    KindFilter,
    RouteFilter,
    DurationFilter,
    TokensFilter,
)
