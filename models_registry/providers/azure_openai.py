"""Azure OpenAI: OpenAI's wire format at a path of each deployment, with a key header of its own.

The identifier is the deployment's name. The data plane lists no deployments.
Source: gateway-api.md 4.3; Azure OpenAI REST API reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from django.conf import settings

from models_registry.errors import BackendNotFound, ModelError
from models_registry.providers.base import DUMMY_KEY, Request, endpoint_of
from models_registry.providers.names import served_name
from models_registry.providers.openai_compatible import OpenAICompatible
from models_registry.providers.types import ModelConfig


class AzureOpenAI(OpenAICompatible):
    """Below /openai/deployments/<name>; everything else as OpenAI has it."""

    label = "Azure OpenAI"

    def request(self, path: str, model: ModelConfig, body: dict[str, Any] | None) -> Request:
        deployment = quote(served_name(model), safe="")
        version = quote(settings.GATEWAY_AZURE_API_VERSION, safe="")
        return Request(
            url=f"{endpoint_of(model)}/openai/deployments/{deployment}/{path}?api-version={version}",
            headers={"api-key": model.api_key or DUMMY_KEY},
            body=body,
        )

    def build_list(self, model: ModelConfig) -> None:
        return None

    def refusal(self, status: int, text: str, headers: Mapping[str, str]) -> ModelError:
        if status == 404:
            return BackendNotFound(
                "Azure knows no deployment of this name (HTTP 404). The endpoint is that of the"
                " resource, without a path; the identifier is the deployment's name.",
                status=status,
                reason="no_deployment",
            )
        return super().refusal(status, text, headers)
