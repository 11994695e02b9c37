"""The chain: lanes, links, checkpoints, and the guards that keep them."""

from django.db import migrations, models

from gateway.audit.chain import guards


class Migration(migrations.Migration):

    dependencies = [("audit", "0004_content_index")]

    operations = [
        migrations.CreateModel(
            name='Anchor',
            fields=[
                ('address', models.CharField(max_length=255, primary_key=True, serialize=False)),
                ('number', models.BigIntegerField()),
                ('delivered_at', models.DateTimeField()),
            ],
            options={
                'default_permissions': ('view',),
            },
        ),
        migrations.CreateModel(
            name='Checkpoint',
            fields=[
                ('number', models.BigIntegerField(primary_key=True, serialize=False)),
                ('at', models.DateTimeField(db_index=True)),
                ('statement', models.TextField()),
                ('signature', models.CharField(max_length=128)),
                ('signed_by', models.CharField(max_length=64)),
            ],
            options={
                'default_permissions': ('view',),
            },
        ),
        migrations.CreateModel(
            name='Event',
            fields=[
                ('id', models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ('kind', models.CharField(max_length=20)),
                ('at', models.DateTimeField()),
                ('by', models.CharField(max_length=255)),
                ('record_id', models.UUIDField(db_index=True, null=True)),
                ('detail', models.TextField()),
                ('salt', models.CharField(editable=False, max_length=32)),
                ('link', models.BigIntegerField(editable=False)),
            ],
            options={
                'default_permissions': ('view',),
            },
        ),
        migrations.CreateModel(
            name='Lane',
            fields=[
                ('id', models.BigIntegerField(primary_key=True, serialize=False)),
                ('statement', models.TextField()),
                ('signature', models.CharField(max_length=128)),
                ('signed_by', models.CharField(max_length=64)),
            ],
            options={
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='LaneHead',
            fields=[
                ('lane', models.BigIntegerField(primary_key=True, serialize=False)),
                ('number', models.BigIntegerField()),
                ('seen_at', models.DateTimeField()),
            ],
            options={
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='Link',
            fields=[
                ('id', models.BigIntegerField(primary_key=True, serialize=False)),
                ('at', models.BigIntegerField()),
                ('lost', models.BinaryField()),
                ('entries', models.BinaryField()),
                ('hash', models.BinaryField()),
            ],
            options={
                'default_permissions': (),
            },
        ),
        migrations.AddField(
            model_name='inferencecontent',
            name='salt',
            field=models.CharField(editable=False, max_length=32, null=True),
        ),
        migrations.AddField(
            model_name='inferencerecord',
            name='closed_link',
            field=models.BigIntegerField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name='inferencerecord',
            name='opened_link',
            field=models.BigIntegerField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name='inferencerecord',
            name='opening_salt',
            field=models.CharField(editable=False, max_length=32, null=True),
        ),
        migrations.AddField(
            model_name='inferencerecord',
            name='outcome_salt',
            field=models.CharField(editable=False, max_length=32, null=True),
        ),
        migrations.RunPython(guards.install, guards.remove),
    ]
