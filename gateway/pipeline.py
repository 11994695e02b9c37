"""The whole product on one page: what happens to a call, in the order it happens.

`api/` reads the wire format into a `Call` before this page and writes the `Answer` after it; the
worker's half of the line is `gateway/forwarding.py`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from features import catalog, policy, snapshot
from features.errors import FeatureError, GoesToVendor
from features.policy import Decision
from features.snapshot import Snapshot
from gateway import dispatch, vendor
from gateway.asked_models import choose_asked
from gateway.audit import records
from gateway.calls import Answer, Call, Caller, Stream
from gateway.named_models import resolve_named, tested_model
from models_registry.errors import ModelError
from models_registry.families import EMBEDDING
from models_registry.providers.embedding import Texts
from models_registry.providers.types import ModelConfig
from prompts import conversations, library

# What an embedding model is tested with: it has no words to answer a greeting.
TEST_TEXTS = Texts(texts=("Hello",))


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A call whose model and question are settled, and how long that took, in milliseconds."""

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
        ModelError: the caller's own conversation does not fit the model.
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
        require_fit(call, model)
    except (FeatureError, ModelError) as refusal:
        records.refuse(call, refusal, config, groups_of(call, config))
        raise
    decided_at = time.perf_counter()
    rendered = render(call, model)
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
    return groups_of_caller(call.caller, config)


def groups_of_caller(caller: Caller, config: Snapshot) -> tuple[int, ...]:
    """Return the groups that a caller's calls stand for."""
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
        Diverted: the vendor serves it.
    """
    if call.is_connection_test:
        return tested_model(call)
    try:
        if call.asked_model is not None:
            return choose_asked(call, config, decision, groups_of(call, config))
        # A group's own model goes first: what the call names is then not even looked up.
        named = None if decision.is_group_assignment else resolve_named(call, config)
        return policy.choose_model(config, decision, named=named)
    except GoesToVendor:
        raise vendor.divert(call, decision, config) from None


def require_fit(call: Call, model: ModelConfig) -> None:
    """Accept a model whose family can serve the feature; any model may be tested.

    Raises:
        UnfitModel: it gives vectors for words, or words for vectors.
    """
    if not call.is_connection_test:
        catalog.require_fit(call.feature, model.family)


def texts_of(call: Call, model: ModelConfig) -> Texts | None:
    """Return the texts to embed, or None where words are asked for."""
    if call.is_connection_test and model.family == EMBEDDING:
        return TEST_TEXTS
    return call.texts


def render(call: Call, model: ModelConfig) -> library.Rendered:
    """Return what the model is asked: texts, the caller's conversation, or a prompt filled in.

    Raises:
        PromptError: the inputs do not fit the prompt.
        ContextTooLong: the conversation does not fit the model's window.
    """
    texts = texts_of(call, model)
    if texts is not None:
        return library.verbatim(texts)
    if call.conversation is not None:
        return conversations.fit(
            call.conversation, family=model.family, window_tokens=model.context_window
        )
    return library.render(
        feature=call.prompt,
        family=model.family,
        inputs=call.inputs,
        context=call.context,
        turns=call.turns,
        parameters=call.parameters,
        window_tokens=model.context_window,
        has_native_fim=model.has_native_fim,
        takes_prefill=model.takes_prefill,
    )
