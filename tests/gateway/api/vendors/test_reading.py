"""Promises of gateway/api/vendors/reading.py."""

from __future__ import annotations

import pytest

from gateway.api.vendors import reading
from gateway.api.vendors.formats import BadRequest
from models_registry.providers.types import Message, Prompt
from tests.gateway.api.vendors import PNG, SCHEMA

TOOLS = (reading.tool("lookup", parameters=SCHEMA),)


class TestImagePart:
    @pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "webp"])
    def test_is_the_data_as_it_came(self, kind):
        url = f"data:image/{kind};base64,iVBORw0KGgo="

        assert reading.image_part(url) == {"type": "image_url", "image_url": {"url": url}}

    @pytest.mark.parametrize(
        "url",
        [
            "http://10.0.0.1/a.png",
            "https://example.com/a.png",
            "HTTP://example.com",
            "file:///etc/passwd",
            "ftp://a",
            "//a/b.png",
            "gs://bucket/a.png",
            "",
        ],
    )
    def test_is_never_an_address(self, url):
        with pytest.raises(BadRequest, match="must be sent as data"):
            reading.image_part(url)

    @pytest.mark.parametrize(
        "url",
        [
            "data:",
            "data:text/html;base64,AAAA",
            "data:image/svg+xml;base64,AAAA",
            "data:image/png,AAAA",
            "data:image/png;base64,",
            "data:image/png;base64,a b",
            "data:image/png;base64,AAAA\n",
            "data:image/png;base64,AA=A",
            "DATA:image/png;base64,AAAA",
        ],
    )
    def test_is_never_something_else(self, url):
        with pytest.raises(BadRequest, match="PNG, JPEG, GIF or WebP"):
            reading.image_part(url)


class TestMessage:
    def test_of_texts_is_one_text(self):
        parts = [reading.text_part("a"), reading.text_part("b")]

        assert reading.message("user", parts) == Message(role="user", content="a\nb")

    def test_with_an_image_keeps_the_order(self):
        parts = [reading.image_part(PNG), reading.text_part("b")]

        assert reading.message("user", parts) == Message(
            role="user", content="b", parts=tuple(parts)
        )


class TestTool:
    def test_says_nothing_of_what_is_not_known(self):
        assert reading.tool("lookup", description=None) == {
            "type": "function",
            "function": {"name": "lookup"},
        }


class TestAnswerFormat:
    def test_is_none_for_text(self):
        assert reading.answer_format("text", None) is None

    def test_of_json_needs_a_schema_only_where_it_says_so(self):
        assert reading.answer_format("json_object", None) == {"type": "json_object"}
        with pytest.raises(BadRequest):
            reading.answer_format("json_schema", reading.JsonForm())

    def test_holds_the_schema(self):
        form = reading.JsonForm.model_validate({"name": "n", "schema": SCHEMA, "strict": True})

        assert reading.answer_format("json_schema", form) == {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": SCHEMA, "strict": True},
        }


class TestChecked:
    def test_is_the_conversation_itself(self):
        prompt = Prompt(tools=TOOLS, tool_choice=reading.choice_of("lookup"))

        assert reading.checked(prompt) is prompt

    def test_says_nothing_about_tools_where_there_are_none(self):
        prompt = Prompt(tool_choice="auto", parallel_tool_calls=True, seed=1)

        assert reading.checked(prompt) == Prompt(seed=1)

    @pytest.mark.parametrize(
        "prompt",
        [
            Prompt(tool_choice="required"),
            Prompt(tool_choice=reading.choice_of("lookup")),
            Prompt(tools=TOOLS, tool_choice=reading.choice_of("other")),
            Prompt(tools=(reading.tool("lookup", parameters={"maximum": 10**30}),)),
            Prompt(response_format={"maximum": 10**30}),
        ],
        ids=str,
    )
    def test_refuses_what_cannot_be_sent(self, prompt):
        with pytest.raises(BadRequest):
            reading.checked(prompt)


class TestAsJson:
    def test_refuses_what_nobody_could_read_back(self):
        assert reading.as_json({"a": "ü"}) == '{"a":"ü"}'
        with pytest.raises(BadRequest):
            reading.as_json({"a": 10**30})
