"""POST /v1/embeddings/code_embeddings, …/index and …/search: texts in, vectors out.

Source: gateway-api.md 3.10; gitlab-client.md 1.9.
"""

from __future__ import annotations

from typing import Annotated

from django.http.response import HttpResponseBase
from pydantic import Field, ValidationError
from rest_framework.request import Request

from features import catalog
from gateway.api import wire
from gateway.api.embedding_calls import Dimensions, embed
from gateway.api.endpoint import Endpoint, get_caller
from gateway.api.errors import Forbidden
from gateway.api.model_fields import ModelMetadata
from gateway.api.responses import json_response
from gateway.calls import NamedModel
from models_registry.families import EMBEDDING
from models_registry.providers.embedding import Texts


class Model(wire.Body):
    """The model that is named; its limits are checked apart, for they have words of their own."""

    provider: str
    identifier: str
    name: str | None = None
    endpoint: str | None = None
    api_key: str | None = None


class CodeEmbeddings(Endpoint):
    """The vectors of a batch of texts, in their order."""

    class Input(wire.Body):
        model_metadata: Model
        contents: Annotated[list[str], Field(min_length=1)]
        dimensions: Dimensions | None = None
        litellm_drop_params: bool | None = None

    def post(self, request: Request) -> HttpResponseBase:
        """Read the wire format, ask the pipeline, write the wire format."""
        data = wire.read(request._request, self.Input)
        if not get_caller(request).can(catalog.unit_primitives(catalog.EMBEDDINGS)):
            raise Forbidden("Unauthorized to generate embeddings")
        texts = Texts(
            texts=tuple(data.contents),
            dimensions=data.dimensions,
            is_length_free=bool(data.litellm_drop_params),
        )
        embedding = embed(request, texts, named_model=named_model(data.model_metadata))
        return json_response(
            {
                "model": {
                    "engine": "litellm_embedding",
                    "name": EMBEDDING,
                    "identifier": data.model_metadata.identifier,
                },
                "predictions": [
                    {"embedding": vector, "index": index}
                    for index, vector in enumerate(embedding.vectors)
                ],
            }
        )


def named_model(model: Model) -> NamedModel | None:
    """Return the model that is named, or None for one of the vendor's.

    Raises:
        InvalidBody: the metadata names none; the words are the reference's, except at their end.
    """
    if model.provider not in ("gitlab", "litellm"):
        raise _invalid("Allowed providers are: gitlab|litellm.")
    if model.provider == "gitlab":
        return None
    if not model.name:
        raise _invalid("Model `name` must be set when using `litellm` provider.")
    if model.name != EMBEDDING:
        raise _invalid("Model `name` must be 'embedding' when using `litellm` provider.")
    if not model.endpoint:
        raise _invalid("Model `endpoint` must be set when using `litellm` provider.")
    try:
        return ModelMetadata.model_validate(model.model_dump()).as_named()
    except ValidationError as exc:
        # The first is enough, and what was sent stays out: it may be a key.
        error = exc.errors(include_input=False, include_url=False)[0]
        fault = f"{error['loc'][0]}: {error['msg'].removeprefix('Value error, ')}"
        raise _invalid(f"Error creating the model_metadata: {fault}.") from None


def _invalid(detail: str) -> wire.InvalidBody:
    where = ("body", "model_metadata")
    return wire.InvalidBody([{"type": "value_error", "loc": where, "msg": detail}], detail)
