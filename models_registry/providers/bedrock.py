"""AWS Bedrock: the Converse API, signed with access keys or sent with a Bedrock API key.

Credentials come from the model or from deploy configuration, never from the machine's metadata
service, which no setting opens (`models_registry/egress.py`). Signing needs botocore, an optional
extra (`requirements-bedrock.txt`); everything else is here.
Source: Amazon Bedrock API reference (Converse, ConverseStream); AWS Signature Version 4;
gitlab-client.md 1.4, 2.1 and 5.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

import orjson
from django.conf import settings

from models_registry.errors import (
    BackendAuthFailed,
    BackendFailed,
    BackendNotFound,
    BackendRejected,
    BackendTimedOut,
    ModelError,
    ModelMisconfigured,
)
from models_registry.providers import event_stream, sse, turns
from models_registry.providers.base import (
    Provider,
    Request,
    as_text,
    error_for,
    load_json,
    tool_calls,
)
from models_registry.providers.names import is_bedrock_placeholder, served_name
from models_registry.providers.types import Completion, Delta, Json, ModelConfig, Prompt, ToolPart

SERVICE = "bedrock"
PROMPT_TOKENS = ("inputTokens", "cacheReadInputTokens", "cacheWriteInputTokens")
# The region in the name of one of AWS's own servers, which must be signed for.
REGION = re.compile(r"bedrock-runtime(?:-fips)?\.([a-z0-9-]+)\.(?:vpce\.)?amazonaws\.com$")
EXCEPTIONS = {"validationException": 400, "throttlingException": 429}

# What Bedrock says of mistakes that one can put right: gitlab-client.md 5.3, rows 8, 29 and 30.
REFUSALS: tuple[tuple[re.Pattern[str], type[ModelError], str, str], ...] = (
    (
        re.compile(r"on-demand throughput|inference profile", re.IGNORECASE),
        BackendRejected,
        "Bedrock serves this model only through an inference profile. Its name begins with the"
        " profile's region: us., eu., apac. or global.",
        "needs_profile",
    ),
    (
        re.compile(r"use case details have not been submitted", re.IGNORECASE),
        BackendRejected,
        "AWS wants to know what this account uses the model for. Fill in its form in the Bedrock"
        " console.",
        "needs_form",
    ),
    (
        re.compile(r"prefill", re.IGNORECASE),
        BackendRejected,
        "The model does not continue a begun answer. Switch 'continues a prefilled answer' off.",
        "no_prefill",
    ),
    (
        re.compile(r"have access to the model", re.IGNORECASE),
        BackendAuthFailed,
        "The AWS account has no access to this model. Ask for it in the Bedrock console.",
        "no_access",
    ),
)


class _Blocks:
    """Writes Converse's content blocks."""

    def text(self, text: str) -> Json:
        return {"text": text}

    def image(self, media_type: str, data: str) -> Json:
        kind = media_type.removeprefix("image/")
        return {"image": {"format": "jpeg" if kind == "jpg" else kind, "source": {"bytes": data}}}

    def call(self, call_id: str, name: str, arguments: Json) -> Json:
        return {"toolUse": {"toolUseId": call_id, "name": name, "input": arguments}}

    def result(self, call_id: str, text: str) -> Json:
        return {"toolResult": {"toolUseId": call_id, "content": [{"text": text}]}}


