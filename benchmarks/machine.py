"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

from benchmarks import services

PACKAGES = (
    "Django",
    "djangorestframework",
    "gunicorn",
    "gevent",
    "celery",
    "kombu",
    "redis",
    "urllib3",
    "psycopg",
)


# 10,000 streams are 20,000 connections of the process in the middle.
OPEN_FILES = 65_536


def allow_many_connections() -> None:
    """Raise the limit of open files for everything started from here, as far as it may be."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (OPEN_FILES, most):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, max(limit, most)))
        except (ValueError, OSError):
            continue
        return


def describe(directory: Path) -> dict[str, str]:
    """Return the facts that a reader needs to compare; the directory holds the databases."""
    return {
        "Cores": str(len(os.sched_getaffinity(0))),
        "CPU": _first("/proc/cpuinfo", "model name"),
        "Memory": f"{int(_first('/proc/meminfo', 'MemTotal').split()[0]) / 2**20:.0f} GiB",
        "Kernel": platform.release(),
        "Making 8 KiB durable (fdatasync)": f"{services.fdatasync_ms(directory):.2f} ms",
        "Python": platform.python_version(),
        "Packages": ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES),
        "Redis": _version("redis-server", "--version"),
        "PostgreSQL": _version("postgres", "--version"),
    }


def _first(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        if line.startswith(name):
            return line.partition(":")[2].strip()
    return "unknown"


def _version(program: str, option: str) -> str:
    try:
        found = shutil.which(program) or services.server_program(program)
    except services.Missing:
        return "not installed"
    return subprocess.run([found, option], capture_output=True, text=True).stdout.strip()
