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

QUESTION = {
    "role": "user",
    "content": "What is left to do?",
    "context": {"type": "issue", "title": "Protect main"},
    "current_file": {"file_path": "a.py", "data": "x = 1", "selected_code": True},
    "additional_context": [{"category": "file", "id": "a", "content": "x", "metadata": {"a": 1}}],
}
STEP = {
    "action": {"thought": "Why?", "tool": "issue_reader", "tool_input": "#1"},
    "observation": "1",
}
AGENT = {
    "messages": [
        QUESTION,
        {"role": "assistant", "agent_scratchpad": [STEP]},
    ],
    "unavailable_resources": ["Pipelines"],
    "model_metadata": None,
}
OLD_CHAT_PAYLOAD = {
    "content": [{"role": "user", "content": "Hi"}],
    "provider": "litellm",
    "model": "mistral",
    "params": {"temperature": 0.1, "stop_sequences": ["END"], "max_tokens_to_sample": 64},
}
TOOL = {"name": "lookup", "description": "Looks up.", "parameters": {"type": "object"}}
ANTHROPIC = {
    "model": "claude",
    "max_tokens": 64,
    "system": "Be brief.",
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "t1", "name": "lookup", "input": {"a": 1}}],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "found"}],
        },
    ],
    "tools": [{"name": "lookup", "description": "Looks up.", "input_schema": {"type": "object"}}],
    "tool_choice": {"type": "auto"},
    "stop_sequences": ["END"],
    "temperature": 0.5,
    "stream": False,
}
CALL = {"id": "c1", "type": "function", "function": {"name": "lookup", "arguments": "{}"}}
OPENAI_CHAT = {
    "model": "gpt",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "found"},
    ],
    "tools": [{"type": "function", "function": TOOL}],
    "tool_choice": "auto",
    "response_format": {"type": "text"},
    "stop": ["END"],
    "stream": False,
    "stream_options": None,
}
OPENAI_RESPONSES = {
    "model": "gpt",
    "instructions": "Be brief.",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {"type": "function_call", "call_id": "c1", "name": "lookup", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "found"},
    ],
    "tools": [{"type": "function", **TOOL}],
    "max_output_tokens": 64,
    "stream": False,
}
OPENAI_COMPLETION = {"model": "house", "prompt": "def add(", "stop": ["END"], "stream": False}
VERTEX = (
    "/v1/proxy/vertex-ai/v1/projects/PROJECT/locations/LOCATION/publishers/google/models/"
    "text-embedding-005:predict"
)

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
    "/v2/chat/agent": AGENT,
    "/v1/chat/agent": {
        "prompt_components": [
            {
                "type": "prompt",
                "metadata": {"source": "GitLab EE", "version": "17.5.0"},
                "payload": OLD_CHAT_PAYLOAD,
            }
        ],
        "stream": False,
    },
    "/v1/search/gitlab-docs": {
        "type": "search",
        "metadata": {"source": "GitLab EE", "version": "18.9.0"},
        "payload": {"query": "protected branches", "page_size": 4},
    },
    "/v1/embeddings/code_embeddings": {
        "model_metadata": {"provider": "gitlab", "identifier": "", "name": None},
        "contents": ["x = 1", "y = 2"],
        "dimensions": None,
    },
    VERTEX: {"instances": [{"content": "x = 1"}], "parameters": {"outputDimensionality": 8}},
    "/v1/x-ray/libraries": {
        "prompt_components": [
            {
                "type": "x_ray_package_file_prompt",
                "payload": {"prompt": "What is numpy?", "provider": "anthropic", "model": "x"},
                "metadata": {"scannerVersion": "0.0.1"},
            }
        ]
    },
    "/v1/proxy/anthropic/v1/messages": ANTHROPIC,
    "/v1/proxy/anthropic/v1/messages/count_tokens": ANTHROPIC,
    "/v1/proxy/anthropic/v1/nothing": None,
    "/v1/proxy/openai/v1/chat/completions": OPENAI_CHAT,
    "/v1/proxy/openai/v1/responses": OPENAI_RESPONSES,
    "/v1/proxy/openai/v1/nothing": None,
    "/anthropic/v1/messages": ANTHROPIC,
    "/anthropic/v1/messages/count_tokens": ANTHROPIC,
    "/openai/v1/chat/completions": OPENAI_CHAT,
    "/openai/v1/completions": OPENAI_COMPLETION,
    "/openai/v1/responses": OPENAI_RESPONSES,
    "/openai/v1/embeddings": {"model": "vectors", "input": ["x = 1"], "dimensions": 8},
}
