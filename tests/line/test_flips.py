"""The configuration changes ten times a second, and no request ever sees half of a change."""

import json
import subprocess
import sys
import threading

import pytest
import requests

from tests.line.conftest import start
from tests.rig.backend import ScriptedBackend
from tests.rig.gateway import ROOT
from tests.rig.gitlab import FakeGitLab
from tests.rig.processes import wait_until

REQUESTS = 480
THREADS = 8
# Everything differs between the two: address, key, identifier, family, which rule allows.
ONE = """
models:
- {name: m, family: codegemma, endpoint: ENDPOINT, identifier: one, api_key: env:KEY_ONE}
groups:
- {path: g}
rules:
- {feature: code_completions, state: on, locked: true, model: m}
"""
TWO = """
models:
- {name: m, family: codestral, endpoint: ENDPOINT, identifier: two, api_key: env:KEY_TWO}
groups:
- {path: g}
rules:
- {feature: code_completions, state: off}
- {group: g, feature: code_completions, state: on, model: m}
"""
# Prints the version that each flip makes and which of the two it is.
FLIP = """
import sys, time
from features.config import applying, document
from models_registry.configuration import ConfigVersion
documents = [document.read(text) for text in DOCUMENTS]
begun = time.monotonic()
for number in range(100_000):
    applying.apply(documents[number % 2], name="flip")
    print(ConfigVersion.current(), number % 2, flush=True)
    time.sleep(max(0, begun + (number + 1) / 10 - time.monotonic()))
"""
POLICIES = ["instance (locked): on", "group 'g': on"]
NAMES = ["one", "two"]


@pytest.fixture
def line(request, tmp_path):
    gitlab = FakeGitLab()
    product = start(request, tmp_path, gitlab, "embedded")
    product.environment |= {"KEY_ONE": "sk-one", "KEY_TWO": "sk-two"}
    yield product
    product.stop()
    gitlab.close()


@pytest.fixture
def backends():
    """A model server for each of the two documents."""
    servers = [ScriptedBackend(), ScriptedBackend()]
    yield servers
    for server in servers:
        server.close()


@pytest.fixture
def documents(backends):
    """The two documents, each with an address of its own."""
    pairs = zip((ONE, TWO), backends, strict=True)
    return [text.replace("ENDPOINT", server.endpoint) for text, server in pairs]


@pytest.fixture
def key(line, documents):
    """The text of an API key of the group that both documents speak of."""
    printed = line.run(
        "from features.config import applying, document\n"
        "from features.models import ApiKey, Group\n"
        f"applying.apply(document.read({documents[1]!r}), name='first')\n"
        "print(ApiKey.issue(name='k', group=Group.objects.get(path='g'))[1])"
    )
    line.wait_for_configuration()
    return printed.strip()


@pytest.fixture
def flips(line, documents):
    """A process that applies one document after the other; what it did, by version."""
    process = subprocess.Popen(
        [sys.executable, "manage.py", "shell", "--verbosity", "0", "--command",
         FLIP.replace("DOCUMENTS", repr(documents))],
        cwd=ROOT, env=line.environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    done: dict[int, int] = {}

    def read():
        for printed in process.stdout:
            version, which = map(int, printed.split())
            done[version] = which

    reader = threading.Thread(target=read)
    reader.start()
    yield done
    process.kill()
    process.wait(10)
    reader.join(10)
    process.stdout.close()


class TestFlips:
    def test_are_never_seen_by_halves(self, line, backends, key, flips):
        body = json.dumps(
            {
                "prompt_version": 1,
                "current_file": {
                    "file_name": "a.py",
                    "content_above_cursor": "x = ",
                    "content_below_cursor": "",
                },
            }
        )
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        statuses: list[int] = []

        def send():
            with requests.Session() as session:
                session.trust_env = False
                for _ in range(REQUESTS // THREADS):
                    answer = session.post(
                        f"{line.url}/v2/code/completions", data=body, headers=headers, timeout=30
                    )
                    statuses.append(answer.status_code)

        threads = [threading.Thread(target=send) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert statuses == [200] * REQUESTS
        for which, server in enumerate(backends):
            sent = {(call.model, call.headers["authorization"]) for call in server.calls}
            assert sent == {(NAMES[which], f"Bearer sk-{NAMES[which]}")}
        assert sum(len(server.calls) for server in backends) == REQUESTS
        self.check_records(line, flips)

    def check_records(self, line, flips):
        """Compare each record with the document that its version stands for."""
        names = {
            row["id"]: row["identifier"]
            for row in line.query("SELECT id, identifier FROM models_registry_modelrevision")
        }
        rows = line.records()
        last = max(row["config_version"] for row in rows)
        wait_until(lambda: max(flips) >= last, within_s=10, what="the flips' own account")
        seen = set()
        for row in rows:
            # Versions before the first flip are those of the set-up.
            which = flips.get(row["config_version"], 1)
            assert row["policy"] == POLICIES[which]
            assert names[row["revision_id"]] == NAMES[which]
            seen.add((which, row["prompt_digest"]))
        # Each has a prompt of its own, for the families differ; and there was flipping indeed.
        assert len(seen) == 2
        assert {which for which, _ in seen} == {0, 1}
        assert len(flips) > 5
