"""Promises of GET /v1/explain."""

from __future__ import annotations

import pytest

from features import snapshot
from tests.factories import make_api_key, make_group, make_member, make_model, make_rule
from tests.gateway.api.conftest import send

pytestmark = pytest.mark.django_db


@pytest.fixture
def headers():
    """The headers of a key that may ask."""
    group = make_group("payments", gitlab_id=7)
    make_member(group, "42")
    make_rule(None, model=make_model(name="house"))
    make_rule(group, state="off")
    _, text = make_api_key(may_explain=True)
    snapshot.refresh()
    return {"Authorization": f"Bearer {text}"}


def ask(query, headers):
    return send("GET", f"/v1/explain?{query}", headers=headers)


class TestAnswer:
    def test_is_the_explanation(self, headers):
        answer = ask("feature=code_completions&user=42&project=payments/app", headers)

        assert answer.status == 200
        assert answer.json["is_allowed"] is False
        assert answer.json["reason"] == "group 'payments': off"
        assert answer.json["groups"] == ["payments"]
        assert [rung["effect"] for rung in answer.json["ladders"][0]["rungs"]] == ["on", "off"]

    def test_names_the_model(self, headers):
        answer = ask("feature=code_completions", headers)

        assert answer.json["model"] == "'house' (instance), unless the call names another"

    @pytest.mark.parametrize(
        ("query", "status", "code"),
        [
            ("feature=telepathy", 404, "unknown_feature"),
            ("", 404, "unknown_feature"),
            ("feature=duo_chat&at=yesterday", 422, "unreadable_date"),
            ("feature=duo_chat&at=1999-01-01", 404, "no_history"),
        ],
    )
    def test_says_what_is_wrong_with_a_question(self, headers, query, status, code):
        answer = ask(query, headers)

        assert (answer.status, answer.json["code"]) == (status, code)

    @pytest.mark.parametrize("junk", ["%00", "%ff", "a" * 3000, "%F0%9F%98%80", "'%22<x>"])
    def test_stands_any_words(self, headers, junk):
        answer = ask(f"feature=duo_chat&user={junk}&group={junk}", headers)

        assert answer.status == 200


class TestAccess:
    def test_is_for_keys_that_an_administrator_marked(self, headers):
        _, text = make_api_key()
        snapshot.refresh()

        answer = ask("feature=duo_chat", {"Authorization": f"Bearer {text}"})

        assert answer.status == 403
        assert "ladders" not in answer.json

    def test_is_not_for_gitlab_s_tokens(self, trusted):
        assert send("GET", "/v1/explain?feature=duo_chat", headers=trusted.headers()).status == 403

    def test_is_not_for_strangers(self, db):
        assert send("GET", "/v1/explain?feature=duo_chat").status == 401
