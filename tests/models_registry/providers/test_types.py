"""Promises of models_registry/providers/types.py."""

import orjson
import pytest

from models_registry.providers.types import Message, ModelConfig, Prompt

CHAT = Prompt(messages=(Message(role="user", content="hi"),), max_tokens=5, stop=("a", "b"))
TEXT = Prompt(text="<fim>", temperature=0.0)


class TestPrompt:
    @pytest.mark.parametrize("prompt", [CHAT, TEXT, Prompt()])
    def test_is_the_same_after_it_was_recorded(self, prompt):
        stored = orjson.loads(orjson.dumps(prompt.as_dict()))

        assert Prompt.from_dict(stored) == prompt


class TestModelConfig:
    def test_never_shows_its_key(self):
        config = ModelConfig(
            revision_id=1,
            model_id=1,
            name="m",
            family="general",
            provider="echo",
            endpoint="",
            identifier="",
            api_key="sk-canary",
        )

        assert "sk-canary" not in repr(config)
