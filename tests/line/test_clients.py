"""The official SDKs of OpenAI and Anthropic against running processes and a real llama.cpp."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass

import anthropic
import openai
import pytest
from pydantic import BaseModel

from tests.rig.backend import ScriptedBackend
from tests.rig.llama import CHAT_TEXT, FIM_MIDDLE, FIM_TEXT

SETUP = """
from features.models import ApiKey, FeatureRule, Group
from models_registry.models import SelfHostedModel

group = Group.objects.create(path={path!r})
for feature, facts in {models!r}.items():
    model = SelfHostedModel.objects.create(**facts)
    FeatureRule.objects.create(group=group, feature=feature, model=model)
print(ApiKey.issue(name={path!r}, group=group)[1])
"""
HI = [{"role": "user", "content": "Hi."}]
PARAMETERS = {"type": "object", "properties": {"query": {"type": "string"}}}
FUNCTION = {"name": "lookup", "description": "Looks things up.", "parameters": PARAMETERS}
RESULT = "42"
HOUSE, CODER, VECTORS = "House 1B", "team/coder", "house vectors"


class Verdict(BaseModel):
    """The form of an answer that leaves no choice of words."""

    is_fine: bool


@dataclass(frozen=True, kw_only=True)
class Clients:
    """Both SDKs with a key of one group."""

    openai: openai.OpenAI
    anthropic: anthropic.Anthropic


def make_group(line, path, **models):
    """Return a key of a new group, whose features have these models."""
    key = line.run(SETUP.format(path=path, models=models)).strip()
    line.wait_for_configuration()
    return key


@pytest.fixture(scope="module")
def connect(line):
    """A function that sets the SDKs up with a key as a user does, but for retries."""
    with ExitStack() as stack:

        def connect(key, sent_as="api_key"):
            first = openai.OpenAI(
                base_url=f"{line.url}/openai/v1",
                http_client=openai.DefaultHttpxClient(trust_env=False),
                api_key=key,
                max_retries=0,
            )
            second = anthropic.Anthropic(
                base_url=f"{line.url}/anthropic",
                http_client=anthropic.DefaultHttpxClient(trust_env=False),
                max_retries=0,
                **{sent_as: key},
            )
            return Clients(openai=stack.enter_context(first), anthropic=stack.enter_context(second))

        yield connect


@pytest.fixture(scope="module")
def house(line, connect, llama_server, llama_embedding):
    """Programs of a group whose models are served by llama.cpp."""

    def model(name, server, family="general"):
        facts = {"endpoint": server.endpoint, "identifier": server.model, "family": family}
        return {"name": name, "api_key": server.api_key, **facts}

    return connect(
        make_group(
            line,
            "house",
            own_clients=model(HOUSE, llama_server),
            own_clients_embeddings=model(VECTORS, llama_embedding, "embedding"),
            code_completions=model(CODER, llama_server),
        ),
    )


@pytest.fixture(scope="module")
def failing(line, connect):
    """Programs of a group whose models fail as they are called."""
    backend = ScriptedBackend()
    faults = {
        "own_clients": "stub",
        "duo_chat": "err-429",
        "code_completions": "err-500",
        "code_generations": "toolong",
        "review_merge_request": "err-midstream",
    }
    models = {
        feature: {
            "name": fault,
            "endpoint": backend.endpoint,
            "identifier": fault,
            "family": "general",
        }
        for feature, fault in faults.items()
    }
    yield connect(make_group(line, "failing", **models))
    backend.close()


class TestOpenAI:
    def test_chats(self, house, line):
        answer = house.openai.chat.completions.create(model="gpt-5", messages=HI)

        assert answer.choices[0].message.content == CHAT_TEXT
        assert answer.choices[0].finish_reason == "stop"
        assert (answer.model, answer.usage.completion_tokens) == (HOUSE, 10)
        row = line.records()[-1]
        assert (row["endpoint"], row["feature"]) == ("/openai/v1/chat/completions", "own_clients")
        assert (row["api_key_name"], row["group_path"], row["state"]) == (
            "house",
            "house",
            "answered",
        )

    def test_streams_a_chat_with_its_usage(self, house):
        stream = house.openai.chat.completions.create(
            model=CODER, messages=HI, stream=True, stream_options={"include_usage": True}
        )

        chunks = list(stream)
        said = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
        assert "".join(said) == CHAT_TEXT
        assert {chunk.model for chunk in chunks} == {CODER}
        assert chunks[-1].usage.completion_tokens == 10

    @pytest.mark.parametrize("is_streamed", [False, True])
    def test_calls_a_tool_and_takes_its_result(self, house, is_streamed):
        create = house.openai.chat.completions.create
        options = {"model": HOUSE, "tools": [{"type": "function", "function": FUNCTION}]}

        if is_streamed:
            with house.openai.chat.completions.stream(messages=HI, **options) as stream:
                message = stream.get_final_completion().choices[0].message
        else:
            message = create(messages=HI, **options).choices[0].message

        (call,) = message.tool_calls
        assert call.function.name == "lookup"
        assert json.loads(call.function.arguments) == {"query": "tiny"}
        result = {"role": "tool", "tool_call_id": call.id, "content": RESULT}
        called = {
            "role": "assistant",
            "tool_calls": [call.model_dump(include={"id", "type", "function"})],
        }
        last = create(messages=[*HI, called, result], **options)
        assert last.choices[0].message.content == CHAT_TEXT

    def test_answers_in_the_form_of_a_schema(self, house):
        answer = house.openai.chat.completions.parse(
            model=HOUSE, messages=HI, response_format=Verdict, max_tokens=100
        )

        assert isinstance(answer.choices[0].message.parsed, Verdict)

    @pytest.mark.parametrize("is_streamed", [False, True])
    def test_goes_on_with_a_text(self, house, is_streamed):
        wanted = {"model": CODER, "prompt": f"x{FIM_MIDDLE}", "max_tokens": 20}

        answer = house.openai.completions.create(**wanted, stream=is_streamed)

        answers = list(answer) if is_streamed else [answer]
        assert "".join(each.choices[0].text for each in answers) == FIM_TEXT
        assert answers[-1].choices[0].finish_reason == "stop"

    def test_makes_responses(self, house):
        answer = house.openai.responses.create(model=HOUSE, input="Hi.")
        with house.openai.responses.stream(model=HOUSE, input="Hi.") as stream:
            streamed = stream.get_final_response()

        assert answer.output_text == streamed.output_text == CHAT_TEXT
        assert answer.usage.output_tokens == streamed.usage.output_tokens == 10
        assert answer.model == HOUSE

    def test_makes_responses_with_tools(self, house):
        options = {"model": HOUSE, "tools": [{"type": "function", **FUNCTION, "strict": False}]}

        (call,) = house.openai.responses.create(input="Hi.", **options).output

        result = {"type": "function_call_output", "call_id": call.call_id, "output": RESULT}
        items = [*HI, call.model_dump(exclude_none=True), result]
        assert house.openai.responses.create(input=items, **options).output_text == CHAT_TEXT

    @pytest.mark.parametrize("encoding", ["float", "base64", None])
    def test_embeds_texts(self, house, encoding):
        asked = {} if encoding is None else {"encoding_format": encoding}

        answer = house.openai.embeddings.create(
            model="text-embedding-3-small", input=["one", "two"], **asked
        )

        first, second = answer.data
        assert len(first.embedding) == len(second.embedding) > 10
        assert first.embedding != second.embedding
        assert (answer.model, answer.usage.prompt_tokens > 0) == (VECTORS, True)

    def test_lists_models(self, house):
        assert [model.id for model in house.openai.models.list()] == [HOUSE, CODER, VECTORS]
        assert house.openai.models.retrieve(CODER).id == CODER


class TestAnthropic:
    def test_converses(self, house, line):
        answer = house.anthropic.messages.create(model="claude-opus", max_tokens=50, messages=HI)

        assert answer.content[0].text == CHAT_TEXT
        assert (answer.model, answer.stop_reason) == (HOUSE, "end_turn")
        assert answer.usage.output_tokens == 10
        assert line.records()[-1]["endpoint"] == "/anthropic/v1/messages"

    def test_takes_the_key_as_a_bearer_too(self, house, connect):
        bearer = connect(house.anthropic.api_key, sent_as="auth_token")

        answer = bearer.anthropic.messages.create(model=HOUSE, max_tokens=50, messages=HI)

        assert answer.content[0].text == CHAT_TEXT

    def test_streams(self, house):
        with house.anthropic.messages.stream(model=CODER, max_tokens=50, messages=HI) as stream:
            assert "".join(stream.text_stream) == CHAT_TEXT
            answer = stream.get_final_message()

        assert (answer.model, answer.usage.output_tokens) == (CODER, 10)

    @pytest.mark.parametrize("is_streamed", [False, True])
    def test_calls_a_tool_and_takes_its_result(self, house, is_streamed):
        messages = house.anthropic.messages
        tool = {"name": "lookup", "description": "Looks up.", "input_schema": PARAMETERS}
        options = {"model": HOUSE, "max_tokens": 50, "tools": [tool]}

        if is_streamed:
            with messages.stream(messages=HI, **options) as stream:
                answer = stream.get_final_message()
        else:
            answer = messages.create(messages=HI, **options)

        (call,) = answer.content
        assert (call.name, call.input, answer.stop_reason) == (
            "lookup",
            {"query": "tiny"},
            "tool_use",
        )
        called = {
            "role": "assistant",
            "content": [call.model_dump(include={"type", "id", "name", "input"})],
        }
        result = {"type": "tool_result", "tool_use_id": call.id, "content": RESULT}
        said = [*HI, called, {"role": "user", "content": [result]}]
        assert messages.create(messages=said, **options).content[0].text == CHAT_TEXT

    def test_counts_tokens(self, house):
        count = house.anthropic.messages.count_tokens(model=HOUSE, messages=HI)

        assert count.input_tokens > 0

    def test_lists_models(self, house):
        assert [model.id for model in house.anthropic.models.list()] == [HOUSE, CODER]
        assert house.anthropic.models.retrieve(CODER).display_name == CODER


def chat(of, model="stub", **options):
    """Send a conversation with OpenAI's SDK."""
    return of.openai.chat.completions.create(model=model, messages=HI, **options)


