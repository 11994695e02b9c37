"""Check what ruff cannot: every module says what it is for, and every module has its test.

`gateway/api/v2/code_completions.py` is tested in `tests/gateway/api/v2/test_code_completions.py`.
An exception is one line in EXCEPTIONS, with its reason; one that is no longer needed fails too.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
APPS = ("models_registry", "features", "prompts", "gateway")
CODE = (*APPS, "scripts", "benchmarks", "tests")
# Never tested by a file of their own, whatever they are called.
TRIVIAL = ("__init__.py", "apps.py")
DECLARATIONS = ("migrations", "settings")
EXCEPTIONS = {
    "models_registry/errors.py": "a tree of exceptions; tests/gateway/api/test_errors.py walks it",
    "features/errors.py": "a tree of exceptions; tests/gateway/api/test_errors.py walks it",
    "gateway/errors.py": "a tree of exceptions; tests/gateway/api/test_errors.py walks it",
    "gateway/calls.py": "values without behavior",
    "gateway/process.py": "holds what gateway/runtime.py puts there",
    "gateway/tasks.py": "one line per task; tested where the function behind it is",
    "gateway/wsgi.py": "chooses a handler; every test that starts the product goes through it",
    "gateway/celery.py": "declares the application; tested wherever a worker is started",
    "gateway/api/urls.py": "one line per route; tested where the routes are",
    "gateway/control/urls.py": "one line per page; tested where the pages are",
}


def main(root: Path = ROOT) -> int:
    """Print what is wrong and return the exit status."""
    problems = [*find_silent_modules(root), *find_untested_modules(root), *find_stale(root)]
    for problem in problems:
        print(problem)
    return 1 if problems else 0


def find_silent_modules(root: Path) -> list[str]:
    """Name the modules without a docstring; an empty file needs none."""
    return [
        f"{path.relative_to(root)}: no module docstring"
        for part in CODE
        for path in sorted((root / part).rglob("*.py"))
        if "migrations" not in path.parts
        and (text := path.read_text()).strip()
        and ast.get_docstring(ast.parse(text)) is None
    ]


def find_untested_modules(root: Path) -> list[str]:
    """Name the modules without a test file in the mirrored place."""
    return [
        f"{name}: no {mirror(name)}"
        for name in modules(root)
        if name not in EXCEPTIONS and not (root / mirror(name)).exists()
    ]


def find_stale(root: Path) -> list[str]:
    """Name the exceptions that no module needs any more."""
    known = set(modules(root))
    return [
        f"scripts/lint_layout.py: the exception {name} is no longer needed"
        for name in EXCEPTIONS
        if name not in known or (root / mirror(name)).exists()
    ]


def modules(root: Path) -> list[str]:
    """Return the modules of the four apps that hold behavior."""
    return [
        path.relative_to(root).as_posix()
        for app in APPS
        for path in sorted((root / app).rglob("*.py"))
        if path.name not in TRIVIAL and not set(DECLARATIONS) & set(path.parts)
    ]


def mirror(name: str) -> str:
    """Return where the tests of a module stand."""
    path = Path(name)
    return (Path("tests") / path.parent / f"test_{path.name}").as_posix()


if __name__ == "__main__":
    sys.exit(main())
