"""Fixtures every test may use: the parts of tests/rig, started when first asked for.

A part that this machine lacks (PostgreSQL's server programs, Chromium) leaves out the tests that
need it, each with the name of what is missing, and a last line counts them. With CI=true in the
environment a missing part is a failure.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

import pytest

from tests.rig.backend import ScriptedBackend
from tests.rig.bedrock import BedrockStandIn
from tests.rig.gitlab import FakeGitLab
from tests.rig.llama import LlamaServer
from tests.rig.services import Missing, PostgresServer, RedisServer, find_chromium
from tests.rig.vendor import ScriptedVendor

if TYPE_CHECKING:
    from django.test import Client
    from playwright.sync_api import Browser, Page

Part = TypeVar("Part")
LEFT_OUT = "left out: "


def need(find: Callable[[], Part]) -> Part:
    """Return a part, or leave the test out because this machine lacks it; in CI, fail."""
    try:
        return find()
    except Missing as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{missing}, and CI is to run every test", pytrace=False)
        pytest.skip(f"{LEFT_OUT}{missing}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need a part, so that `-m 'not browser'` works."""
    for item in items:
        for fixture in getattr(item, "fixturenames", ()):
            if fixture.startswith("postgres"):
                item.add_marker("postgresql")
            if fixture in ("chromium", "browser", "page"):
                item.add_marker("browser")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was not tested, and why."""
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", ()):
        # Shape of longrepr for a skipped test: (file, line, "Skipped: reason").
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        if LEFT_OUT in reason:
            reasons[reason.split(LEFT_OUT, 1)[1]] += 1
    for reason, count in reasons.items():
        tests = "1 test" if count == 1 else f"{count} tests"
        terminalreporter.write_line(f"left out: {tests} because {reason}", yellow=True)


@pytest.fixture(autouse=True)
def _forget_configuration() -> Iterator[None]:
    """Keep no configuration of an earlier test: its rows are rolled back, its ids come again."""
    yield
    from features import snapshot
    from gateway.audit import ladders
    from models_registry import adoption, egress_ledger, revisions

    snapshot.forget()
    egress_ledger.take()
    adoption.forget()
    ladders.forget()
    revisions.get.cache_clear()


@pytest.fixture(scope="session", autouse=True)
def _empty_tables_past_the_guards() -> Iterator[None]:
    """Let Django empty the database after a test, which the audit log's guards would refuse."""
    from django.db.backends.base.operations import BaseDatabaseOperations

    from gateway.audit.chain import guards

    real = BaseDatabaseOperations.execute_sql_flush

    def execute_sql_flush(self: BaseDatabaseOperations, statements: Iterable[str]) -> None:
        with guards.lifted():
            real(self, statements)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseDatabaseOperations, "execute_sql_flush", execute_sql_flush)
        yield


# Pages


@pytest.fixture
def admin(client: Client, db: None) -> Client:
    """A client that is logged in as an administrator."""
    from tests.factories import make_admin

    client.force_login(make_admin())
    return client


# GitLab and models


@pytest.fixture
def gitlab() -> Iterator[FakeGitLab]:
    """A GitLab of this test's own."""
    fake = FakeGitLab()
    yield fake
    fake.close()


@pytest.fixture
def backend() -> Iterator[ScriptedBackend]:
    """A scripted model server of this test's own."""
    server = ScriptedBackend()
    yield server
    server.close()


@pytest.fixture
def bedrock() -> Iterator[BedrockStandIn]:
    """A stand-in for AWS Bedrock that believes its access keys and the API key `good`."""
    server = BedrockStandIn(bearers=("good",))
    yield server
    server.close()


@pytest.fixture
def vendor() -> Iterator[ScriptedVendor]:
    """A scripted gateway of the vendor's, of this test's own."""
    server = ScriptedVendor()
    yield server
    server.close()


@pytest.fixture(scope="session")
def llama_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaServer]:
    """The llama.cpp server that `llama` hands out."""
    server = LlamaServer(tmp_path_factory.mktemp("llama"))
    yield server
    server.close()


@pytest.fixture
def llama(llama_server: LlamaServer) -> LlamaServer:
    """A real llama.cpp server; a test that kills it starts one of its own instead."""
    return llama_server


@pytest.fixture(scope="session")
def llama_embedding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaServer]:
    """A real llama.cpp server that turns texts into vectors."""
    server = LlamaServer(tmp_path_factory.mktemp("llama-embedding"), embeds=True)
    yield server
    server.close()


# Services


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A real, empty Redis of this test's own: it may be killed."""
    server = need(RedisServer)
    yield server
    server.close()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The address of a real, empty Redis."""
    return redis_server.url


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[PostgresServer]:
    """The PostgreSQL that `postgres_server` hands out."""
    server = need(PostgresServer)
    yield server
    server.close()


@pytest.fixture
def postgres_server(postgres_cluster: PostgresServer) -> Iterator[PostgresServer]:
    """A real PostgreSQL; a test may kill it, it is revived afterwards."""
    yield postgres_cluster
    postgres_cluster.revive()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """The DATABASE_URL of a new, empty PostgreSQL database."""
    return postgres_server.url(postgres_server.create_database())


# The browser


@pytest.fixture(scope="session")
def chromium() -> str:
    """Chromium's program."""
    return need(find_chromium)


@pytest.fixture
def browser(chromium: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Browser]:
    """A headless Chromium of this test's own."""
    from playwright.sync_api import sync_playwright

    # Playwright's synchronous API runs an event loop in this thread; Django would take it for
    # asynchronous code and refuse its own database calls.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page; what its scripts log as an error fails the test."""
    opened = browser.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    yield opened
    opened.close()
    assert not problems, f"The page's scripts failed: {problems}"
