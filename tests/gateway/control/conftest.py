"""People with one role each."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from gateway.management.commands.create_roles import AUDITORS, MODEL_ADMINISTRATORS, create_roles


def person(role):
    """Return a client that is logged in as somebody with one role, or with none."""
    user = User.objects.create_user(role or "nobody in particular", is_staff=True)
    user.groups.set([found for found in create_roles() if found.name == role])
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def operator(db):
    """A model administrator."""
    return person(MODEL_ADMINISTRATORS)


@pytest.fixture
def auditor(db):
    """Somebody who reads records and changes nothing."""
    return person(AUDITORS)
