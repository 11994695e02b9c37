"""Promises of gateway/runtime.py: a process starts whole, and stops without losing anything."""

from __future__ import annotations

import threading

import pytest

from features import snapshot
from gateway import forwarding, pipeline, process, runtime
from gateway.audit import chores, listing
from gateway.audit.chain.integrity import Cover, integrity_of
from gateway.audit.chain.keys import KeyUnusable
from gateway.audit.criteria import Criteria
from gateway.audit.models import InferenceRecord
from gateway.bus import LocalReplies
from gateway.errors import InferenceFailed
from gateway.sending import LocalSender
from tests.gateway.conftest import closed_record, make_call, record
from tests.rig.processes import wait_until


class TestStartWeb:
    def test_is_its_own_worker_without_redis(self, embedded):
        assert isinstance(embedded.replies, LocalReplies)
        assert isinstance(embedded.send.__self__, LocalSender)
        assert embedded.cancel is forwarding.cancel

    def test_gives_the_process_an_id_of_its_own(self, embedded):
        assert len(embedded.id) == 32
        assert process.parts().id == embedded.id

    def test_follows_changes_of_configuration(self, embedded, settings, scripted_model):
        before = snapshot.current().version
        scripted_model()
        snapshot.forget()

        assert snapshot.current().version > before

    def test_logs_that_it_started(self, transactional_db, settings, tmp_path, caplog):
        settings.GATEWAY_DATA_DIR = tmp_path
        caplog.set_level("INFO")

        runtime.start_web()

        runtime.stop()
        snapshot.stop_polling()
        (line,) = [entry for entry in caplog.records if entry.message == "process.started"]
        assert (line.kind, line.mode) == ("web", "embedded")


class TestChores:
    def test_are_the_index_and_forwarding_where_there_is_where_to(self, settings):
        assert [chore.name for chore in runtime._chores()] == ["content index"]

        settings.GATEWAY_SIEM_URL = "tcp://10.0.0.1:514"
        assert [chore.name for chore in runtime._chores()] == ["content index", "siem"]

    def test_make_a_call_findable_by_its_words(self, monkeypatch, request, scripted_model):
        monkeypatch.setattr(chores, "LOOK_EVERY_S", 0.01)
        chores.stop()
        chores.start("p", runtime._chores())
        scripted_model()

        pipeline.answer(make_call(inputs={**make_call().inputs, "prefix": "nineteen_sheep = "}))

        wait_until(
            lambda: listing.page(Criteria(words="sheep")).count == 1, within_s=5, what="the index"
        )


class TestAuditKeys:
    @pytest.mark.parametrize("start", [runtime.start_web, runtime.start_worker])
    def test_are_there_before_anything_starts(self, settings, tmp_path, start):
        settings.GATEWAY_AUDIT_SIGNING_KEY_FILE = str(tmp_path / "missing.pem")

        with pytest.raises(KeyUnusable):
            start()

        with pytest.raises(process.NotStarted):
            process.parts()


class TestStop:
    def test_leaves_nothing_that_no_checkpoint_covers(self, embedded, scripted_model):
        scripted_model()
        pipeline.answer(make_call())

        runtime.stop()

        assert integrity_of(record().pk).cover is Cover.SIGNED

    def test_writes_what_is_still_to_be_written(self, embedded, scripted_model):
        scripted_model("slow-20ms")
        stream = pipeline.stream(make_call(is_streamed=True))
        next(stream.pieces)
        stream.pieces.close()

        runtime.stop()

        assert record().state == "cancelled"

    def test_takes_the_journal_away(self, embedded, scripted_model, tmp_path):
        scripted_model()
        list(pipeline.stream(make_call(is_streamed=True)).pieces)

        runtime.stop()

        assert not list((tmp_path / "journal").iterdir())

    def test_takes_the_parts_away(self, embedded):
        runtime.stop()

        with pytest.raises(process.NotStarted):
            process.parts()

    def test_may_come_twice_or_before_a_start(self, embedded):
        runtime.stop()
        runtime.stop()

    def test_logs_no_error(self, embedded, caplog):
        wait_until(lambda: snapshot.current() is not None, within_s=5, what="a snapshot")

        runtime.stop()

        assert not [line for line in caplog.records if line.levelname == "ERROR"]


class TestTellNotSent:
    def test_answers_the_request_and_closes_its_record(self, embedded, scripted_model, backend):
        scripted_model()
        embedded.send = lambda ids: threading.Thread(
            target=runtime._tell_not_sent, args=(list(ids),)
        ).start()

        with pytest.raises(InferenceFailed) as failed:
            pipeline.answer(make_call())

        assert failed.value.code == "queue_unavailable"
        assert (closed_record().state, record().error_code) == ("failed", "queue_unavailable")
        assert not backend.calls
        assert InferenceRecord.objects.count() == 1
