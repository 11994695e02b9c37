"""Tests for models_registry/admin.py."""

import re

import pytest
from cryptography.fernet import Fernet
from django.contrib.admin.models import LogEntry
from django.urls import reverse
from django.utils import timezone

from models_registry.model_checks import Check
from models_registry.models import EgressDestination, SelfHostedModel
from tests.factories import ENDPOINT, make_group, make_model, make_rule

CANARY = "sk-canary-5b21"
LIST = reverse("admin:models_registry_selfhostedmodel_changelist")
ADD = reverse("admin:models_registry_selfhostedmodel_add")
FORM = {
    "name": "code",
    "family": "codestral",
    "state": "active",
    "provider": "openai_compatible",
    "endpoint": ENDPOINT,
    "identifier": "codestral",
    "new_api_key": "",
    "ca_bundle": "",
}


def change_url(model):
    return reverse("admin:models_registry_selfhostedmodel_change", args=(model.pk,))


def delete_url(model):
    return reverse("admin:models_registry_selfhostedmodel_delete", args=(model.pk,))


class TestAddingAModel:
    def test_stores_the_key_and_shows_it_nowhere(self, admin):
        answer = admin.post(ADD, {**FORM, "new_api_key": CANARY}, follow=True)

        model = SelfHostedModel.objects.get(name="code")
        assert model.current.as_config().api_key == CANARY
        pages = [answer, admin.get(LIST), admin.get(change_url(model))]
        assert all(page.status_code == 200 for page in pages)
        assert all(CANARY not in page.text for page in pages)
        assert all(model.api_key not in page.text for page in pages)
        assert CANARY not in str(LogEntry.objects.values_list())

    def test_does_not_show_the_key_when_the_form_is_refused(self, admin):
        answer = admin.post(ADD, {**FORM, "name": "", "new_api_key": CANARY})

        assert "This field is required" in answer.text
        assert CANARY not in answer.text

    def test_says_what_is_wrong_with_an_endpoint(self, admin):
        answer = admin.post(ADD, {**FORM, "endpoint": "http://169.254.169.254/v1"})

        assert not SelfHostedModel.objects.exists()
        assert "errorlist" in answer.text or "text-red" in answer.text

    def test_needs_no_endpoint_without_a_backend(self, admin):
        admin.post(ADD, {**FORM, "provider": "echo", "endpoint": ""})

        assert SelfHostedModel.objects.get().provider == "echo"


class TestChangingAModel:
    def test_keeps_the_stored_key_when_the_field_is_blank(self, admin):
        model = make_model(api_key=CANARY)

        admin.post(change_url(model), {**FORM, "endpoint": "http://10.9.9.9/v1"})

        model.refresh_from_db()
        assert model.endpoint == "http://10.9.9.9/v1"
        assert model.current.as_config().api_key == CANARY

    def test_replaces_the_stored_key(self, admin):
        model = make_model(api_key="sk-old")

        admin.post(change_url(model), {**FORM, "new_api_key": CANARY})

        model.refresh_from_db()
        assert model.current.as_config().api_key == CANARY

    def test_removes_the_stored_key(self, admin):
        model = make_model(api_key=CANARY)

        admin.post(change_url(model), {**FORM, "remove_api_key": "on"})

        model.refresh_from_db()
        assert model.api_key == ""
        assert model.current.as_config().api_key == ""

    def test_does_not_guess_between_a_new_key_and_none(self, admin):
        model = make_model(api_key="sk-old")

        answer = admin.post(
            change_url(model), {**FORM, "remove_api_key": "on", "new_api_key": CANARY}
        )

        assert "Either type a new key or remove the stored one" in answer.text
        assert CANARY not in answer.text

    def test_asks_for_a_key_that_cannot_be_decrypted_any_more(self, admin, settings):
        model = make_model(api_key=CANARY)
        settings.GATEWAY_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]

        assert admin.get(change_url(model)).status_code == 200
        assert "cannot be decrypted" in admin.post(change_url(model), FORM).text

    def test_says_whether_a_key_is_stored(self, admin):
        assert "A key is stored" in admin.get(change_url(make_model(api_key=CANARY))).text
        assert "No key is stored" in admin.get(change_url(make_model(api_key=""))).text

    def test_lists_the_rules_that_use_the_model(self, admin):
        rule = make_rule(make_group("payments"), model=make_model())

        page = admin.get(change_url(rule.model)).text

        assert "group &#x27;payments&#x27;: Code Completion on" in page
        assert reverse("admin:features_featurerule_change", args=(rule.pk,)) in page


