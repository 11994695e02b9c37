"""What is put into each prompt, and an answer as a model writes it that follows the prompt.

Source: gitlab-client.md 1.5 to 1.8 for the shapes; the texts are ours.
"""

from __future__ import annotations

import json

from features import chat_tools
from models_registry.providers.types import Message
from prompts.library import NO_TURNS, Rendered, Turns, render

PREFIX = 'def fibonacci(n):\n    """Return the n-th number."""\n    if n < 2:\n        return n\n'
SUFFIX = "\n\nprint(fibonacci(10))\n"
CODE = {"prefix": PREFIX, "suffix": SUFFIX, "file_name": "app.py", "language": "python"}

SELECTION = {
    "input": "What does this do?",
    "selected_text": "def add(a, b):\n    return a - b",
    "file_content": (
        "Here is the content of the file user is working with:\n"
        "<file>\n  import sys\n\ndef add(a, b):\n    return a - b\n</file>\n"
    ),
    "language_info": "The code is written in Python and stored as test.py",
}
REUSE = {"file_content_reuse": "The new code should fit into the existing file."}
LIBRARIES = {"libraries": "django, requests"}
READER = {"input": "What is #12 about?", "suggestions": "I think I need a tool that reads it."}
DIFF = "--- a/app.py\n+++ b/app.py\n@@ -1 +1 @@\n-x = 1\n+x = 2"

INPUTS: dict[str, dict[str, str]] = {
    "code_completions": CODE,
    "code_generations": {
        "file_name": "app.py",
        "language": "Python",
        "prefix": PREFIX,
        "suffix": SUFFIX,
        "user_instruction": "Add the recursion.",
        "libraries": "numpy",
        "related_files": '<file_content file_name="u.py">X = 1</file_content>',
        "related_snippets": "",
        "examples_array": "",
    },
    "model_configuration": {},
    "chat_react": {
        "current_date": "Monday, November 23, 2026",
        "tools": chat_tools.described(chat_tools.TOOLS),
        "unavailable_resources": "Pipelines, Vulnerabilities",
    },
    "chat_v1": {},
    "chat_explain_code": SELECTION,
    "chat_fix_code": {**SELECTION, **REUSE, **LIBRARIES},
    "chat_refactor_code": {**SELECTION, **REUSE},
    "chat_write_tests": {**SELECTION, **LIBRARIES},
    "chat_explain_vulnerability": {
        **SELECTION,
        "title": "SQL injection",
        "identifiers": "CWE-89",
        "vulnerability_info": "Severity: high",
        "vulnerability_description": "A query is built from user input.",
    },
    "chat_troubleshoot_job": {
        "input": "",
        "selected_text": "$ make test\nERROR: Job failed: exit code 1",
        "language_info": "",
    },
    "chat_summarize_comments": {"notes_content": "<comment>Ship it?</comment>"},
    "chat_issue_reader": READER,
    "chat_epic_reader": READER,
    "chat_work_item_reader": READER,
    "chat_merge_request_reader": READER,
    "chat_commit_reader": READER,
    "chat_build_reader": READER,
    "chat_documentation_search": {
        "question": "How do I set up a project?",
        "documents": '<document id="CNT-IDX-7">\nPress New project.\n</document>',
        "content_id": "ATTRS",
    },
    "categorize_question": {"question": "And in Ruby?", "previous_answer": "In Python, so: …"},
    "generate_commit_message": {"diff": DIFF},
    "generate_description": {"content": "Login is slow.", "template": "## Problem\n\n/label ~bug"},
    "summarize_new_merge_request": {"extracted_diff": DIFF},
    "summarize_review": {"draft_notes_content": "Comment: Please rename x.\n"},
    "review_merge_request": {
        "mr_title": "Count from two",
        "mr_description": "Because one is taken.",
        "diff_lines": (
            '<file_diff filename="app.py">\n<line old_line="1" new_line="">x = 1</line>\n'
            '<line old_line="" new_line="1">x = 2</line>\n</file_diff>'
        ),
        "full_content_section": '<full_file filename="app.py">\nx = 1\n</full_file>',
        "custom_instructions_section": "Look for typos.",
        "current_date": "November 23, 2026",
    },
    "resolve_vulnerability": {
        "name": "SQL injection",
        "filename": "app.py",
        "identifiers": "<report_identifiers>CWE-89</report_identifiers>",
        "vulnerability_description": "A query is built from user input.",
        "vulnerable_code": 'db.run("SELECT " + name)',
        "source_code": 'import db\n\ndb.run("SELECT " + name)\n',
    },
    "glab_ask_git_command": {"prompt": "How do I undo my last commit?"},
    "measure_comment_temperature": {"content": "Did you even read it?"},
    "feature_discovery_search": {
        "query": "how do I scan containers",
        "catalog": '[{"id": "container-scanning", "name": "Container Scanning"}]',
    },
    "classify_code_review_mention_intent": {"message": "@GitLabDuo please look at this again"},
    "generate_session_title": {
        "context": "The login test fails on every third run.",
        "definition": "software_development",
    },
    "x_ray_libraries": {"prompt": 'Name each gem and its use: {"libraries": [{"name", "..."}]}'},
    "summarize_duo_workflow": {"logs": "10:00 read app.py\n10:01 opened merge request !7"},
}


