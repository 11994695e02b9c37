"""The pictures in docs/images, taken of the real product.

make test ARGS="tests/browser/test_pictures.py --update-screenshots"    # then look at them
"""

from __future__ import annotations

import contextlib
import json

import pytest
import requests

from tests.browser.conftest import LIST
from tests.browser.test_models import fill, run, show_destination

QUESTION = "# add two numbers\n"
# Group -> the model that serves it, what that model does, and whose key is used.
GROUPS = {
    "payments/core": ("Codestral 22B", "slow-20ms", "K. Sato, laptop"),
    "payments": ("Qwen2.5 Coder 7B", "ttft-40ms", "CI runner"),
    "research": ("Mistral Small", "err-401", "J. Weber, laptop"),
    "archive": (None, None, "Old build server"),
}


@pytest.fixture
def keys(gateway, backend):
    """Models, groups and keys as an enterprise might have them; the text of each group's key."""
    code = """
import json
from features.models import ApiKey, FeatureRule, Group
from models_registry.models import SelfHostedModel
keys = {}
for path, (name, behavior, owner) in json.loads(FACTS).items():
    group = Group.objects.create(path=path)
    model = name and SelfHostedModel.objects.create(
        name=name, family="general", endpoint=ENDPOINT, identifier=behavior
    )
    FeatureRule.objects.create(
        group=group, feature="code_completions", state="on" if model else "off", model=model
    )
    keys[path] = ApiKey.issue(name=owner, group=group)[1]
print(json.dumps(keys))
"""
    facts = json.dumps(GROUPS)
    printed = gateway.run(
        code.replace("FACTS", repr(facts)).replace("ENDPOINT", repr(backend.endpoint))
    )
    gateway.wait_for_configuration()
    return json.loads(printed)


@pytest.fixture
def day(gateway, keys, ask, backend):
    """A handful of calls, of every outcome."""

    def leave(path):
        with contextlib.suppress(requests.exceptions.ReadTimeout):
            gateway.post(
                "/v2/code/completions",
                json={
                    "prompt_version": 1,
                    "current_file": {
                        "file_name": "app.py",
                        "content_above_cursor": QUESTION,
                        "content_below_cursor": "",
                    },
                    "model_provider": "litellm",
                    "model_name": "general",
                    "model_endpoint": backend.endpoint,
                    "model_identifier": "custom_openai/hang-20",
                },
                headers=gateway.gitlab.headers(),
                timeout=1,
            )

    for path in ("payments", "payments/core", "research", "payments", "archive", "payments"):
        ask(QUESTION, key=keys[path])
    leave("payments")
    for path in ("payments", "research", "payments/core", "archive", "payments"):
        ask(QUESTION, key=keys[path])
    ask(QUESTION, key=keys["payments/core"], request_id="01JCZ6V0Q8RECORD", stream=True)


class TestPictures:
    def test_show_the_list_and_a_record_in_light_and_dark(self, visit, day, picture):
        for scheme in ("light", "dark"):
            visitor = visit(color_scheme=scheme, viewport={"width": 1280, "height": 900})
            page = visitor.log_in("auditor")
            page.goto(LIST)
            page.wait_for_load_state("networkidle")

            picture(page, f"records-{scheme}")
            visitor.open("01JCZ6V0Q8RECORD")
            page.wait_for_load_state("networkidle")
            assert page.get_by_text("Rest of the answer").is_visible()
            picture(page, f"record-{scheme}")
            visitor.frame()
            page.wait_for_load_state("networkidle")
            picture(page, f"conversation-{scheme}")

            assert page.get_by_text("Noted with the reason").is_visible()

    def test_show_a_connection_test_and_the_egress_page_in_light_and_dark(
        self, visit, gateway, backend, picture
    ):
        backend.names = ["codestral-22b", "qwen2.5-coder-7b", "mistral-small-24b"]
        backend.needs_version = True
        for scheme in ("light", "dark"):
            visitor = visit(color_scheme=scheme, viewport={"width": 1280, "height": 900})
            page = visitor.log_in("operator")
            fill(page, "Outside", "https://8.8.8.8/v1", "gpt")
            run(page)
            fill(page, "Codestral 22B", backend.url, "codestral")
            run(page)
            page.locator("#connection-test").evaluate("panel => panel.scrollIntoView()")
            picture(page, f"connection-test-{scheme}")
            offered = page.get_by_role("button", name="codestral-22b").is_visible()
            show_destination(page, "8.8.8.8:443")
            page.wait_for_load_state("networkidle")
            picture(page, f"egress-{scheme}")

            assert offered
