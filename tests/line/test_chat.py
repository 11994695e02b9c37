"""The chat agent as GitLab drives it, in front of a real model: always an event, and a record."""

import json
from itertools import count

import pytest

from tests.line.conftest import record_of
from tests.rig.llama import CHAT_TEXT
from tests.rig.wire import exchange

NUMBERS = count()
STEP = {
    "action": {"thought": "I need it.", "tool": "issue_reader", "tool_input": "#1"},
    "observation": "Issue 1: it is slow.",
}
QUESTION = [{"role": "user", "content": "Hello"}]
CHAT = [
    *QUESTION,
    {"role": "assistant", "content": "Hello!", "agent_scratchpad": [STEP]},
    {"role": "user", "content": "What is #1 about?", "context": {"type": "issue", "title": "Slow"}},
    {"role": "assistant", "agent_scratchpad": [STEP, STEP]},
]


class TestLlamaCpp:
    """A tiny model that talks of something else, which GitLab shows as it is."""

    @pytest.fixture
    def chat(self, line, llama):
        def send(messages, *, family="general", takes_prefill=False):
            name = f"chat {next(NUMBERS)}"
            model = line.add_model(
                name=name,
                family=family,
                endpoint=llama.endpoint,
                identifier=llama.model,
                api_key=llama.api_key,
                takes_prefill=takes_prefill,
            )
            line.switch_on("duo_chat", model=model)
            reply = exchange(
                line.url,
                "POST",
                "/v2/chat/agent",
                headers=line.gitlab.headers(**{"X-Request-ID": name}),
                body=json.dumps({"messages": messages}).encode(),
            )
            events = [json.loads(text) for text in reply.text.splitlines()]
            return reply, events, record_of(line, name)

        return send

    @pytest.mark.parametrize(
        ("messages", "family"), [(QUESTION, "general"), (CHAT, "general"), (CHAT, "codegemma")]
    )
    def test_answers_with_an_event_and_closes_the_record(self, line, chat, messages, family):
        reply, (event, usage), record = chat(messages, family=family)

        assert (reply.status, reply.end, record["state"]) == (200, "clean", "answered")
        assert event == {"type": "unknown", "data": {"text": CHAT_TEXT}}
        (tokens,) = usage["data"]["usage"].values()
        assert tokens == {
            "input_tokens": record["prompt_tokens"],
            "output_tokens": record["completion_tokens"],
        }
        assert line.contents(record["id"])["answer"]["text"].strip() == CHAT_TEXT

    def test_goes_on_with_a_turn_that_was_opened(self, line, chat):
        reply, (event, _), record = chat(CHAT, takes_prefill=True)

        sent = line.contents(record["id"])["request"]["prompt"]["messages"]
        assert (reply.status, reply.end, record["state"]) == (200, "clean", "answered")
        assert sent[-1] == {"role": "assistant", "content": "Thought:"}
        assert event["type"] == "unknown"

    def test_says_that_a_conversation_is_too_long(self, chat):
        reply, (event,), record = chat([{"role": "user", "content": "word " * 20_000}])

        assert (reply.status, reply.end) == (200, "cut")
        assert (record["state"], record["error_code"]) == ("failed", "context_too_long")
        assert event["data"]["message"].startswith("prompt is too long")
        assert not event["data"]["retryable"]
