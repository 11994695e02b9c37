"""Who may read what was asked and answered."""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser, Permission, User
from django.db.models import Q


def may_read_content(user: User | AnonymousUser) -> bool:
    """Test whether a person was given the right to read content.

    The superuser flag is no such right: an administrator does not read what people wrote.
    """
    if not user.is_active:
        return False
    given = Permission.objects.filter(content_type__app_label="audit", codename="read_content")
    return given.filter(Q(user=user) | Q(group__user=user)).exists()
