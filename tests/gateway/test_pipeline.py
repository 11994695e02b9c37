"""Promises of gateway/pipeline.py: decide, choose, render, record, forward, in this order."""

from __future__ import annotations

import pytest

from features import policy, snapshot
from features.errors import FeatureDisabled, NoActiveModel, NoModelAssigned, UnfitModel
from gateway import pipeline
from gateway.audit import store
from gateway.audit.models import CallerKind, ContentKind, InferenceContent, InferenceRecord
from gateway.calls import Caller, NamedModel
from gateway.errors import AuditUnavailable
from models_registry.errors import ContextTooLong, ModelMisconfigured
from models_registry.models import SelfHostedModel
from models_registry.providers.embedding import Embedding
from models_registry.providers.types import Message, Prompt
from tests.factories import make_group, make_member, make_model, make_rule
from tests.gateway.audit.test_writer import BrokenStore
from tests.gateway.conftest import (
    CONVERSATION,
    answer_on_record,
    content_of,
    content_on_record,
    make_call,
    make_embedding,
    record,
)
from tests.rig.backend import TEXT, vector_of


def by_instance(**facts):
    return Caller(kind=CallerKind.INSTANCE, scopes=frozenset({"complete_code"}), **facts)


class TestAnswer:
    def test_is_on_record_with_everything_that_led_to_it(self, scripted_model, backend):
        model = scripted_model()
        caller = by_instance(instance_id="i", user_id="42", global_user_id="g")

        answer = pipeline.answer(make_call(caller=caller))

        row = record()
        assert answer.text == answer_on_record() == TEXT
        assert (row.caller_kind, row.instance_id, row.user_id, row.global_user_id) == (
            "instance",
            "i",
            "42",
            "g",
        )
        assert (row.model_id, row.model_name) == (model.pk, model.name)
        assert row.revision_id == model.current_id
        assert (row.policy, row.config_version) == ("instance: on", snapshot.current().version)
        assert row.prompt_version
        assert len(row.prompt_digest) == 64
        assert row.prompt_tokens == len(backend.calls[0].raw) // 4
        assert row.completion_tokens == 16

    def test_costs_no_query(self, scripted_model, django_assert_num_queries):
        scripted_model()
        call = make_call()
        pipeline.answer(call)

        with django_assert_num_queries(0):
            pipeline.answer(call)

    def test_of_a_stream_costs_none_either(self, scripted_model, django_assert_num_queries):
        scripted_model()
        pipeline.answer(make_call())

        with django_assert_num_queries(0):
            list(pipeline.stream(make_call(is_streamed=True)).pieces)

    def test_of_a_model_that_gitlab_names_costs_none_after_the_first(
        self, embedded, backend, django_assert_num_queries
    ):
        make_rule()
        snapshot.refresh()
        named = NamedModel(
            family="codegemma", endpoint=backend.endpoint, identifier="stub", api_key="sk-1"
        )
        pipeline.answer(make_call(named_model=named))

        with django_assert_num_queries(0):
            pipeline.answer(make_call(named_model=named))


class TestEmbedding:
    def test_is_on_record_with_its_texts_and_its_exact_vectors(self, embedding_model, backend):
        model = embedding_model()

        answer = pipeline.answer(make_embedding("one two", "three"))

        row = record()
        vectors = Embedding.from_text(answer.text).vectors
        assert vectors == tuple(tuple(vector_of(text)) for text in ("one two", "three"))
        assert answer_on_record() == answer.text
        assert (row.state, row.feature, row.model_id) == ("answered", "embeddings_code", model.pk)
        assert (row.prompt_tokens, row.completion_tokens, row.model_calls) == (3, 0, 1)
        assert (row.prompt_version, row.are_tokens_estimated) == ("", False)
        assert content_of(row)["prompt"]["texts"] == backend.calls[0].body["input"]

    def test_costs_no_query(self, embedding_model, django_assert_num_queries):
        embedding_model()
        pipeline.answer(make_embedding())

        with django_assert_num_queries(0):
            pipeline.answer(make_embedding())

    @pytest.mark.parametrize("call", [make_call(), make_embedding()], ids=["words", "vectors"])
    def test_and_words_come_of_models_of_their_own(self, embedded, backend, call):
        family = "embedding" if call.texts is None else "general"
        make_rule(feature=call.feature, model=make_model(family=family, endpoint=backend.endpoint))
        snapshot.refresh()

        with pytest.raises(UnfitModel):
            pipeline.answer(call)

        assert (record().state, record().error_code) == ("refused", "unfit_model")
        assert not backend.calls

    def test_is_how_an_embedding_model_is_tested(self, embedded, backend):
        named = NamedModel(family="embedding", endpoint=backend.endpoint, identifier="stub")
        call = make_call(feature="model_configuration", named_model=named, is_connection_test=True)
        snapshot.refresh()

        answer = pipeline.answer(call)

        assert len(Embedding.from_text(answer.text).vectors) == 1
        assert backend.calls[0].path == "/v1/embeddings"


