"""What the code endpoints have in common: bodies, calls, answers, and what clients are told.

Source: gateway-api.md 3.3 to 3.6 and 5; gitlab-client.md 1.4 to 1.6.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from django.conf import settings
from pydantic import Field, StringConstraints, model_validator
from rest_framework.request import Request

from features.catalog import PROMPTS, PromptEntry
from features.languages import Language
from gateway import pipeline
from gateway.api import wire
from gateway.api.endpoint import call_facts, get_caller
from gateway.api.errors import Forbidden
from gateway.api.model_fields import FlatModel, known_family
from gateway.audit import records
from gateway.calls import Answer, Call, NamedModel
from prompts.errors import PromptNotFound

COMPLETION = PROMPTS["code_suggestions/completions"]
GENERATION = PROMPTS["code_suggestions/generations"]

# Providers through which GitLab names a self-hosted model; the others are the vendor's own models,
# and what serves those is for policy to say.
SELF_HOSTED = ("litellm", "codestral")

# What the reference calls its prompts, by prompt and family; clients are told these names. The
# empty family stands for all others.
LABELS = {
    "code_completions": {
        "codegemma": "Codegemma Code Completions",
        "codellama": "Codellama 13B Code Completions",
        "codestral": "Codestral 22B Code Completions",
        "deepseekcoder": "DeepSeekCoder Code Completions",
        "gpt": "GPT Code Completions",
        "llama3": "LLaMA3 Code Completions",
        "mistral": "Mistral 7B Code Completions",
        "mixtral": "Mistral 7B Code Completions",
        "": "Code Completions Agent",
    },
    "code_generations": {
        "codegemma": "CodeGemma Generations",
        "codellama": "Codellama 13B Code Generations",
        "codestral": "Codestral 22B Code Generations",
        "deepseekcoder": "DeepSeekCoder Code Generations",
        "gpt": "GPT Code Generations",
        "llama3": "LLaMA3 Code Generations",
        "mistral": "Mistral 7B Code Generations",
        "mixtral": "Mixtral Code Generations",
        "": "Code Generations Agent",
    },
}

Text50 = Annotated[str, StringConstraints(max_length=50)]
Text255 = Annotated[str, StringConstraints(max_length=255)]
FileName = Annotated[str, StringConstraints(max_length=255, strip_whitespace=True)]
Code = Annotated[str, StringConstraints(max_length=100_000)]


class FileAtCursor(wire.Body):
    """The file in the editor, in two halves."""

    file_name: FileName
    language_identifier: Text255 | None = None
    content_above_cursor: Code
    content_below_cursor: Code


class Telemetry(wire.Body):
    """What editors tell of earlier suggestions; nobody reads it."""

    model_engine: Text50 | None = None
    model_name: Text50 | None = None
    lang: Text50 | None = None
    requests: int = 0
    accepts: int = 0
    errors: int = 0


class Context(wire.Body):
    """A file or a snippet of the repository."""

    type: Annotated[str, StringConstraints(max_length=1024)]
    name: Annotated[str, StringConstraints(max_length=1024)]
    content: Annotated[str, StringConstraints(max_length=500_000)]


class Turn(wire.Body):
    """One message of a prompt that GitLab wrote."""

    role: Literal["system", "user", "assistant"]
    content: str


class FlatBody(FlatModel):
    """The body of the routes under /v2: a file, and a model in flat fields."""

    prompt_version: Literal[1, 2, 3] = 1
    project_path: FileName | None = None
    project_id: int | None = None
    current_file: FileAtCursor
    model_provider: (
        Literal[
            "anthropic", "vertex-ai", "litellm", "codestral", "fireworks_ai", "amazon_q", "gitlab"
        ]
        | None
    ) = None
    model_name: Annotated[str, StringConstraints(max_length=50, strip_whitespace=True)] | None = (
        None
    )
    telemetry: Annotated[list[Telemetry], Field(max_length=10)] = []
    stream: bool = False
    context: Annotated[list[Context], Field(max_length=100)] = []

    @model_validator(mode="after")
    def _family_is_known(self) -> FlatBody:
        if self.names_self_hosted_model and self.model_name is not None and not self.model_endpoint:
            known_family(self.model_name)
        return self

    @property
    def names_self_hosted_model(self) -> bool:
        """Test whether the model is one of the instance's own."""
        return self.model_provider in SELF_HOSTED

    def as_named(self) -> NamedModel | None:
        """Return the model of the instance's own that is named, if one is."""
        return self.as_named_model(self.model_name) if self.names_self_hosted_model else None


