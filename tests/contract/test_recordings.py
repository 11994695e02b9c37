"""What the reference answered is what Enclave answers, to the byte, or the difference is listed."""

import json
import re

import pytest

from tests.contract.replay import as_recorded, differences, expected, recordings

RECORDINGS = recordings()
# A client that leaves is no exchange that ends; it has a test of its own below.
LEAVES = ("up-disconnect-stream", "v4comp-disconnect")
# The vendor's own models, of which Enclave has none: the shape counts.
DEFINITIONS = "svc-models-definitions"
# What the reference serves and we do not; a new name here needs a very good reason.
REFUSED = {"auth-tok-no_aud", "prompts-traversal-enc"}


class TestRecordings:
    @pytest.mark.parametrize("name", sorted(RECORDINGS.keys() - {*LEAVES, DEFINITIONS}))
    def test_is_answered_as_recorded(self, replay, name):
        recording = RECORDINGS[name]

        seen = replay.of(name, recording)

        assert seen == expected(name, recording, **replay.places)

    @pytest.mark.parametrize("name", LEAVES)
    def test_stops_the_model_when_the_client_leaves(self, replay, name):
        replay.backend.forget()

        reply = replay.send(name, RECORDINGS[name]["request"], leave_after_chunks=3)

        assert reply.status == 200
        assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert "def" in reply.text
        assert "stream_end" not in reply.text
        assert replay.backend.wait_for_departure(within_s=2).tokens_sent < 60

    @pytest.mark.parametrize("name", ["v2comp-family-codestral", "auth-none", "up-err-401"])
    def test_carries_the_callers_id_for_the_request(self, replay, name):
        reply = replay.send(name, RECORDINGS[name]["request"])

        assert reply.headers["x-request-id"] == f"case-{name}"
        assert float(reply.headers["x-process-time"]) > 0

    def test_makes_an_id_for_a_request_without_one(self, replay):
        request = RECORDINGS["svc-request-id-generated"]["request"]

        reply = replay.send("svc-request-id-generated", request)

        assert re.fullmatch("[0-9a-f]{32}", reply.headers["x-request-id"])

    def test_defines_models_in_the_recorded_shape(self, replay):
        recorded = RECORDINGS[DEFINITIONS]["response"]

        reply = replay.send(DEFINITIONS, RECORDINGS[DEFINITIONS]["request"])

        answer = json.loads(reply.text)
        assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
        assert list(answer) == list(recorded["json"])
        for part, items in recorded["json"].items():
            assert {tuple(item) for item in answer[part]} == {tuple(item) for item in items}

    def test_are_the_ones_this_release_serves(self):
        assert len(RECORDINGS) == 336


class TestDifferences:
    def test_are_of_recordings_that_exist_and_have_a_reason(self):
        listed = differences()

        assert listed["recordings"].keys() <= RECORDINGS.keys()
        assert {entry["because"] for entry in listed["recordings"].values()} <= listed[
            "reasons"
        ].keys()

    @pytest.mark.parametrize("name", sorted(differences()["recordings"]))
    def test_differ_from_the_recording(self, name):
        recording = RECORDINGS[name]

        assert expected(name, recording) != as_recorded(recording)

    def test_refuse_nothing_that_the_reference_serves(self):
        refused = {
            name
            for name, entry in differences()["recordings"].items()
            if RECORDINGS[name]["response"]["status"] == 200
            and RECORDINGS[name]["response"].get("end", "clean") == "clean"
            and entry["ours"].get("status", 200) != 200
        }

        assert refused == REFUSED
