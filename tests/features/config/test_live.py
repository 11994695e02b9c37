"""Tests for features/config/live.py."""

import pytest
from cryptography.fernet import Fernet

from features.config import document, live, plan
from features.config.live import Secret
from features.models import Source
from models_registry.models import State
from tests.factories import FEATURE, make_group, make_member, make_model, make_rule

pytestmark = pytest.mark.django_db
CANARY = "sk-canary-90d1"


class TestExport:
    def test_holds_models_groups_and_rules(self):
        model = make_model(name="Qwen 7B", endpoint="http://10.0.0.5/v1", api_key=CANARY)
        group = make_group("payments", gitlab_id=7)
        make_rule(group, state="inherit", is_locked=True, model=model)

        found = live.export()

        assert found.models["Qwen 7B"]["endpoint"] == "http://10.0.0.5/v1"
        assert found.groups["payments"] == {"gitlab_id": 7, "parent": None}
        assert found.rules["payments", FEATURE] == {
            "state": "inherit",
            "locked": True,
            "model": "Qwen 7B",
        }

    def test_differs_in_nothing_from_what_is_live(self):
        """export | plan finds nothing, whatever there is."""
        make_rule(None, model=make_model(api_key=CANARY), is_locked=True)
        make_model(state=State.DISABLED, api_key="", has_native_fim=True, idle_s=2.5)
        make_model(name="waiting", state=State.DISCOVERED)
        parent = make_group("a", gitlab_id=7)
        make_rule(make_group("b", parent=parent))
        brought = make_group("c", gitlab_id=9, source=Source.GITLAB)
        make_rule(brought, state="off")
        make_group("d", gitlab_id=10, source=Source.GITLAB)

        found = plan.differences(document.read(document.write(live.export())))

        assert found == []

    def test_holds_no_key(self):
        model = make_model(api_key=CANARY)

        text = document.write(live.export())

        assert "api_key: stored" in text
        assert CANARY not in text
        assert model.api_key not in text

    def test_leaves_out_what_somebody_else_brings(self):
        make_group("brought", gitlab_id=7, source=Source.GITLAB)
        make_group("from-a-file", source=Source.FILE)
        make_model(name="waiting", state=State.DISCOVERED)
        make_member(make_group("mine"), "42")

        text = document.write(live.export())

        assert "brought" not in text
        assert "from-a-file" not in text
        assert "waiting" not in text
        assert "42" not in text
        assert "mine" in text

    def test_holds_the_groups_that_rules_stand_on(self):
        make_rule(make_group("brought", gitlab_id=7, source=Source.GITLAB))

        assert live.export().groups["brought"]["gitlab_id"] == 7


class TestSecret:
    def test_can_be_compared_and_not_be_seen(self):
        assert Secret(CANARY) == Secret(CANARY)
        assert Secret(CANARY) != Secret("other")
        assert CANARY not in repr(Secret(CANARY)) + str(Secret(CANARY))

    def test_says_whether_there_is_one(self):
        assert (str(Secret("x")), str(Secret("")), str(Secret(None))) == (
            "stored",
            "none",
            "stored",
        )

    def test_of_a_key_that_cannot_be_read_equals_no_key_that_can(self, settings):
        model = make_model(api_key=CANARY)
        settings.GATEWAY_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
        model.refresh_from_db()

        assert live.model_facts(model)["api_key"] == Secret(None)
