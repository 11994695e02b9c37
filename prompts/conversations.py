"""A conversation that its caller brought: messages, tools and parameters without a prompt of ours.

Nothing is added to it and no text is lost; it is only made to fit what the model can take.
"""

from __future__ import annotations

from dataclasses import replace

from models_registry.errors import ContextTooLong
from models_registry.families import FAMILIES
from models_registry.providers.types import Message, Prompt
from prompts import budget
from prompts.library import Rendered, without_system
from prompts.renderer import check_size

# What stands in a record where a prompt of ours has its version.
VERSION = "caller's own"
# Estimates are on the safe side; no tokenizer makes three times fewer tokens of a whole text.
SURELY = 3


def fit(conversation: Prompt, *, family: str, window_tokens: int) -> Rendered:
    """Return the conversation as this model can take it.

    System messages at the head become one, where the chat format knows them, and the answer gets no
    more than the room that the window leaves. What cannot fit is refused here, because some servers
    cut the beginning off in silence; where it is close, the server decides.

    Raises:
        PromptTooLarge: all texts together are over MAX_PROMPT_BYTES.
        ContextTooLong: they cannot fit into the window.
    """
    check_size(*budget.texts_of(conversation))
    tokens = budget.estimate_prompt(conversation)
    if tokens > SURELY * window_tokens:
        raise ContextTooLong("The conversation is too long for the model.")
    messages = _with_one_system(conversation.messages)
    if not FAMILIES[family].takes_system:
        messages = without_system(messages)
    max_tokens = conversation.max_tokens
    if max_tokens is not None:
        max_tokens = budget.limit_answer(
            answer_tokens=max_tokens, prompt_tokens=tokens, window_tokens=window_tokens
        )
    return Rendered(
        prompt=replace(conversation, messages=tuple(messages), max_tokens=max_tokens),
        version=VERSION,
        digest="",
        inputs={},
        cut={},
        context_tokens=0,
    )


def _with_one_system(messages: tuple[Message, ...]) -> list[Message]:
    """Return the messages with those of the system at the head in one: most formats know one."""
    count = next((i for i, m in enumerate(messages) if m.role != "system"), len(messages))
    if count < 2:
        return list(messages)
    words = "\n\n".join(message.content for message in messages[:count])
    return [Message(role="system", content=words), *messages[count:]]
