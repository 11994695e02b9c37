"""ReadOnlyAdmin: a page of the admin that shows rows and changes none."""

from __future__ import annotations

from django.http import HttpRequest
from django.urls import URLPattern
from django.views.decorators.http import require_safe
from unfold.admin import ModelAdmin


class ReadOnlyAdmin(ModelAdmin):  # type: ignore[misc]  # Unfold has no types
    """Nobody adds, changes or deletes, whatever their rights."""

    actions = None
    fieldsets = ()

    def get_urls(self) -> list[URLPattern]:
        """Answer 405 to every method that could change something, before any other look."""
        urls: list[URLPattern] = super().get_urls()
        for url in urls:
            url.callback = require_safe(url.callback)
        return urls

    def has_add_permission(self, request: HttpRequest, *_: object) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False
