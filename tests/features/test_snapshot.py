"""Tests for features/snapshot.py."""

import logging
import os
import threading
import time
import warnings
from contextlib import contextmanager

import pytest
from cryptography.fernet import Fernet
from django.db import DatabaseError, OperationalError, connection, connections

from features import policy, snapshot
from features.models import ApiKey, Group, Membership, VendorRoute
from models_registry.adoption import Address
from models_registry.configuration import ConfigVersion
from models_registry.models import SelfHostedModel, State
from tests.factories import (
    ENDPOINT,
    FEATURE,
    make_api_key,
    make_group,
    make_member,
    make_model,
    make_rule,
)
from tests.rig.processes import wait_until


@pytest.fixture(autouse=True)
def _start_without_a_snapshot():
    snapshot.forget()
    yield
    snapshot.stop_polling()
    snapshot.forget()


def soon(condition):
    """Wait for what the polling thread is to do."""
    wait_until(condition, within_s=10, what="polling")


@pytest.mark.django_db
class TestLoad:
    def test_is_empty_before_anything_is_configured(self):
        config = snapshot.load()

        assert config.version == 0
        assert not policy.explain(config, feature=FEATURE, group_ids=()).is_allowed

    def test_holds_the_current_revision_of_every_model(self):
        model = make_model(api_key="sk-old")
        model.api_key = "sk-new"
        model.save()

        entry = snapshot.load().models[model.pk]

        assert entry.config == model.current.as_config()
        assert entry.config.api_key == "sk-new"

    def test_keeps_the_other_models_when_one_key_cannot_be_decrypted(self, settings):
        broken = make_model(name="broken")
        settings.GATEWAY_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
        whole = make_model(name="whole")

        models = snapshot.load().models

        assert models[whole.pk].config is not None
        assert models[broken.pk].config is None
        assert "API key cannot be decrypted" in models[broken.pk].fault

    def test_keeps_the_other_models_when_one_family_left_the_catalog(self):
        odd = make_model(family="forgotten")

        assert "forgotten" in snapshot.load().models[odd.pk].fault

    def test_prefers_a_usable_model_among_twins(self):
        facts = {"identifier": "code", "endpoint": ENDPOINT}
        make_model(**facts, state=State.DISABLED)
        make_model(**facts, state=State.DISCOVERED)
        active = make_model(**facts)
        make_model(**facts)

        found = snapshot.load().named[
            Address.of(family="codestral", endpoint=ENDPOINT, identifier="code")
        ]

        assert found.model_id == active.pk

    def test_knows_the_tree(self):
        top = make_group("a", gitlab_id=10)
        middle = make_group("a/b", parent=top)
        bottom = make_group("elsewhere", parent=middle, gitlab_id=30)

        config = snapshot.load()

        assert config.groups[bottom.pk].lineage == (top.pk, middle.pk, bottom.pk)
        assert config.by_gitlab_id[30] == config.groups[bottom.pk]
        assert set(config.by_gitlab_id) == {10, 30}

    def test_finds_a_parent_by_path_when_none_is_given(self):
        bottom = make_group("a/b/c")
        top = make_group("a")
        make_group("ab")

        assert snapshot.load().groups[bottom.pk].lineage == (top.pk, bottom.pk)

    def test_cuts_a_circle(self):
        one = make_group("one")
        two = make_group("two", parent=one)
        Group.objects.filter(pk=one.pk).update(parent=two)

        groups = snapshot.load().groups

        assert groups[one.pk].lineage == (two.pk, one.pk)
        assert groups[two.pk].lineage == (one.pk, two.pk)

    def test_knows_members_rules_and_keys(self):
        one, two = make_group(), make_group()
        make_member(one, "7")
        make_member(two, "7")
        model = make_model()
        make_rule(one, state="off", is_locked=True, model=model)
        key, _ = make_api_key(two, is_active=False)

        config = snapshot.load()

        assert set(config.members["7"]) == {one.pk, two.pk}
        assert config.rules[one.pk, FEATURE] == snapshot.Rule(
            state="off", is_locked=True, model_id=model.pk
        )
        assert config.api_keys[key.prefix].digest == key.digest
        assert config.api_keys[key.prefix].group_id == two.pk
        assert not config.api_keys[key.prefix].is_active

    def test_makes_one_query_per_table(self, django_assert_num_queries):
        for _ in range(3):
            make_rule(make_group(), model=make_model())

        with django_assert_num_queries(6):
            snapshot.load()

    @pytest.mark.parametrize(
        ("url", "is_on", "is_open"),
        [
            ("https://cloud.gitlab.com/ai", True, True),
            ("https://cloud.gitlab.com/ai", False, False),
            ("https://cloud.gitlab.com/ai", None, False),
            ("", True, False),
        ],
    )
    def test_opens_the_vendor_route_where_it_is_set_and_on(self, settings, url, is_on, is_open):
        settings.GATEWAY_VENDOR_ROUTE_URL = url
        if is_on is not None:
            VendorRoute.objects.create(is_on=is_on)

        assert snapshot.load().has_vendor_route is is_open

    def test_cannot_be_changed(self):
        config = snapshot.load()

        with pytest.raises(TypeError):
            config.rules[None, FEATURE] = None
        with pytest.raises(AttributeError):
            config.version = 7


