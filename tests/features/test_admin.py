"""Tests for features/admin.py."""

import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.urls import reverse
from django.utils import timezone

from features.models import ApiKey, FeatureRule, Group, VendorRoute, digest_key
from gateway.management.commands.create_roles import create_roles
from models_registry.changes import ConfigChange, made_by
from tests.factories import (
    FEATURE,
    make_api_key,
    make_group,
    make_member,
    make_model,
    make_rule,
)

KEY_TEXT = re.compile(r"enc_[0-9a-f]{12}_[\w-]{20,}")


def url(model, page, *args):
    return reverse(f"admin:features_{model}_{page}", args=args)


def inline(*rules):
    """Return the form fields of a group's rules."""
    fields = {"rules-TOTAL_FORMS": len(rules), "rules-INITIAL_FORMS": 0}
    for number, rule in enumerate(rules):
        fields |= {f"rules-{number}-{name}": value for name, value in rule.items()}
    return fields


class TestGroupPages:
    def test_make_a_group_with_its_rules(self, admin):
        model = make_model()
        rule = {"feature": FEATURE, "state": "on", "is_locked": "on", "model": model.pk}

        admin.post(
            url("group", "add"),
            {"path": "payments", "gitlab_id": 7, "parent": "", **inline(rule)},
        )

        group = Group.objects.get(path="payments", gitlab_id=7)
        saved = group.rules.get()
        assert (saved.state, saved.is_locked, saved.model) == ("on", True, model)

    def test_refuse_a_group_that_would_be_its_own_ancestor(self, admin):
        top = make_group("a")
        child = make_group("a/b", parent=top)

        answer = admin.post(
            url("group", "change", top.pk),
            {"path": "a", "gitlab_id": "", "parent": child.pk, **inline()},
        )

        assert "its own ancestor" in answer.text

    def test_refuse_to_delete_a_group_with_children(self, admin):
        top = make_group("a")
        make_group("a/b", parent=top)

        admin.post(url("group", "delete", top.pk), {"post": "yes"})

        assert Group.objects.filter(pk=top.pk).exists()

    def test_show_how_each_feature_resolves(self, admin):
        make_rule(None, state="on", is_locked=True, model=make_model(name="house model"))
        group = make_group("payments")
        make_rule(group, state="off")

        page = admin.get(url("group", "change", group.pk)).text

        assert "Code Completion: off (group &#x27;payments&#x27;: off)" in page
        assert "instance: on, locked, model &#x27;house model&#x27; → on" in page

    def test_show_the_change_that_was_just_saved(self, admin):
        group = make_group("payments")
        assert "nothing configured: off" in admin.get(url("group", "change", group.pk)).text

        make_rule(group, state="on", model=make_model(name="house model"))

        page = admin.get(url("group", "change", group.pk)).text
        assert "on (group &#x27;payments&#x27;: on), model &#x27;house model&#x27;" in page


class TestFeatureRulePages:
    def test_refuse_a_second_rule_for_the_whole_instance(self, admin):
        form = {"group": "", "feature": FEATURE, "state": "on", "model": ""}
        admin.post(url("featurerule", "add"), form)

        answer = admin.post(url("featurerule", "add"), form)

        assert FeatureRule.objects.count() == 1
        assert "already a rule for the whole instance" in answer.text

    @pytest.mark.parametrize(
        ("feature", "family", "fault"),
        [
            (FEATURE, "embedding", "it cannot serve Code Completion"),
            ("embeddings_code", "codestral", "needs a model of the family Embedding"),
        ],
    )
    def test_refuse_a_model_that_could_not_serve(self, admin, feature, family, fault):
        form = {
            "group": "",
            "feature": feature,
            "state": "on",
            "model": make_model(family=family).pk,
        }

        answer = admin.post(url("featurerule", "add"), form)

        assert fault in answer.text
        assert not FeatureRule.objects.exists()

    def test_take_a_model_that_can(self, admin):
        vectors = make_model(family="embedding")
        form = {"group": "", "feature": "embeddings_code", "state": "on", "model": vectors.pk}

        admin.post(url("featurerule", "add"), form)

        assert FeatureRule.objects.get().model == vectors

    def test_say_when_a_rule_has_no_effect(self, admin):
        make_rule(None, state="off", is_locked=True)
        rule = make_rule(make_group("payments"), state="on")

        page = admin.get(url("featurerule", "change", rule.pk)).text

        assert "off, the rule has no effect: instance is locked" in page

    def test_name_the_instance(self, admin):
        make_rule(None)

        assert "Whole instance" in admin.get(url("featurerule", "changelist")).text