class Bedrock(Provider):
    """Chat by /model/<id>/converse; there is no list of models beside it."""

    label = "AWS Bedrock (Converse)"

    def build(self, prompt: Prompt, model: ModelConfig, *, is_streamed: bool) -> Request:
        messages = turns.chat(prompt)
        system = turns.system_of(messages)
        wanted = {
            "system": [{"text": system}] if system else None,
            "inferenceConfig": _inference(prompt, model),
            "toolConfig": _tools(prompt),
            "outputConfig": _output(prompt),
        }
        model_id = quote(served_name(model).removeprefix("converse/"), safe="")
        action = "converse-stream" if is_streamed else "converse"
        return Request(
            url=f"{_endpoint(model)}/model/{model_id}/{action}",
            headers={},
            body={
                "messages": turns.turns(messages, _Blocks()),
                **{name: value for name, value in wanted.items() if value},
            },
        )

    def sign(self, request: Request, body: bytes, model: ModelConfig) -> Mapping[str, str]:
        key = _key(model)
        if ":" not in key:
            return {"Authorization": f"Bearer {key}"}
        return _signature(_Keys.of(key), request.url, body, region=_region(request.url))

    def events(self, chunks: Iterable[bytes]) -> Iterator[sse.Event]:
        return event_stream.events(chunks)

    def refusal(self, status: int, text: str, headers: Mapping[str, str]) -> ModelError:
        if status == 408:
            return BackendTimedOut("The model took longer than Bedrock allows.", status=status)
        if status == 424:
            return BackendFailed("The model behind Bedrock failed (HTTP 424).", status=status)
        if status in (400, 403, 404) and (known := _known(text, status)):
            return known
        if status == 404:
            return BackendNotFound(
                "Bedrock knows no model of this name in this region (HTTP 404).",
                status=status,
                reason="no_bedrock_model",
            )
        return super().refusal(status, text, headers)

    def parse_reply(self, reply: Any) -> Completion:
        content = reply["output"]["message"]["content"]
        calls = [block["toolUse"] for block in content if "toolUse" in block]
        return Completion(
            text="".join(as_text(block["text"]) for block in content if "text" in block),
            finish_reason=turns.finish_reason(reply.get("stopReason")),
            tool_calls=tool_calls(
                [(call.get("toolUseId"), call["name"], call.get("input")) for call in calls]
            ),
            **_usage(reply),
        )

    def parse_event(self, event: sse.Event) -> Delta | None:
        if event.name == "error" or event.name.endswith("Exception"):
            raise _exception(event)
        data = load_json(event.data)
        match event.name:
            case "contentBlockStart":
                return _begun(data["contentBlockIndex"], data.get("start") or {})
            case "contentBlockDelta":
                return _piece(data["contentBlockIndex"], data["delta"])
            case "messageStop":
                return Delta(finish_reason=turns.finish_reason(data["stopReason"]))
            case "metadata":
                return Delta(**_usage(data))
            case _:
                return None


# What is asked


def _inference(prompt: Prompt, model: ModelConfig) -> dict[str, Any]:
    temperature, top_p = turns.sampling(prompt, model)
    wanted = {
        "maxTokens": prompt.max_tokens,
        "temperature": temperature,
        "topP": top_p,
        "stopSequences": turns.stops(prompt) or None,
    }
    return {name: value for name, value in wanted.items() if value is not None}


def _tools(prompt: Prompt) -> dict[str, Any] | None:
    """Return the tools; Converse cannot say "none", but wants them where some were called."""
    was_called = any(message.tool_calls for message in prompt.messages)
    if not prompt.tools or (prompt.tool_choice == "none" and not was_called):
        return None
    config: dict[str, Any] = {"tools": [_tool(tool["function"]) for tool in prompt.tools]}
    if name := turns.chosen(prompt):
        config["toolChoice"] = {"tool": {"name": name}}
    elif prompt.tool_choice == "required":
        config["toolChoice"] = {"any": {}}
    return config


def _tool(function: Json) -> dict[str, Any]:
    spec = {
        "name": function["name"],
        "inputSchema": {"json": function.get("parameters") or {"type": "object"}},
    }
    if function.get("description"):
        spec["description"] = function["description"]
    return {"toolSpec": spec}


def _output(prompt: Prompt) -> dict[str, Any] | None:
    schema = turns.schema_of(prompt)
    if schema is None:
        return None
    structure = {"jsonSchema": {"schema": orjson.dumps(schema).decode()}}
    return {"textFormat": {"type": "json_schema", "structure": structure}}


