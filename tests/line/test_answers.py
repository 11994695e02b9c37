"""A call goes in, a model answers, the pair is on record: in every mode, with a real model too."""

import base64
import json
import struct
import threading
import time
from itertools import count

import pytest
import requests

from tests.gateway.api.vendors import parsed
from tests.line.conftest import MODES, record_of
from tests.rig.backend import TEXT

NUMBERS = count()


def unpacked(vector):
    """Return the numbers of a vector as the log keeps it, read as any auditor can."""
    data = base64.b64decode(vector)
    return list(struct.unpack(f"<{len(data) // 4}f", data))


every_mode = pytest.mark.parametrize("line", MODES, indirect=True)


@every_mode
class TestEveryMode:
    def test_answers_and_records_the_pair(self, line, ask, backend):
        answer = ask(request_id="plain")

        assert answer.status_code == 200
        assert answer.json()["choices"][0]["text"] == TEXT
        record = record_of(line, "plain")
        content = line.contents(record["id"])
        assert record["state"] == "answered"
        assert record["model_calls"] == 1
        assert content["request"]["inputs"]["prefix"] == "def add(a, b):\n    "
        sent = content["request"]["prompt"]["messages"][-1]["content"]
        assert sent == backend.calls[0].user_message
        assert content["answer"]["text"] == TEXT

    def test_streams_and_records_what_was_delivered(self, line, ask):
        answer = ask("slow-10ms", stream=True, request_id="streamed")

        assert "".join(answer.iter_content(None, decode_unicode=True)) == TEXT
        record = record_of(line, "streamed")
        assert record["state"] == "answered"
        assert record["first_token_ms"] < record["total_ms"]
        assert line.contents(record["id"])["answer"]["text"] == TEXT

    def test_the_outcome_is_committed_before_the_last_byte(self, line, ask):
        answer = ask("slow-5ms", stream=True, request_id="committed")

        assert answer.content.decode() == TEXT
        states = [r["state"] for r in line.records() if r["correlation_id"] == "committed"]
        assert states == ["answered"]

    def test_never_mixes_two_requests_up(self, line, ask):
        wanted = {f"value_{number}" for number in range(40)}
        got: dict[str, str] = {}

        def send(name: str) -> None:
            file = {
                "file_name": "app.py",
                "content_above_cursor": f"{name} = ",
                "content_below_cursor": "",
            }
            answer = ask("echo", current_file=file, request_id=name)
            got[name] = answer.json()["choices"][0]["text"]

        threads = [threading.Thread(target=send, args=(name,)) for name in wanted]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)

        assert set(got) == wanted
        assert all(f"{name} = " in text for name, text in got.items())
        own = [row for row in line.records() if row["correlation_id"] in wanted]
        assert len(own) == 40
        assert {row["state"] for row in own} == {"answered"}

    def test_a_client_that_leaves_stops_the_model_within_two_seconds(self, line, ask, backend):
        answer = ask("slow-100ms_tokens-200", stream=True, request_id="leaves")
        received = next(answer.iter_content(None, decode_unicode=True))
        left_at = time.monotonic()

        answer.close()

        backend.wait_for_departure(within_s=3)
        assert time.monotonic() - left_at < 2.5
        record = record_of(line, "leaves")
        assert (record["state"], record["error_code"]) == ("cancelled", "client_left")
        assert line.contents(record["id"])["answer"]["text"].startswith(received)

    def test_a_client_that_leaves_before_the_first_token_does_too(self, line, ask, backend):
        with pytest.raises(requests.exceptions.ReadTimeout):
            ask("hang-20", timeout=1, request_id="leaves early")

        backend.wait_for_departure(within_s=3)
        assert record_of(line, "leaves early")["state"] == "cancelled"


