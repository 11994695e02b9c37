"""Tests for models_registry/read_only_admin.py; the pages made with it have their own."""

from __future__ import annotations

import pytest
from django.urls import reverse

from models_registry.models import EgressDestination

LIST = "admin:models_registry_egressdestination_changelist"
ROW = "admin:models_registry_egressdestination_{}"


class TestReadOnlyAdmin:
    @pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
    def test_answers_405_to_what_could_change_something(self, admin, method):
        row = EgressDestination.objects.create(host="10.0.0.1", port=80, purpose="model")
        urls = [
            reverse(LIST),
            reverse(ROW.format("add")),
            *(reverse(ROW.format(page), args=(row.pk,)) for page in ("change", "delete")),
        ]

        statuses = {getattr(admin, method)(url).status_code for url in urls}

        assert statuses == {405}
        assert EgressDestination.objects.count() == 1

    @pytest.mark.parametrize("page", ["add", "delete"])
    def test_shows_no_form_that_would_not_work(self, admin, page):
        row = EgressDestination.objects.create(host="10.0.0.1", port=80, purpose="model")
        args = () if page == "add" else (row.pk,)

        assert admin.get(reverse(ROW.format(page), args=args)).status_code == 403
