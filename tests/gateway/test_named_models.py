"""Promises of gateway/named_models.py: whose naming counts, and what becomes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from features import snapshot
from features.errors import NoActiveModel, UnregisteredModel
from gateway import named_models
from gateway.audit.models import CallerKind
from gateway.calls import Caller, NamedModel
from models_registry.errors import ModelMisconfigured
from models_registry.models import SelfHostedModel, State
from tests.factories import ENDPOINT, make_model
from tests.gateway.conftest import make_call

pytestmark = pytest.mark.django_db

NAMED = NamedModel(
    family="codestral", endpoint=ENDPOINT, identifier="custom_openai/code", api_key="sk-1"
)
OTHERS = (CallerKind.USER, CallerKind.API_KEY)


def registered(**facts):
    return make_model(**{"identifier": "code", "api_key": "sk-1", **facts})


def resolve(named=NAMED, kind=CallerKind.INSTANCE):
    return named_models.resolve_named(
        make_call(caller=Caller(kind=kind), named_model=named), snapshot.refresh()
    )


class TestResolveNamed:
    def test_finds_what_somebody_registered(self):
        model = registered()

        found = resolve()

        assert (found.model_id, found.name) == (model.pk, model.name)

    def test_asks_the_database_nothing_for_it(self, django_assert_num_queries):
        registered()
        config = snapshot.refresh()
        call = make_call(named_model=NAMED)

        with django_assert_num_queries(0):
            named_models.resolve_named(call, config)

    def test_adopts_what_nobody_did(self):
        found = resolve()

        row = SelfHostedModel.objects.get()
        assert (row.state, row.pk) == (State.DISCOVERED, found.model_id)
        assert (found.api_key, found.endpoint) == ("sk-1", ENDPOINT)

    def test_adopts_what_gitlab_calls_by_a_name_of_its_own(self):
        found = resolve(replace(NAMED, family="general", unknown_family="granite"))

        assert (found.family, SelfHostedModel.objects.get().family) == ("general", "general")

    def test_keeps_a_registered_key_whatever_gitlab_sends(self):
        registered(api_key="sk-ours")

        assert resolve().api_key == "sk-ours"

    def test_follows_gitlab_s_key_for_what_was_only_discovered(self):
        resolve()

        assert resolve(replace(NAMED, api_key="sk-2")).api_key == "sk-2"

    def test_refuses_what_is_disabled(self):
        registered(state="disabled")

        with pytest.raises(NoActiveModel):
            resolve()

    @pytest.mark.parametrize("endpoint", ["http://169.254.169.254/v1", "ftp://host/", "http://a b"])
    def test_refuses_what_may_not_be_reached(self, endpoint):
        with pytest.raises(ModelMisconfigured):
            resolve(replace(NAMED, endpoint=endpoint))

        assert not SelfHostedModel.objects.exists()

    def test_may_be_told_to_adopt_nothing(self, settings):
        settings.GATEWAY_UNREGISTERED_MODELS = "refuse"

        with pytest.raises(UnregisteredModel, match="GATEWAY_UNREGISTERED_MODELS=adopt"):
            resolve()

        assert not SelfHostedModel.objects.exists()

    @pytest.mark.parametrize("key", ["sk-1", "sk-other"])
    def test_finds_what_somebody_registered_then_too(self, settings, key):
        settings.GATEWAY_UNREGISTERED_MODELS = "refuse"
        model = registered()

        assert resolve(replace(NAMED, api_key=key)).model_id == model.pk

    def test_finds_nothing_where_nothing_is_named(self):
        assert resolve(None) is None

    @pytest.mark.parametrize("kind", OTHERS)
    def test_listens_to_nobody_but_the_instance(self, kind):
        registered()

        assert resolve(kind=kind) is None
        assert SelfHostedModel.objects.count() == 1


class TestTestedModel:
    def test_is_what_is_named_and_registered_nowhere(self):
        found = named_models.tested_model(make_call(named_model=NAMED))

        assert (found.identifier, found.api_key, found.model_id) == (
            "custom_openai/code",
            "sk-1",
            None,
        )
        assert not SelfHostedModel.objects.exists()

    def test_is_the_named_one_even_where_its_like_is_disabled(self):
        registered(state="disabled")

        assert named_models.tested_model(make_call(named_model=NAMED)).model_id is None

    def test_is_refused_where_none_is_named(self):
        with pytest.raises(UnregisteredModel, match="names no model"):
            named_models.tested_model(make_call())

    @pytest.mark.parametrize("kind", OTHERS)
    def test_is_chosen_by_nobody_but_the_instance(self, kind):
        with pytest.raises(UnregisteredModel):
            named_models.tested_model(make_call(caller=Caller(kind=kind), named_model=NAMED))
