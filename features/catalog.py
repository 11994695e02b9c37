"""The catalog of GitLab Duo features that Enclave serves.

To add a feature, add one entry to FEATURES and `prompts/definitions/<slug>/default.yml`.
Source: gateway-api.md 1.2, 1.3 and gitlab-client.md 2.2 (GitLab 17.1 to 19.x).
"""

from __future__ import annotations

from dataclasses import dataclass

from features.errors import UnknownFeature


@dataclass(frozen=True, kw_only=True, slots=True)
class Feature:
    """A GitLab Duo feature.

    `unit_primitives`: one of them must be among the token's scopes.
    `needs_rule` is False for what is allowed to the instance before anything is configured.
    """

    slug: str
    label: str
    unit_primitives: tuple[str, ...]
    needs_rule: bool = True


FEATURES = {
    feature.slug: feature
    for feature in (
        Feature(
            slug="code_completions",
            label="Code Completion",
            unit_primitives=("complete_code",),
        ),
        Feature(
            slug="model_configuration",
            label="Test connection",
            unit_primitives=("complete_code",),
            needs_rule=False,
        ),
    )
}


def get_feature(slug: str) -> Feature:
    """Return the catalog entry.

    Raises:
        UnknownFeature: there is none.
    """
    try:
        return FEATURES[slug]
    except KeyError:
        raise UnknownFeature(f"There is no feature '{slug}'.") from None


def choices() -> list[tuple[str, str]]:
    """Return the features that a rule can switch, for a form field."""
    return [(f.slug, f.label) for f in FEATURES.values() if f.needs_rule]
