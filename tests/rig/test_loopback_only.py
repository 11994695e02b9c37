"""The namespace that the suite runs in has no way out."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import need
from tests.rig import loopback_only
from tests.rig.services import find_unshare

LOOK = """
import socket
from tests.rig import loopback_only
door = socket.create_server(("127.0.0.1", 0))
socket.create_connection(door.getsockname(), timeout=5)
print(loopback_only.reaches_others())
"""


class TestLoopbackOnly:
    def test_has_loopback_and_nothing_else(self):
        told = subprocess.run(
            [
                *(need(find_unshare), "--net", "--map-root-user", sys.executable),
                *("-m", "tests.rig.loopback_only", sys.executable, "-c", LOOK),
            ],
            capture_output=True,
            text=True,
            timeout=30,
        )

        assert (told.returncode, told.stdout) == (0, "False\n"), told.stderr

    def test_refuses_where_others_are_reached(self, monkeypatch):
        monkeypatch.setattr(loopback_only, "bring_up", lambda: None)
        monkeypatch.setattr(loopback_only, "reaches_others", lambda: True)

        with pytest.raises(SystemExit, match="unshare --net"):
            loopback_only.main(["true"])
