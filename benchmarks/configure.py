"""Fill a fresh Enclave with what the benchmark needs; runs inside the target's environment.

Reads `{"endpoint": ..., "models": [...]}` from standard input. For each model: the model itself, a
group whose rule gives code completion that model, and an API key of the group. Prints the keys by
model, and the tables that the audit log stands in.
"""

from __future__ import annotations

import json
import sys

import django


def main() -> None:
    wanted = json.load(sys.stdin)
    django.setup()

    from django.apps import apps

    from features.models import ApiKey, FeatureRule, Group, State
    from models_registry.models import SelfHostedModel

    keys = {}
    for name in wanted["models"]:
        model = SelfHostedModel(
            name=name,
            family="codestral",
            provider="openai_compatible",
            endpoint=wanted["endpoint"],
            identifier=name,
        )
        model.save()
        group = Group(path=f"benchmark/{name}")
        group.save()
        FeatureRule(group=group, feature="code_completions", state=State.ON, model=model).save()
        keys[name] = ApiKey.issue(name=name, group=group)[1]
    audit = apps.get_app_config("audit")
    print(
        json.dumps(
            {
                "keys": keys,
                "record_table": audit.get_model("InferenceRecord")._meta.db_table,
                "content_table": audit.get_model("InferenceContent")._meta.db_table,
            }
        )
    )


if __name__ == "__main__":
    main()