def converse(of, model="stub", **options):
    """Send a conversation with Anthropic's SDK."""
    return of.anthropic.messages.create(model=model, max_tokens=50, messages=HI, **options)


both_sdks = pytest.mark.parametrize(("sdk", "ask"), [(openai, chat), (anthropic, converse)])


@both_sdks
class TestErrors:
    def test_of_the_key(self, connect, sdk, ask):
        with pytest.raises(sdk.AuthenticationError, match="unknown, revoked or expired"):
            ask(connect("enc_nobody"))

    def test_of_the_feature(self, line, connect, sdk, ask):
        closed = connect(make_group(line, f"closed to {sdk.__name__}"))

        with pytest.raises(sdk.PermissionDeniedError, match="nothing configured: off"):
            ask(closed)

    def test_of_the_body(self, house, sdk, ask):
        with pytest.raises(sdk.BadRequestError, match="temperature"):
            ask(house, extra_body={"temperature": 5})

    def test_of_a_long_conversation(self, failing, sdk, ask):
        with pytest.raises(sdk.BadRequestError, match="too long"):
            ask(failing, "toolong")

    def test_of_a_models_rate_limit(self, failing, sdk, ask):
        with pytest.raises(sdk.RateLimitError) as limited:
            ask(failing, "err-429")

        assert limited.value.response.headers["retry-after"] == "7"

    def test_of_a_model(self, failing, sdk, ask):
        with pytest.raises(sdk.InternalServerError, match="The model server failed"):
            ask(failing, "err-500")

    def test_in_the_middle_of_a_stream(self, failing, sdk, ask):
        with pytest.raises(sdk.APIError):
            list(ask(failing, "err-midstream", stream=True))

    def test_of_a_model_that_is_not_there(self, failing, sdk, ask):
        models = failing.openai.models if sdk is openai else failing.anthropic.models

        with pytest.raises(sdk.NotFoundError, match="There is no model of this name"):
            models.retrieve(HOUSE)

    def test_are_none_of_an_unknown_name(self, failing, sdk, ask):
        assert ask(failing, "gpt-5").model == "stub"
