"""Promises of models_registry/revisions.py."""

import pytest

from models_registry import revisions
from models_registry.errors import ModelMisconfigured
from tests.factories import make_model

pytestmark = pytest.mark.django_db


class TestGet:
    def test_returns_what_the_model_was_at_that_time(self):
        model = make_model(endpoint="http://10.0.0.1/v1", api_key="old")
        before = model.current_id
        model.endpoint, model.api_key = "http://10.0.0.2/v1", "new"
        model.save()

        assert (revisions.get(before).endpoint, revisions.get(before).api_key) == (
            "http://10.0.0.1/v1",
            "old",
        )
        assert revisions.get(model.current_id).api_key == "new"

    def test_asks_the_database_once(self, django_assert_num_queries):
        model = make_model()
        revisions.get(model.current_id)

        with django_assert_num_queries(0):
            revisions.get(model.current_id)

    def test_says_that_a_revision_is_gone(self):
        with pytest.raises(ModelMisconfigured, match="gone"):
            revisions.get(999_999)
