"""The gateway's own parts, started inside the test process in embedded mode."""

import orjson
import pytest

from features import snapshot
from features.catalog import EMBEDDINGS
from gateway import process, runtime
from gateway.audit.models import CallerKind, ContentKind, InferenceContent, InferenceRecord
from gateway.calls import Call, Caller
from models_registry import adoption, egress, revisions
from models_registry.families import EMBEDDING
from models_registry.providers.embedding import Texts
from models_registry.providers.types import Message, Prompt
from tests.factories import make_model, make_rule
from tests.rig.processes import wait_until

# What a caller may bring: a model named `tools` calls its tool.
CONVERSATION = Prompt(
    messages=(
        Message(role="system", content="Be brief."),
        Message(role="user", content="Look it up."),
    ),
    max_tokens=100,
    tools=({"type": "function", "function": {"name": "lookup", "parameters": {}}},),
)


def make_call(**changes):
    """Return a call of code completion by a GitLab instance; changes of `Call`'s facts."""
    usual = {
        "feature": "code_completions",
        "prompt": "code_completions",
        "endpoint": "/v2/code/completions",
        "caller": Caller(kind=CallerKind.INSTANCE, scopes=frozenset({"complete_code"})),
        "inputs": {"prefix": "x = ", "suffix": "", "file_name": "a.py", "language": "python"},
        "is_streamed": False,
        "deadline_s": 10.0,
        "correlation_id": "abc/1",
    }
    return Call(**{**usual, **changes})


def make_embedding(*texts, **changes):
    """Return a call that has texts embedded; changes of `Call`'s facts, and of `Texts`'."""
    asked = {
        name: changes.pop(name) for name in ("dimensions", "is_length_free") if name in changes
    }
    asked = Texts(texts=texts or ("one two", "three"), **asked)
    return make_call(feature=EMBEDDINGS, prompt="", inputs={}, texts=asked, **changes)


def record():
    """Return the one record there is."""
    return InferenceRecord.objects.get()


def closed_record(within_s=5):
    """Return the one record there is, once it is closed."""
    wait_until(
        lambda: InferenceRecord.objects.filter(closed_at__isnull=False).exists(),
        within_s=within_s,
        what="a closed record",
    )
    return record()


def content_of(row):
    """Return what a record says was asked."""
    content = InferenceContent.objects.get(record_id=row.pk, kind=ContentKind.REQUEST)
    return orjson.loads(content.body)


def content_on_record(kind):
    """Return one half of what the one record says, None for nothing."""
    row = InferenceContent.objects.filter(kind=kind).first()
    return None if row is None else orjson.loads(row.body)


def answer_on_record():
    """Return what the one record says was answered, None for nothing."""
    body = content_on_record(ContentKind.ANSWER)
    return None if body is None else body["text"]


@pytest.fixture
def embedded(transactional_db, settings, tmp_path):
    """A started web process without Redis: it is its own worker."""
    settings.GATEWAY_DATA_DIR = tmp_path
    settings.REDIS_URL = ""
    runtime.start_web()
    yield process.parts()
    runtime.stop()
    snapshot.stop_polling()
    snapshot.forget()
    revisions.get.cache_clear()
    adoption.forget()
    egress.close_connections()


@pytest.fixture
def scripted_model(embedded, backend):
    """A function that puts a model of the scripted backend in charge of code completion."""

    def use(behavior="stub", **facts):
        model = make_model(
            **{
                "endpoint": backend.endpoint,
                "identifier": behavior,
                "family": "codegemma",
                **facts,
            }
        )
        make_rule(model=model)
        snapshot.refresh()
        return model

    return use


@pytest.fixture
def embedding_model(embedded, backend):
    """A function that puts a model of the scripted backend in charge of embeddings."""

    def use(behavior="stub", **facts):
        model = make_model(
            **{"endpoint": backend.endpoint, "identifier": behavior, "family": EMBEDDING, **facts}
        )
        make_rule(feature=EMBEDDINGS, model=model)
        snapshot.refresh()
        return model

    return use
