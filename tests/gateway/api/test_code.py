"""Promises of gateway/api/code.py: what GitLab adds to a generation, and what clients are told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api import code
from models_registry.families import FAMILIES
from prompts.errors import PromptNotFound

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["example", "response", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
NAMES = (
    "user_instruction",
    "libraries",
    "related_files",
    "related_snippets",
    "examples_array",
    "trimmed_content_above_cursor",
    "trimmed_content_below_cursor",
)
NOTHING = dict.fromkeys(NAMES[:5], "")


class TestWishes:
    def test_writes_lists_out(self):
        # Recording v3gen-enhancer, fixture 054.
        written = code.wishes(
            {
                "examples_array": [
                    {"example": "# add", "response": "<new_code>a+b</new_code>"},
                    {"example": "# sub", "response": "<new_code>a-b"},
                ],
                "related_files": ['<file_content file_name="a.py">\n1\n</file_content>\n', "b"],
                "related_snippets": ["s"],
                "libraries": ["django (5.1)", "celery"],
                "user_instruction": "sum it",
            }
        )

        assert written == {
            "examples_array": "# add\nAnswer:\na+b\n\n# sub\nAnswer:\na-b",
            "related_files": '<file_content file_name="a.py">\n1\n</file_content>\n\nb',
            "related_snippets": "s",
            "libraries": "django (5.1), celery",
            "user_instruction": "sum it",
        }

    @pytest.mark.parametrize("empty", ["", [], None, [""], ["  "], 5, {}])
    def test_takes_whatever_is_empty_for_absent(self, empty):
        assert code.wishes(dict.fromkeys(NAMES[:5], empty)) == NOTHING

    def test_prefers_what_gitlab_trimmed(self):
        written = code.wishes(
            {"trimmed_content_above_cursor": "a = 1\n", "trimmed_content_below_cursor": ""}
        )

        assert written == {**NOTHING, "prefix": "a = 1\n", "suffix": ""}

    @given(st.dictionaries(st.sampled_from(NAMES), ANYTHING))
    def test_never_refuses_and_always_gives_texts(self, enhancer):
        assert {type(text) for text in code.wishes(enhancer).values()} == {str}


class TestLabel:
    @pytest.mark.parametrize(
        ("family", "name"),
        [
            # Recordings v2gen-family-*, v4gen-family-*, v2gen-pv1.
            ("mistral", "Mistral 7B Code Generations"),
            ("mixtral", "Mixtral Code Generations"),
            ("codestral", "Codestral 22B Code Generations"),
            ("codegemma", "CodeGemma Generations"),
            ("codellama", "Codellama 13B Code Generations"),
            ("deepseekcoder", "DeepSeekCoder Code Generations"),
            ("gpt", "GPT Code Generations"),
            ("llama3", "LLaMA3 Code Generations"),
            ("claude_3", "Code Generations Agent"),
            ("general", "Code Generations Agent"),
        ],
    )
    def test_is_the_references_for_generations(self, family, name):
        assert code.label(code.GENERATION, family) == name

    @pytest.mark.parametrize(
        ("family", "name"),
        [
            ("codestral", "Codestral 22B Code Completions"),  # v4comp-stream
            ("codegemma", "Codegemma Code Completions"),  # gateway-api.md 3.6
        ],
    )
    def test_is_the_references_for_completions(self, family, name):
        assert code.label(code.COMPLETION, family) == name

    @pytest.mark.parametrize("prompt", [code.COMPLETION, code.GENERATION])
    def test_names_only_families_that_there_are(self, prompt):
        assert code.LABELS[prompt.slug].keys() - {""} <= FAMILIES.keys()


class TestRequirePrompt:
    @pytest.mark.parametrize("prompt_id", [None, "", "code_suggestions/generations"])
    def test_accepts_the_prompt_that_writes_code(self, prompt_id):
        code.require_prompt(prompt_id)

    @pytest.mark.parametrize("prompt_id", ["chat/explain_code", "nope", "../generations"])
    def test_refuses_others_without_repeating_them(self, prompt_id):
        with pytest.raises(PromptNotFound) as refused:
            code.require_prompt(prompt_id)

        assert prompt_id not in str(refused.value)
