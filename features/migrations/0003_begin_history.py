from collections import defaultdict

from django.db import migrations
from django.utils import timezone

from models_registry.changes import OURSELVES, facts_of


def begin(apps, schema_editor):
    """Write down what there was when the history of changes began."""
    version = apps.get_model("models_registry", "ConfigVersion").objects.filter(pk=1).first()
    change = apps.get_model("models_registry", "ConfigChange")
    common = {"version": version.number if version else 0, "at": timezone.now(), "actor": OURSELVES}
    rows = [
        change(kind=name.lower(), row_id=row.pk, after=facts_of(row, leave_out=("digest",)), **common)
        for name in ("Group", "FeatureRule", "ApiKey", "VendorRoute")
        for row in apps.get_model("features", name).objects.iterator()
    ]
    members = defaultdict(list)
    for membership in apps.get_model("features", "Membership").objects.iterator():
        members[membership.group_id].append(membership.user_ref)
    rows += [
        change(
            kind="membership",
            row_id=group_id,
            before={"members": []},
            after={"members": sorted(refs)},
            **common,
        )
        for group_id, refs in members.items()
    ]
    change.objects.bulk_create(rows, batch_size=1_000)


class Migration(migrations.Migration):

    dependencies = [
        ('features', '0002_vendor_route'),
        ('models_registry', '0003_config_change'),
    ]

    operations = [
        migrations.RunPython(begin, migrations.RunPython.noop),
    ]