def require_scope(request: Request, prompt: PromptEntry, refusal: str) -> None:
    """Accept a caller whose token allows the prompt.

    Raises:
        Forbidden: it does not.
    """
    if not get_caller(request).can(prompt.unit_primitives):
        raise Forbidden(refusal)


def require_prompt(prompt_id: str | None) -> None:
    """Accept the id of the one prompt that writes code, and none; its version is ours anyway.

    Raises:
        PromptNotFound: it is another one.
    """
    if prompt_id and prompt_id != GENERATION.wire_id:
        raise PromptNotFound(f"Code is generated with the prompt '{GENERATION.wire_id}' only.")


def make_call(
    request: Request,
    prompt: PromptEntry,
    *,
    inputs: Mapping[str, str],
    named_model: NamedModel | None,
    is_streamed: bool,
    context: tuple[str, ...] = (),
) -> Call:
    """Return the call that a request to a code endpoint makes."""
    return Call(
        feature=prompt.feature,
        prompt=prompt.slug,
        inputs=inputs,
        context=context,
        named_model=named_model,
        is_streamed=is_streamed,
        deadline_s=settings.GATEWAY_CODE_DEADLINE_S,
        **call_facts(request),
    )


def complete(call: Call, language: Language) -> Answer | None:
    """Return the whole answer to a completion; None where the file's language is unknown.

    Raises: as `pipeline.answer`.
    """
    if language.is_known:
        return pipeline.answer(call)
    records.skip(call, "The file's language is unknown, so no model was asked.")
    return None


def file_inputs(file: FileAtCursor, language: Language) -> dict[str, str]:
    """Return what both prompts are told of the file."""
    return {
        "prefix": file.content_above_cursor,
        "suffix": file.content_below_cursor,
        "file_name": file.file_name,
        "language": language.prompt_name,
    }


def wishes(enhancer: Mapping[str, Any]) -> dict[str, str]:
    """Return what GitLab adds to a generation (`prompt_enhancer`), lists written out as text.

    Whatever is not of the usual type counts as absent: a wish is never worth a refusal.
    """
    written = {
        "user_instruction": _joined(enhancer.get("user_instruction"), ""),
        "libraries": _joined(enhancer.get("libraries"), ", "),
        "related_files": _joined(enhancer.get("related_files"), "\n"),
        "related_snippets": _joined(enhancer.get("related_snippets"), "\n"),
        "examples_array": _examples(enhancer.get("examples_array")),
    }
    trimmed = {
        "prefix": enhancer.get("trimmed_content_above_cursor"),
        "suffix": enhancer.get("trimmed_content_below_cursor"),
    }
    return written | {name: text for name, text in trimmed.items() if isinstance(text, str)}


def _joined(value: Any, separator: str) -> str:
    """Return a text, or the texts of a list; "" stands for an empty list in some versions."""
    texts = value if isinstance(value, list) else [value]
    return separator.join(text for text in texts if isinstance(text, str) and text.strip())


def _examples(value: Any) -> str:
    """Return the examples; the tags that GitLab puts around answers are not asked for here."""
    pairs = [
        (example["example"], example["response"])
        for example in (value if isinstance(value, list) else [])
        if isinstance(example, dict)
        and isinstance(example.get("example"), str)
        and isinstance(example.get("response"), str)
    ]
    return "\n\n".join(
        f"{task}\nAnswer:\n{answer.replace('<new_code>', '').replace('</new_code>', '')}"
        for task, answer in pairs
    )


def label(prompt: PromptEntry, family: str) -> str:
    """Return what clients are told the prompt is called."""
    names = LABELS[prompt.slug]
    return names.get(family, names[""])


def flat_answer(
    request: Request,
    *,
    engine: str,
    name: str,
    language: Language,
    answer: Answer | None,
    tokens: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the JSON of the routes under /v2 (gateway-api.md 3.3.2)."""
    return {
        "id": "id",
        "model": {
            "engine": engine,
            "name": name,
            "lang": language.id,
            "tokens_consumption_metadata": tokens,
            "region": settings.GATEWAY_REGION,
        },
        "experiments": [],
        "object": "text_completion",
        "created": int(time.time()),
        "choices": choices(answer),
        "metadata": {"enabled_feature_flags": enabled_flags(request)},
    }


def choices(answer: Answer | None) -> list[dict[str, Any]]:
    """Return the one choice there is; an empty text is no choice at all."""
    if answer is None or not answer.text:
        return []
    return [{"text": answer.text, "index": 0, "finish_reason": "length"}]


def enabled_flags(request: Request) -> list[str]:
    """Return GitLab's feature flags, which clients get back."""
    header: str = request.META.get("HTTP_X_GITLAB_ENABLED_FEATURE_FLAGS", "")
    return [flag for flag in header.split(",") if flag]
