"""Who may read what was asked and answered, take it out of the log, and see who did.

The superuser flag is no such right: an administrator does not read what people wrote.
"""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser, Permission, User
from django.db.models import Q

Person = User | AnonymousUser

READ_CONTENT, EXPORT = "read_content", "export_records"


def may_read_content(person: Person) -> bool:
    """Test whether a person was given the right to read content."""
    return READ_CONTENT in given(person)


def may_export(person: Person) -> bool:
    """Test whether a person was given the right to take records out of the log."""
    return EXPORT in given(person)


def given(person: Person) -> frozenset[str]:
    """Return which of these two rights a person was given, in their own name or by a role."""
    if not person.is_active:
        return frozenset()
    rights = Permission.objects.filter(
        Q(user=person) | Q(group__user=person),
        content_type__app_label="audit",
        codename__in=(READ_CONTENT, EXPORT),
    )
    return frozenset(rights.values_list("codename", flat=True))


def may_see_readers(person: Person) -> bool:
    """Test whether a person may see who read a record."""
    return person.has_perm("audit.view_contentreading")


def may_see_all_readings(person: Person) -> bool:
    """Test whether a person may see everything that everybody read."""
    return person.has_perm("audit.view_all_readings")
