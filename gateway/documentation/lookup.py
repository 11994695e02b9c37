"""A search in GitLab's documentation: a call like every other, but no model is asked."""

from __future__ import annotations

import logging

from features import snapshot
from features.errors import FeatureError
from gateway import pipeline
from gateway.audit import records
from gateway.audit.models import State
from gateway.audit.records import Outcome
from gateway.calls import Call
from gateway.documentation import index
from gateway.documentation.index import Found
from gateway.own_record import OwnRecord
from prompts.budget import estimate_tokens

logger = logging.getLogger(__name__)

# What all results together may cost the model that reads them (gateway-api.md 3.8).
RESULTS_MAX_TOKENS = 8_000
NO_INDEX = "There is no index of the documentation; build one with `manage.py index_docs`."


def find(call: Call, *, limit: int) -> list[Found]:
    """Return the sections that answer `call.inputs["query"]`, best first, after they are on record.

    Raises:
        FeatureError: policy says no; the refusal is on record.
        GatewayError: the index cannot be searched, or the search cannot be recorded.
    """
    config = snapshot.current()
    try:
        decision = pipeline.decide(call, config)
    except FeatureError as refusal:
        records.refuse(call, refusal, config, pipeline.groups_of(call, config))
        raise
    asked = {"inputs": dict(call.inputs)}
    with OwnRecord(records.opening_alone(call, decision, config, asked)) as record:
        found = index.search(call.inputs["query"], limit=limit)
        if found is None:
            logger.warning("documentation.no_index", extra={"hint": "manage.py index_docs"})
        results = _fitting(found or [])
        answer = "\n\n\n".join(map(_as_text, results))
        note = NO_INDEX if found is None else ""
        record.finish(Outcome(state=State.ANSWERED, answer=answer, error_detail=note))
    return results


def content(found: Found) -> str:
    """Return a section as its reader sees it: under the headings that lead to it."""
    return f"# {found.title}\n\n{found.body}"


def _fitting(found: list[Found]) -> list[Found]:
    """Return as many of the results as are not too long together."""
    left = RESULTS_MAX_TOKENS
    for number, result in enumerate(found):
        left -= estimate_tokens(content(result))
        if left < 0:
            return found[:number]
    return found


def _as_text(result: Found) -> str:
    """Return a result as an auditor reads it."""
    return f"{result.id} {result.page}#{result.anchor}\n\n{content(result)}"
