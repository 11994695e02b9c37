"""Tests for features/models.py."""

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import IntegrityError

from features import catalog
from features.catalog import Feature
from features.models import ApiKey, FeatureRule, Group, VendorRoute, digest_key
from models_registry.configuration import ConfigVersion
from tests.factories import FEATURE, make_api_key, make_group, make_rule


@pytest.mark.django_db
class TestGroup:
    def test_refuses_to_be_its_own_ancestor(self):
        top = make_group("a")
        middle = make_group("a/b", parent=top)
        top.parent = make_group("a/b/c", parent=middle)

        with pytest.raises(ValidationError, match="its own ancestor"):
            top.full_clean()

    def test_reads_a_path_as_gitlab_writes_it(self):
        group = Group(path="/payments/core/")

        group.full_clean()

        assert group.path == "payments/core"


@pytest.mark.django_db
class TestFeatureRule:
    def test_stands_alone_in_its_cell(self):
        group = make_group()
        make_rule(group)

        with pytest.raises(ValidationError, match="already a rule for this group"):
            FeatureRule(group=group, feature=FEATURE).full_clean()
        with pytest.raises(IntegrityError):
            make_rule(group)

    def test_stands_alone_for_the_whole_instance(self):
        make_rule(None)

        with pytest.raises(ValidationError, match="already a rule for the whole instance"):
            FeatureRule(feature=FEATURE).full_clean()
        with pytest.raises(IntegrityError):
            make_rule(None)

    def test_refuses_a_feature_that_needs_no_rule(self):
        with pytest.raises(ValidationError):
            FeatureRule(feature="model_configuration").full_clean()

    def test_reads_as_a_sentence(self):
        assert str(make_rule(None)) == "instance: Code Completion on"
        assert str(make_rule(make_group("a"), state="off")) == "group 'a': Code Completion off"


@pytest.mark.django_db
class TestApiKey:
    def test_is_found_by_its_prefix_and_proved_by_its_digest(self):
        key, text = make_api_key()

        stored = ApiKey.objects.get(prefix=text[: len(key.prefix)])

        assert stored.digest == digest_key(text)

    def test_keeps_its_text_nowhere(self):
        key, text = make_api_key()

        secret = text.removeprefix(key.prefix)

        assert all(secret not in str(value) for value in vars(key).values())

    def test_is_another_one_each_time(self):
        assert make_api_key()[1] != make_api_key()[1]


@pytest.mark.django_db
class TestMigrations:
    def test_do_not_change_when_a_feature_is_added(self, monkeypatch):
        new = Feature(slug="new", label="New")
        monkeypatch.setitem(catalog.FEATURES, "new", new)

        call_command("makemigrations", "features", check=True, dry_run=True)


@pytest.mark.django_db
class TestVendorRoute:
    def test_is_off_unless_somebody_opens_it(self):
        assert not VendorRoute().is_on

    def test_is_there_once(self):
        VendorRoute.objects.create()

        with pytest.raises(IntegrityError):
            VendorRoute.objects.create(id=2)

    def test_tells_every_process_when_it_is_switched(self):
        before = ConfigVersion.current()

        VendorRoute.objects.create(is_on=True)

        assert ConfigVersion.current() == before + 1

    def test_leads_nowhere_without_an_address(self, settings):
        settings.GATEWAY_VENDOR_ROUTE_URL = ""
        VendorRoute(is_on=False).full_clean()

        with pytest.raises(ValidationError, match="GATEWAY_VENDOR_ROUTE_URL is not set"):
            VendorRoute(is_on=True).full_clean()

    def test_says_how_it_stands(self):
        assert str(VendorRoute(is_on=True)) == "Vendor route: on"
        assert str(VendorRoute()) == "Vendor route: off"
