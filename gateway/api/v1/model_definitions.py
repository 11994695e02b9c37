"""GET /v1/models/definitions: what GitLab's model selection may offer for which feature.

GitLab asks the vendor's cloud for its list of models; here there are our families, which GitLab
calls models too. Which model of a family serves is decided in Enclave.
Source: gateway-api.md 3.11; gitlab-client.md 1.9.
"""

from __future__ import annotations

from typing import Any

from django.http.response import HttpResponseBase
from rest_framework.request import Request

from features import catalog
from features.catalog import Feature
from gateway.api.endpoint import Endpoint
from gateway.api.responses import json_response
from models_registry.families import EMBEDDING, FAMILIES, GENERAL, Family


class ModelDefinitions(Endpoint):
    """The same for everybody, so nobody has to say who asks."""

    is_public = True

    def get(self, request: Request) -> HttpResponseBase:
        """Write the catalogs of families and features."""
        return json_response(
            {
                "models": [_model(family) for family in FAMILIES.values()],
                "unit_primitives": [
                    _feature(feature)
                    for feature in catalog.FEATURES.values()
                    if catalog.unit_primitives(feature.slug)  # those of GitLab
                ],
            }
        )


def _model(family: Family) -> dict[str, Any]:
    return {
        "name": family.label,
        "identifier": family.slug,
        "provider": None,
        "deprecation": None,
        "description": None,
        "cost_indicator": None,
    }


def _feature(feature: Feature) -> dict[str, Any]:
    families = [slug for slug in FAMILIES if catalog.fits(feature.slug, slug)]
    default = GENERAL if GENERAL in families else EMBEDDING
    return {
        "feature_setting": feature.slug,
        "default_model": default,
        "default_models": [default],
        "models_for_tags": {},
        "models_for_size_preference": {},
        "selectable_models": families,
        "beta_models": [],
        "deprecated_models": [],
        "dev": None,
        "unit_primitives": list(catalog.unit_primitives(feature.slug)),
    }
