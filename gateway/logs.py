"""JSON lines for people and machines: a fixed event name, facts beside it, never any content."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

import orjson

# What every LogRecord has; the rest came in through `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, tz=UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "event": record.getMessage(),
            **{key: value for key, value in vars(record).items() if key not in _STANDARD},
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return _one_line(line)


def _one_line(line: dict[str, object]) -> str:
    """Return JSON in ASCII: what else a reader takes for a line break or a direction is escaped."""
    try:
        text = orjson.dumps(line, default=str)
    except TypeError:  # half a surrogate pair, a number beyond 64 bits
        return json.dumps(line, default=str)
    return text.decode() if text.isascii() else json.dumps(line, default=str)
