"""/openai/v1/…: chat and text completions, responses, embeddings and models, in OpenAI's API.

Source: OpenAI API reference.
"""

from __future__ import annotations

import base64
import struct
from typing import Annotated, Any, Literal

from django.http.response import HttpResponseBase
from pydantic import BeforeValidator, Field
from rest_framework.request import Request

from features.catalog import OWN_CLIENTS, OWN_CLIENTS_EMBEDDINGS
from gateway.api import wire
from gateway.api.client_endpoint import ClientEndpoint, ClientShape, ModelsEndpoint, UnknownPath
from gateway.api.embedding_calls import Dimensions, ask
from gateway.api.errors import BadRequest
from gateway.api.responses import json_response
from gateway.api.vendors import formats, reading
from gateway.api.vendors.openai_chat import OpenAIChat
from gateway.api.vendors.openai_completions import OpenAICompletions
from gateway.api.vendors.openai_responses import OpenAIResponses
from models_registry.providers.embedding import Embedding, Texts, Vector
from models_registry.providers.types import ModelConfig


class ChatCompletions(ClientEndpoint):
    """A conversation and its answer, as messages."""

    format = OpenAIChat()


class Completions(ClientEndpoint):
    """A text and how it goes on."""

    format = OpenAICompletions()


class Responses(ClientEndpoint):
    """A conversation and its answer, as items."""

    format = OpenAIResponses()


class Embeddings(ClientShape):
    """The vectors of a batch of texts, in their order."""

    format = OpenAIChat()

    class Input(formats.Body):
        # No tokens: only the model's own tokenizer could read them.
        input: Annotated[list[str], BeforeValidator(reading.as_list), Field(min_length=1)]
        dimensions: Dimensions | None = None
        encoding_format: Literal["float", "base64"] = "float"

    def post(self, request: Request) -> HttpResponseBase:
        """Read the wire format, ask the pipeline, write the wire format."""
        data = wire.read(request._request, self.Input)
        texts = Texts(texts=tuple(data.input), dimensions=data.dimensions)
        answer = ask(request, texts, feature=OWN_CLIENTS_EMBEDDINGS, asked_model=data.model)
        encode = as_base64 if data.encoding_format == "base64" else list
        vectors = Embedding.from_text(answer.text).vectors
        tokens = answer.prompt_tokens or 0
        return json_response(
            {
                "object": "list",
                "data": [
                    {"object": "embedding", "index": index, "embedding": encode(vector)}
                    for index, vector in enumerate(vectors)
                ],
                "model": answer.model,
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            }
        )


class Models(ModelsEndpoint):
    """The models for words and those for vectors."""

    format = OpenAIChat()
    features = (OWN_CLIENTS, OWN_CLIENTS_EMBEDDINGS)

    def as_model(self, model: ModelConfig) -> dict[str, Any]:
        """Return a model as OpenAI describes one; when it was made, nobody knows."""
        return {"id": model.name, "object": "model", "created": 0, "owned_by": "enclave"}

    def as_list(self, models: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the list."""
        return {"object": "list", "data": models}


class Unknown(UnknownPath):
    """Every other path below /openai."""

    format = OpenAIChat()


def as_base64(vector: Vector) -> str:
    """Return a vector as the bytes of its numbers in float32.

    Raises:
        BadRequest: one of them is beyond float32.
    """
    try:
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    except OverflowError:
        raise BadRequest("A number is too large for base64; ask for 'float'.") from None
