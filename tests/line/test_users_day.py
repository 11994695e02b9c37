"""A day of a person who works with GitLab Duo, for each family of models, on a real llama.cpp.

Everything is read as GitLab reads it, and afterwards every call has one closed record.
"""

from __future__ import annotations

from itertools import count

import pytest

from features import catalog
from models_registry.families import FAMILIES
from tests.line.conftest import record_of
from tests.prompts.samples import INPUTS
from tests.rig import rails
from tests.rig.duo import Duo
from tests.rig.llama import CHAT_TEXT, SAYINGS, LlamaServer, cue

TALKING = sorted(set(FAMILIES) - {"embedding"})
SLASH_COMMANDS = (
    "explain_code",
    "write_tests",
    "refactor_code",
    "fix_code",
    "troubleshoot_job",
    "explain_vulnerability",
    "summarize_comments",
)
NUMBERS = count()
DOCUMENT = """\
# Protected branches

A protected branch controls who may push to it. To protect one, open the settings of the repository.
"""


@pytest.fixture(scope="module")
def documented(line, tmp_path_factory):
    """The product with an index of one page of documentation, and every feature on."""
    folder = tmp_path_factory.mktemp("docs") / "doc"
    folder.mkdir()
    (folder / "protected_branches.md").write_text(DOCUMENT)
    line.manage("index_docs", str(folder))
    line.switch_on(*(slug for slug, _ in catalog.choices()))
    return line


@pytest.fixture
def duo(documented, llama: LlamaServer):
    """A function that returns the GitLab of somebody whose model is of a family."""

    def start(family: str) -> Duo:
        model = {
            "family": family,
            "endpoint": llama.endpoint,
            "identifier": f"custom_openai/{llama.model}",
            "api_key": llama.api_key,
        }
        # For the editor's own calls, which name no model.
        house = documented.add_model(name=f"{family} {next(NUMBERS)}", **model)
        documented.switch_on("code_completions", model=house)
        name = model.pop("family")
        return Duo(documented, {"provider": "openai", "name": name, **model})

    return start


@pytest.mark.parametrize("family", TALKING)
class TestDay:
    def test_every_answer_is_read_by_gitlab_and_every_call_is_on_record(
        self, duo, family, documented
    ):
        person = duo(family)

        assert person.test_connection().strip() == CHAT_TEXT
        assert person.complete_directly("def triple(value):\n    ").strip() == CHAT_TEXT
        assert person.complete("def double(value):\n    ").strip() == CHAT_TEXT
        code = person.generate(f"Write a function {cue('generation')}")
        assert code.strip("\n") == "def double(value):\n    return value * 2"

        answer = person.chat(
            f"May I merge? {cue('first step')}",
            {
                "issue_reader": f"The issue says: protect main. {cue('second step')}",
                "gitlab_documentation": f"It is done in the settings. {cue('final step')}",
            },
        )
        assert answer == SAYINGS["final step"].partition("Final Answer: ")[2]
        found = person.read("issue_reader", f"issue 12 {cue('reader')}", suggestions="")
        assert found == ("iid", "12")
        asked = f"How do I protect a branch? {cue('documentation')}"
        text, sources = person.search("protected branches", question=asked)
        assert (text, sources) == ("Open **Settings > Repository** of the project.", ["1"])

        for command in SLASH_COMMANDS:
            said = person.say(f"chat/{command}", {"input": "", **INPUTS[f"chat_{command}"]})
            assert said.strip() == CHAT_TEXT

        diff = INPUTS["generate_commit_message"]
        assert person.write("generate_commit_message", diff).strip() == CHAT_TEXT
        summary = INPUTS["summarize_new_merge_request"]
        assert person.write("summarize_new_merge_request", summary).strip() == CHAT_TEXT
        review = person.write(
            "review_merge_request",
            {**INPUTS["review_merge_request"], "mr_title": f"Count {cue('review')}"},
        )
        (comment,) = rails.parse_review(review)
        assert (comment.new_line, comment.from_lines, comment.to_lines) == (1, "x = 2", "x = 3")
        fix = person.write(
            "resolve_vulnerability",
            {**INPUTS["resolve_vulnerability"], "name": f"SQL injection {cue('resolution')}"},
        )
        ((old, new),) = rails.parse_resolution(fix).replacements
        assert (old, new) == ('db.run("SELECT " + name)', 'db.run("SELECT ?", name)')

        states = {name: record_of(documented, name)["state"] for name in person.sent}
        assert set(states.values()) == {"answered"}, states
        assert len(states) == 24
