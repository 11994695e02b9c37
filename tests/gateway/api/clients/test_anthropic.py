"""Promises of the routes below /anthropic/v1; what they have in common is tested beside them."""

from __future__ import annotations

from features import snapshot
from tests.gateway.api.vendors import parsed
from tests.gateway.conftest import record
from tests.rig.backend import TEXT

MESSAGES, MODELS = "anthropic/v1/messages", "anthropic/v1/models"
ASKED = {"model": "claude", "max_tokens": 50, "messages": [{"role": "user", "content": "Hi."}]}


class TestMessages:
    def test_streams_events(self, client):
        client.use()

        events = parsed(client(MESSAGES, {**ASKED, "stream": True}).body)

        texts = [event["delta"]["text"] for event in events if "text" in event.get("delta", {})]
        assert "".join(texts) == TEXT
        assert events[0]["message"]["model"] == "house"
        assert events[-2]["usage"]["output_tokens"] == 16

    def test_takes_the_key_as_anthropics_clients_send_it(self, client):
        client.use()
        headers = {"X-Api-Key": client.text, "Content-Type": "application/json"}

        assert client(MESSAGES, ASKED, headers=headers).status == 200
        assert record().api_key_name == client.key.name

    def test_has_a_query_that_nobody_reads(self, client):
        client.use()

        assert client(f"{MESSAGES}?beta=true", ASKED).status == 200


class TestCountTokens:
    def test_asks_no_model(self, client, backend):
        client.use()

        answer = client(f"{MESSAGES}/count_tokens", ASKED)

        assert answer.json["input_tokens"] > 0
        assert not backend.calls


class TestModels:
    def test_are_described_as_anthropic_does(self, client):
        client.use()

        answer = client.get(MODELS)

        house = {
            "type": "model",
            "id": "house",
            "display_name": "house",
            "created_at": "1970-01-01T00:00:00Z",
            "lifecycle": "active",
        }
        page = {"has_more": False, "first_id": "house", "last_id": "house"}
        assert answer.json == {"data": [house], **page}

    def test_are_without_those_for_vectors(self, client):
        client.use(feature="duo_chat")
        client.use(feature="own_clients", name="other")
        client.use(feature="own_clients_embeddings", name="vectors", family="embedding")

        names = [model["id"] for model in client.get(MODELS).json["data"]]
        assert names == ["house", "other"]

    def test_may_be_none(self, client):
        model = client.use()
        model.state = "disabled"
        model.save()
        snapshot.refresh()

        page = {"has_more": False, "first_id": None, "last_id": None}
        assert client.get(MODELS).json == {"data": [], **page}
