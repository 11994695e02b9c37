"""Promises of gateway/management/commands/create_roles.py."""

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command

from gateway.management.commands.create_roles import (
    AUDITORS,
    MODEL_ADMINISTRATORS,
    create_roles,
)

pytestmark = pytest.mark.django_db


def permissions(name):
    rows = Group.objects.get(name=name).permissions.values_list(
        "content_type__app_label", "codename"
    )
    return {f"{app}.{codename}" for app, codename in rows}


class TestCreateRoles:
    def test_lets_auditors_read_records_and_nothing_else(self):
        create_roles()

        assert permissions(AUDITORS) == {
            "audit.view_inferencerecord",
            "audit.read_content",
            "audit.export_records",
            "audit.view_contentreading",
        }

    def test_lets_model_administrators_read_no_content_and_change_nothing_on_record(self):
        create_roles()

        found = permissions(MODEL_ADMINISTRATORS)
        assert {code for code in found if code.startswith("audit.")} == {
            "audit.view_inferencerecord",
            "audit.view_process",
            "audit.view_chore",
        }
        assert "models_registry.change_selfhostedmodel" in found
        assert "features.change_featurerule" in found
        assert not any(code.startswith("auth.") for code in found)

    def test_can_be_repeated_and_keeps_the_members(self):
        user = User.objects.create_user("auditor")
        user.groups.set(create_roles())

        create_roles()

        assert Group.objects.count() == 2
        assert user.groups.count() == 2

    def test_takes_back_what_was_added_to_a_role(self):
        create_roles()
        extra = Permission.objects.get(codename="delete_user")
        Group.objects.get(name=AUDITORS).permissions.add(extra)

        create_roles()

        assert "auth.delete_user" not in permissions(AUDITORS)


class TestCommand:
    def test_says_what_it_made(self, capsys):
        call_command("create_roles")

        assert capsys.readouterr().out.splitlines()[0] == "Auditors: 4 permissions"
