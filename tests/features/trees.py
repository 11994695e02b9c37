"""Random configurations, and an oracle: docs/policy.md written down a second time, another way."""

from __future__ import annotations

import random
from itertools import takewhile

from features.catalog import FEATURES
from features.snapshot import GroupEntry, ModelEntry, Rule, Snapshot
from models_registry.providers.types import ModelConfig

SLUGS = ("code_completions", "duo_chat", "duo_chat_explain_code", "duo_chat_write_tests")
USERS = tuple(str(number) for number in range(1, 8))
STATES = ("on", "off", "inherit")


def random_config(rng: random.Random) -> Snapshot:
    """Return a configuration of up to twelve groups in trees of any shape."""
    groups: dict[int, GroupEntry] = {}
    for pk in range(1, rng.randint(1, 12) + 1):
        above = groups.get(rng.choice([0, *groups]))
        groups[pk] = GroupEntry(
            group_id=pk,
            gitlab_id=None if rng.random() < 0.2 else 100 + pk,
            path=f"{above.path}/g{pk}" if above else f"g{pk}",
            lineage=(*(above.lineage if above else ()), pk),
        )
    density = rng.choice([0, 0.1, 0.3, 0.7])
    rules = {
        (level, slug): Rule(
            state=rng.choice(STATES),
            is_locked=rng.random() < 0.3,
            model_id=rng.choice([None, None, 1, 2, 3]),
        )
        for level in (None, *groups)
        for slug in SLUGS
        if rng.random() < density
    }
    members = {
        user: tuple(sorted(rng.sample(list(groups), rng.randint(0, min(3, len(groups))))))
        for user in USERS
    }
    return Snapshot(
        version=1,
        models={pk: _model(pk) for pk in (1, 2, 3)},
        named={},
        groups=groups,
        by_gitlab_id={g.gitlab_id: g for g in groups.values() if g.gitlab_id},
        members=members,
        rules=rules,
        api_keys={},
    )


def _model(pk: int) -> ModelEntry:
    config = ModelConfig(
        revision_id=pk, model_id=pk, name=f"m{pk}", family="general", provider="echo",
        endpoint="", identifier="", api_key="",
    )  # fmt: skip
    return ModelEntry(
        model_id=pk, name=f"m{pk}", state="disabled" if pk == 3 else "active", config=config
    )


def is_allowed(config: Snapshot, feature: str, group_ids: tuple[int, ...]) -> bool:
    """Return what the rules say, without walking a ladder: one must allow, and none may deny."""
    verdicts = [_verdict(config, feature, pk) for pk in group_ids or (None,)]
    return "on" in verdicts and "denied" not in verdicts


def _verdict(config: Snapshot, feature: str, group_id: int | None) -> str:
    levels = (None, *(config.groups[group_id].lineage if group_id else ()))
    rules = [(level, _rule(config, level, feature)) for level in levels]
    said = [(level, rule) for level, rule in rules if rule is not None]
    free = list(takewhile(lambda pair: not pair[1].is_locked, said))
    head, below = said[: len(free) + 1], said[len(free) + 1 :]
    deciding = [(level, rule) for level, rule in head if rule.state != "inherit"][-1:]
    is_on = any(rule.state == "on" for _, rule in deciding)
    is_denied = any(
        rule.state == "off" and (level is not None or rule.is_locked) for level, rule in deciding
    )
    if any(rule.state == "off" for _, rule in below):
        is_on, is_denied = False, True
    return "denied" if is_denied else "on" if is_on else "off"


def _rule(config: Snapshot, level: int | None, feature: str) -> Rule | None:
    return config.rules.get((level, feature)) or config.rules.get(
        (level, FEATURES[feature].parent or "")
    )
