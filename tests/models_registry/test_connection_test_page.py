"""The connection test in the admin: who may start it, what it says, what it leaves behind."""

from __future__ import annotations

import re

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from models_registry.connection_test import STEPS
from models_registry.connection_test_page import END_OF_PIECE
from models_registry.models import ModelCheck, SelfHostedModel
from tests.factories import make_admin, make_model
from tests.models_registry import ANSWER, RawServer, answering
from tests.models_registry.test_admin import FORM, change_url

NAME = "admin:models_registry_selfhostedmodel_test"
NEW = reverse(NAME)
KEY = "sk-canary-9b1e"


def url_of(model):
    return reverse(NAME, args=(model.pk,))


def run(client, url=NEW, **fields):
    """Start a test; return the pieces of its answer."""
    answer = client.post(url, {**FORM, **fields})
    assert answer.status_code == 200
    return answer.getvalue().decode().split(END_OF_PIECE)[:-1]


def states(pieces):
    return dict(
        re.search(r'data-step="(\w+)".*data-state="(\w+)"', piece).groups() for piece in pieces
    )


@pytest.fixture
def form(backend):
    return {"endpoint": backend.endpoint, "identifier": "stub", "new_api_key": KEY}


class TestAnswer:
    def test_is_one_piece_for_each_step(self, admin, form):
        pieces = run(admin, **form)

        assert list(states(pieces)) == [step.slug for step in STEPS]
        assert set(states(pieces).values()) == {"ok", "skipped"}

    @pytest.mark.django_db(transaction=True)  # the end of a response closes the connection
    def test_comes_while_the_test_runs(self, admin, form, backend):
        answer = admin.post(NEW, {**FORM, **form})
        pieces = iter(answer)

        first = [next(pieces) for _ in range(3)]

        assert b'data-step="tcp"' in first[2]
        assert backend.calls == []
        assert answer.headers["X-Accel-Buffering"] == "no"
        answer.close()

    def test_tests_what_the_form_says_and_saves_nothing(self, admin, form, backend):
        model = make_model(endpoint="http://10.9.9.9/v1", api_key="sk-old")
        before = SelfHostedModel.objects.values().get()

        run(admin, url_of(model), **form)

        assert SelfHostedModel.objects.values().get() == before
        assert {call.headers["authorization"] for call in backend.calls} == {f"Bearer {KEY}"}

    def test_uses_the_stored_key_where_none_is_typed(self, admin, form, backend):
        model = make_model(api_key="sk-stored")

        run(admin, url_of(model), **form | {"new_api_key": ""})

        assert backend.calls[0].headers["authorization"] == "Bearer sk-stored"

    def test_needs_no_name_yet(self, admin, form):
        assert states(run(admin, **form, name=""))["stream"] == "ok"

    def test_shows_the_fix_and_leads_to_the_field(self, admin, form, backend):
        backend.api_key = "another"

        *_, failed = run(admin, **form)

        assert "Enter it again under API key" in failed
        assert '<a href="#id_new_api_key">Go to API key</a>' in failed
        assert KEY not in failed

    @pytest.mark.parametrize(
        ("endpoint", "fix"),
        [
            ("https://8.8.8.8/v1", "add 8.8.8.8:443 to GATEWAY_EGRESS_ALLOW"),
            ("http://169.254.169.254/", "no setting opens this one"),
            ("http://10.0.0.1/v1?key=sk-1", "An endpoint looks like"),
            ("", "An endpoint looks like"),
        ],
    )
    def test_says_at_the_first_step_what_is_wrong_with_an_endpoint(self, admin, endpoint, fix):
        (failed,) = run(admin, endpoint=endpoint)

        assert states([failed]) == {"address": "failed"}
        assert fix in failed

    def test_offers_the_names_that_the_server_lists_as_text(self, admin, form, backend):
        backend.names = ["codestral-22b", '"><script>alert(1)</script>']

        *_, failed = run(admin, **form)

        assert 'data-field="id_identifier" data-value="codestral-22b"' in failed
        assert "<script>" not in failed
        assert "&lt;script&gt;" in failed

    def test_shows_the_chain_of_certificates(self, admin, authority):
        with RawServer(answering(ANSWER), tls=authority.context("127.0.0.1")) as server:
            *_, failed = run(admin, endpoint=f"{server.url}/v1")

        assert "<td>server</td><td>Enclave test authority</td>" in failed

    def test_trusts_the_authority_of_an_uploaded_file(self, admin, authority):
        file = SimpleUploadedFile("ca.pem", authority.pem.encode())
        with RawServer(answering(ANSWER), tls=authority.context("127.0.0.1")) as server:
            pieces = run(admin, endpoint=f"{server.url}/v1", ca_bundle_file=file)

        assert states(pieces)["tls"] == "ok"

    def test_says_what_the_form_lacks_and_dials_nothing(self, admin, form, backend):
        answer = admin.post(NEW, {**FORM, **form, "family": "", "ca_bundle": "nonsense"})

        assert answer.status_code == 422
        assert "Family: This field is required." in answer.text
        assert "CA bundle: This is not a PEM file" in answer.text
        assert backend.calls == []
        assert not ModelCheck.objects.exists()

    def test_is_refused_when_there_were_too_many(self, admin, form, backend):
        for _ in range(10):
            run(admin, **form)
        backend.forget()

        answer = admin.post(NEW, {**FORM, **form})

        assert answer.status_code == 429
        assert "10 tests within a minute" in answer.text
        assert backend.calls == []