class TestDeletingAModel:
    def test_is_refused_with_the_list_of_rules_that_use_it(self, admin):
        rule = make_rule(make_group("payments"), model=make_model())

        answer = admin.post(delete_url(rule.model), {"post": "yes"})

        assert SelfHostedModel.objects.filter(pk=rule.model_id).exists()
        assert "protected" in answer.text
        assert "group &#x27;payments&#x27;: Code Completion on" in answer.text

    def test_is_refused_from_the_list_too(self, admin):
        rule = make_rule(model=make_model())

        admin.post(
            LIST, {"action": "delete_selected", "_selected_action": rule.model_id, "post": "yes"}
        )

        assert SelfHostedModel.objects.filter(pk=rule.model_id).exists()

    def test_works_when_nothing_uses_it(self, admin):
        model = make_model()

        admin.post(delete_url(model), {"post": "yes"})

        assert not SelfHostedModel.objects.exists()


class TestListOfModels:
    @pytest.mark.parametrize("rows", [3, 30])
    def test_takes_the_same_number_of_queries(self, admin, rows, django_assert_num_queries):
        for _ in range(rows):
            make_rule(make_group(), model=make_model())

        with django_assert_num_queries(6):
            page = admin.get(LIST)

        assert page.text.count("1 rule") >= rows

    def test_says_whether_a_model_works_and_since_when(self, admin, backend):
        works = make_model(endpoint=backend.endpoint, identifier="stub")
        fails = make_model(endpoint=backend.endpoint, identifier="gone")
        make_model()
        for model in (works, fails):
            list(Check(model, by="ann", now=timezone.now()).steps())

        page = admin.get(LIST).text

        assert page.count("not tested") == 1
        assert re.search(r">\s*works\s*<", page)
        assert "fails at Model present" in page
        assert page.count(f"{timezone.now():%Y-%m-%d}") >= 2

    def test_says_how_many_rules_use_a_model(self, admin):
        model = make_model()
        make_rule(None, model=model)
        make_rule(make_group(), model=model)

        assert "2 rules" in admin.get(LIST).text

    def test_escapes_what_people_and_gitlab_wrote(self, admin):
        model = make_model(name="<script>alert(1)</script>", endpoint="http://<b>")

        pages = admin.get(LIST).text + admin.get(change_url(model)).text

        assert "<script>alert(1)" not in pages
        assert "http://<b>" not in pages


class TestEgressPage:
    URL = reverse("admin:models_registry_egressdestination_changelist")

    @pytest.mark.parametrize("rows", [3, 30])
    def test_takes_the_same_number_of_queries(self, admin, rows, django_assert_num_queries):
        for port in range(rows):
            EgressDestination.objects.create(host="10.0.0.1", port=port, purpose="model")

        with django_assert_num_queries(6):
            admin.get(self.URL)

    def test_shows_what_may_be_reached(self, admin, settings):
        settings.GATEWAY_EGRESS_ALLOW = ["10.1.0.0/16", "*.svc.cluster.local"]

        page = admin.get(self.URL).text

        assert "<code>*.svc.cluster.local</code>" in page
        assert "<code>169.254.0.0/16</code>" in page

    def test_shows_what_was_reached_and_what_was_refused(self, admin):
        now = timezone.now()
        EgressDestination.objects.create(
            host="llm.example.com",
            port=8000,
            purpose="model",
            reached=12_345,
            first_at=now,
            last_at=now,
        )
        EgressDestination.objects.create(
            host="8.8.8.8",
            port=443,
            purpose="GitLab",
            refused=2,
            refused_at=now,
            reason="not_listed",
        )

        page = admin.get(self.URL).text

        assert "llm.example.com:8000" in page
        assert "12,345" in page
        assert f"2, last {now:%Y-%m-%d %H:%M}" in page
        assert "Add 8.8.8.8:443 to GATEWAY_EGRESS_ALLOW" in page
