"""Make the bundle that is installed without a network: the product, its wheels, what is in it.

    python scripts/bundle.py [FOLDER]      writes FOLDER/enclave-<version>-<platform>.tar.gz

The wheels are those that the lock file names, by hash, for this machine's kind and Python. In the
unpacked bundle `make run` works as ever: `scripts/setup.py` finds the folder `wheels`.
"""

from __future__ import annotations

import email.parser
import hashlib
import json
import re
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOCK = "requirements.txt"
WHEELS, SUMS, SBOM = "wheels", "SHA256SUMS", "sbom.cdx.json"
# What production does not need; everything else that git knows goes in.
LEFT_OUT = re.compile(
    r"^(tests|benchmarks|\.ci|\.github)/|^(requirements-dev\..*|\.git.*|\.pre-.*)$"
)


class BundleRefused(Exception):
    """The bundle cannot be made; the message is one sentence."""


def main(arguments: list[str], *, root: Path = ROOT) -> int:
    """Make the bundle, say where it is, return the exit status."""
    folder = Path(arguments[0]) if arguments else root / "dist"
    try:
        made = make(root, folder)
    except BundleRefused as refusal:
        print(refusal, file=sys.stderr)
        return 1
    print(f"{made}\n{hashlib.sha256(made.read_bytes()).hexdigest()}")
    return 0


def make(root: Path, folder: Path) -> Path:
    """Return the bundle, newly written into the folder.

    Raises:
        BundleRefused: a wheel cannot be had, or git does not answer.
    """
    name = f"enclave-{version(root)}-{platform()}"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        content = Path(scratch) / name
        copy_product(root, content)
        fetch_wheels(root, content / WHEELS)
        wheels = sorted((content / WHEELS).glob("*.whl"))
        (content / SBOM).write_text(json.dumps(bill_of_materials(wheels, root=root), indent=1))
        (content / SUMS).write_text("".join(sums(content)))
        made = folder / f"{name}.tar.gz"
        with tarfile.open(made, "w:gz") as archive:
            archive.add(content, arcname=name, filter=_owned_by_root)
    return made


def version(root: Path) -> str:
    """Return the release, as the product itself tells it."""
    found = re.search(r'__version__ = "([^"]+)"', (root / "gateway" / "__init__.py").read_text())
    if found is None:
        raise BundleRefused("gateway/__init__.py tells no version.")
    return found[1]


def platform() -> str:
    """Return which Python and machine the wheels fit, as in a wheel's name."""
    machine = re.sub(r"[-.]", "_", sysconfig.get_platform())
    return f"cp{sys.version_info[0]}{sys.version_info[1]}-{machine}"


def copy_product(root: Path, content: Path) -> None:
    """Copy what git knows and production needs."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=False)
    if listed.returncode:
        raise BundleRefused("git does not list the product's files; make the bundle in a clone.")
    for name in filter(None, listed.stdout.decode().split("\0")):
        if not LEFT_OUT.search(name):
            target = content / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((root / name).read_bytes())
            target.chmod((root / name).stat().st_mode & 0o755)


def fetch_wheels(root: Path, folder: Path) -> None:
    """Download what the lock file names, by hash; nothing is built.

    Raises:
        BundleRefused: pip cannot.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary", ":all:"]
    command += ["--require-hashes", "-r", str(root / LOCK), "-d", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise BundleRefused(f"The wheels cannot be had: {(reason or ['pip failed'])[-1]}")


def bill_of_materials(wheels: list[Path], *, root: Path) -> dict[str, Any]:
    """Return what is in the bundle. Shape: CycloneDX 1.5, JSON."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {"type": "application", "name": "enclave", "version": version(root)}
        },
        "components": [_component(wheel) for wheel in wheels],
    }


def _component(wheel: Path) -> dict[str, Any]:
    about = _metadata(wheel)
    name = re.sub(r"[-_.]+", "-", about["Name"]).lower()
    return {
        "type": "library",
        "name": about["Name"],
        "version": about["Version"],
        "purl": f"pkg:pypi/{name}@{about['Version']}",
        "hashes": [{"alg": "SHA-256", "content": _sha256(wheel)}],
        "licenses": [{"license": {"name": license}} for license in _licenses(about)],
    }


def _metadata(wheel: Path) -> Any:
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return email.parser.BytesParser().parsebytes(archive.read(name), headersonly=True)


def _licenses(about: Any) -> list[str]:
    """Return what a package says of its licence: an expression, else classifiers, else words."""
    if expression := about["License-Expression"]:
        return [expression]
    classifiers = [
        line.rpartition(" :: ")[2]
        for line in about.get_all("Classifier", [])
        if line.startswith("License :: ")
    ]
    words = (about["License"] or "").strip().splitlines()
    return classifiers or words[:1]


def sums(content: Path) -> Iterator[str]:
    """Yield a line for each file, as sha256sum -c reads them."""
    for path in sorted(content.rglob("*")):
        if path.is_file():
            yield f"{_sha256(path)}  {path.relative_to(content)}\n"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _owned_by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
