"""A model that does as the prompt says is understood by GitLab.

Two things are read as GitLab reads them: the example that stands in the prompt itself, and an
answer of the same form (`samples.ANSWERS`).
"""

import re

import pytest

from features import chat_tools, react
from models_registry.families import FAMILIES
from prompts import library
from tests.prompts.samples import ANSWERS, INPUTS, rendered
from tests.rig import rails

TALKING = sorted(set(FAMILIES) - {"embedding"})
READERS = sorted(slug for slug in INPUTS if slug.endswith("_reader"))


def asked(slug, family="general"):
    """Return all that a model reads of a prompt."""
    messages = rendered(slug, family).prompt.messages
    return "\n\n".join(message.content for message in messages)


def words_of(text):
    """Return what a prompt offers as one of several words, each at the start of a line."""
    return re.findall(r"^(\w+): ", text, re.MULTILINE)


class TestReaders:
    @pytest.mark.parametrize("slug", READERS)
    def test_every_example_of_the_prompt_is_a_resource_that_gitlab_finds(self, slug):
        form, *examples = re.findall(r"```json.*?```", asked(slug), re.DOTALL)

        found = [rails.parse_identifier(example) for example in examples]

        assert len(found) == 3
        assert "<type>" in form
        assert "current" in dict(found)

    @pytest.mark.parametrize("slug", READERS)
    def test_offer_only_types_that_gitlab_knows(self, slug):
        offered = re.findall(r'^- "(\w+)": ', asked(slug), re.MULTILINE)

        assert len(offered) >= 3
        assert set(offered) <= rails.IDENTIFIER_TYPES

    @pytest.mark.parametrize("slug", READERS)
    def test_answers_are_understood(self, slug):
        kind, value = rails.parse_identifier(ANSWERS[slug])

        assert f'"{kind}"' in asked(slug)
        assert value


class TestAgent:
    """The forms of the prompt, and of an answer, are those that the gateway reads."""

    @staticmethod
    def read(text):
        parser = react.Parser()
        return parser.feed(text), parser.end()

    def test_the_forms_in_the_prompt_are_an_action_and_an_answer(self):
        text = asked("chat_react")
        action, answer = re.findall(r"^Thought: (?:.+\n?)+", text, re.MULTILINE)

        shown, turn = self.read(action)
        assert shown == ""
        assert (turn.tool, turn.tool_input) == ("the name of the tool", "what to look up")
        shown, turn = self.read(answer)
        assert shown == "the whole answer, in Markdown, in the language of the question"
        assert turn == react.FinalAnswer()

    def test_every_tool_is_offered_with_an_example(self):
        text = asked("chat_react")

        for tool in chat_tools.TOOLS:
            assert f"- {tool.name} reads " in text
            assert f'For "{tool.question}" it is: {tool.tool_input}' in text

    def test_no_form_for_actions_is_shown_where_there_is_no_tool(self):
        inputs = {**INPUTS["chat_react"], "tools": ""}

        prompt = library.render(feature="chat_react", family="general", inputs=inputs).prompt

        assert "Action" not in prompt.messages[0].content
        assert "Final Answer: " in prompt.messages[0].content

    def test_answers_are_understood(self):
        _, turn = self.read("Thought: I need it.\nAction: issue_reader\nAction Input: #12")

        assert turn == react.Action(thought="I need it.", tool="issue_reader", tool_input="#12")
        assert "- issue_reader reads" in asked("chat_react")


class TestReview:
    def test_the_example_of_the_prompt_is_a_comment_with_a_suggestion(self):
        empty, comment = (
            rails.parse_review("<review></review>"),
            rails.parse_review(asked("review_merge_request").partition("- file, old_line")[0])[0],
        )

        assert empty == []
        assert (comment.file, comment.old_line, comment.new_line) == ("app/user.py", None, 42)
        assert comment.from_lines == "    return user.name"
        assert comment.to_lines == "    return user.name if user else None"
        assert comment.text.startswith("What is wrong")

    def test_answers_are_understood(self):
        comments = rails.parse_review(ANSWERS["review_merge_request"])

        assert [(c.file, c.old_line, c.new_line) for c in comments] == [
            ("app.py", None, 1),
            ("app.py", 1, None),
        ]
        assert (comments[0].from_lines, comments[0].to_lines) == ("x = 2", "x = 3")
        assert comments[0].text == "`x` must not be two: `if x < 2 and y > 1` fails."


