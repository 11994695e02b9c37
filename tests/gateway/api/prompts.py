"""Asking prompts over HTTP as GitLab does, for the tests of both versions."""

from __future__ import annotations

from features import catalog, snapshot
from tests.factories import make_model, make_rule
from tests.gateway.api.conftest import post, start

EXPLAIN = "chat/explain_code"
SELECTION = {
    "file_content": "f",
    "input": "explain",
    "language_info": "Python",
    "selected_text": "x",
}


class Asker:
    """Sends prompts as GitLab does; the model is named in the call, unless `metadata` says else."""

    def __init__(self, version, gitlab, backend):
        self.version, self.gitlab, self.backend = version, gitlab, backend

    def house_model(self, behavior="house", **facts):
        """Put a model of the scripted backend in charge of every feature."""
        usual = {"endpoint": self.backend.endpoint, "identifier": behavior, "family": "general"}
        self.switch_on(model=make_model(**{**usual, **facts}))

    def switch_on(self, **facts):
        """Switch every feature on."""
        for slug, _ in catalog.choices():
            make_rule(feature=slug, **facts)
        snapshot.refresh()

    def metadata(self, behavior="stub", **changes):
        """Return how GitLab names a model."""
        usual = {
            "provider": "openai",
            "name": "general",
            "endpoint": self.backend.endpoint,
            "api_key": "token",
            "identifier": f"custom_openai/{behavior}",
        }
        return {**usual, **changes}

    def body(self, inputs=SELECTION, *, behavior="stub", **changes):
        """Return a body; None takes a key out of it."""
        usual = {
            "inputs": inputs,
            "prompt_version": "^1.0.0",
            "model_metadata": self.metadata(behavior),
        }
        return {k: v for k, v in {**usual, **changes}.items() if v is not None}

    def __call__(self, prompt_id=EXPLAIN, inputs=SELECTION, *, headers=None, **changes):
        """Send a prompt and return the whole answer."""
        return self.send(prompt_id, self.body(inputs, **changes), headers=headers)

    def send(self, prompt_id, body, *, headers=None):
        """Send a body as it is and return the whole answer."""
        path = f"/{self.version}/prompts/{prompt_id}"
        return post(path, body, headers=headers or self.gitlab.headers())

    def start(self, prompt_id=EXPLAIN, inputs=SELECTION, **changes):
        """Send a prompt and return when the headers are there."""
        return start(
            "POST",
            f"/{self.version}/prompts/{prompt_id}",
            value=self.body(inputs, **changes),
            headers=self.gitlab.headers(),
        )
