"""Promises of gateway/audit/access.py."""

import pytest
from django.contrib.auth.models import AnonymousUser, Permission, User

from gateway.audit.access import (
    given,
    may_export,
    may_read_content,
    may_see_all_readings,
    may_see_readers,
    shows_readings,
)
from gateway.management.commands.create_roles import AUDITORS, MODEL_ADMINISTRATORS

pytestmark = pytest.mark.django_db


class TestMayReadContent:
    def test_is_so_for_auditors(self, roles):
        user = User.objects.create_user("auditor")
        user.groups.add(roles[AUDITORS])

        assert may_read_content(user)

    def test_is_so_for_a_person_who_was_given_the_right(self):
        user = User.objects.create_user("person")
        user.user_permissions.add(Permission.objects.get(codename="read_content"))

        assert may_read_content(user)

    def test_is_not_so_for_superusers_and_model_administrators(self, roles):
        user = User.objects.create_superuser("superuser")
        user.groups.add(roles[MODEL_ADMINISTRATORS])

        assert not may_read_content(user)

    def test_is_so_for_a_superuser_who_is_an_auditor_too(self, roles):
        user = User.objects.create_superuser("superuser")
        user.groups.add(roles[AUDITORS])

        assert may_read_content(user)

    def test_ends_when_the_person_is_switched_off(self, roles):
        user = User.objects.create_user("auditor", is_active=False)
        user.groups.add(roles[AUDITORS])

        assert not may_read_content(user)

    def test_is_not_so_for_strangers(self):
        assert not may_read_content(AnonymousUser())

    def test_takes_one_query_for_both_rights(self, roles, django_assert_num_queries):
        user = User.objects.create_user("auditor")
        user.groups.add(roles[AUDITORS])

        with django_assert_num_queries(1):
            rights = given(user)

        assert rights == {"read_content", "export_records", "view_contentreading"}


class TestMayExport:
    def test_is_so_for_auditors_and_for_no_superuser(self, roles):
        auditor = User.objects.create_user("auditor")
        auditor.groups.add(roles[AUDITORS])

        assert may_export(auditor)
        assert not may_export(User.objects.create_superuser("superuser"))


class TestMaySeeAllReadings:
    def test_is_not_so_for_auditors(self, roles):
        auditor = User.objects.create_user("auditor")
        auditor.groups.add(roles[AUDITORS])

        assert may_see_readers(auditor)
        assert not may_see_all_readings(auditor)
        assert not may_see_all_readings(User.objects.create_superuser("superuser"))

    def test_is_so_for_a_person_who_was_given_the_right(self):
        user = User.objects.create_user("person")
        user.user_permissions.add(Permission.objects.get(codename="view_all_readings"))

        assert may_see_all_readings(user)


class TestShowsReadings:
    def test_is_what_the_sidebar_asks(self, roles, rf):
        auditor, superuser = rf.get("/"), rf.get("/")
        superuser.user = User.objects.create_superuser("superuser")
        auditor.user = User.objects.create_user("auditor")
        auditor.user.groups.add(roles[AUDITORS])

        assert shows_readings(auditor)
        assert not shows_readings(superuser)
