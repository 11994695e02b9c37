"""What the routes for embeddings have in common: a batch of texts goes in, its vectors come out.

Source: gateway-api.md 3.10 for the statuses of a model server that refuses.
"""

from __future__ import annotations

from typing import Annotated

from django.conf import settings
from pydantic import Field
from rest_framework.request import Request

from features.catalog import EMBEDDINGS
from gateway import pipeline
from gateway.api.endpoint import call_facts
from gateway.api.errors import BadRequest
from gateway.calls import Answer, Call, NamedModel
from gateway.errors import InferenceFailed
from models_registry.errors import BatchTooLarge
from models_registry.providers.embedding import Embedding, Texts

# A model server does not take the texts; everything else is not the caller's to mend.
REFUSALS = ("backend_rejected", "context_too_long")

Dimensions = Annotated[int, Field(ge=1, le=65_536)]


def embed(request: Request, texts: Texts, *, named_model: NamedModel | None = None) -> Embedding:
    """Return the vectors of a batch.

    Raises: as `ask`.
    """
    answer = ask(request, texts, feature=EMBEDDINGS, named_model=named_model)
    return Embedding.from_text(answer.text)


def ask(
    request: Request,
    texts: Texts,
    *,
    feature: str,
    named_model: NamedModel | None = None,
    asked_model: str | None = None,
) -> Answer:
    """Return the answer whose text is the vectors of a batch.

    Raises: as `pipeline.answer`, and
        BatchTooLarge: it has more than GATEWAY_BATCH_MAX_TEXTS.
        BadRequest: the model server does not take these texts.
    """
    limit = settings.GATEWAY_BATCH_MAX_TEXTS
    if len(texts.texts) > limit:
        raise BatchTooLarge(f"These are {len(texts.texts)} texts; one call may have {limit}.")
    call = Call(
        feature=feature,
        texts=texts,
        named_model=named_model,
        asked_model=asked_model,
        is_streamed=False,
        deadline_s=settings.GATEWAY_PROMPT_DEADLINE_S,
        **call_facts(request),
    )
    try:
        return pipeline.answer(call)
    except InferenceFailed as failure:
        if failure.code in REFUSALS:
            raise BadRequest(str(failure), code=failure.code) from failure
        raise
