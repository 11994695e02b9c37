"""The image and the compose file agree with the product; no engine runs them here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from gateway import gunicorn_conf
from gateway.management.commands.serve import REDIS_OPTIONS, WORKER_OPTIONS
from tests.deploy.words import is_known_variable

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "container"
ROOT = FOLDER.parents[1]


@pytest.fixture
def compose():
    """The compose file, read."""
    return yaml.safe_load((FOLDER / "compose.yaml").read_text())


@pytest.fixture
def image():
    """The lines of the image's recipe."""
    return (FOLDER / "Containerfile").read_text()


class TestImage:
    def test_runs_without_root(self, image):
        assert re.findall(r"^USER (.*)$", image, re.MULTILINE) == ["10001:10001"]

    def test_holds_every_package_of_the_product(self, image):
        copied = set(re.findall(r"^COPY (\w+) /opt/enclave/\w+$", image, re.MULTILINE))

        packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
        assert copied - {"templates"} == packages - {"tests", "scripts", "benchmarks"}

    def test_installs_only_what_is_locked(self, image):
        assert "--require-hashes -r /src/requirements.txt" in image


class TestCompose:
    @pytest.mark.parametrize("name", ["migrate", "web", "worker"])
    def test_writes_nowhere_but_into_its_data(self, compose, name):
        service = compose["services"][name]

        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["tmpfs"] == ["/tmp"]  # noqa: S108  # the container's own

    def test_lets_whoever_closes_a_dead_web_process_read_its_journal(self, compose):
        web, worker = (compose["services"][name]["volumes"] for name in ("web", "worker"))

        assert web == worker == ["data:/var/lib/enclave"]

    def test_starts_the_worker_as_serve_does(self, compose):
        command = compose["services"]["worker"]["command"]

        assert command[:4] == ["celery", "-A", "gateway", "worker"]
        assert sorted(command[4:]) == sorted(WORKER_OPTIONS)

    def test_keeps_valkey_from_evicting(self, compose):
        command = compose["services"]["valkey"]["command"]

        assert "noeviction" in command
        assert set(command[1:]) <= set(REDIS_OPTIONS)

    def test_gives_streams_longer_to_finish_than_gunicorn_does(self, compose):
        patience_s = int(compose["services"]["web"]["stop_grace_period"].removesuffix("s"))

        assert patience_s > gunicorn_conf.graceful_timeout

    def test_publishes_the_web_process_only_and_only_here(self, compose):
        published = {name: s["ports"] for name, s in compose["services"].items() if "ports" in s}

        assert published == {"web": ["127.0.0.1:5052:5052"]}
        assert compose["networks"]["inside"] == {"internal": True}

    def test_sets_only_variables_that_are_read(self, compose):
        example = (FOLDER / "enclave.env.example").read_text().splitlines()
        names = [line.partition("=")[0] for line in example if line and line[0] != "#"]
        names += compose["services"]["web"]["environment"]

        assert [name for name in names if not is_known_variable(name)] == []
