"""AWS Bedrock: Converse as AWS describes it, signed as AWS checks it."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

from models_registry.connection_test import State, run
from models_registry.errors import (
    BackendAuthFailed,
    BackendFailed,
    BackendNotFound,
    BackendRateLimited,
    BackendRejected,
    BackendTimedOut,
    ContextTooLong,
    MalformedReply,
    ModelMisconfigured,
)
from models_registry.providers.bedrock import Bedrock
from models_registry.providers.sse import Event
from models_registry.providers.types import Message, ModelConfig, Prompt, ToolCall
from tests.models_registry.providers import CHAT, PARAMETERS, TOOL, limits, model_of
from tests.rig.backend import TEXT
from tests.rig.bedrock import ACCESS_KEY, REGION, SECRET_KEY, BedrockStandIn

PROVIDER = Bedrock()
KEYS = f"{ACCESS_KEY}:{SECRET_KEY}"
PROFILE = "bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0"
ARN = "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/abc"
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/jpg;base64,aGk="}}
CALL = ToolCall(id="call_1", name="lookup", arguments='{"query": "tiny"}')
BROUGHT = Prompt(
    messages=(
        Message(role="user", content="", parts=(IMAGE,)),
        Message(role="assistant", content="Wait.", tool_calls=(CALL,)),
        Message(role="tool", content="42", tool_call_id="call_1"),
    ),
    stop=("END",),
    top_p=0.5,
    tools=(TOOL,),
    tool_choice="required",
    response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": PARAMETERS}},
)


@pytest.fixture(autouse=True)
def _region(settings: Any) -> None:
    settings.GATEWAY_BEDROCK_REGION = REGION


def model(endpoint: str = "", **fields: Any) -> ModelConfig:
    facts = {"identifier": PROFILE, "endpoint": endpoint, "api_key": KEYS}
    return model_of("bedrock", **(facts | fields))


def body_of(prompt: Prompt, **fields: Any) -> Any:
    return PROVIDER.build(prompt, model(**fields), is_streamed=False).body


def complete(endpoint: str, **fields: Any) -> Any:
    return PROVIDER.complete(CHAT, model(endpoint, **fields), limits=limits())


class TestBuild:
    def test_asks_to_converse(self):
        request = PROVIDER.build(CHAT, model(), is_streamed=False)

        assert request.url == (
            "https://bedrock-runtime.eu-west-1.amazonaws.com"
            "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse"
        )
        assert request.body == {
            "system": [{"text": "Be brief."}],
            "messages": [{"role": "user", "content": [{"text": "Say hello."}]}],
            "inferenceConfig": {"maxTokens": 16, "temperature": 0.0},
        }

    def test_asks_for_a_stream(self):
        url = PROVIDER.build(CHAT, model(), is_streamed=True).url

        assert url.endswith("/converse-stream")

    def test_writes_a_profiles_arn_as_one_part_of_the_path(self):
        config = model(identifier=f"bedrock/converse/{ARN}")

        url = PROVIDER.build(CHAT, config, is_streamed=False).url

        assert url.endswith(
            "/model/arn%3Aaws%3Abedrock%3Aeu-west-1%3A123456789012"
            "%3Aapplication-inference-profile%2Fabc/converse"
        )

    def test_sends_what_was_brought(self):
        assert body_of(BROUGHT) == {
            "messages": [
                {
                    "role": "user",
                    "content": [{"image": {"format": "jpeg", "source": {"bytes": "aGk="}}}],
                },
                {
                    "role": "assistant",
                    "content": [
                        {"text": "Wait."},
                        {
                            "toolUse": {
                                "toolUseId": "call_1",
                                "name": "lookup",
                                "input": {"query": "tiny"},
                            }
                        },
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"toolResult": {"toolUseId": "call_1", "content": [{"text": "42"}]}}
                    ],
                },
            ],
            "inferenceConfig": {"topP": 0.5, "stopSequences": ["END"]},
            "toolConfig": {
                "tools": [
                    {
                        "toolSpec": {
                            "name": "lookup",
                            "description": "Looks up.",
                            "inputSchema": {"json": PARAMETERS},
                        }
                    }
                ],
                "toolChoice": {"any": {}},
            },
            "outputConfig": {
                "textFormat": {
                    "type": "json_schema",
                    "structure": {
                        "jsonSchema": {
                            "schema": '{"type":"object","properties":{"query":{"type":"string"}}}'
                        }
                    },
                }
            },
        }

    @pytest.mark.parametrize("prompt", [CHAT, BROUGHT])
    def test_fits_awss_own_description(self, prompt):
        description = Loader().load_service_model("bedrock-runtime", "service-2")
        shape = ServiceModel(description).operation_model("Converse").input_shape
        request = {"modelId": "nova", **body_of(prompt)}

        report = ParamValidator().validate(request, shape)

        assert report.generate_report() == ""
        assert request.keys() <= shape.members.keys()

    @pytest.mark.parametrize(
        ("choice", "expected"),
        [
            (None, {}),
            ("auto", {}),
            (
                {"type": "function", "function": {"name": "x"}},
                {"toolChoice": {"tool": {"name": "x"}}},
            ),
        ],
    )
    def test_says_which_tool_is_to_be_called(self, choice, expected):
        prompt = Prompt(messages=CHAT.messages, tools=(TOOL,), tool_choice=choice)
        config = body_of(prompt)["toolConfig"]

        assert {name: config[name] for name in config.keys() - {"tools"}} == expected

    def test_offers_no_tool_where_none_is_to_be_called(self):
        prompt = Prompt(messages=CHAT.messages, tools=(TOOL,), tool_choice="none")

        assert "toolConfig" not in body_of(prompt)

    def test_offers_tools_all_the_same_where_some_were_called(self):
        prompt = Prompt(messages=BROUGHT.messages, tools=(TOOL,), tool_choice="none")

        assert body_of(prompt)["toolConfig"].keys() == {"tools"}

    def test_refuses_a_text_to_complete(self):
        with pytest.raises(ModelMisconfigured, match="native"):
            body_of(Prompt(text="def"))


class TestAddress:
    @pytest.mark.parametrize("endpoint", ["", "http://bedrockselfhostedmodel.com"])
    def test_is_that_of_the_region(self, endpoint):
        url = PROVIDER.build(CHAT, model(endpoint), is_streamed=False).url

        assert url.startswith("https://bedrock-runtime.eu-west-1.amazonaws.com/")

    @pytest.mark.parametrize("endpoint", ["", "http://bedrockselfhostedmodel.com"])
    def test_is_that_of_deploy_configuration(self, endpoint, settings):
        settings.GATEWAY_BEDROCK_ENDPOINT = "https://vpce.example.com/"

        url = PROVIDER.build(CHAT, model(endpoint), is_streamed=False).url

        assert url.startswith("https://vpce.example.com/model/")

    def test_is_the_models_own(self, settings):
        settings.GATEWAY_BEDROCK_ENDPOINT = "https://vpce.example.com"

        url = PROVIDER.build(CHAT, model("https://own.example.com"), is_streamed=False).url

        assert url.startswith("https://own.example.com/model/")

    def test_is_missing_without_a_region(self, settings):
        settings.GATEWAY_BEDROCK_REGION = ""

        with pytest.raises(ModelMisconfigured, match="GATEWAY_BEDROCK_REGION"):
            body_of(CHAT)


class TestSignature:
    @pytest.mark.parametrize("identifier", [PROFILE, f"bedrock/{ARN}", "bedrock/a b+c~d*é"])
    @pytest.mark.parametrize("session", ["", "AQoEXAMPLEH4aoAH0gNCAPyJ//+=="])
    def test_is_believed(self, identifier, session):
        bedrock = BedrockStandIn(session=session)
        key = f"{KEYS}:{session}" if session else KEYS

        assert complete(bedrock.url, identifier=identifier, api_key=key).text == TEXT

        bedrock.close()

    @pytest.mark.parametrize(
        "key", [f"{ACCESS_KEY}:wrong", f"AKIDOTHER:{SECRET_KEY}", f"{KEYS}:session", "bad-bearer"]
    )
    def test_is_refused_with_another_key(self, bedrock, key):
        with pytest.raises(BackendAuthFailed):
            complete(bedrock.url, api_key=key)

    def test_is_for_the_region(self, bedrock, settings):
        settings.GATEWAY_BEDROCK_REGION = "us-east-1"

        with pytest.raises(BackendAuthFailed):
            complete(bedrock.url)

    @pytest.mark.parametrize(
        "host",
        [
            "bedrock-runtime.us-west-2.amazonaws.com",
            "bedrock-runtime-fips.us-west-2.amazonaws.com",
            "vpce-0a1b-c2d3.bedrock-runtime.us-west-2.vpce.amazonaws.com",
        ],
    )
    def test_is_for_the_region_that_the_endpoint_names(self, host):
        config = model(f"https://{host}")
        request = PROVIDER.build(CHAT, config, is_streamed=False)

        assert "/us-west-2/bedrock/" in PROVIDER.sign(request, b"{}", config)["Authorization"]

    def test_needs_a_region(self, settings):
        settings.GATEWAY_BEDROCK_REGION = ""

        with pytest.raises(ModelMisconfigured, match="GATEWAY_BEDROCK_REGION"):
            complete("http://127.0.0.1:9")

    def test_leaves_no_secret_in_a_log(self, bedrock, caplog):
        with caplog.at_level(logging.INFO):
            complete(bedrock.url)

        assert SECRET_KEY not in caplog.text
        assert logging.getLogger("botocore.auth").getEffectiveLevel() >= logging.WARNING

    def test_says_what_to_install(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "botocore.auth", None)

        with pytest.raises(ModelMisconfigured, match=r"requirements-bedrock\.txt"):
            complete("http://127.0.0.1:9")

    @pytest.mark.parametrize("key", ["a:", ":b", "a:b:", "a:b:c:d"])
    def test_says_what_a_key_looks_like(self, key):
        with pytest.raises(ModelMisconfigured, match="access:secret") as failure:
            complete("http://127.0.0.1:9", api_key=key)

        assert key not in str(failure.value)


class TestKey:
    def test_may_be_a_bedrock_api_key_which_needs_no_library(self, bedrock, monkeypatch):
        monkeypatch.setitem(sys.modules, "botocore.auth", None)

        assert complete(bedrock.url, api_key="good").text == TEXT

    def test_is_that_of_deploy_configuration_where_the_model_has_none(self, bedrock, settings):
        settings.GATEWAY_BEDROCK_ENDPOINT = bedrock.url
        settings.GATEWAY_BEDROCK_KEY = KEYS

        assert complete("http://bedrockselfhostedmodel.com", api_key="").text == TEXT

    def test_of_deploy_configuration_goes_to_no_other_address(self, bedrock, settings):
        settings.GATEWAY_BEDROCK_KEY = KEYS

        with pytest.raises(ModelMisconfigured, match="wants a key"):
            complete(bedrock.url, api_key="")

        assert bedrock.calls == []


class TestParseReply:
    def test_reads_text_calls_and_tokens(self):
        content = [
            {"reasoningContent": {"reasoningText": {"text": "hm"}}},
            {"text": "One"},
            {"text": " two"},
            {"toolUse": {"toolUseId": "t1", "name": "lookup", "input": {"q": 1}}},
        ]
        usage = {"inputTokens": 3, "cacheReadInputTokens": 4, "outputTokens": 5}

        completion = PROVIDER.parse_reply(
            {
                "output": {"message": {"role": "assistant", "content": content}},
                "stopReason": "tool_use",
                "usage": usage,
            }
        )

        assert (completion.text, completion.finish_reason) == ("One two", "tool_calls")
        assert (completion.prompt_tokens, completion.completion_tokens) == (7, 5)
        assert completion.tool_calls == (ToolCall(id="t1", name="lookup", arguments='{"q":1}'),)


class TestParseEvent:
    @pytest.mark.parametrize(
        ("name", "data"),
        [
            ("messageStart", {"role": "assistant"}),
            ("contentBlockStart", {"contentBlockIndex": 0}),
            ("contentBlockStop", {"contentBlockIndex": 0}),
            (
                "contentBlockDelta",
                {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "hm"}}},
            ),
            ("tomorrows", {}),
        ],
    )
    def test_passes_over_what_is_no_answer(self, name, data):
        assert PROVIDER.parse_event(Event(name, json.dumps(data))) is None

    @pytest.mark.parametrize(
        ("name", "text", "error"),
        [
            ("throttlingException", "Too many tokens, please wait", BackendRateLimited),
            ("validationException", "Input is too long for requested model.", ContextTooLong),
            ("validationException", "no", BackendRejected),
            ("internalServerException", "", BackendFailed),
            ("modelStreamErrorException", "", BackendFailed),
            ("serviceUnavailableException", "", BackendFailed),
            ("error", "", BackendFailed),
        ],
    )
    def test_raises_exceptions(self, name, text, error):
        with pytest.raises(error):
            PROVIDER.parse_event(Event(name, text))


class TestBedrock:
    def test_answers_the_same_whole_and_streamed(self, bedrock):
        config = model(bedrock.url)

        whole = PROVIDER.complete(CHAT, config, limits=limits())
        deltas = list(PROVIDER.stream(CHAT, config, limits=limits()))

        assert whole.text == "".join(delta.text for delta in deltas) == TEXT
        assert len([delta for delta in deltas if delta.text]) == 16
        assert whole.finish_reason == deltas[-1].finish_reason == "stop"
        assert whole.completion_tokens == deltas[-1].completion_tokens == 16
        assert whole.prompt_tokens == deltas[-1].prompt_tokens > 0

    def test_calls_the_same_tool_whole_and_streamed(self, bedrock):
        config = model(bedrock.url, identifier="bedrock/tools")
        prompt = Prompt(messages=CHAT.messages, tools=(TOOL,))

        whole = PROVIDER.complete(prompt, config, limits=limits())
        deltas = list(PROVIDER.stream(prompt, config, limits=limits()))

        (called,), (streamed,) = whole.tool_calls, deltas[-1].tool_calls
        assert (called.name, json.loads(called.arguments)) == ("lookup", {"query": "tiny"})
        assert (streamed.id, streamed.name) == (called.id, called.name)
        assert json.loads(streamed.arguments) == {"query": "tiny"}
        assert deltas[-1].finish_reason == whole.finish_reason == "tool_calls"

    @pytest.mark.parametrize("is_streamed", [True, False])
    @pytest.mark.parametrize(
        ("script", "error", "reason"),
        [
            ("err-403", BackendAuthFailed, ""),
            ("err-404", BackendNotFound, "no_bedrock_model"),
            ("err-408", BackendTimedOut, ""),
            ("err-424", BackendFailed, ""),
            ("err-429", BackendRateLimited, ""),
            ("err-503", BackendFailed, ""),
            ("toolong", ContextTooLong, ""),
            ("invalid", BackendRejected, ""),
            ("profile", BackendRejected, "needs_profile"),
            ("form", BackendRejected, "needs_form"),
            ("prefill", BackendRejected, "no_prefill"),
            ("access", BackendAuthFailed, "no_access"),
        ],
    )
    def test_says_what_went_wrong(self, bedrock, script, error, reason, is_streamed):
        config = model(bedrock.url, identifier=f"bedrock/{script}")
        ask = PROVIDER.stream if is_streamed else PROVIDER.complete

        with pytest.raises(error) as failure:
            list(ask(CHAT, config, limits=limits()))

        assert failure.value.reason == reason
        assert getattr(failure.value, "retry_after_s", 7) == 7

    @pytest.mark.parametrize(
        ("script", "error"),
        [
            ("exception-throttlingException", BackendRateLimited),
            ("exception-modelStreamErrorException", BackendFailed),
            ("damaged", MalformedReply),
            ("cut-midstream", MalformedReply),
        ],
    )
    def test_never_takes_half_a_stream_for_a_whole_one(self, bedrock, script, error):
        config = model(bedrock.url, identifier=f"bedrock/{script}")
        pieces = PROVIDER.stream(CHAT, config, limits=limits())

        assert next(pieces).text == "def"
        with pytest.raises(error):
            list(pieces)

    def test_keeps_its_connection_after_a_stream(self, bedrock):
        for _ in range(2):
            list(PROVIDER.stream(CHAT, model(bedrock.url), limits=limits()))

        assert len({call.connection for call in bedrock.calls}) == 1


class TestConnectionTest:
    def test_passes_without_a_list(self, bedrock):
        states = {step.slug: step.state for step in run(model(bedrock.url))}

        assert states["answer"] == states["stream"] == State.OK
        assert states["models"] == State.SKIPPED

    def test_passes_where_deploy_configuration_says_where(self, bedrock, settings):
        settings.GATEWAY_BEDROCK_ENDPOINT = bedrock.url

        assert {step.state for step in run(model())} == {State.OK, State.SKIPPED}

    @pytest.mark.parametrize(
        ("fields", "slug", "change", "words"),
        [
            ({"identifier": "bedrock/profile"}, "answer", "identifier", "us."),
            ({"identifier": "bedrock/prefill"}, "answer", "takes_prefill", "off"),
            ({"identifier": "bedrock/access", "api_key": KEYS}, "answer", "", "console"),
            ({"identifier": "bedrock/err-404"}, "answer", "identifier", "region"),
            ({"api_key": ""}, "answer", "new_api_key", "access:secret"),
        ],
    )
    def test_names_the_fix(self, bedrock, fields, slug, change, words):
        *_, step = run(model(bedrock.url, **fields))

        assert (step.slug, step.change) == (slug, change)
        assert words in step.fix

    def test_asks_for_the_region_first(self, settings):
        settings.GATEWAY_BEDROCK_REGION = ""

        *_, step = run(model())

        assert (step.slug, step.change) == ("address", "GATEWAY_BEDROCK_REGION")
