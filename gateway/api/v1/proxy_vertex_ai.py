"""POST /v1/proxy/vertex-ai/…:predict: text embeddings in Vertex AI's format, by a model of ours.

GitLab 18 asks for its code embeddings so. Nothing else of Vertex AI is served, and nothing goes to
Google: the project, the location and the model of the path are words that only have to be there.
Source: gateway-api.md 3.12 (paths, header); gitlab-client.md 1.3, 1.9; Vertex AI's API reference.
"""

from __future__ import annotations

import re
from typing import Annotated

from django.http.response import HttpResponseBase
from pydantic import Field
from rest_framework.request import Request

from features import catalog
from gateway.api import wire
from gateway.api.embedding_calls import Dimensions, embed
from gateway.api.endpoint import Endpoint
from gateway.api.errors import BadRequest, NotFound
from gateway.api.proxy_scope import require_purpose
from gateway.api.responses import json_response
from models_registry.providers.embedding import Texts
from prompts.budget import estimate_tokens

PATH = re.compile(
    r"v1/projects/[\w-]+/locations/[\w-]+/publishers/(?P<publisher>[\w-]+)"
    r"/models/(?P<model>[\w@.-]+):(?P<action>[\w-]+)",
    re.ASCII,
)


class Instance(wire.Body):
    """One text."""

    content: str


class Parameters(wire.Body):
    """What holds for all texts."""

    dimensions: Dimensions | None = Field(default=None, alias="outputDimensionality")


class ProxyVertexAI(Endpoint):
    """The vectors of a batch of texts, in their order."""

    class Input(wire.Body):
        instances: Annotated[list[Instance], Field(min_length=1)]
        parameters: Parameters | None = None

    def post(self, request: Request, path: str) -> HttpResponseBase:
        """Read the wire format, ask the pipeline, write the wire format."""
        require_purpose(request, catalog.unit_primitives(catalog.EMBEDDINGS))
        require_embedding(path)
        data = wire.read(request._request, self.Input)
        contents = tuple(instance.content for instance in data.instances)
        dimensions = data.parameters.dimensions if data.parameters else None
        embedding = embed(request, Texts(texts=contents, dimensions=dimensions))
        return json_response(
            {
                "predictions": [
                    {
                        "embeddings": {
                            "values": vector,
                            # Model servers count the tokens of a batch, not of each text.
                            "statistics": {
                                "truncated": False,
                                "token_count": estimate_tokens(content),
                            },
                        }
                    }
                    for content, vector in zip(contents, embedding.vectors, strict=True)
                ]
            }
        )


def require_embedding(path: str) -> None:
    """Accept the path of a model that embeds texts.

    Raises:
        NotFound: Vertex AI has no such path.
        BadRequest: the model does something else.
    """
    named = PATH.fullmatch(path)
    if named is None:
        raise NotFound
    is_embedding = "embedding" in named["model"] and named["action"] == "predict"
    if named["publisher"] != "google" or not is_embedding:
        raise BadRequest(
            "Unsupported model. Of Vertex AI, Enclave serves text embeddings only: "
            "publishers/google/models/text-embedding-…:predict."
        )
