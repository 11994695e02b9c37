"""Promises of gateway/audit/conversation.py."""

import orjson
import pytest

from gateway.audit import conversation as subject
from gateway.audit.conversation import conversation
from gateway.audit.models import State
from models_registry.providers.embedding import Embedding, Texts
from models_registry.providers.types import Message, Prompt, ToolCall

ANSWER = {"text": "return a + b", "finish_reason": "stop"}


def request(**prompt):
    body = {"inputs": {"prefix": "def add"}, "prompt": Prompt(**prompt).as_dict()}
    return orjson.loads(orjson.dumps(body))


def chat():
    system, user = Message(role="system", content="Be brief."), Message(role="user", content="Hi")
    return request(messages=(system, user), max_tokens=64, temperature=0.0, stop=("\n\n",))


def tool_chat():
    call = ToolCall(id="call_<1>", name="look<up>", arguments='{"query": "<b>"}')
    return request(
        messages=(
            Message(role="user", content="Look it up."),
            Message(role="assistant", content="", tool_calls=(call,)),
            Message(role="tool", content="42", tool_call_id="call_<1>"),
        ),
        tools=({"type": "function", "function": {"name": "look<up>"}},),
    )


def titles(parts):
    return [part.title for part in parts]


class TestConversation:
    def test_shows_the_messages_in_order_and_the_answer(self):
        shown = conversation(chat(), ANSWER, state=State.ANSWERED)

        assert titles(shown.parts) == ["System", "User", "Answer"]
        assert [part.text for part in shown.parts] == ["Be brief.", "Hi", "return a + b"]
        assert shown.parts[-1].note == "Finish reason: stop"

    def test_shows_a_text_to_complete(self):
        shown = conversation(request(text="<PRE>a<SUF>b<MID>"), ANSWER, state=State.ANSWERED)

        assert titles(shown.parts) == ["Prompt", "Answer"]
        assert shown.parts[0].text == "&lt;PRE&gt;a&lt;SUF&gt;b&lt;MID&gt;"

    def test_shows_what_the_caller_sent_and_the_parameters_that_were_set(self):
        shown = conversation(chat(), ANSWER, state=State.ANSWERED)

        assert titles(shown.inputs) == ["prefix", "max_tokens", "temperature", "stop"]
        assert [part.text for part in shown.inputs] == [
            "def add",
            "64",
            "0.0",
            "[&quot;\\n\\n&quot;]",
        ]

    def test_shows_what_was_asked_where_no_model_was(self):
        found = {"text": "# Pipelines", "finish_reason": None}

        shown = conversation({"inputs": {"query": "cancel"}}, found, state=State.ANSWERED)

        assert shown.parts[0].note == "Nothing was sent to a model."
        assert [(part.title, part.text) for part in shown.inputs] == [("query", "cancel")]
        assert shown.parts[-1].text == "# Pipelines"

    def test_shows_the_calls_of_tools_and_what_they_returned(self):
        answer = {"text": "", "finish_reason": "tool_calls"}
        call = ToolCall(id="call_2", name="add", arguments="{}").as_dict()

        shown = conversation(tool_chat(), answer | {"tool_calls": [call]}, state=State.ANSWERED)

        assert titles(shown.parts) == [
            "User",
            "Call of the tool look<up>",
            "Tool",
            "Answer",
            "Call of the tool add",
        ]
        assert shown.parts[1].text == "{&quot;query&quot;: &quot;&lt;b&gt;&quot;}"
        assert [part.note for part in shown.parts[1:3]] == [
            "Call call_<1>.",
            "Answers the call call_<1>.",
        ]
        assert titles(shown.inputs) == ["prefix", "tools"]

    def test_shows_that_there_was_an_image(self):
        picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
        parts = ({"type": "text", "text": "What is this?"}, picture)
        body = request(messages=(Message(role="user", content="What is this?", parts=parts),))

        shown = conversation(body, ANSWER, state=State.ANSWERED)

        assert shown.parts[0].text == "What is this?"
        assert shown.parts[0].note == "With 1 image(s): image/png, 26 characters."

    def test_says_how_much_of_an_input_was_kept(self):
        body = chat() | {"cut": {"prefix": {"kept": 7, "of": 12_000}}}

        shown = conversation(body, ANSWER, state=State.ANSWERED)

        assert shown.inputs[0].note.startswith("7 of 12,000 characters were kept")

    def test_says_how_much_was_kept_of_what_is_no_input(self):
        body = chat() | {"cut": {"history": {"kept": 7, "of": 12_000}}}

        shown = conversation(body, ANSWER, state=State.ANSWERED)

        assert titles(shown.inputs)[:2] == ["prefix", "history"]
        assert shown.inputs[1].note.startswith("7 of 12,000 characters were kept")

    def test_shows_texts_that_were_embedded_and_how_many_numbers_came_of_them(self):
        asked = Texts(texts=("<b>", "two"), dimensions=3)
        body = {"inputs": {}, "prompt": asked.as_dict()}
        embedding = Embedding(vectors=((0.5, 0.25, 0.0),) * 2)
        answer = {"text": embedding.as_text(), "finish_reason": None}

        shown = conversation(body, answer, state=State.ANSWERED)

        assert titles(shown.parts) == ["Text 1 of 2", "Text 2 of 2", "Answer"]
        assert [part.text for part in shown.parts] == ["&lt;b&gt;", "two", ""]
        assert shown.parts[-1].note == "2 vectors of 3 numbers."
        assert titles(shown.inputs) == ["dimensions"]

    def test_says_that_texts_were_not_embedded(self):
        body = {"inputs": {}, "prompt": Texts(texts=("one",)).as_dict()}

        shown = conversation(body, None, state=State.FAILED)

        assert shown.parts[-1].note == "There is no answer."

    @pytest.mark.parametrize(
        ("state", "note"),
        [
            (State.QUEUED, "There is no answer yet."),
            (State.RUNNING, "There is no answer yet."),
            (State.FAILED, "There is no answer."),
            (State.CANCELLED, "There is no answer."),
        ],
    )
    def test_says_that_there_is_no_answer(self, state, note):
        shown = conversation(chat(), None, state=state)

        assert shown.parts[-1].note == note

    def test_says_that_nothing_was_sent(self):
        shown = conversation(None, None, state=State.REFUSED)

        assert [part.note for part in shown.parts] == [
            "Nothing was sent to a model.",
            "There is no answer.",
        ]
        assert shown.inputs == ()

    @pytest.mark.parametrize("state", [State.CANCELLED, State.FAILED, State.INTERRUPTED])
    def test_does_not_call_a_part_of_an_answer_the_answer(self, state):
        shown = conversation(chat(), {"text": "ret", "finish_reason": None}, state=state)

        assert shown.parts[-1].title == "Answer, as far as it was delivered"

    def test_tells_an_empty_answer_from_none(self):
        shown = conversation(chat(), {"text": "", "finish_reason": None}, state=State.ANSWERED)

        assert shown.parts[-1].note == "Empty."

    def test_shows_of_a_huge_text_what_a_page_can_hold_and_says_so(self, monkeypatch):
        monkeypatch.setattr(subject, "SHOWN_MAX", 3)

        shown = conversation(chat(), ANSWER, state=State.ANSWERED)

        assert shown.parts[-1].text == "ret"
        assert shown.parts[-1].note.startswith("Shown: the first 3 of 12 characters.")