class TestConversation:
    def test_takes_the_place_of_a_prompt_of_ours(self, scripted_model, backend):
        scripted_model("tools")

        answer = pipeline.answer(make_call(conversation=CONVERSATION, inputs={}, prompt=""))

        assert [call.name for call in answer.tool_calls] == ["lookup"]
        assert backend.calls[0].body["tools"] == list(CONVERSATION.tools)
        assert (record().prompt_version, record().prompt_digest) == ("caller's own", "")
        request = content_on_record(ContentKind.REQUEST)
        assert request["inputs"] == {}
        assert request["prompt"]["messages"] == backend.calls[0].body["messages"]

    def test_that_cannot_fit_is_sent_to_nobody(self, scripted_model, backend):
        scripted_model(context_window=100)
        long = Prompt(messages=(Message(role="user", content="x" * 1_000),))

        with pytest.raises(ContextTooLong):
            pipeline.answer(make_call(conversation=long))

        assert not backend.calls

    def test_loses_only_reasoning_of_its_answer(self, scripted_model, backend):
        scripted_model("fenced")
        backend.answer("fenced", "<think>hm</think>\n", "```python\n", "x\n", "```")

        answer = pipeline.answer(make_call(conversation=CONVERSATION))

        assert answer.text == "```python\nx\n```"


class TestRefusal:
    @pytest.fixture
    def refused(self, embedded):
        """A function that makes a call which is refused and returns the error."""

        def make(error, **changes):
            snapshot.refresh()
            with pytest.raises(error) as refusal:
                pipeline.answer(make_call(**changes))
            return refusal.value

        return make

    def test_is_on_record_and_holds_no_content(self, refused):
        refusal = refused(FeatureDisabled)

        row = record()
        assert (row.state, row.error_code) == ("refused", "feature_disabled")
        assert row.error_detail == str(refusal) == "nothing configured: off"
        assert row.closed_at == row.opened_at
        assert not InferenceContent.objects.exists()

    def test_names_the_deepest_group_that_the_call_stood_for(self, refused):
        parent = make_group("company", gitlab_id=3)
        child = make_group("company/payments", gitlab_id=7, parent=parent)

        refused(FeatureDisabled, caller=by_instance(namespace_ids=(3, 7)))

        assert (record().group_id, record().group_path) == (child.pk, "company/payments")

    def test_of_a_group_that_is_gone_meanwhile_is_one(self, refused):
        refused(FeatureDisabled, caller=Caller(kind=CallerKind.API_KEY, api_key_group_id=999))

        assert record().state == "refused"

    def test_of_a_model_that_is_missing_is_one(self, refused):
        make_rule()

        refused(NoModelAssigned)

        assert record().error_code == "no_model_assigned"

    def test_of_a_model_that_is_disabled_is_one(self, refused):
        make_rule(model=make_model(state="disabled"))

        refused(NoActiveModel)

        assert record().error_code == "no_active_model"

    def test_of_a_model_that_cannot_be_adopted_is_one(self, refused):
        make_rule()
        named = NamedModel(family="general", endpoint="http://169.254.169.254/v1", identifier="a")

        refusal = refused(ModelMisconfigured, named_model=named)

        assert record().error_code == "model_misconfigured"
        assert "169.254" not in str(refusal)
        assert not SelfHostedModel.objects.exists()

    def test_that_cannot_be_recorded_is_said_to_be_so(self, embedded, monkeypatch):
        monkeypatch.setattr(store, "for_connection", BrokenStore)
        snapshot.refresh()

        with pytest.raises(AuditUnavailable):
            pipeline.answer(make_call())

        assert not InferenceRecord.objects.exists()