class TestWhoMay:
    @pytest.mark.parametrize(
        ("rights", "new", "stored"),
        [
            ((), 403, 403),
            (("view",), 403, 403),
            (("view", "add"), 200, 403),
            (("view", "change"), 403, 200),
        ],
    )
    def test_test_what_they_may_save(self, db, client, form, rights, new, stored):
        user = User.objects.create_user("staff", is_staff=True)
        codenames = [f"{right}_selfhostedmodel" for right in rights]
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        client.force_login(user)
        model = make_model()

        answers = [client.post(url, {**FORM, **form}) for url in (NEW, url_of(model))]

        assert [answer.status_code for answer in answers] == [new, stored]
        assert all(answer.getvalue() for answer in answers)

    def test_is_nobody_without_a_login(self, db, client, form):
        assert client.post(NEW, {**FORM, **form}).status_code == 302

    def test_is_nobody_from_another_site(self, db, form, backend):
        client = Client(enforce_csrf_checks=True)
        client.force_login(make_admin())

        assert client.post(NEW, {**FORM, **form}).status_code == 403
        assert backend.calls == []

    def test_does_not_work_by_a_link(self, admin, backend):
        assert admin.get(NEW, {"endpoint": backend.endpoint}).status_code == 405

    def test_ends_at_models_that_are_gone(self, admin, form):
        assert admin.post(reverse(NAME, args=(4711,)), {**FORM, **form}).status_code == 404


class TestHistory:
    def test_names_who_tested_what_and_how_it_ended(self, admin, form, backend):
        model = make_model()

        run(admin, url_of(model), **form)
        backend.names = []
        backend.api_key = "another"
        run(admin, url_of(model), **form)

        address = backend.url.removeprefix("http://")
        entries = LogEntry.objects.order_by("pk")
        assert [entry.change_message for entry in entries] == [
            f"Tested the connection to {address}: passed.",
            f"Tested the connection to {address}: failed at List of models.",
        ]
        assert {entry.object_id for entry in entries} == {str(model.pk)}
        assert {entry.user.is_superuser for entry in entries} == {True}
        assert KEY not in str(entries.values_list())

    def test_has_a_test_of_what_was_not_saved(self, admin, form):
        run(admin, **form | {"name": "a name"})

        entry = LogEntry.objects.get()
        assert (entry.object_repr, entry.object_id) == ("a name", None)

    @pytest.mark.django_db(transaction=True)  # the end of a response closes the connection
    def test_has_a_test_that_was_left(self, admin, form):
        answer = admin.post(NEW, {**FORM, **form})
        next(iter(answer))

        answer.close()

        assert LogEntry.objects.get().change_message.endswith(": stopped.")


class TestPanel:
    def test_shows_the_last_test_of_the_model_as_it_is_stored(self, admin, form):
        model = make_model(api_key="")
        admin.post(change_url(model), {**FORM, **form})
        model.refresh_from_db()
        run(admin, url_of(model), **form | {"new_api_key": ""})

        page = admin.get(change_url(model)).text

        assert "Last test of this model: passed" in page
        assert page.count('data-state="ok"') == 7

    def test_says_that_the_model_was_changed_since(self, admin):
        page = admin.get(change_url(make_model())).text

        assert "not tested since it was last changed" in page
        assert f'data-url="{NEW}' not in page

    def test_offers_a_test_to_those_who_may(self, admin, client):
        model = make_model()
        assert f'data-url="{url_of(model)}"' in admin.get(change_url(model)).text

        user = User.objects.create_user("viewer", is_staff=True)
        view = Permission.objects.get(codename="view_selfhostedmodel")
        user.user_permissions.add(view)
        client.force_login(user)
        assert "data-url" not in client.get(change_url(model)).text