# For the prompts that a conversation goes behind.
TURNS: dict[str, Turns] = {
    "chat_react": Turns(
        past=(
            (
                Message(role="user", content="What is an epic?"),
                Message(role="assistant", content="Final Answer: A group of issues."),
            ),
        ),
        current=(Message(role="user", content="And who works on #12?"),),
    ),
    "chat_v1": Turns(
        current=(
            Message(role="system", content="Be brief."),
            Message(role="user", content="Hello"),
        )
    ),
}


def rendered(slug: str, family: str) -> Rendered:
    """Return what a family is asked by a prompt of these samples."""
    turns = TURNS.get(slug, NO_TURNS)
    return render(feature=slug, family=family, inputs=INPUTS[slug], turns=turns)


def identifier(kind: str, value: str) -> str:
    """Return a reader's answer."""
    block = json.dumps({"ResourceIdentifierType": kind, "ResourceIdentifier": value}, indent=2)
    return f"```json\n{block}\n```"


# For the prompts whose answers GitLab parses.
ANSWERS: dict[str, str] = {
    "chat_issue_reader": identifier("iid", "12"),
    "chat_epic_reader": identifier("reference", "group&5"),
    "chat_work_item_reader": identifier("url", "https://gitlab.example.com/a/b/-/work_items/7"),
    "chat_merge_request_reader": identifier("current", "current"),
    "chat_commit_reader": identifier("id", "6714c913"),
    "chat_build_reader": identifier("id", "101"),
    "chat_documentation_search": "Press **New project**.\n\nATTRS: CNT-IDX-7",
    "categorize_question": (
        '{"category": "Write code", "detailed_category": "Translate code", '
        '"labels": ["is_follow_up"], "language": "en"}'
    ),
    "review_merge_request": """\
I found one fault.

<review>
<comment file="app.py" old_line="" new_line="1">
`x` must not be two: `if x < 2 and y > 1` fails.
<from>
x = 2
</from>
<to>
x = 3
</to>
</comment>
<comment file="app.py" old_line="1" new_line="">
Why is this removed?
</comment>
</review>
""",
    "resolve_vulnerability": """\
<analysis>
The name goes into the query as it is.
</analysis>
<is_false_positive>false</is_false_positive>
<summary>
Passes the name as a parameter.
</summary>
<fixed_code>
<old_code>
db.run("SELECT " + name)
</old_code>
<new_code>
db.run("SELECT ?", name)
</new_code>
</fixed_code>
""",
    "glab_ask_git_command": "This takes the commit back and keeps your changes.\n\n"
    "```\ngit reset --soft HEAD~1\n```\n",
    "measure_comment_temperature": '{"rating": 2, "issues": ["It sounds impatient."]}',
    "feature_discovery_search": '["container-scanning"]',
    "classify_code_review_mention_intent": "code_review_request",
}
