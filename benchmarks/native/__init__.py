"""The stub model server and the load client, written in C and compiled on first use.

In Python they would need more CPU than what they measure: the whole benchmark runs on one machine.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

SOURCES = Path(__file__).parent
FLAGS = ("-O2", "-std=gnu11", "-Wall", "-Wextra")


class NoCompiler(Exception):
    """The programs cannot be compiled; the message is one sentence for the person at the shell."""


def compiled(name: str, *, cache: Path) -> Path:
    """Return the program, compiled from `<name>.c` unless the cache holds it.

    Raises:
        NoCompiler: there is no C compiler, or it refuses the source.
    """
    sources = [SOURCES / f"{name}.c", SOURCES / "common.h"]
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    program = cache / f"{name}-{digest[:12]}"
    if program.exists():
        return program
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise NoCompiler(
            "The benchmark compiles two small C programs and found no C compiler; install one"
            " (Debian: apt install gcc libc6-dev) or name yours in CC."
        )
    cache.mkdir(parents=True, exist_ok=True)
    draft = cache / f".{program.name}.{os.getpid()}"
    done = subprocess.run(
        [compiler, *FLAGS, "-o", str(draft), str(sources[0])], capture_output=True, text=True
    )
    if done.returncode:
        raise NoCompiler(f"{compiler} could not compile {sources[0].name}:\n{done.stderr.strip()}")
    draft.replace(program)
    return program
