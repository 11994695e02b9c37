"""The gateway's own parts, started inside the test process in embedded mode."""

import pytest

from features import snapshot
from gateway import process, runtime
from models_registry import adoption, revisions
from tests.factories import make_model, make_rule


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
