"""Who may read what was asked and answered, take it out of the log, and see who did.

The superuser flag is none of these rights: an administrator does not read what people wrote, nor
who read it.
"""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser, Permission, User
from django.db.models import Q
from django.http import HttpRequest

Person = User | AnonymousUser

READ_CONTENT, EXPORT = "read_content", "export_records"
SEE_READERS, SEE_ALL_READINGS = "view_contentreading", "view_all_readings"


def may_read_content(person: Person) -> bool:
    """Test whether a person was given the right to read content."""
    return READ_CONTENT in given(person)


def may_export(person: Person) -> bool:
    """Test whether a person was given the right to take records out of the log."""
    return EXPORT in given(person)


def may_see_readers(person: Person) -> bool:
    """Test whether a person was given the right to see a record's readers, and own readings."""
    return SEE_READERS in given(person)


def may_see_all_readings(person: Person) -> bool:
    """Test whether a person was given the right to see everything that everybody read."""
    return SEE_ALL_READINGS in given(person)


def given(person: Person) -> frozenset[str]:
    """Return which of these rights a person was given, in their own name or by a role.

    Asked for once for each request, as Django does with permissions.
    """
    known: frozenset[str] | None = getattr(person, "_audit_rights", None)
    if known is None:
        known = _look_up(person) if person.is_active else frozenset()
        person._audit_rights = known  # type: ignore[union-attr]  # beside Django's own caches
    return known


def _look_up(person: Person) -> frozenset[str]:
    rights = Permission.objects.filter(
        Q(user=person) | Q(group__user=person),
        content_type__app_label="audit",
        codename__in=(READ_CONTENT, EXPORT, SEE_READERS, SEE_ALL_READINGS),
    )
    return frozenset(rights.values_list("codename", flat=True))


def shows_readings(request: HttpRequest) -> bool:
    """Test whether the sidebar offers the readings; named in the settings."""
    return may_see_readers(request.user)