@pytest.mark.django_db(transaction=True)
class TestLoadBesideWriters:
    def test_sees_one_instant_and_holds_no_writer_up(self, monkeypatch):
        rule = make_rule(make_group())
        waited_s = []

        def change():
            began = time.monotonic()
            make_rule(make_group(), model=make_model())
            waited_s.append(time.monotonic() - began)
            connection.close()

        read_groups = snapshot._groups

        def read_groups_while_another_process_writes():
            thread = threading.Thread(target=change)
            thread.start()
            thread.join()
            return read_groups()

        monkeypatch.setattr(snapshot, "_groups", read_groups_while_another_process_writes)

        config = snapshot.load()

        assert waited_s
        assert waited_s[0] < 1.0
        assert set(config.rules) == {(rule.group_id, FEATURE)}
        assert set(config.groups) == {rule.group_id}
        assert config.version < ConfigVersion.current()

    def test_loads_more_rows_than_it_reads_at_once(self):
        groups = Group.objects.bulk_create([Group(path=f"top/{n}") for n in range(3_000)])
        Membership.objects.bulk_create(
            [Membership(group=groups[n % 3_000], user_ref=str(n // 5)) for n in range(9_000)],
            batch_size=1_000,
        )

        config = snapshot.load()

        assert len(config.groups) == 3_000
        assert sum(map(len, config.members.values())) == 9_000


@pytest.mark.django_db
class TestCurrent:
    def test_loads_at_the_first_call_and_never_queries_again(self, django_assert_num_queries):
        make_rule(None)
        first = snapshot.current()

        with django_assert_num_queries(0):
            assert snapshot.current() is first

        assert (None, FEATURE) in first.rules

    def test_stays_when_the_configuration_changes_without_polling(self):
        before = snapshot.current()

        make_rule(None)

        assert snapshot.current() is before

    def test_follows_refresh(self):
        snapshot.current()
        make_rule(None)

        snapshot.refresh()

        assert snapshot.current().version == ConfigVersion.current()
        assert (None, FEATURE) in snapshot.current().rules


@pytest.mark.django_db
class TestCatchUp:
    def test_asks_for_the_version_only_when_nothing_changed(self, django_assert_num_queries):
        before = snapshot.catch_up()

        with django_assert_num_queries(1):
            assert snapshot.catch_up() is before

    def test_loads_when_something_changed(self):
        before = snapshot.catch_up()

        make_group("new")

        assert snapshot.catch_up().version > before.version

    def test_loads_when_the_version_went_back_as_after_a_restored_backup(self):
        make_group("new")
        snapshot.catch_up()
        ConfigVersion.objects.update(number=0)
        Group.objects.all()._raw_delete("default")

        assert snapshot.catch_up().groups == {}


@contextmanager
def broken_database(monkeypatch):
    """Make the version unreadable, as an unreachable database does."""

    def fail():
        raise OperationalError("could not connect to host canary")

    with monkeypatch.context() as patch:
        patch.setattr(ConfigVersion, "current", fail)
        yield


@pytest.mark.django_db(transaction=True)
class TestPolling:
    @pytest.fixture(autouse=True)
    def _poll_often(self, settings):
        settings.GATEWAY_SNAPSHOT_POLL_S = 0.02

    def test_brings_every_kind_of_change(self):
        snapshot.start_polling()
        assert not snapshot.current().rules

        group = make_group()
        make_rule(group, model=make_model())
        make_member(group, "7")
        make_api_key(group)

        soon(lambda: snapshot.current().version == ConfigVersion.current())
        config = snapshot.current()
        assert [len(part) for part in (config.models, config.groups, config.rules)] == [1, 1, 1]
        assert [len(part) for part in (config.members, config.api_keys)] == [1, 1]

    def test_notices_bulk_changes(self):
        make_api_key()
        snapshot.start_polling()
        snapshot.current()

        ApiKey.objects.update(is_active=False)

        soon(lambda: not any(key.is_active for key in snapshot.current().api_keys.values()))

    def test_starts_one_thread_however_often_it_is_asked(self):
        snapshot.start_polling()
        snapshot.start_polling()

        names = [thread.name for thread in threading.enumerate()]

        assert names.count("snapshot-poller") == 1

    def test_does_not_start_by_itself(self):
        snapshot.current()

        assert "snapshot-poller" not in [thread.name for thread in threading.enumerate()]

    def test_stops(self):
        snapshot.start_polling()

        snapshot.stop_polling()

        assert "snapshot-poller" not in [thread.name for thread in threading.enumerate()]

    def test_keeps_the_last_good_snapshot_while_the_database_is_away(self, monkeypatch, caplog):
        caplog.set_level(logging.INFO)
        before = snapshot.refresh()

        with broken_database(monkeypatch):
            snapshot.start_polling()
            soon(lambda: "snapshot.database_away" in caplog.messages)
            time.sleep(0.2)

            assert snapshot.current() is before

        make_rule(None)
        soon(lambda: (None, FEATURE) in snapshot.current().rules)
        assert "snapshot.current_again" in caplog.messages
        assert caplog.messages.count("snapshot.database_away") == 1
        assert "canary" not in caplog.text

    def test_outlives_a_bug(self, monkeypatch, caplog):
        snapshot.refresh()
        with monkeypatch.context() as patch:
            patch.setattr(snapshot, "load", lambda: 1 / 0)
            make_rule(None)
            snapshot.start_polling()
            soon(lambda: "snapshot.load_failed" in caplog.messages)

        soon(lambda: (None, FEATURE) in snapshot.current().rules)

    def test_starts_again_in_a_forked_process(self):
        snapshot.start_polling()
        snapshot.current()
        connections.close_all()
        reading, writing = os.pipe()

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # "multi-threaded": so it is
            child = os.fork()
        if child == 0:
            _report_whether_polling_follows(writing)
        SelfHostedModel.objects.create(name="after the fork", family="general", provider="echo")
        said = os.read(reading, 10)
        os.waitpid(child, 0)

        assert said == b"followed"


def _report_whether_polling_follows(writing: int) -> None:
    """Run in a forked child: wait for the model that the parent registers now."""
    said = b"stale"
    try:
        soon(lambda: len(snapshot.current().models) == 1)
        said = b"followed"
    finally:
        os.write(writing, said)
        os._exit(0)


@pytest.mark.django_db
class TestFirstLoad:
    def test_raises_when_the_database_is_away_and_nothing_was_loaded(self, monkeypatch):
        with broken_database(monkeypatch), pytest.raises(DatabaseError):
            snapshot.current()