class TestResolution:
    def test_the_example_of_the_prompt_is_a_fix(self):
        example = asked("resolve_vulnerability").partition("- <old_code> is copied")[0]

        fix = rails.parse_resolution(example)

        assert not fix.is_false_positive
        assert fix.replacements == [
            (
                'cursor.execute("SELECT * FROM t WHERE id = " + id)',
                'cursor.execute("SELECT * FROM t WHERE id = %s", (id,))',
            )
        ]

    def test_answers_are_understood_and_fit_the_file(self):
        fix = rails.parse_resolution(ANSWERS["resolve_vulnerability"])

        ((old, new),) = fix.replacements
        source = INPUTS["resolve_vulnerability"]["source_code"]
        assert source.count(old) == 1
        assert source.replace(old, new) == 'import db\n\ndb.run("SELECT ?", name)\n'
        assert fix.summary == "Passes the name as a parameter."


class TestDocumentationSearch:
    def test_the_form_in_the_prompt_names_documents(self):
        text = asked("chat_documentation_search").partition("- If you used none")[0]

        assert rails.parse_sources(text, "ATTRS")[1] == ["1", "2"]

    def test_answers_are_understood(self):
        answer, sources = rails.parse_sources(ANSWERS["chat_documentation_search"], "ATTRS")

        assert answer == "Press **New project**."
        assert [
            f'id="CNT-IDX-{source}"' in asked("chat_documentation_search") for source in sources
        ]


class TestJson:
    @pytest.mark.parametrize(
        ("slug", "example"),
        [
            ("categorize_question", {"category", "detailed_category", "labels", "language"}),
            ("measure_comment_temperature", {"rating", "issues"}),
        ],
    )
    def test_the_example_of_the_prompt_has_the_keys_that_gitlab_reads(self, slug, example):
        (form,) = re.findall(r"^\{.*\}$", asked(slug), re.MULTILINE)

        assert rails.parse_json(form).keys() == rails.parse_json(ANSWERS[slug]).keys() == example

    def test_a_search_is_answered_with_ids_of_the_catalog(self):
        (form,) = re.findall(r"^\[\".*\]$", asked("feature_discovery_search"), re.MULTILINE)

        found = rails.parse_json(ANSWERS["feature_discovery_search"])

        assert len(rails.parse_json(form)) == 2
        assert found[0] in INPUTS["feature_discovery_search"]["catalog"]


class TestWords:
    def test_an_intent_is_one_of_the_words_that_gitlab_compares(self):
        words = words_of(asked("classify_code_review_mention_intent"))

        assert words == ["code_review_request", "write_actions", "agentic_chat"]
        assert ANSWERS["classify_code_review_mention_intent"] in words


class TestCommands:
    def test_only_commands_of_git_stand_in_fences(self):
        offered = rails.parse_commands(asked("glab_ask_git_command"))

        assert offered == ["git log -n 10"]
        assert rails.parse_commands(ANSWERS["glab_ask_git_command"]) == ["git reset --soft HEAD~1"]


class TestEveryPrompt:
    @pytest.mark.parametrize("family", TALKING)
    @pytest.mark.parametrize("slug", sorted(set(INPUTS) - {"code_completions"}))
    def test_shows_its_inputs_and_nothing_unfilled(self, slug, family):
        text = asked(slug, family)

        definition = library.get_definition(slug, family)
        shown = [INPUTS[slug][name] in text for name in definition.inputs]
        assert all(shown)
        assert "{{" not in text

    @pytest.mark.parametrize("slug", sorted(set(INPUTS) - {"model_configuration"}))
    def test_says_that_what_others_wrote_is_data(self, slug):
        text = asked(slug)

        is_said = re.search(r"instructions in (it|them)\b|Do not answer the question", text)
        assert is_said or slug in UNTAGGED


# Code at a cursor, and questions that their writers put to the model directly.
UNTAGGED = {
    "chat_v1",
    "code_completions",
    "code_generations",
    "glab_ask_git_command",
    "x_ray_libraries",
}
