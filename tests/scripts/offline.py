"""Runs inside a network namespace of its own: start an unpacked bundle, ask it, stop it.

python -m tests.scripts.offline FOLDER PORT      prints the JSON of what it saw
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request

from tests.rig import loopback_only

READY_WITHIN_S = 120
STOP_WITHIN_S = 30


def read_key(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Return the API key that `make run` prints, and all that it printed until then."""
    printed, until = "", time.monotonic() + READY_WITHIN_S
    assert process.stdout is not None
    for line in process.stdout:
        printed += line
        if found := re.search(r"Authorization: Bearer (\S+?)['\"]", line):
            return found[1], printed
        if time.monotonic() > until:
            break
    raise SystemExit(f"It did not start:\n{printed}")


def main(folder: str, port: str) -> None:
    """Start, ask, stop, tell."""
    loopback_only.bring_up()
    could_leave = loopback_only.reaches_others()
    process = subprocess.Popen(
        ["make", "--no-print-directory", "run", f"PORT={port}"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": folder, "LANG": "C.UTF-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        key, printed = read_key(process)
        body = {
            "prompt_version": 1,
            "current_file": {
                "file_name": "hello.py",
                "content_above_cursor": "def hello():\n    ",
                "content_below_cursor": "",
            },
        }
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v2/code/completions",
            data=json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as reply:
            answer = json.load(reply)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(STOP_WITHIN_S)
    seen = {"could_leave": could_leave, "printed": printed, "answer": answer}
    sys.stdout.write(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
