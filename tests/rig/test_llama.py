"""The tiny model's answers are known beforehand, and its server is a real one."""

import pytest
import requests

from tests.rig.llama import (
    CHAT_TEXT,
    FIM_MIDDLE,
    FIM_PREFIX,
    FIM_SUFFIX,
    FIM_TEXT,
    SAYINGS,
    WIDTH,
    LlamaServer,
    cue,
    write_model,
)


def ask(llama, path, key=None, **body):
    return requests.post(
        llama.endpoint + path,
        json={"model": llama.model, **body},
        headers={"Authorization": f"Bearer {key or llama.api_key}"},
        timeout=30,
    )


class TestLlamaServer:
    @pytest.mark.parametrize("temperature", [0, 0.95])
    def test_chats(self, llama, temperature):
        answer = ask(
            llama,
            "/chat/completions",
            messages=[{"role": "user", "content": "in what?"}],
            temperature=temperature,
        ).json()

        assert answer["choices"][0]["message"]["content"] == CHAT_TEXT
        assert answer["usage"]["completion_tokens"] == 10

    @pytest.mark.parametrize("name", SAYINGS)
    def test_says_what_it_is_cued_to(self, llama, name):
        answer = ask(
            llama,
            "/chat/completions",
            messages=[
                {"role": "system", "content": "You help."},
                {"role": "user", "content": f"What now? {cue(name)}"},
            ],
        ).json()

        assert answer["choices"][0]["message"]["content"] == SAYINGS[name]

    def test_fills_in_the_middle_of_a_native_completion(self, llama):
        prompt = f"{FIM_PREFIX}def add(left, right):\n   {FIM_SUFFIX}\nprint(1){FIM_MIDDLE}"

        answer = ask(llama, "/completions", prompt=prompt, temperature=0.95, max_tokens=64).json()

        assert answer["choices"][0]["text"] == FIM_TEXT
        assert answer["choices"][0]["finish_reason"] == "stop"

    def test_calls_a_tool(self, llama):
        parameters = {"type": "object", "properties": {"query": {"type": "string"}}}

        answer = ask(
            llama,
            "/chat/completions",
            messages=[{"role": "user", "content": "look it up"}],
            tools=[{"type": "function", "function": {"name": "lookup", "parameters": parameters}}],
        ).json()

        (call,) = answer["choices"][0]["message"]["tool_calls"]
        assert call["function"] == {"name": "lookup", "arguments": '{"query": "tiny"}'}

    def test_embeds_where_it_does_nothing_else(self, llama_embedding):
        answer = ask(llama_embedding, "/embeddings", input=["a", "b", "a"]).json()

        one, other, again = (item["embedding"] for item in answer["data"])
        assert one == again != other
        assert len(one) == WIDTH

    def test_refuses_a_wrong_key(self, llama):
        assert ask(llama, "/chat/completions", key="wrong", messages=[]).status_code == 401

    def test_refuses_a_prompt_that_is_too_long(self, llama):
        message = {"role": "user", "content": "hi " * 9000}

        answer = ask(llama, "/chat/completions", messages=[message])

        assert (answer.status_code, answer.json()["error"]["type"]) == (
            400,
            "exceed_context_size_error",
        )

    def test_may_be_killed(self, tmp_path):
        server = LlamaServer(tmp_path)

        server.kill()

        with pytest.raises(requests.ConnectionError):
            requests.get(server.url + "/health", timeout=5)
        server.close()

    def test_writes_the_same_model_every_time(self, tmp_path):
        write_model(tmp_path / "one.gguf")
        write_model(tmp_path / "two.gguf")

        assert (tmp_path / "one.gguf").read_bytes() == (tmp_path / "two.gguf").read_bytes()
