"""Azure OpenAI: the same words as OpenAI's, at another address and with another key header."""

from __future__ import annotations

from typing import Any

import pytest

from models_registry.connection_test import State, run
from models_registry.errors import (
    BackendAuthFailed,
    BackendNotFound,
    BackendRateLimited,
    ContextTooLong,
    ModelMisconfigured,
)
from models_registry.providers.azure_openai import AzureOpenAI
from models_registry.providers.embedding import Texts
from models_registry.providers.types import Message, ModelConfig, Prompt
from tests.models_registry.providers import limits, model_of
from tests.rig.backend import TEXT, vector_of

PROVIDER = AzureOpenAI()
CHAT = Prompt(messages=(Message(role="user", content="Say hello."),), max_tokens=16, temperature=0)


def model(endpoint: str = "https://house.openai.azure.com", **fields: Any) -> ModelConfig:
    return model_of(
        "azure_openai", **({"identifier": "azure/house", "endpoint": endpoint} | fields)
    )


class TestBuild:
    def test_asks_the_deployment(self, settings):
        settings.GATEWAY_AZURE_API_VERSION = "2024-10-21"

        request = PROVIDER.build(CHAT, model(), is_streamed=False)

        assert request.url == (
            "https://house.openai.azure.com/openai/deployments/house/chat/completions"
            "?api-version=2024-10-21"
        )
        assert request.headers == {"api-key": "key"}
        assert request.body == {
            "model": "house",
            "messages": [{"role": "user", "content": "Say hello."}],
            "max_tokens": 16,
            "temperature": 0,
        }

    def test_has_the_references_version(self):
        assert PROVIDER.build(CHAT, model(), is_streamed=False).url.endswith("2025-02-01-preview")

    def test_writes_a_name_that_is_no_path(self):
        config = model(identifier="azure/a/../b?c")

        url = PROVIDER.build(CHAT, config, is_streamed=False).url

        assert "/openai/deployments/a%2F..%2Fb%3Fc/chat" in url

    def test_limits_gpt_5_in_its_own_way(self):
        body = PROVIDER.build(CHAT, model(identifier="azure/gpt-5"), is_streamed=False).body

        assert body["max_completion_tokens"] == 16
        assert not {"max_tokens", "temperature"} & set(body)

    def test_names_what_is_missing(self):
        with pytest.raises(ModelMisconfigured, match="endpoint"):
            PROVIDER.build(CHAT, model(endpoint=""), is_streamed=False)

    def test_has_no_list(self):
        assert PROVIDER.build_list(model()) is None


class TestAzureOpenAI:
    def test_answers_the_same_whole_and_streamed(self, backend):
        backend.api_key = "key"

        whole = PROVIDER.complete(CHAT, model(backend.url), limits=limits())
        deltas = list(PROVIDER.stream(CHAT, model(backend.url), limits=limits()))

        assert whole.text == "".join(delta.text for delta in deltas) == TEXT
        assert (deltas[-1].finish_reason, deltas[-1].completion_tokens) == ("stop", 16)

    def test_embeds(self, backend):
        embedding = PROVIDER.embed(Texts(texts=("a",)), model(backend.url), limits=limits())

        assert embedding.vectors == (tuple(vector_of("a")),)

    def test_completes_text(self, backend):
        completion = PROVIDER.complete(Prompt(text="def"), model(backend.url), limits=limits())

        assert completion.text == TEXT
        assert "/deployments/house/completions?" in backend.calls[0].path

    @pytest.mark.parametrize(
        ("script", "error"),
        [
            ("err-401", BackendAuthFailed),
            ("err-404", BackendNotFound),
            ("err-429", BackendRateLimited),
            ("toolong", ContextTooLong),
        ],
    )
    def test_says_what_went_wrong(self, backend, script, error):
        config = model(backend.url, identifier=f"azure/{script}")

        with pytest.raises(error) as failure:
            PROVIDER.complete(CHAT, config, limits=limits())

        assert getattr(failure.value, "retry_after_s", 7) == 7


class TestConnectionTest:
    def test_passes_without_a_list(self, backend):
        steps = {step.slug: step.state for step in run(model(backend.url))}

        assert steps["answer"] == steps["stream"] == State.OK
        assert steps["models"] == steps["present"] == State.SKIPPED

    def test_says_which_deployment_is_meant(self, backend):
        *_, step = run(model(backend.url, identifier="azure/err-404"))

        assert (step.slug, step.change) == ("answer", "identifier")
        assert "Deployments" in step.fix
