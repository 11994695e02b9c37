"""What the frame of one record shows: the prompt and the answer, as inert text.

Shapes of the two bodies: `gateway.audit.models.InferenceContent`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from django.utils.safestring import SafeString

from gateway.audit.escapes import visible, visible_html
from gateway.audit.models import OPEN_STATES, State
from models_registry.providers.embedding import Embedding
from models_registry.providers.types import text_of

# Of one text, in characters: a larger one would hold up everything else in the process.
SHOWN_MAX = 500_000

Body = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One text under its title, or a note where there is none."""

    title: str
    text: SafeString
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """What was asked and answered, and what the caller sent that the prompt was made of."""

    parts: tuple[Part, ...]
    inputs: tuple[Part, ...]


def conversation(request: Body | None, answer: Body | None, *, state: State) -> Conversation:
    """Return what the frame shows of a record in this state."""
    is_embedding = request is not None and "texts" in request.get("prompt", {})
    told = (_vectors(answer),) if is_embedding and answer else _answer(answer, state)
    return Conversation(
        parts=(*_prompt(request), *told),
        inputs=tuple(_inputs(request or {})),
    )


def _prompt(request: Body | None) -> Iterator[Part]:
    if request is None or "prompt" not in request:
        yield Part(title="Prompt", text=SafeString(), note="Nothing was sent to a model.")
        return
    prompt = request["prompt"]
    for message in prompt.get("messages") or ():
        yield from _message(message)
    if prompt.get("text"):
        yield _part("Prompt", prompt["text"])
    texts = prompt.get("texts") or ()
    for number, text in enumerate(texts, 1):
        yield _part(f"Text {number} of {len(texts)}", text)


def _message(message: Body) -> Iterator[Part]:
    role, content, calls = message["role"], message["content"], message.get("tool_calls", ())
    note = ""
    if not isinstance(content, str):
        note = _images(content)
        content = text_of(content)
    if answered := message.get("tool_call_id"):
        note = f"Answers the call {visible(answered)}. {note}".strip()
    if content or note or not calls:
        yield _part(str(role).capitalize(), content, note=note)
    yield from map(_tool_call, calls)


def _images(parts: Sequence[Body]) -> str:
    """Return what images there are: their bytes would tell a reader nothing."""
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    kinds = [f"{url[5:].partition(';')[0]}, {len(url):,} characters" for url in urls]
    return f"With {len(kinds)} image(s): {visible('; '.join(kinds))}."


def _tool_call(call: Body) -> Part:
    function = call["function"]
    title = f"Call of the tool {function['name']}"
    return _part(title, function["arguments"], note=f"Call {visible(call['id'])}.")


def _answer(answer: Body | None, state: State) -> Iterator[Part]:
    if answer is None:
        note = "There is no answer yet." if state in OPEN_STATES else "There is no answer."
        yield Part(title="Answer", text=SafeString(), note=note)
        return
    if state != State.ANSWERED:
        yield _part("Answer, as far as it was delivered", answer["text"])
        return
    reason = answer.get("finish_reason")
    yield _part(
        "Answer", answer["text"], note=f"Finish reason: {visible(reason)}" if reason else ""
    )
    yield from map(_tool_call, answer.get("tool_calls", ()))


def _vectors(answer: Body) -> Part:
    """Return what there is to say of vectors: their numbers mean nothing to a reader."""
    vectors = Embedding.from_text(answer["text"]).vectors
    count = "1 vector" if len(vectors) == 1 else f"{len(vectors):,} vectors"
    return Part(title="Answer", text=SafeString(), note=f"{count} of {len(vectors[0]):,} numbers.")


def _inputs(request: Body) -> Iterator[Part]:
    inputs, cuts = request.get("inputs", {}), request.get("cut", {})
    for name, value in inputs.items():
        yield _part(name, value, note=_cut(cuts[name]) if name in cuts else "")
    for name, cut in cuts.items():
        if name not in inputs:
            yield Part(title=visible(name), text=SafeString(), note=_cut(cut))
    parameters = {
        name: value
        for name, value in request.get("prompt", {}).items()
        if name not in ("messages", "text", "texts")
        and value is not False
        and value not in (None, [])
    }
    for name, value in parameters.items():
        yield _part(name, value)


def _cut(cut: Body) -> str:
    return f"{cut['kept']:,} of {cut['of']:,} characters were kept, to fit the model's window."


def _part(title: str, text: object, *, note: str = "") -> Part:
    whole = text if isinstance(text, str) else orjson.dumps(text).decode()
    if len(whole) > SHOWN_MAX:
        note = f"Shown: the first {SHOWN_MAX:,} of {len(whole):,} characters. {note}".strip()
    return Part(
        title=visible(title),
        text=visible_html(whole[:SHOWN_MAX]),
        note=note or ("" if whole else "Empty."),
    )
