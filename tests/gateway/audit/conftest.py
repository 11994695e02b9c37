"""Records with their content, and people of each role."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from gateway.audit.models import ContentKind, InferenceContent, InferenceRecord, State
from gateway.ids import new_id
from gateway.management.commands.create_roles import AUDITORS, MODEL_ADMINISTRATORS, create_roles

QUESTION = "def add(a, b):\n    "
ANSWER = "return a + b"


def make_record(
    *, question: str | None = QUESTION, answer: str | None = ANSWER, **facts: Any
) -> InferenceRecord:
    """Return a saved record that was answered; None for content that there is not."""
    opened_at = facts.pop("opened_at", timezone.now())
    record = InferenceRecord.objects.create(
        **{
            "id": new_id(),
            "state": State.ANSWERED,
            "opened_at": opened_at,
            "deadline_at": opened_at + timedelta(seconds=53),
            "closed_at": opened_at + timedelta(milliseconds=250),
            "caller_kind": "instance",
            "instance_id": "ea8bf810",
            "global_user_id": "user-7",
            "group_path": "payments/core",
            "feature": "code_completions",
            "endpoint": "/v2/code/completions",
            "is_streamed": True,
            "correlation_id": "01JC-7",
            "policy": "instance: on",
            "config_version": 3,
            "model_name": "Codestral 22B",
            "queue_ms": 10.0,
            "first_token_ms": 100.0,
            "total_ms": 250.0,
            "prompt_tokens": 54,
            "completion_tokens": 16,
            "model_calls": 1,
            "web_process": "web-1",
            **facts,
        }
    )
    if question is not None:
        message = {"role": "user", "content": question}
        prompt = {"messages": [message], "text": None, "max_tokens": 64, "stop": ["\n\n"]}
        add_content(record, ContentKind.REQUEST, {"inputs": {"prefix": question}, "prompt": prompt})
    if answer is not None:
        add_content(record, ContentKind.ANSWER, {"text": answer, "finish_reason": "stop"})
    return record


def add_content(record: InferenceRecord, kind: ContentKind, body: dict[str, Any]) -> None:
    """Save one half of a record's content."""
    InferenceContent.objects.create(
        record_id=record.pk, kind=kind, body=orjson.dumps(body).decode()
    )


@pytest.fixture
def roles(db) -> dict[str, Group]:
    """The ready-made roles by name."""
    return {role.name: role for role in create_roles()}


def logged_in(user: User) -> Client:
    """Return the browser of a person who is logged in."""
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def auditor(roles) -> Client:
    """The browser of a person with the role Auditors."""
    user = User.objects.create_user("auditor", is_staff=True)
    user.groups.add(roles[AUDITORS])
    return logged_in(user)


REASON = "case 2026-117"


@pytest.fixture
def reader(auditor: Client) -> Client:
    """The browser of an auditor who has said why they read."""
    auditor.post(reverse("admin:audit_reason"), {"reason": REASON})
    return auditor


@pytest.fixture
def model_administrator(roles) -> Client:
    """The browser of a person with the role Model administrators."""
    user = User.objects.create_user("model-administrator", is_staff=True)
    user.groups.add(roles[MODEL_ADMINISTRATORS])
    return logged_in(user)


@pytest.fixture
def superuser(roles) -> Client:
    """The browser of a superuser who was given no role."""
    return logged_in(User.objects.create_superuser("superuser"))
