"""Other gateways, as their makers publish them: installed here, into throw-away environments.

They run as their documentation says for production, with one process and without logging; they
translate nothing and ask nobody whether a call is allowed. None of them is a dependency of Enclave.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from benchmarks import processes, services, workloads
from benchmarks.services import Missing
from benchmarks.targets import REPOSITORY, Target, chat_body, http_request
from benchmarks.workloads import Workload

PLACE = REPOSITORY / "var" / "bench" / "peers"
STARTS_WITHIN_S = 90


class Peer(Target):
    """A gateway of somebody else; `package` names the exact release that is installed."""

    package: ClassVar[str]
    is_peer = True

    def start(self) -> None:
        home = PLACE / self.package.replace("/", "_")
        if not (home / "installed").exists():
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir(parents=True)
            self.install(home)
            (home / "installed").touch()
        self.port = services.free_port()
        self.programs.append(
            processes.start(
                "gateway",
                self.command(home),
                environment={
                    "PATH": os.environ["PATH"],
                    "HOME": str(self.directory),
                    "LANG": "C.UTF-8",
                    **self.environment(),
                },
                directory=self.directory,
                log=self.directory / "gateway.log",
            )
        )
        processes.wait_until(
            lambda: services.accepts(self.port),
            what=self.label,
            programs=self.programs,
            within_s=STARTS_WITHIN_S,
        )

    def install(self, home: Path) -> None:
        """Install the release into an empty directory.

        Raises:
            Missing: it cannot be had here.
        """
        _run([sys.executable, "-m", "venv", str(home)], home)
        _run([str(home / "bin" / "pip"), "install", "--quiet", self.package], home)

    def command(self, home: Path) -> list[str]:
        """Return the command that serves `self.port`; configuration goes into `self.directory`."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """Return the environment variables that it wants beside the usual ones."""
        return {}

    def headers(self) -> Mapping[str, str]:
        """Return the headers that it wants beside the usual ones."""
        return {}

    def request(self, workload: Workload) -> bytes:
        return http_request("/v1/chat/completions", self.port, self.headers(), chat_body(workload))

    def write_config(self, value: Mapping[str, Any]) -> str:
        """Write a configuration file and return its path; JSON is YAML too."""
        path = self.directory / "config.yaml"
        path.write_text(json.dumps(value))
        return str(path)

    @property
    def endpoint(self) -> str:
        """The model server's address."""
        return f"http://127.0.0.1:{self.stub_port}/v1"


class LiteLLM(Peer):
    """LiteLLM's proxy with a master key and without a database."""

    slug = "litellm"
    label = "LiteLLM proxy 1.106.2"
    package = "litellm[proxy]==1.106.2"
    ends_with_done = True

    def command(self, home: Path) -> list[str]:
        models = [
            {
                "model_name": name,
                "litellm_params": {
                    "model": f"openai/{name}",
                    "api_base": self.endpoint,
                    "api_key": "sk-stub",
                },
            }
            for name in workloads.models()
        ]
        config = self.write_config(
            {
                "model_list": models,
                "litellm_settings": {"set_verbose": False, "json_logs": True},
                "general_settings": {"master_key": "sk-bench"},
            }
        )
        return [
            *(str(home / "bin" / "litellm"), "--config", config, "--host", "127.0.0.1"),
            *("--port", str(self.port), "--num_workers", "1", "--telemetry", "False"),
        ]

    def environment(self) -> Mapping[str, str]:
        return {"LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR"}

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": "Bearer sk-bench"}


class MLflow(Peer):
    """MLflow's AI gateway; it knows no keys."""

    slug = "mlflow"
    label = "MLflow gateway 3.17.2"
    package = "mlflow[gateway]==3.17.2"

    def command(self, home: Path) -> list[str]:
        endpoints = [
            {
                "name": name,
                "endpoint_type": "llm/v1/chat",
                "model": {
                    "provider": "openai",
                    "name": name,
                    "config": {"openai_api_key": "sk-stub", "openai_api_base": self.endpoint},
                },
            }
            for name in workloads.models()
        ]
        config = self.write_config({"endpoints": endpoints})
        return [
            *(str(home / "bin" / "mlflow"), "gateway", "start", "--config-path", config),
            *("--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"),
        ]

    def environment(self) -> Mapping[str, str]:
        # It starts its server by a name that it looks for on PATH.
        bin_directory = PLACE / self.package / "bin"
        return {"PATH": f"{bin_directory}:{os.environ['PATH']}"}


class Portkey(Peer):
    """Portkey's open-source gateway; the caller names the model server in a header."""

    slug = "portkey"
    label = "Portkey gateway 1.15.2"
    package = "@portkey-ai/gateway@1.15.2"
    ends_with_done = True

    def install(self, home: Path) -> None:
        if shutil.which("npm") is None:
            raise Missing("There is no npm on PATH.")
        (home / "package.json").write_text('{"private": true}')
        _run(["npm", "install", "--no-audit", "--no-fund", self.package], home)

    def command(self, home: Path) -> list[str]:
        program = home / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
        return ["node", str(program), f"--port={self.port}", "--headless"]

    def headers(self) -> Mapping[str, str]:
        return {
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": self.endpoint,
            "Authorization": "Bearer sk-stub",
        }


def _run(command: list[str], directory: Path) -> None:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    if done.returncode:
        raise Missing(f"It could not be installed ({Path(command[0]).name} failed).")