class TestApiKeyPages:
    def add(self, admin, **facts):
        form = {"name": "ci", "group": "", "is_active": "on", **facts}
        return admin.post(url("apikey", "add"), form, follow=True)

    def test_show_the_key_once_and_never_again(self, admin):
        first = self.add(admin)

        (text,) = set(KEY_TEXT.findall(first.text))
        key = ApiKey.objects.get()
        assert key.digest == digest_key(text)
        later = [
            admin.get(url("apikey", "changelist")),
            admin.get(url("apikey", "change", key.pk)),
            admin.get(url("apikey", "history", key.pk)),
        ]
        assert all(page.status_code == 200 for page in later)
        assert not any(KEY_TEXT.search(page.text) for page in later)
        assert not any(key.digest in page.text for page in [first, *later])
        assert all(key.prefix in page.text for page in later[:2])

    def test_keep_the_key_when_its_name_changes(self, admin):
        key, text = make_api_key()

        answer = admin.post(
            url("apikey", "change", key.pk), {"name": "renamed", "group": ""}, follow=True
        )

        key.refresh_from_db()
        assert key.name == "renamed"
        assert not key.is_active
        assert key.digest == digest_key(text)
        assert not KEY_TEXT.search(answer.text)

    def test_make_no_key_when_the_form_is_refused(self, admin):
        answer = self.add(admin, name="")

        assert not ApiKey.objects.exists()
        assert not KEY_TEXT.search(answer.text)


class TestVendorRoutePages:
    @pytest.fixture(autouse=True)
    def _url(self, settings):
        settings.GATEWAY_VENDOR_ROUTE_URL = "https://cloud.gitlab.com/ai"

    def test_warn_of_what_leaves_and_say_where_to(self, admin):
        page = admin.get(url("vendorroute", "add")).text

        assert "prompts with your source code leave your network" in page
        assert "https://cloud.gitlab.com/ai" in page

    def test_switch_it_and_say_who_did_and_when(self, admin, caplog):
        admin.post(url("vendorroute", "add"), {"is_on": "on"})
        admin.post(url("vendorroute", "change", 1), {})

        assert not VendorRoute.objects.get().is_on
        off, on = LogEntry.objects.all()
        assert (on.object_repr, off.object_repr) == ("Vendor route: on", "Vendor route: off")
        assert on.user.username.startswith("admin-")
        assert on.action_time <= off.action_time
        assert [(line.is_on, line.user) for line in caplog.records] == [
            (True, on.user.username),
            (False, on.user.username),
        ]

    def test_refuse_to_open_a_route_that_leads_nowhere(self, admin, settings):
        settings.GATEWAY_VENDOR_ROUTE_URL = ""

        answer = admin.post(url("vendorroute", "add"), {"is_on": "on"})

        assert "GATEWAY_VENDOR_ROUTE_URL is not set. Ask whoever" in answer.text
        assert not VendorRoute.objects.exists()

    def test_have_one_switch_which_nobody_deletes(self, admin):
        VendorRoute.objects.create(is_on=True)

        again = admin.post(url("vendorroute", "add"), {})

        assert (again.status_code, again.url) == (302, url("vendorroute", "change", 1))
        assert VendorRoute.objects.get().is_on
        assert admin.post(url("vendorroute", "delete", 1), {"post": "yes"}).status_code == 403
        assert "Vendor route: on" in admin.get(url("vendorroute", "changelist")).text

    def test_are_not_for_model_administrators(self, client, db):
        user = User.objects.create_user("ada", is_staff=True)
        user.groups.set(create_roles())
        client.force_login(user)

        assert client.get(url("vendorroute", "changelist")).status_code == 403
        assert client.post(url("vendorroute", "add"), {"is_on": "on"}).status_code == 403

    def test_are_for_whoever_has_the_permission(self, client, db):
        user = User.objects.create_user("ada", is_staff=True)
        user.user_permissions.add(Permission.objects.get(codename="add_vendorroute"))
        client.force_login(user)

        client.post(url("vendorroute", "add"), {"is_on": "on"})

        assert VendorRoute.objects.get().is_on

    def test_are_told_of_where_a_feature_has_no_model(self, admin):
        VendorRoute.objects.create(is_on=True)
        group = make_group("payments")
        make_rule(group)

        page = admin.get(url("group", "change", group.pk)).text

        assert "on the model that GitLab names, else by the vendor route" in page
        assert "vendor route: on → calls that name no model leave for the vendor" in page


