"""Tests for models_registry/configuration.py."""

import pytest
from django.db import IntegrityError, transaction

from features.models import FeatureRule, Group
from models_registry.configuration import ConfigVersion
from tests.factories import make_group, make_rule

CHANGES = {
    "create": lambda group: make_group("new"),
    "save": lambda group: group.save(),
    "delete": lambda group: group.delete(),
    "update in bulk": lambda group: Group.objects.update(gitlab_id=1),
    "delete in bulk": lambda group: Group.objects.all().delete(),
    "create in bulk": lambda group: Group.objects.bulk_create([Group(path="bulk")]),
    "bulk_update": lambda group: Group.objects.bulk_update([group], ["gitlab_id"]),
    "update_or_create": lambda group: Group.objects.update_or_create(path="other"),
}


@pytest.mark.django_db
class TestConfigVersion:
    def test_is_zero_before_the_first_change(self):
        assert ConfigVersion.current() == 0

    @pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
    def test_is_raised_by_every_way_of_changing_a_row(self, change):
        group = make_group()
        before = ConfigVersion.current()

        change(group)

        assert ConfigVersion.current() > before

    def test_is_raised_when_a_rule_goes_with_its_group(self):
        rule = make_rule(make_group())
        before = ConfigVersion.current()

        Group.objects.all().delete()

        assert not FeatureRule.objects.filter(pk=rule.pk).exists()
        assert ConfigVersion.current() > before

    def test_stays_when_the_change_is_rolled_back(self):
        make_group("taken")
        before = ConfigVersion.current()

        with pytest.raises(IntegrityError), transaction.atomic():
            make_group("taken")

        assert ConfigVersion.current() == before
