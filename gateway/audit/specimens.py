"""Made-up records, for experiments with a log that is as large as one wants.

They take the way of every record, through the store, so they are chained, indexed and exported as
such. Everything about them says what they are: SOURCE stands where a GitLab instance's id would.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from features.catalog import FEATURES
from gateway.audit import store
from gateway.audit.chain import lanes
from gateway.audit.models import CallerKind, State
from gateway.audit.store import OUTCOME_COLUMNS, Row
from gateway.errors import ClientLeft
from models_registry.errors import BackendFailed, BackendTimedOut

SOURCE = "made up by audit generate"
BATCH = 500

# A vocabulary in which words are as unequal as in speech and code: the first are in every record.
COMMON = ("def", "return", "self", "the", "import", "value", "result", "for", "class", "test")
WORDS = 30_000
PEOPLE, GROUPS, KEYS = 2_000, 200, 40
MODELS = ("Codestral 22B", "Qwen2.5 Coder 7B", "Mistral Small", "Llama 3.1 70B")
ENDINGS = (
    (State.ANSWERED, "", 94),
    (State.CANCELLED, ClientLeft.code, 3),
    (State.FAILED, BackendTimedOut.code, 2),
    (State.FAILED, BackendFailed.code, 1),
)


def generate(*, records: int, until: datetime, over: timedelta, seed: int = 0) -> Iterator[int]:
    """Write records whose calls were opened over a time; yield how many there are by then."""
    chance = random.Random(seed)  # noqa: S311  # no secret is made of it
    rows, lane = store.for_connection(), lanes.begin("audit generate")
    for done in range(0, records, BATCH):
        number = min(BATCH, records - done)
        batch = [
            _opening(chance, until - over * (1 - (done + place) / records))
            for place in range(number)
        ]
        with rows.together():
            rows.open(batch, lane.opened(batch))
            closing = [_closing(chance, row) for row in batch]
            rows.close(closing, lane.closed(closing))
        yield done + number


def text(chance: random.Random, words: int) -> str:
    """Return as many words, some of them in nearly every text and most of them in hardly any."""
    return " ".join(
        chance.choice(COMMON)
        if chance.random() < 0.4
        else f"word{int(WORDS * chance.random() ** 3)}"
        for _ in range(words)
    )


def _opening(chance: random.Random, opened_at: datetime) -> Row:
    feature = chance.choice(tuple(FEATURES))
    question = text(chance, chance.randint(20, 200))
    message = {"role": "user", "content": question}
    prompt = {"messages": [message], "text": None, "max_tokens": 256, "stop": []}
    has_key = chance.random() < 0.1
    caller: dict[str, Any] = {"caller_kind": CallerKind.INSTANCE.value, "instance_id": SOURCE}
    if has_key:
        caller |= {
            "caller_kind": CallerKind.API_KEY.value,
            "api_key_name": f"made-up key {chance.randrange(KEYS)}",
        }
    else:
        caller["global_user_id"] = f"made-up-user-{chance.randrange(PEOPLE)}"
    return {
        **store.BLANK,
        **caller,
        "id": _id(chance, opened_at),
        "state": State.QUEUED.value,
        "opened_at": opened_at,
        "deadline_at": opened_at + timedelta(seconds=53),
        "group_path": f"made-up/group-{chance.randrange(GROUPS)}",
        "feature": feature,
        "endpoint": chance.choice(("/v2/code/completions", f"/v1/prompts/{feature}")),
        "is_streamed": chance.random() < 0.6,
        "correlation_id": f"made-up-{chance.getrandbits(64):016x}",
        "policy": "instance: on",
        "config_version": 1,
        "model_name": chance.choice(MODELS),
        "prompt_version": "1.0.0",
        "web_process": "made-up",
        "request": orjson.dumps({"inputs": {"content": question}, "prompt": prompt}).decode(),
    }


def _closing(chance: random.Random, row: Row) -> Row:
    state, code, _ = chance.choices(ENDINGS, [weight for *_, weight in ENDINGS])[0]
    total_ms = chance.lognormvariate(7, 1)
    answer = {"text": text(chance, chance.randint(5, 100)), "finish_reason": "stop"}
    outcome = {
        "closed_at": row["opened_at"] + timedelta(milliseconds=total_ms),
        "queue_ms": total_ms / 50,
        "connect_ms": 0.0,
        "first_token_ms": total_ms / 5,
        "total_ms": total_ms,
        "prompt_tokens": len(row["request"]) // 8,
        "completion_tokens": len(answer["text"]) // 4,
        "are_tokens_estimated": True,
        "model_calls": 1,
        "error_code": code,
        "error_detail": "",
    }
    return {
        **dict.fromkeys(OUTCOME_COLUMNS),
        **outcome,
        "id": row["id"],
        "state": state.value,
        "answer": orjson.dumps(answer).decode() if state == State.ANSWERED else None,
        "worker": None,
        "claimed_at": None,
    }


def _id(chance: random.Random, opened_at: datetime) -> UUID:
    """Return an id of the form of `gateway.ids.new_id`, of the time at which it was opened."""
    millis = int(opened_at.timestamp() * 1000)
    high = (millis << 16) | 0x7000 | chance.getrandbits(12)
    return UUID(int=(high << 64) | (0b10 << 62) | chance.getrandbits(62))
