"""Promises of GET /v1/models/definitions."""

from __future__ import annotations

import pytest

from features.catalog import FEATURES
from models_registry.families import FAMILIES
from tests.gateway.api.conftest import send


@pytest.fixture
def definitions():
    return send("GET", "/v1/models/definitions").json


class TestDefinitions:
    @pytest.mark.parametrize(
        "path",
        [
            "/v1/models/definitions",
            "/v1/models%2Fdefinitions",
            "//v1/models/definitions",
            "/ai/v1/models%2Fdefinitions",
        ],
    )
    def test_are_for_everybody_and_cost_no_query(self, path):
        answer = send("GET", path)

        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")

    def test_name_our_families_and_no_model_of_a_vendor(self, definitions):
        assert [model["identifier"] for model in definitions["models"]] == list(FAMILIES)
        assert all(model["provider"] is None for model in definitions["models"])

    def test_name_every_feature_of_gitlab_and_who_may_use_it(self, definitions):
        by_feature = {each["feature_setting"]: each for each in definitions["unit_primitives"]}

        ours = ["own_clients", "own_clients_embeddings"]
        assert list(by_feature) == [slug for slug in FEATURES if slug not in ours]
        assert by_feature["code_completions"]["unit_primitives"] == ["complete_code"]
        assert by_feature["embeddings_code"]["unit_primitives"] == ["generate_embeddings_codebase"]
        assert all(each["unit_primitives"] for each in by_feature.values())

    def test_offer_only_models_that_are_defined_and_can_serve(self, definitions):
        by_feature = {each["feature_setting"]: each for each in definitions["unit_primitives"]}

        assert by_feature["embeddings_code"]["selectable_models"] == ["embedding"]
        for feature in by_feature.values():
            assert {feature["default_model"]} == set(feature["default_models"])
            assert feature["default_model"] in feature["selectable_models"]
            assert set(feature["selectable_models"]) <= set(FAMILIES)
            is_embedding = feature["feature_setting"] == "embeddings_code"
            assert ("embedding" in feature["selectable_models"]) is is_embedding

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
    def test_cannot_be_changed(self, method):
        answer = send(method, "/v1/models/definitions")

        assert (answer.status, answer.headers["allow"]) == (405, "GET")
