"""POST /v1/search/gitlab-docs: what GitLab's documentation says, for Duo Chat.

GitLab shows a result as a source where the model repeats its id after `CNT-IDX-`, which it reads as
small letters and digits; the link is `source_url`, and leads to GitLab's own help pages.
Source: gateway-api.md 3.8; gitlab-client.md 1.3, 1.8.
"""

from __future__ import annotations

import time
from typing import Annotated, Any
from urllib.parse import quote

from django.conf import settings
from django.http.response import HttpResponseBase
from pydantic import Field, StringConstraints
from rest_framework.request import Request

from gateway.api import wire
from gateway.api.endpoint import Endpoint, call_facts, get_caller
from gateway.api.errors import Forbidden
from gateway.api.responses import json_response
from gateway.calls import Call
from gateway.documentation import lookup
from gateway.documentation.index import Found

UNIT_PRIMITIVES = ("documentation_search",)

Text100 = Annotated[str, StringConstraints(max_length=100)]


class Origin(wire.Body):
    """Which GitLab asks."""

    source: Text100
    version: Text100


class Question(wire.Body):
    """What is looked for."""

    query: Annotated[str, StringConstraints(max_length=400_000)]
    page_size: Annotated[int, Field(ge=1, le=20)] = 4


class Input(wire.Body):
    """The body of a search."""

    type: Text100
    metadata: Origin
    payload: Question


class SearchGitLabDocs(Endpoint):
    """One search."""

    def post(self, request: Request) -> HttpResponseBase:
        """Read the wire format, ask the index, write the wire format."""
        asked = wire.read(request._request, Input).payload
        if not get_caller(request).can(UNIT_PRIMITIVES):
            raise Forbidden("Unauthorized to search documentations")
        call = Call(
            feature="duo_chat",
            inputs={"query": asked.query, "page_size": str(asked.page_size)},
            is_streamed=False,
            deadline_s=settings.GATEWAY_PROMPT_DEADLINE_S,
            **call_facts(request),
        )
        found = lookup.find(call, limit=asked.page_size)
        return json_response(
            {
                "response": {"results": [_result(item) for item in found]},
                "metadata": {"provider": "sqlite", "timestamp": int(time.time())},
            }
        )


def _result(found: Found) -> dict[str, Any]:
    anchor = f"#{found.anchor}" if found.anchor else ""
    help_page = f"{settings.GATEWAY_GITLAB_URL.rstrip('/')}/help/{quote(found.page)}{anchor}"
    return {
        "id": found.id,
        "content": lookup.content(found),
        "metadata": {
            "filename": f"/{found.page}",
            "title": found.title,
            "source_url": help_page,
        },
    }
