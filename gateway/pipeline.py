"""The whole product on one page: what happens to a call, in the order it happens.

`api/` reads the wire format into a `Call` before this page and writes the `Answer` after it; the
worker's half of the line is `gateway/forwarding.py`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from features import policy, snapshot
from features.errors import FeatureError
from features.policy import Decision
from features.snapshot import Snapshot
from gateway import dispatch
from gateway.audit import records
from gateway.calls import Answer, Call, Stream
from gateway.named_models import resolve_named, tested_model
from models_registry.errors import ModelError
from models_registry.providers.types import ModelConfig
from prompts import library


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A call whose model and prompt are settled, and how long that took, in milliseconds."""

    decision: Decision
    model: ModelConfig
    rendered: library.Rendered
    config_version: int
    policy_ms: float = 0.0
    render_ms: float = 0.0


def answer(call: Call) -> Answer:
    """Answer one call: decide, render, record, forward, and wait for the committed outcome.

    Raises:
        FeatureError: policy or configuration says no; the refusal is on record.
        PromptError: the inputs do not fit the prompt.
        GatewayError: no answer; `code` says why, as in the record.
    """
    return dispatch.answer(call, prepare(call))


def stream(call: Call) -> Stream:
    """Answer one call piece by piece; returns when the first piece is there.

    Raises: as `answer`.
    """
    return dispatch.stream(call, prepare(call))


def prepare(call: Call) -> Prepared:
    """Return everything that is settled before a model is asked; a refusal is recorded."""
    began_at = time.perf_counter()
    config = snapshot.current()
    try:
        decision = decide(call, config)
        model = choose_model(call, config, decision)
    except (FeatureError, ModelError) as refusal:
        records.refuse(call, refusal, config, groups_of(call, config))
        raise
    decided_at = time.perf_counter()
    rendered = library.render(
        feature=call.prompt,
        family=model.family,
        inputs=call.inputs,
        context=call.context,
        window_tokens=model.context_window,
        has_native_fim=model.has_native_fim,
        takes_prefill=model.takes_prefill,
    )
    return Prepared(
        decision=decision,
        model=model,
        rendered=rendered,
        config_version=config.version,
        policy_ms=(decided_at - began_at) * 1000,
        render_ms=(time.perf_counter() - decided_at) * 1000,
    )


def decide(call: Call, config: Snapshot) -> Decision:
    """Return the decision of policy that allows this call.

    Raises:
        FeatureDisabled: policy says no; the message names the rule.
    """
    return policy.require(config, feature=call.feature, group_ids=groups_of(call, config))


def groups_of(call: Call, config: Snapshot) -> tuple[int, ...]:
    """Return the groups that a call stands for."""
    caller = call.caller
    return policy.subject_groups(
        config,
        api_key_group_id=caller.api_key_group_id,
        namespace_ids=caller.namespace_ids,
        user_refs=tuple(ref for ref in (caller.user_id, caller.global_user_id) if ref),
    )


def choose_model(call: Call, config: Snapshot, decision: Decision) -> ModelConfig:
    """Return the model that serves this call (decisions.md, 6.).

    Raises:
        FeatureError, ModelError: nothing can serve it, or the named model is not let in.
    """
    if call.is_connection_test:
        return tested_model(call)
    # A group's own model goes first: what the call names is then not even looked up.
    named = None if decision.is_group_assignment else resolve_named(call, config)
    return policy.choose_model(config, decision, named=named)
