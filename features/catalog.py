"""The catalog of the features that Enclave serves, GitLab Duo's above all, and of their prompts.

To add a feature, add one entry to FEATURES, one to PROMPTS for each prompt it uses, and
`prompts/definitions/<prompt slug>/default.yml`.
Source: gateway-api.md 1.2, 1.3, 7.3 and gitlab-client.md 2.2 (GitLab 17.1 to 19.x).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

from features.errors import UnfitModel, UnknownFeature
from models_registry.families import EMBEDDING

EMBEDDINGS = "embeddings_code"
# What programs other than GitLab call for with an API key (docs/clients.md): words, and vectors.
OWN_CLIENTS = "own_clients"
OWN_CLIENTS_EMBEDDINGS = "own_clients_embeddings"


@dataclass(frozen=True, kw_only=True, slots=True)
class Feature:
    """A GitLab Duo feature, by the slug of GitLab's feature setting, or one of our own.

    `parent` is the feature whose rules hold where none of its own is set at a level.
    `needs_rule` is False for what is allowed to the instance before anything is configured.
    `wants_vectors` is True for what asks a model for vectors, not for words.
    `unit_primitives`: as a prompt's, for a feature of GitLab that calls models without a prompt.
    """

    slug: str
    label: str
    parent: str | None = None
    needs_rule: bool = True
    wants_vectors: bool = False
    unit_primitives: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptEntry:
    """A prompt: its id on GitLab's wire, the folder of its definitions, and whose it is.

    `unit_primitives`: one of them must be among the token's scopes.
    `has_own_route` is True for what the routes for prompts do not serve.
    """

    wire_id: str
    slug: str
    feature: str
    unit_primitives: tuple[str, ...]
    has_own_route: bool = False


FEATURES = {
    feature.slug: feature
    for feature in (
        Feature(slug="code_completions", label="Code Completion"),
        Feature(slug="code_generations", label="Code Generation"),
        Feature(slug="duo_chat", label="General Chat"),
        Feature(slug="duo_chat_explain_code", label="Code Explanation", parent="duo_chat"),
        Feature(slug="duo_chat_write_tests", label="Test Generation", parent="duo_chat"),
        Feature(slug="duo_chat_refactor_code", label="Refactor Code", parent="duo_chat"),
        Feature(slug="duo_chat_fix_code", label="Fix Code", parent="duo_chat"),
        Feature(slug="duo_chat_troubleshoot_job", label="Root Cause Analysis", parent="duo_chat"),
        Feature(
            slug="duo_chat_explain_vulnerability",
            label="Vulnerability Explanation",
            parent="duo_chat",
        ),
        Feature(slug="duo_chat_summarize_comments", label="Discussion Summary", parent="duo_chat"),
        Feature(slug="generate_commit_message", label="Merge Commit Message Generation"),
        Feature(slug="summarize_new_merge_request", label="Merge Request Summary"),
        Feature(slug="summarize_review", label="Code Review Summary"),
        Feature(slug="review_merge_request", label="Code Review"),
        Feature(slug="resolve_vulnerability", label="Vulnerability Resolution"),
        Feature(slug="glab_ask_git_command", label="GitLab Duo for CLI"),
        Feature(slug="generate_description", label="Issue Description Generation"),
        Feature(slug="measure_comment_temperature", label="Comment Temperature"),
        Feature(slug="feature_discovery_search", label="Feature Discovery"),
        Feature(slug="duo_agent_platform", label="Agent Platform, HTTP Prompts"),
        Feature(
            slug=EMBEDDINGS,
            label="Code Embeddings",
            wants_vectors=True,
            unit_primitives=("generate_embeddings_codebase",),
        ),
        Feature(slug="x_ray_libraries", label="Repository X-Ray", parent="code_generations"),
        Feature(
            slug="model_provider_proxy",
            label="External Agents (Model Provider Proxy)",
            unit_primitives=("ai_gateway_model_provider_proxy",),
        ),
        Feature(
            slug="description_composer",
            label="Merge Request Description Composer",
            unit_primitives=("description_composer",),
        ),
        Feature(slug=OWN_CLIENTS, label="Other Clients (OpenAI and Anthropic APIs)"),
        Feature(
            slug=OWN_CLIENTS_EMBEDDINGS,
            label="Other Clients' Embeddings",
            parent=OWN_CLIENTS,
            wants_vectors=True,
        ),
        Feature(slug="model_configuration", label="Test connection", needs_rule=False),
    )
}

PROMPTS = {
    prompt.wire_id: prompt
    for prompt in (
        PromptEntry(
            wire_id="code_suggestions/completions",
            slug="code_completions",
            feature="code_completions",
            unit_primitives=("complete_code",),
        ),
        PromptEntry(
            wire_id="code_suggestions/generations",
            slug="code_generations",
            feature="code_generations",
            unit_primitives=("generate_code",),
        ),
        PromptEntry(
            wire_id="model_configuration/check",
            slug="model_configuration",
            feature="model_configuration",
            unit_primitives=("complete_code",),
        ),
        PromptEntry(
            wire_id="chat/react",
            slug="chat_react",
            feature="duo_chat",
            unit_primitives=("duo_classic_chat",),
            has_own_route=True,
        ),
        PromptEntry(
            wire_id="v1/chat",
            slug="chat_v1",
            feature="duo_chat",
            unit_primitives=("duo_chat",),
            has_own_route=True,
        ),
        PromptEntry(
            wire_id="x_ray/libraries",
            slug="x_ray_libraries",
            feature="x_ray_libraries",
            unit_primitives=("generate_code", "complete_code"),
            has_own_route=True,
        ),
        PromptEntry(
            wire_id="chat/explain_code",
            slug="chat_explain_code",
            feature="duo_chat_explain_code",
            unit_primitives=("explain_code",),
        ),
        PromptEntry(
            wire_id="chat/write_tests",
            slug="chat_write_tests",
            feature="duo_chat_write_tests",
            unit_primitives=("write_tests",),
        ),
        PromptEntry(
            wire_id="chat/refactor_code",
            slug="chat_refactor_code",
            feature="duo_chat_refactor_code",
            unit_primitives=("refactor_code",),
        ),
        PromptEntry(
            wire_id="chat/fix_code",
            slug="chat_fix_code",
            feature="duo_chat_fix_code",
            unit_primitives=("fix_code",),
        ),
        PromptEntry(
            wire_id="chat/troubleshoot_job",
            slug="chat_troubleshoot_job",
            feature="duo_chat_troubleshoot_job",
            unit_primitives=("troubleshoot_job",),
        ),
        PromptEntry(
            wire_id="chat/explain_vulnerability",
            slug="chat_explain_vulnerability",
            feature="duo_chat_explain_vulnerability",
            unit_primitives=("explain_vulnerability",),
        ),
        PromptEntry(
            wire_id="chat/summarize_comments",
            slug="chat_summarize_comments",
            feature="duo_chat_summarize_comments",
            unit_primitives=("summarize_comments",),
        ),
        PromptEntry(
            wire_id="chat/issue_reader",
            slug="chat_issue_reader",
            feature="duo_chat",
            unit_primitives=("ask_issue",),
        ),
        PromptEntry(
            wire_id="chat/epic_reader",
            slug="chat_epic_reader",
            feature="duo_chat",
            unit_primitives=("ask_epic",),
        ),
        PromptEntry(
            wire_id="chat/work_item_reader",
            slug="chat_work_item_reader",
            feature="duo_chat",
            unit_primitives=("ask_work_item",),
        ),
        PromptEntry(
            wire_id="chat/merge_request_reader",
            slug="chat_merge_request_reader",
            feature="duo_chat",
            unit_primitives=("ask_merge_request",),
        ),
        PromptEntry(
            wire_id="chat/commit_reader",
            slug="chat_commit_reader",
            feature="duo_chat",
            unit_primitives=("ask_commit", "duo_chat"),
        ),
        PromptEntry(
            wire_id="chat/build_reader",
            slug="chat_build_reader",
            feature="duo_chat",
            unit_primitives=("ask_build",),
        ),
        PromptEntry(
            wire_id="chat/documentation_search",
            slug="chat_documentation_search",
            feature="duo_chat",
            unit_primitives=("documentation_search",),
        ),
        PromptEntry(
            wire_id="categorize_question",
            slug="categorize_question",
            feature="duo_chat",
            unit_primitives=("duo_chat",),
        ),
        PromptEntry(
            wire_id="generate_commit_message",
            slug="generate_commit_message",
            feature="generate_commit_message",
            unit_primitives=("generate_commit_message",),
        ),
        PromptEntry(
            wire_id="generate_description",
            slug="generate_description",
            feature="generate_description",
            unit_primitives=("generate_issue_description",),
        ),
        PromptEntry(
            wire_id="summarize_new_merge_request",
            slug="summarize_new_merge_request",
            feature="summarize_new_merge_request",
            unit_primitives=("summarize_new_merge_request",),
        ),
        PromptEntry(
            wire_id="summarize_review",
            slug="summarize_review",
            feature="summarize_review",
            unit_primitives=("summarize_review", "duo_agent_platform"),
        ),
        PromptEntry(
            wire_id="review_merge_request",
            slug="review_merge_request",
            feature="review_merge_request",
            unit_primitives=("review_merge_request",),
        ),
        PromptEntry(
            wire_id="resolve_vulnerability",
            slug="resolve_vulnerability",
            feature="resolve_vulnerability",
            unit_primitives=("resolve_vulnerability",),
        ),
        PromptEntry(
            wire_id="glab_ask_git_command",
            slug="glab_ask_git_command",
            feature="glab_ask_git_command",
            unit_primitives=("glab_ask_git_command",),
        ),
        PromptEntry(
            wire_id="measure_comment_temperature",
            slug="measure_comment_temperature",
            feature="measure_comment_temperature",
            unit_primitives=("measure_comment_temperature",),
        ),
        PromptEntry(
            wire_id="feature_discovery_search",
            slug="feature_discovery_search",
            feature="feature_discovery_search",
            unit_primitives=("feature_discovery_search",),
        ),
        PromptEntry(
            wire_id="classify_code_review_mention_intent",
            slug="classify_code_review_mention_intent",
            feature="duo_agent_platform",
            unit_primitives=("duo_agent_platform",),
        ),
        PromptEntry(
            wire_id="generate_session_title",
            slug="generate_session_title",
            feature="duo_agent_platform",
            unit_primitives=("duo_agent_platform",),
        ),
        PromptEntry(
            wire_id="summarize_duo_workflow",
            slug="summarize_duo_workflow",
            feature="duo_agent_platform",
            unit_primitives=("duo_agent_platform",),
        ),
    )
}


# Unit primitives that may call a vendor's API with a conversation of their own, and the feature
# whose rules hold; all but the first two are from the time when GitLab wrote its prompts itself.
# Source: gateway-api.md 3.12, gitlab-client.md 1.3.
PROXY_FEATURES = {
    "ai_gateway_model_provider_proxy": "model_provider_proxy",
    "description_composer": "description_composer",
    "documentation_search": "duo_chat",
    "duo_chat": "duo_chat",
    "explain_code": "duo_chat_explain_code",
    "explain_vulnerability": "duo_chat_explain_vulnerability",
    "generate_commit_message": "generate_commit_message",
    "generate_issue_description": "generate_description",
    "glab_ask_git_command": "glab_ask_git_command",
    "resolve_vulnerability": "resolve_vulnerability",
    "review_merge_request": "review_merge_request",
    "summarize_comments": "duo_chat_summarize_comments",
    "summarize_new_merge_request": "summarize_new_merge_request",
    "summarize_review": "summarize_review",
}


def get_feature(slug: str) -> Feature:
    """Return the catalog entry.

    Raises:
        UnknownFeature: there is none.
    """
    try:
        return FEATURES[slug]
    except KeyError:
        raise UnknownFeature(f"There is no feature '{slug}'.") from None


def fits(feature: str, family: str) -> bool:
    """Test whether models of a family can serve a feature: vectors or words."""
    return get_feature(feature).wants_vectors == (family == EMBEDDING)


def require_fit(feature: str, family: str) -> None:
    """Accept a family whose models can serve a feature.

    Raises:
        UnfitModel: they cannot.
        UnknownFeature: there is no such feature.
    """
    label = get_feature(feature).label
    if fits(feature, family):
        return
    if family == EMBEDDING:
        raise UnfitModel(f"An embedding model turns texts into vectors; it cannot serve {label}.")
    raise UnfitModel(f"{label} needs a model of the family Embedding.")


def unit_primitives(feature: str) -> tuple[str, ...]:
    """Return the names under which GitLab's tokens allow a feature, each once."""
    own = get_feature(feature).unit_primitives
    of_prompts = (p.unit_primitives for p in PROMPTS.values() if p.feature == feature)
    return tuple(dict.fromkeys(chain(own, *of_prompts)))


UNIT_PRIMITIVES = frozenset(name for feature in FEATURES for name in unit_primitives(feature))


def choices() -> list[tuple[str, str]]:
    """Return the features that a rule can switch, for a form field."""
    return [(f.slug, f.label) for f in FEATURES.values() if f.needs_rule]
