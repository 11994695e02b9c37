"""Promises of models_registry/families.py."""

from models_registry.families import FAMILIES, choices


class TestFamilies:
    def test_hold_all_that_gitlab_approves(self):
        assert set(FAMILIES) == {
            "mistral",
            "mixtral",
            "codestral",
            "codegemma",
            "codellama",
            "deepseekcoder",
            "llama3",
            "claude_3",
            "gpt",
            "general",
            "gemini",
            "qwen",
            "embedding",
        }

    def test_are_keyed_by_their_own_slug(self):
        assert all(slug == family.slug for slug, family in FAMILIES.items())

    def test_have_a_context_window(self):
        assert all(family.context_window > 0 for family in FAMILIES.values())


class TestChoices:
    def test_are_what_a_form_needs(self):
        assert ("codestral", "Mistral Codestral") in choices()