@every_mode
class TestConversation:
    def test_brings_its_tools_and_gets_a_call_back(self, line, backend):
        model = line.add_model(
            name=f"agents {next(NUMBERS)}",
            family="general",
            endpoint=backend.endpoint,
            identifier="tools",
        )
        line.switch_on("model_provider_proxy", model=model)
        headers = {
            **line.gitlab.headers(**{"X-Request-ID": "agent"}),
            "X-Gitlab-Unit-Primitive": "ai_gateway_model_provider_proxy",
        }
        body = {
            "model": "gpt-5",
            "messages": [{"role": "user", "content": "Look it up."}],
            "tools": [{"type": "function", "function": {"name": "lookup"}}],
            "stream": True,
        }

        answer = line.post("/v1/proxy/openai/v1/chat/completions", json=body, headers=headers)

        called = parsed(answer.content)[1]["choices"][0]["delta"]["tool_calls"][0]
        assert called["function"] == {"name": "lookup", "arguments": '{"query": "tiny"}'}
        assert answer.content.endswith(b"data: [DONE]\n\n")
        record = record_of(line, "agent")
        (recorded,) = line.contents(record["id"])["answer"]["tool_calls"]
        assert {"index": 0, **recorded} == called


@every_mode
class TestLlamaCpp:
    """A real llama.cpp server with a tiny model whose answers are known."""

    @pytest.fixture
    def completed(self, line, llama):
        def send(*, has_native_fim: bool, stream: bool = False):
            number = next(NUMBERS)
            line.switch_on(
                "code_completions",
                model=line.add_model(
                    name=f"tiny {number}",
                    family="qwen" if has_native_fim else "general",
                    endpoint=llama.endpoint,
                    identifier=llama.model,
                    api_key=llama.api_key,
                    has_native_fim=has_native_fim,
                ),
            )
            headers = line.gitlab.headers(**{"X-Request-ID": f"llama {number}"})
            body = {
                "prompt_version": 1,
                "current_file": {
                    "file_name": "app.py",
                    "content_above_cursor": "def add(left, right):\n   ",
                    "content_below_cursor": "\n",
                },
                "stream": stream,
            }
            return line.post("/v2/code/completions", json=body, headers=headers, stream=stream)

        return send

    def test_chats(self, completed):
        answer = completed(has_native_fim=False)

        text = answer.json()["choices"][0]["text"]
        assert text.strip() == "Hello this answer comes from a tiny local model"

    def test_streams(self, completed):
        answer = completed(has_native_fim=False, stream=True)

        text = "".join(answer.iter_content(None, decode_unicode=True))
        assert text.strip() == "Hello this answer comes from a tiny local model"

    def test_embeds(self, line, llama_embedding):
        model = line.add_model(
            name=f"tiny {next(NUMBERS)}",
            family="embedding",
            endpoint=llama_embedding.endpoint,
            identifier=llama_embedding.model,
            api_key=llama_embedding.api_key,
        )
        line.switch_on("embeddings_code", model=model)
        body = {
            "contents": ["tiny", "local model", "tiny"],
            "model_metadata": {"provider": "gitlab", "identifier": "any"},
        }

        answer = line.post(
            "/v1/embeddings/code_embeddings/index", json=body, headers=line.gitlab.headers()
        )

        vectors = [item["embedding"] for item in answer.json()["predictions"]]
        assert vectors[0] == vectors[2] != vectors[1]
        assert sum(number**2 for number in vectors[1]) == pytest.approx(1, abs=1e-6)
        record = record_of(line, answer.headers["X-Request-ID"])
        content = line.contents(record["id"])
        assert content["request"]["prompt"]["texts"] == body["contents"]
        kept = json.loads(content["answer"]["text"])
        assert kept["numbers"] == "float32"
        assert [unpacked(vector) for vector in kept["vectors"]] == vectors
        assert record["prompt_tokens"] > 0

    def test_fills_in_the_middle(self, completed, line):
        answer = completed(has_native_fim=True)

        assert answer.json()["choices"][0]["text"] == " return left plus right"
        record = record_of(line, answer.headers["X-Request-ID"])
        prompt = line.contents(record["id"])["request"]["prompt"]
        assert prompt["messages"] == []
        assert prompt["text"].startswith("<|fim_prefix|>def add")