class TestChangesPage:
    def page(self, admin, **parameters):
        return admin.get(reverse("admin:models_registry_configchange_changelist"), parameters)

    def test_says_who_changed_what(self, admin):
        with made_by("eve"):
            make_rule(make_group("payments"), state="off")

        page = self.page(admin).text

        assert "eve" in page
        assert "Rule &#x27;payments&#x27;, Code Completion" in page
        assert "state off" in page

    def test_is_read_only(self, admin):
        make_group()
        change = ConfigChange.objects.latest("pk")

        place = "admin:models_registry_configchange_"
        added = admin.post(reverse(f"{place}add"), {"actor": "eve"})
        deleted = admin.post(reverse(f"{place}delete", args=(change.pk,)), {"post": "yes"})
        changed = admin.post(reverse(f"{place}change", args=(change.pk,)), {"actor": "eve"})

        assert {added.status_code, deleted.status_code, changed.status_code} == {405}
        assert ConfigChange.objects.filter(pk=change.pk, actor=change.actor).exists()

    def test_can_be_narrowed(self, admin):
        make_group("payments")
        make_model(name="Qwen")

        page = self.page(admin, kind="group").text

        assert "payments" in page
        assert "Qwen" not in page
        assert "payments" not in self.page(admin, actor="eve").text


def fill_groups(rows):
    parent = make_group()
    for _ in range(rows - 1):
        make_member(make_group(parent=parent), "7")


def fill_rules(rows):
    for _ in range(rows):
        make_rule(make_group(), model=make_model())


def fill_keys(rows):
    for _ in range(rows):
        make_api_key(make_group(), expires_at=timezone.now() + timedelta(days=1))


def fill_memberships(rows):
    for _ in range(rows):
        make_member(make_group(), "7")


class TestLists:
    @pytest.mark.parametrize("rows", [3, 30])
    @pytest.mark.parametrize(
        ("model", "fill", "queries"),
        [
            # One of them asks which rights to the log a person was given, for the sidebar.
            ("group", fill_groups, 6),
            ("featurerule", fill_rules, 7),
            ("apikey", fill_keys, 6),
            ("membership", fill_memberships, 5),
            ("configchange", fill_rules, 7),
        ],
    )
    def test_take_the_same_number_of_queries(
        self, admin, rows, model, fill, queries, django_assert_num_queries
    ):
        fill(rows)

        app = "models_registry" if model == "configchange" else "features"
        with django_assert_num_queries(queries):
            page = admin.get(reverse(f"admin:{app}_{model}_changelist"))

        assert page.text.count("<tbody") >= rows

    def test_count_rules_and_members_apart(self, admin):
        group = make_group("payments")
        make_rule(group)
        for user_ref in "123":
            make_member(group, user_ref)

        page = admin.get(url("group", "changelist")).text

        cells = re.findall(r"field-(?:rule|member)_count[^>]*>(?:\s|<[^>]*>)*(\d+)", page)
        assert cells == ["1", "3"]

    @pytest.mark.parametrize(
        ("model", "words"),
        [("group", "pay"), ("featurerule", "pay"), ("apikey", "pay"), ("membership", "7")],
    )
    def test_can_be_searched(self, admin, model, words):
        group = make_group("payments")
        make_rule(group)
        make_api_key(group)
        make_member(group, "7")

        page = admin.get(url(model, "changelist"), {"q": words})

        assert "payments" in page.text


class TestPeople:
    @pytest.mark.parametrize("model", ["user", "group"])
    def test_have_pages_with_visible_inputs(self, admin, model):
        page = admin.get(reverse(f"admin:auth_{model}_add"))

        (name,) = re.findall(r"<input[^>]*name=\"(?:username|name)\"[^>]*>", page.text)
        assert "border" in name

    def test_are_in_roles_not_in_groups(self, admin):
        assert "Roles" in admin.get(reverse("admin:auth_group_changelist")).text

    def test_can_change_a_password(self, admin):
        user = User.objects.create_user("eve", password="old")

        page = admin.get(reverse("admin:auth_user_password_change", args=(user.pk,)))

        assert page.status_code == 200


class TestSidebar:
    def test_leads_to_every_page(self, admin):
        page = admin.get(reverse("admin:index")).text

        for title in ("Models", "Groups", "Feature rules", "API keys", "Inference records"):
            assert title in page

    def test_shows_what_a_person_may_view(self, client, db):
        person = User.objects.create_user("eve", is_staff=True)
        person.user_permissions.add(Permission.objects.get(codename="view_featurerule"))
        client.force_login(person)

        page = client.get(reverse("admin:index")).text

        assert url("featurerule", "changelist") in page
        assert url("apikey", "changelist") not in page

    def test_loads_nothing_from_elsewhere(self, admin):
        page = admin.get(reverse("admin:index")).text

        assert not re.findall(r"(?:src|href)=\"(?:https?:)?//[^\"]*\"", page)