class TestDecide:
    """The pipeline asks what the administrator's explanation asks, with the call's own groups."""

    @pytest.fixture
    def groups(self, db):
        parent = make_group("company", gitlab_id=3)
        child = make_group("company/payments", gitlab_id=7, parent=parent)
        return parent, child

    @pytest.mark.parametrize(
        "caller",
        [
            by_instance(namespace_ids=(7,)),
            by_instance(namespace_ids=(7, 3)),
            by_instance(user_id="42"),
            by_instance(global_user_id="g"),
            Caller(kind=CallerKind.USER, global_user_id="g"),
        ],
        ids=["namespace", "namespace and root", "user", "global user", "editor"],
    )
    def test_finds_the_group_that_a_call_stands_for(self, groups, caller):
        _, child = groups
        make_rule(child)
        make_member(child, "42")
        make_member(child, "g")
        config = snapshot.refresh()

        decision = pipeline.decide(make_call(caller=caller), config)

        assert (decision.group_id, decision.group_path) == (child.pk, "company/payments")
        explained = policy.explain(config, feature="code_completions", group_ids=(child.pk,))
        assert decision == explained

    def test_finds_the_group_of_an_api_key(self, groups):
        _, child = groups
        make_rule(child)
        caller = Caller(kind=CallerKind.API_KEY, api_key_group_id=child.pk)

        assert pipeline.decide(make_call(caller=caller), snapshot.refresh()).group_id == child.pk

    def test_says_which_rule_said_no(self, groups):
        _, child = groups
        make_rule()
        make_rule(child, state="off")
        config = snapshot.refresh()

        with pytest.raises(FeatureDisabled, match=r"^group 'company/payments': off$"):
            pipeline.decide(make_call(caller=by_instance(namespace_ids=(7,))), config)


class TestChooseModel:
    NAMED = NamedModel(family="codestral", endpoint="http://10.1.2.3/v1", identifier="named")

    def choose(self, caller=None, **changes):
        call = make_call(caller=caller or by_instance(), **changes)
        config = snapshot.refresh()
        return pipeline.choose_model(call, config, pipeline.decide(call, config)).identifier

    def test_takes_the_named_one_before_the_default(self, db):
        make_rule(model=make_model(identifier="default"))

        assert self.choose(named_model=self.NAMED) == "named"

    def test_takes_the_default_where_none_is_named(self, db):
        make_rule(model=make_model(identifier="default"))

        assert self.choose() == "default"

    def test_takes_the_group_s_before_the_named_one_and_adopts_nothing(self, db):
        group = make_group(gitlab_id=7)
        make_rule(group, model=make_model(identifier="group's"))

        chosen = self.choose(caller=by_instance(namespace_ids=(7,)), named_model=self.NAMED)

        assert chosen == "group's"
        assert not SelfHostedModel.objects.filter(identifier="named").exists()

    @pytest.mark.parametrize("kind", [CallerKind.USER, CallerKind.API_KEY])
    def test_takes_no_name_from_anybody_but_the_instance(self, db, kind):
        make_rule(model=make_model(identifier="default"))

        assert self.choose(caller=Caller(kind=kind), named_model=self.NAMED) == "default"

    def test_takes_the_tested_one_before_everything(self, db):
        make_rule(model=make_model(identifier="default"))

        chosen = self.choose(
            named_model=self.NAMED, is_connection_test=True, feature="model_configuration"
        )

        assert chosen == "named"
        assert not SelfHostedModel.objects.filter(identifier="named").exists()
