"""The units are ones that systemd takes, and they start what the product starts."""

from __future__ import annotations

import configparser
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from gateway.management.commands.serve import WORKER_OPTIONS
from tests.conftest import need
from tests.deploy.words import is_known_variable
from tests.rig.services import Missing

ROOT = Path(__file__).resolve().parents[2]
UNITS = ROOT / "deploy" / "systemd"
INSTALLED = "/opt/enclave"


def find_analyzer():
    """Return systemd's own checker."""
    found = shutil.which("systemd-analyze")
    if found is None:
        raise Missing("systemd-analyze was not found")
    return found


def service(name):
    """Return the [Service] section of a unit."""
    unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    unit.optionxform = str
    unit.read(UNITS / name)
    return unit["Service"]


class TestUnits:
    def test_are_accepted_by_systemd(self, tmp_path):
        for unit in UNITS.glob("enclave*.[st]*"):
            text = unit.read_text().replace(INSTALLED, str(ROOT))
            (tmp_path / unit.name).write_text(text)
        units = sorted(str(path) for path in tmp_path.iterdir())

        told = subprocess.run(
            [need(find_analyzer), "verify", "--man=no", *units], capture_output=True, text=True
        )

        assert [line for line in told.stderr.splitlines() if "enclave" in line] == []
        assert len(units) == 4

    def test_start_the_worker_as_serve_does(self):
        command = shlex.split(service("enclave-worker.service")["ExecStart"])

        assert command[:4] == [f"{INSTALLED}/.venv/bin/celery", "-A", "gateway", "worker"]
        assert sorted(command[4:]) == sorted(WORKER_OPTIONS)

    @pytest.mark.parametrize("name", ["enclave-web.service", "enclave-worker.service"])
    def test_let_the_kernel_refuse_what_is_not_listed(self, name):
        assert service(name)["IPAddressDeny"] == "any"

    def test_give_streams_longer_to_finish_than_gunicorn_does(self):
        from gateway import gunicorn_conf

        patience_s = int(service("enclave-web.service")["TimeoutStopSec"])

        assert patience_s > gunicorn_conf.graceful_timeout

    def test_set_only_variables_that_are_read(self):
        names = [
            line.partition("=")[0]
            for line in (UNITS / "enclave.env").read_text().splitlines()
            if line and not line.startswith("#")
        ]

        assert [name for name in names if not is_known_variable(name)] == []
