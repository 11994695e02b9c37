"""The catalog of GitLab Duo features that Enclave serves, and of the prompts they use.

To add a feature, add one entry to FEATURES, one to PROMPTS for each prompt it uses, and
`prompts/definitions/<prompt slug>/default.yml`.
Source: gateway-api.md 1.2, 1.3, 7.3 and gitlab-client.md 2.2 (GitLab 17.1 to 19.x).
"""

from __future__ import annotations

from dataclasses import dataclass

from features.errors import UnknownFeature


@dataclass(frozen=True, kw_only=True, slots=True)
class Feature:
    """A GitLab Duo feature, by the slug of GitLab's feature setting.

    `parent` is the feature whose rules hold where none of its own is set at a level.
    `needs_rule` is False for what is allowed to the instance before anything is configured.
    """

    slug: str
    label: str
    parent: str | None = None
    needs_rule: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptEntry:
    """A prompt: its id on GitLab's wire, the folder of its definitions, and whose it is.

    `unit_primitives`: one of them must be among the token's scopes.
    """

    wire_id: str
    slug: str
    feature: str
    unit_primitives: tuple[str, ...]


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
        Feature(slug="embeddings_code", label="Code Embeddings"),
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
            wire_id="model_configuration/check",
            slug="model_configuration",
            feature="model_configuration",
            unit_primitives=("complete_code",),
        ),
    )
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


def choices() -> list[tuple[str, str]]:
    """Return the features that a rule can switch, for a form field."""
    return [(f.slug, f.label) for f in FEATURES.values() if f.needs_rule]
