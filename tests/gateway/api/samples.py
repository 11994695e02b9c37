"""A body that fits, for each route that reads one; `test_malformed` spoils them."""

from __future__ import annotations

from typing import Any

from tests.gateway.api.conftest import component, context

FILE = {
    "file_name": "app.py",
    "language_identifier": "python",
    "content_above_cursor": "def add(a, b):\n    ",
    "content_below_cursor": "\n",
}
METADATA = {
    "provider": "openai",
    "name": "mistral",
    "endpoint": "http://127.0.0.1:9/v1",
    "api_key": "sk-1",
    "identifier": "custom_openai/stub",
}
FLAT = {
    "prompt_version": 2,
    "project_path": "group/project",
    "project_id": 7,
    "current_file": FILE,
    "model_provider": None,
    "model_name": "codestral",
    "model_identifier": "",
    "telemetry": [{"model_engine": "x", "requests": 1, "accepts": 0, "errors": 0, "lang": None}],
    "stream": False,
    "choices_count": 1,
    "context": [{"type": "file", "name": "u.py", "content": "U = 1\n"}],
    "prompt": None,
}
GENERATION = component(
    "generation",
    prompt_id="code_suggestions/generations",
    prompt_version="^1.0.0",
    prompt_enhancer={"user_instruction": "Add.", "libraries": ["numpy"], "related_files": ""},
)
PROMPT = {
    "inputs": {"input": "why", "selected_text": "x = 1", "file_content": "", "language_info": ""},
    "prompt_version": "^1.0.0",
    "stream": False,
}

# path: body. None for a route that reads none.
BODIES: dict[str, dict[str, Any] | None] = {
    "/v2/code/completions": FLAT,
    "/v2/completions": FLAT,
    "/v2/code/generations": {**FLAT, "prompt": "Write it.", "prompt_id": None},
    "/v3/code/completions": {"prompt_components": [component("completion"), context()]},
    "/v4/code/suggestions": {"prompt_components": [GENERATION], "model_metadata": None},
    "/v1/prompts/chat/explain_code": PROMPT,
    "/v2/prompts/chat/explain_code": PROMPT,
    "/v1/prompts/model_configuration/check": {"inputs": {}, "model_metadata": METADATA},
    "/v1/code/user_access_token": None,
}