# Where, and with which key


def _is_ours(model: ModelConfig) -> bool:
    """Test whether the address is that of deploy configuration, and so may get its key."""
    return not model.endpoint or is_bedrock_placeholder(model.endpoint)


def _endpoint(model: ModelConfig) -> str:
    if not _is_ours(model):
        return model.endpoint
    if settings.GATEWAY_BEDROCK_ENDPOINT:
        return str(settings.GATEWAY_BEDROCK_ENDPOINT.rstrip("/"))
    if not settings.GATEWAY_BEDROCK_REGION:
        raise ModelMisconfigured(
            "Nobody said in which region of AWS this model is. Set GATEWAY_BEDROCK_REGION, or enter"
            " an endpoint.",
            reason="no_region",
        )
    return f"https://bedrock-runtime.{settings.GATEWAY_BEDROCK_REGION}.amazonaws.com"


def _region(url: str) -> str:
    named = REGION.search(urlsplit(url).hostname or "")
    region = named[1] if named else settings.GATEWAY_BEDROCK_REGION
    if not region:
        raise ModelMisconfigured(
            "Access keys sign for a region, and the endpoint names none. Set"
            " GATEWAY_BEDROCK_REGION.",
            reason="no_region",
        )
    return str(region)


def _key(model: ModelConfig) -> str:
    key = model.api_key or (settings.GATEWAY_BEDROCK_KEY if _is_ours(model) else "")
    if not key:
        raise ModelMisconfigured(
            "AWS Bedrock wants a key, and neither this model nor GATEWAY_BEDROCK_KEY has one.",
            reason="bedrock_key",
        )
    return str(key)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Keys:
    """Access keys, under the names that botocore looks for."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(repr=False)

    @classmethod
    def of(cls, key: str) -> _Keys:
        """Return what `access:secret` or `access:secret:session` holds."""
        access, secret, *more = key.split(":")
        if len(more) > 1 or not all((access, secret, *more)):
            raise ModelMisconfigured(
                "The key is neither access:secret, access:secret:session nor a Bedrock API key.",
                reason="bedrock_key",
            )
        return cls(access_key=access, secret_key=secret, token=more[0] if more else None)


def _signature(keys: _Keys, url: str, body: bytes, *, region: str) -> Mapping[str, str]:
    try:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
    except ImportError as exc:
        raise ModelMisconfigured(
            "AWS access keys need botocore, which is not installed. Install"
            " requirements-bedrock.txt, or use a Bedrock API key instead.",
            reason="no_botocore",
        ) from exc
    headers = {"Content-Type": "application/json"}
    request = AWSRequest(method="POST", url=url, headers=headers, data=body)
    SigV4Auth(keys, SERVICE, region).add_auth(request)
    return dict(request.headers.items())


# What is answered


def _known(text: str, status: int) -> ModelError | None:
    for pattern, error, sentence, reason in REFUSALS:
        if pattern.search(text):
            return error(sentence, status=status, reason=reason)
    return None


def _exception(event: sse.Event) -> ModelError:
    """Return the error that an exception in a stream stands for: as before it, by its status."""
    return error_for(EXCEPTIONS.get(event.name, 500), event.data, {})


def _begun(index: int, start: Any) -> Delta | None:
    tool = start.get("toolUse")
    if tool is None:
        return None
    return Delta(tool_parts=(ToolPart(index=index, id=tool["toolUseId"], name=tool["name"]),))


def _piece(index: int, delta: Any) -> Delta | None:
    if "text" in delta:
        return Delta(text=as_text(delta["text"]))
    if "toolUse" in delta:
        arguments = as_text(delta["toolUse"]["input"])
        return Delta(tool_parts=(ToolPart(index=index, arguments=arguments),))
    return None


def _usage(reply: Any) -> dict[str, Any]:
    return turns.usage(reply, prompt=PROMPT_TOKENS, completion="outputTokens")
