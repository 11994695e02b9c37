"""Promises of features/catalog.py."""

import pytest

from features import catalog, postprocess
from features.errors import UnfitModel, UnknownFeature


class TestCatalog:
    def test_features_are_keyed_by_their_own_slug(self):
        assert all(slug == feature.slug for slug, feature in catalog.FEATURES.items())

    def test_parents_exist_and_have_no_parent(self):
        parents = {f.parent for f in catalog.FEATURES.values() if f.parent}

        assert parents <= set(catalog.FEATURES)
        assert all(catalog.FEATURES[slug].parent is None for slug in parents)

    def test_prompts_belong_to_a_feature_and_ask_for_a_scope(self):
        assert all(prompt.feature in catalog.FEATURES for prompt in catalog.PROMPTS.values())
        assert all(prompt.unit_primitives for prompt in catalog.PROMPTS.values())

    def test_no_two_prompts_share_a_folder(self):
        slugs = [prompt.slug for prompt in catalog.PROMPTS.values()]

        assert len(slugs) == len(set(slugs))


class TestProxyFeatures:
    def test_exist_and_can_be_switched(self):
        assert set(catalog.PROXY_FEATURES.values()) <= dict(catalog.choices()).keys()

    def test_answer_with_text_that_nobody_unwraps(self):
        assert not set(catalog.PROXY_FEATURES.values()) & postprocess.CLEAN.keys()


class TestGetFeature:
    def test_refuses_what_is_not_there(self):
        with pytest.raises(UnknownFeature, match="no_such_feature"):
            catalog.get_feature("no_such_feature")


class TestFits:
    @pytest.mark.parametrize(
        ("feature", "family", "fits"),
        [
            ("embeddings_code", "embedding", True),
            ("embeddings_code", "general", False),
            ("own_clients_embeddings", "embedding", True),
            ("own_clients", "embedding", False),
            ("code_completions", "embedding", False),
            ("code_completions", "codestral", True),
        ],
    )
    def test_keeps_vectors_and_words_apart(self, feature, family, fits):
        assert catalog.fits(feature, family) is fits

    def test_says_what_a_feature_needs_instead(self):
        with pytest.raises(UnfitModel, match="it cannot serve Code Completion"):
            catalog.require_fit("code_completions", "embedding")
        with pytest.raises(UnfitModel, match="Code Embeddings needs a model of the family"):
            catalog.require_fit("embeddings_code", "general")
        catalog.require_fit("duo_chat", "general")


class TestUnitPrimitives:
    def test_are_those_of_a_feature_s_prompts_each_once(self):
        assert catalog.unit_primitives("generate_commit_message") == ("generate_commit_message",)
        assert catalog.unit_primitives("duo_agent_platform") == ("duo_agent_platform",)

    def test_are_its_own_where_it_has_no_prompt(self):
        assert catalog.unit_primitives("embeddings_code") == ("generate_embeddings_codebase",)


class TestChoices:
    def test_leave_out_what_no_rule_can_switch(self):
        assert "model_configuration" not in dict(catalog.choices())
        assert "code_completions" in dict(catalog.choices())
