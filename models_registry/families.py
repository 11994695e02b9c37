"""The catalog of model families: models that share a prompt format (GitLab: model family).

To add a family, add one entry to FAMILIES, and prompt files only where the default does not suit.
Source: gateway-api.md 4.4 and 5.3, gitlab-client.md 2.1 (GitLab 18.9 to 19.x).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """A family: where its prompts are looked for, and what its models can hold.

    `prompt_folders` are tried in order before `default`. `context_window` is in tokens.
    `temperature` and `max_tokens` are sent where a prompt says nothing else; None sends none.
    `takes_system` is False where the chat format knows no system message.
    """

    slug: str
    label: str
    context_window: int
    prompt_folders: tuple[str, ...] = ()
    temperature: float | None = 0.0
    max_tokens: int | None = 4096
    takes_system: bool = True


# The family whose models turn texts into vectors, and do nothing else.
EMBEDDING = "embedding"
# The family of everything else that GitLab has no name for.
GENERAL = "general"

FAMILIES = {
    family.slug: family
    for family in (
        Family(
            slug="mistral",
            label="Mistral",
            context_window=128_000,
            prompt_folders=("mistral",),
        ),
        Family(
            slug="mixtral",
            label="Mixtral",
            context_window=32_000,
            prompt_folders=("mixtral", "mistral"),
        ),
        Family(
            slug="codestral",
            label="Mistral Codestral",
            context_window=128_000,
            prompt_folders=("codestral", "mistral"),
        ),
        Family(
            slug="codegemma",
            label="CodeGemma",
            context_window=8_000,
            prompt_folders=("codegemma",),
            takes_system=False,
        ),
        Family(
            slug="codellama",
            label="Code Llama",
            context_window=16_000,
            prompt_folders=("codellama",),
        ),
        Family(
            slug="deepseekcoder",
            label="DeepSeek Coder",
            context_window=16_000,
            prompt_folders=("deepseekcoder",),
        ),
        Family(slug="llama3", label="Llama 3", context_window=128_000, prompt_folders=("llama3",)),
        Family(
            slug="claude_3", label="Claude", context_window=200_000, prompt_folders=("claude_3",)
        ),
        Family(
            slug="gpt",
            label="GPT",
            context_window=128_000,
            prompt_folders=("gpt",),
            temperature=None,
            max_tokens=None,
        ),
        Family(slug=GENERAL, label="General", context_window=200_000, prompt_folders=("general",)),
        Family(
            slug="gemini",
            label="Gemini",
            context_window=1_000_000,
            prompt_folders=("gemini",),
            temperature=1.0,
            max_tokens=65_536,
        ),
        Family(
            slug="qwen",
            label="Qwen",
            context_window=262_144,
            prompt_folders=("qwen",),
            max_tokens=8_192,
        ),
        Family(slug=EMBEDDING, label="Embedding", context_window=200_000),
    )
}


def choices() -> list[tuple[str, str]]:
    """Return the families for a form field."""
    return [(family.slug, family.label) for family in FAMILIES.values()]
