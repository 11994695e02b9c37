"""Valid rows for tests: one function per model, every fact can be overridden by name."""

from __future__ import annotations

from itertools import count
from typing import Any

from django.contrib.auth.models import User

from features.models import ApiKey, FeatureRule, Group, Membership, VendorRoute
from models_registry.models import SelfHostedModel

FEATURE = "code_completions"
ENDPOINT = "http://10.1.2.3:8000/v1"

_numbers = count(1)


def make_model(**facts: Any) -> SelfHostedModel:
    """Return a saved model that an administrator registered."""
    number = next(_numbers)
    model: SelfHostedModel = SelfHostedModel.objects.create(
        **{
            "name": f"model {number}",
            "family": "codestral",
            "endpoint": ENDPOINT,
            "identifier": f"codestral-{number}",
            "api_key": f"sk-{number}",
            **facts,
        }
    )
    return model


def make_group(path: str = "", **facts: Any) -> Group:
    """Return a saved group at the root of the tree."""
    number = next(_numbers)
    group: Group = Group.objects.create(path=path or f"group-{number}", **facts)
    return group


def make_rule(group: Group | None = None, **facts: Any) -> FeatureRule:
    """Return a saved rule: on for the whole instance, unless said otherwise."""
    rule: FeatureRule = FeatureRule.objects.create(group=group, **{"feature": FEATURE, **facts})
    return rule


def make_member(group: Group, user_ref: str) -> Membership:
    """Return a saved membership."""
    membership: Membership = Membership.objects.create(group=group, user_ref=user_ref)
    return membership


def open_vendor_route() -> VendorRoute:
    """Return the switch of the vendor route, on."""
    route: VendorRoute = VendorRoute.objects.create(is_on=True)
    return route


def make_api_key(group: Group | None = None, **facts: Any) -> tuple[ApiKey, str]:
    """Return a saved API key and its text."""
    return ApiKey.issue(group=group, **{"name": f"key {next(_numbers)}", **facts})


def make_admin(**facts: Any) -> User:
    """Return a saved superuser."""
    number = next(_numbers)
    return User.objects.create_superuser(username=f"admin-{number}", password="secret", **facts)
