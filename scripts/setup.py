"""Make `.venv` and install the locked dependencies into it, when they changed.

Run by the Makefile with whatever Python the machine has, so: standard library only.

    python3 scripts/setup.py run     what production runs
    python3 scripts/setup.py dev     and what the tests and checks add
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCKS = {
    "run": ("requirements.txt",),
    "dev": ("requirements.txt", "requirements-dev.txt"),
}
# In an unpacked bundle (scripts/bundle.py): then no index is asked.
WHEELS = "wheels"
# What pip says, and what it means. The first that is found in its output is told.
REASONS = (
    (
        re.compile(
            r"(command '[^']*(gcc|cc|clang|g\+\+|c\+\+)' failed: No such file"
            r"|No such file or directory: '[^']*(gcc|cc|clang|g\+\+|c\+\+)'"
            r"|unable to execute '[^']*(gcc|cc|clang|g\+\+|c\+\+)'"
            r"|no acceptable C compiler|No CMAKE_C(XX)?_COMPILER|Microsoft Visual C\+\+)"
        ),
        "A dependency has no ready-made wheel for this machine and no C compiler is here to build"
        " it; install one (Debian: apt-get install build-essential python3-dev).",
    ),
    (
        re.compile(r"THESE PACKAGES DO NOT MATCH THE HASHES"),
        "The package index delivered a file that is not the one we locked (its hash differs);"
        " nothing was installed from it.",
    ),
    (
        re.compile(r"No space left on device"),
        "The disk is full.",
    ),
    (
        re.compile(r"(Permission denied|Read-only file system)"),
        "A file cannot be written: this user may not write there.",
    ),
    (
        re.compile(
            r"(Failed to establish a new connection|Temporary failure in name resolution"
            r"|NewConnectionError|ConnectTimeoutError|ReadTimeoutError|ProxyError|SSLError)"
        ),
        "The package index cannot be reached; check the network, or name your mirror with"
        " PIP_INDEX_URL.",
    ),
    (
        re.compile(r"No matching distribution found(?s:.*)/wheels|/wheels(?s:.*)No matching dist"),
        "The bundle was made for another Python or another kind of machine; its name says which.",
    ),
    (
        re.compile(r"No matching distribution found"),
        "The package index has no fitting release of a locked dependency; if PIP_INDEX_URL names"
        " a mirror, it may be incomplete.",
    ),
)


class SetupRefused(Exception):
    """The set-up cannot go on; the message is one sentence for the person who ran it."""


def main(arguments: list[str], *, root: Path = ROOT) -> int:
    """Set up and return the exit status."""
    what = arguments[0] if arguments else "run"
    try:
        set_up(what, root=root, say=say)
    except SetupRefused as refusal:
        print(refusal, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Set-up interrupted; run the same command again to go on.", file=sys.stderr)
        return 130
    return 0


def say(text: str) -> None:
    """Show progress at once, also through a pipe."""
    print(text, flush=True)


def set_up(what: str, *, root: Path, say: Callable[[str], None]) -> None:
    """Bring `.venv` up to the lock files; do nothing when it already is.

    Raises:
        SetupRefused: it cannot be done.
    """
    venv, wanted = root / ".venv", digest(what, root=root)
    if is_current(venv, what, wanted=wanted):
        return
    started = time.monotonic()
    make_venv(venv, say=say)
    install(venv, what, root=root, say=say)
    stamp(venv, what, root=root)
    say(f"Set-up done in {time.monotonic() - started:.0f} s.")


def digest(what: str, *, root: Path) -> str:
    """Return what the lock files and this Python amount to, in hex."""
    facts = hashlib.sha256(f"{sys.version_info[:2]}".encode())
    for name in LOCKS[what]:
        facts.update((root / name).read_bytes())
    return facts.hexdigest()


def is_current(venv: Path, what: str, *, wanted: str) -> bool:
    """Test whether `.venv` holds what the lock files say and its Python still runs."""
    try:
        installed = (venv / f"setup-{what}.stamp").read_text()
    except OSError:
        return False
    return installed == wanted and runs(venv)


def runs(venv: Path) -> bool:
    """Test whether the interpreter behind `.venv` is still there, with its pip."""
    try:
        command = [str(venv / "bin" / "python"), "-c", "import pip"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def make_venv(venv: Path, *, say: Callable[[str], None]) -> None:
    """Create `.venv`, also in place of one whose interpreter has gone.

    Raises:
        SetupRefused: no `ensurepip`, or the folder cannot be written.
    """
    if runs(venv):
        return
    version = ".".join(map(str, sys.version_info[:3]))
    say(f"Creating .venv with Python {version} …")
    command = [sys.executable, "-m", "venv", "--clear", str(venv)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode == 0:
        return
    output = made.stdout + made.stderr
    if "ensurepip" in output:
        package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        raise SetupRefused(
            f"This Python cannot make virtual environments; install Debian's package {package}"
            f" (apt-get install {package})."
        )
    raise SetupRefused(f"The folder {venv} cannot be made: {last_line(output)}.")


def install(venv: Path, what: str, *, root: Path, say: Callable[[str], None]) -> None:
    """Install every lock file in one command: only so are two of them resolved together.

    Raises:
        SetupRefused: pip failed; its whole output is kept beside the stamp.
    """
    locks, log = LOCKS[what], venv / "setup.log"
    total = count(locks, root=root)
    say(f"Installing {total} packages from {' and '.join(locks)} …")
    command = [str(venv / "bin" / "python"), "-m", "pip", "install", "--require-hashes"]
    command += ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    if (root / WHEELS).is_dir():
        command += ["--no-index", "--find-links", str(root / WHEELS)]
    for lock in locks:
        command += ["-r", str(root / lock)]
    with (
        log.open("w") as kept,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
        ) as pip,
    ):
        show_progress(pip, kept.write, total=total, say=say)
    if pip.returncode:
        output = log.read_text()
        raise SetupRefused(f"{explain(output)} pip's output: {log}")


def count(locks: tuple[str, ...], *, root: Path) -> int:
    """Return how many packages the lock files name."""
    pins = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==", re.MULTILINE)
    return len({name for lock in locks for name in pins.findall((root / lock).read_text())})


def show_progress(
    pip: subprocess.Popen[str],
    keep: Callable[[str], object],
    *,
    total: int,
    say: Callable[[str], None],
) -> None:
    """Say how far pip is, every ten packages, until it ends."""
    assert pip.stdout is not None  # noqa: S101  # opened as a pipe above
    seen: set[str] = set()
    for line in pip.stdout:
        keep(line)
        name = re.match(r"(?:Collecting|Requirement already satisfied:) ([^\s=<>\[;]+)", line)
        if name and name[1] not in seen:
            seen.add(name[1])
            if len(seen) % 10 == 0:
                say(f"  {len(seen)} of {total} …")
        elif line.startswith("Installing collected packages"):
            say("  unpacking …")


def explain(output: str) -> str:
    """Return pip's failure as one sentence."""
    for pattern, sentence in REASONS:
        if pattern.search(output):
            return sentence
    return f"The dependencies cannot be installed: {last_line(output)}."


def last_line(output: str) -> str:
    """Return the last line that says something."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1].removeprefix("ERROR: ").rstrip(".") if lines else "no reason was given"


def stamp(venv: Path, what: str, *, root: Path) -> None:
    """Remember what is installed; the larger set includes the smaller."""
    for part in LOCKS:
        if set(LOCKS[part]) <= set(LOCKS[what]):
            (venv / f"setup-{part}.stamp").write_text(digest(part, root=root))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
