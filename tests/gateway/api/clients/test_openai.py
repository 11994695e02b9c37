"""Promises of the routes below /openai/v1; what they have in common is tested beside them."""

from __future__ import annotations

import base64
import struct

import pytest

from features import snapshot
from gateway.api.clients.openai import as_base64
from gateway.api.errors import BadRequest
from tests.gateway.api.vendors import parsed
from tests.gateway.conftest import record
from tests.rig.backend import TEXT, vector_of

CHAT, COMPLETIONS = "openai/v1/chat/completions", "openai/v1/completions"
RESPONSES, EMBEDDINGS = "openai/v1/responses", "openai/v1/embeddings"
USER = {"role": "user", "content": "Hi."}


class TestChatCompletions:
    def test_stream_ends_with_its_usage(self, client):
        client.use()
        options = {"stream": True, "stream_options": {"include_usage": True}}

        chunks = parsed(client(CHAT, {"model": "house", "messages": [USER], **options}).body)

        assert chunks[-1]["usage"]["completion_tokens"] == 16


class TestCompletions:
    def test_goes_to_the_model_as_it_is(self, client, backend):
        client.use("coder")
        wishes = {"max_tokens": 50, "temperature": 0.5, "stop": "END"}

        answer = client(COMPLETIONS, {"model": "x", "prompt": "<fim>def a(", **wishes})

        assert answer.json["choices"] == [
            {"index": 0, "text": TEXT, "logprobs": None, "finish_reason": "stop"}
        ]
        (call,) = backend.calls
        assert call.path.endswith("/completions")
        assert "chat" not in call.path
        assert call.body == {
            "model": "coder",
            "prompt": "<fim>def a(",
            "max_tokens": 50,
            "temperature": 0.5,
            "stop": ["END"],
        }

    def test_streams_the_same_text_and_its_usage(self, client):
        client.use()
        options = {"stream": True, "stream_options": {"include_usage": True}}

        answer = client(COMPLETIONS, {"model": "x", "prompt": "def a(", **options})

        chunks = parsed(answer.body)
        assert "".join(c["choices"][0]["text"] for c in chunks if c["choices"]) == TEXT
        assert chunks[-1]["usage"]["completion_tokens"] == 16
        assert answer.body.endswith(b"data: [DONE]\n\n")

    def test_are_served_by_a_family_without_system_messages(self, client):
        client.use(family="mixtral")

        assert client(COMPLETIONS, {"model": "x", "prompt": "def a("}).status == 200


class TestResponses:
    def test_holds_the_text(self, client):
        client.use()

        answer = client(RESPONSES, {"model": "house", "input": "Hi."})

        assert answer.json["output"][0]["content"][0]["text"] == TEXT


class TestEmbeddings:
    @pytest.fixture
    def embed(self, client):
        """A function that has texts embedded; `behavior` names the scripted model."""

        def send(*texts, behavior="stub", **changes):
            client.use(
                behavior, feature="own_clients_embeddings", name="vectors", family="embedding"
            )
            body = {"model": "text-embedding-3-small", "input": list(texts), **changes}
            return client(EMBEDDINGS, body)

        return send

    def test_are_the_vectors_of_the_texts(self, embed):
        answer = embed("a", "b")

        assert answer.json["data"] == [
            {"object": "embedding", "index": 0, "embedding": vector_of("a")},
            {"object": "embedding", "index": 1, "embedding": vector_of("b")},
        ]
        assert (answer.json["object"], answer.json["model"]) == ("list", "vectors")
        tokens = answer.json["usage"]["prompt_tokens"]
        assert tokens == answer.json["usage"]["total_tokens"] == record().prompt_tokens > 0

    def test_take_one_text(self, embed):
        assert embed(input="a").json["data"][0]["embedding"] == vector_of("a")

    def test_may_be_base64(self, embed):
        (item,) = embed("a", encoding_format="base64").json["data"]

        vector = vector_of("a")
        packed = struct.unpack(f"<{len(vector)}f", base64.b64decode(item["embedding"]))
        assert packed == pytest.approx(vector)

    def test_are_no_base64_where_a_number_does_not_fit(self):
        with pytest.raises(BadRequest, match="ask for 'float'"):
            as_base64((0.5, 1e39))

    def test_have_the_length_that_is_asked_for(self, embed):
        assert len(embed("a", dimensions=3).json["data"][0]["embedding"]) == 3

    def test_are_on_record(self, embed):
        embed("a")

        assert (record().feature, record().endpoint) == (
            "own_clients_embeddings",
            f"/{EMBEDDINGS}",
        )

    @pytest.mark.parametrize("tokens", [[1, 2], [[1, 2], [3]]])
    def test_are_of_texts_not_of_tokens(self, embed, tokens):
        answer = embed(input=tokens)

        assert (answer.status, answer.json["error"]["param"]) == (400, "input.0")

    @pytest.mark.parametrize("changes", [{"input": []}, {"encoding_format": "hex"}])
    def test_refuse_what_they_cannot_do(self, embed, changes):
        assert embed(**changes).status == 400

    def test_need_a_model_that_embeds(self, client):
        client.use()

        answer = client(EMBEDDINGS, {"model": "x", "input": "a"})

        assert answer.status == 503
        words = "Other Clients' Embeddings needs a model of the family Embedding."
        assert answer.json["error"]["message"] == words

    def test_may_name_a_model_of_code_embeddings(self, client):
        client.use()
        client.use(feature="embeddings_code", name="bge-m3", family="embedding")

        assert client(EMBEDDINGS, {"model": "bge-m3", "input": "a"}).json["model"] == "bge-m3"


class TestModels:
    def test_are_described_as_openai_does(self, client):
        client.use()

        answer = client.get("openai/v1/models")

        house = {"id": "house", "object": "model", "created": 0, "owned_by": "enclave"}
        assert answer.json == {"object": "list", "data": [house]}

    def test_are_those_for_words_and_those_for_vectors(self, client):
        client.use()
        client.use(feature="own_clients_embeddings", name="vectors", family="embedding")

        names = [model["id"] for model in client.get("openai/v1/models").json["data"]]
        assert names == ["house", "vectors"]

    def test_are_those_for_vectors_where_words_are_off(self, client):
        client.use()
        client.use(feature="own_clients_embeddings", name="vectors", family="embedding")
        client.group.rules.filter(feature="own_clients").update(state="off")
        snapshot.refresh()

        names = [model["id"] for model in client.get("openai/v1/models").json["data"]]
        assert names == ["vectors"]


class TestErrors:
    def test_have_the_codes_that_clients_look_for(self, client):
        client.use("toolong")
        body = {"model": "house", "messages": [USER]}

        stranger = client(CHAT, body, headers={"Authorization": "Bearer sk-1"})
        long = client(CHAT, body)

        assert stranger.json["error"]["code"] == "invalid_api_key"
        assert long.json["error"]["code"] == "context_length_exceeded"
