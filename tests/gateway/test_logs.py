"""Promises of gateway/logs.py: one JSON object per line, whatever stands in it."""

import json
import logging
import sys
from uuid import UUID

import pytest

from gateway.logs import JsonFormatter


def line_of(message="inference.closed", *args, exc_info=None, **facts):
    record = logging.LogRecord("gateway", logging.INFO, __file__, 1, message, args, exc_info)
    vars(record).update(facts)
    return JsonFormatter().format(record)


class TestJsonFormatter:
    def test_writes_the_event_and_the_facts_beside_it(self):
        line = json.loads(line_of(record_id=UUID(int=7), total_ms=1.5, error_code=""))

        assert line.pop("time").endswith("+00:00")
        assert line == {
            "level": "INFO",
            "logger": "gateway",
            "event": "inference.closed",
            "record_id": str(UUID(int=7)),
            "total_ms": 1.5,
            "error_code": "",
        }

    def test_writes_out_what_other_libraries_log(self):
        assert json.loads(line_of("%s of %d", "a", 2))["event"] == "a of 2"

    def test_writes_a_traceback_into_the_same_line(self):
        try:
            raise ValueError("why")
        except ValueError:
            line = line_of(exc_info=sys.exc_info())

        assert len(line.splitlines()) == 1
        assert json.loads(line)["traceback"].endswith("ValueError: why")

    @pytest.mark.parametrize(
        "text",
        ["a\nb", "a\r\nb", "a\0b", "\x1b[31mred", "\u2028", "\x85", "\u202eright to left",
         "\U000e0041", "\ud800", "é", '"}\n{"event": "forged"}', "x" * 1_000_000],
        ids=ascii,
    )  # fmt: skip
    def test_is_one_line_of_ascii_whatever_a_caller_sent(self, text):
        line = line_of(correlation_id=text)

        assert len(line.splitlines()) == 1
        assert line.isascii()
        assert line.isprintable()
        assert json.loads(line)["correlation_id"] == text

    @pytest.mark.parametrize(
        "value",
        [
            10**30,
            float("nan"),
            float("inf"),
            {1: 2},
            {"a", "b"},
            b"bytes",
            object(),
            Exception("e"),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_writes_whatever_is_logged(self, value):
        assert json.loads(line_of(fact=value))["event"] == "inference.closed"
