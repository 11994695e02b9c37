"""Promises of gateway/asked_models.py: which model a client gets for the name that it asks for."""

from __future__ import annotations

import pytest

from features import snapshot
from features.catalog import OWN_CLIENTS
from features.errors import ModelNotFound, NoActiveModel, NoModelAssigned
from gateway import pipeline
from gateway.audit.models import CallerKind
from gateway.calls import Caller
from models_registry.models import State
from tests.factories import make_group, make_model, make_rule, open_vendor_route
from tests.gateway.conftest import make_call

pytestmark = pytest.mark.django_db


@pytest.fixture
def group():
    """A group whose clients are served by `house`, and whose completions come from `coder`."""
    group = make_group()
    make_rule(group, feature=OWN_CLIENTS, model=make_model(name="house", family="general"))
    make_rule(group, model=make_model(name="coder"))
    make_rule(make_group(), feature=OWN_CLIENTS, model=make_model(name="of others"))
    return group


@pytest.fixture
def choose(group):
    """A function that returns the name of the model which a key of the group gets for a name."""

    def choose(name):
        caller = Caller(kind=CallerKind.API_KEY, api_key_group_id=group.pk)
        call = make_call(feature=OWN_CLIENTS, caller=caller, asked_model=name)
        config = snapshot.refresh()
        return pipeline.choose_model(call, config, pipeline.decide(call, config)).name

    return choose


class TestChooseAsked:
    @pytest.mark.parametrize("name", ["house", "coder"])
    def test_takes_the_model_of_that_name(self, choose, name):
        assert choose(name) == name

    @pytest.mark.parametrize("name", ["default", "gpt-5", "claude-opus", "of others", "", "HOUSE"])
    def test_takes_the_assigned_one_for_another_name(self, choose, name):
        assert choose(name) == "house"

    @pytest.mark.parametrize("name", ["gpt-5", "of others", ""])
    def test_knows_no_other_name_if_names_must_be_listed(self, choose, name, settings):
        settings.GATEWAY_CLIENT_MODEL_NAMES = "listed"

        assert choose("coder") == "coder"
        assert choose("default") == "house"
        with pytest.raises(ModelNotFound):
            choose(name)

    def test_takes_a_locked_model_whatever_the_name(self, choose, group):
        group.rules.filter(feature=OWN_CLIENTS).update(is_locked=True)

        assert choose("coder") == "house"

    def test_takes_no_other_for_an_assigned_one_that_is_disabled(self, choose, group):
        model = group.rules.get(feature=OWN_CLIENTS).model
        model.state = State.DISABLED
        model.save()

        with pytest.raises(NoActiveModel):
            choose("house")

    def test_never_goes_to_the_vendor(self, choose, group, settings):
        settings.GATEWAY_VENDOR_ROUTE_URL = "https://vendor.example.com"
        open_vendor_route()
        group.rules.filter(feature=OWN_CLIENTS).update(model=None)

        assert choose("coder") == "coder"
        with pytest.raises(NoModelAssigned):
            choose("gpt-5")

    def test_asks_the_database_nothing(self, group, django_assert_num_queries):
        caller = Caller(kind=CallerKind.API_KEY, api_key_group_id=group.pk)
        call = make_call(feature=OWN_CLIENTS, caller=caller, asked_model="coder")
        config = snapshot.refresh()

        with django_assert_num_queries(0):
            pipeline.choose_model(call, config, pipeline.decide(call, config))
