"""The index of GitLab's documentation: one SQLite file with a full-text table.

It is built whole, beside the one in use, and takes its place in one step. Every search opens the
file anew, so all processes search the new index at once, and what is open stays what it was.
The search itself runs on a thread of its own, for SQLite would hold up every stream of a process.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings

from gateway import concurrency
from gateway.documentation import questions, sections
from gateway.errors import DocumentationUnavailable

FILE = "docs.sqlite3"
# What a file must say of itself to be read: PRAGMA user_version. To be raised with TABLES.
FORMAT = 1
TABLES = """
    CREATE TABLE about (version TEXT, built_at TEXT, pages INTEGER, sections INTEGER);
    CREATE VIRTUAL TABLE section USING fts5 (
        id UNINDEXED, page UNINDEXED, anchor UNINDEXED, title, headings, body,
        tokenize = 'porter unicode61 remove_diacritics 2'
    );
    INSERT INTO section (section, rank) VALUES ('rank', 'bm25(0, 0, 0, 3.0, 6.0, 1.0)');
"""
# Between a page's title and its headings, on one line.
ARROW = " / "
SEARCH_MAX_S = 2.0
LOOK_EVERY_STEPS = 1_000
BUILD_AGAIN = (
    "The index of the documentation cannot be read, or is of another version of Enclave; build it"
    " again with `manage.py index_docs`."
)

_thread = concurrency.NativeThread()


class BuildRefused(Exception):
    """The index cannot be built; the message is one sentence for an operator."""


@dataclass(frozen=True, kw_only=True, slots=True)
class About:
    """What an index holds. `version` is GitLab's, "" where nobody knew it."""

    version: str
    built_at: datetime
    pages: int
    sections: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A section that answers a question. `page` is its file below GitLab's folder `doc`."""

    id: str
    page: str
    anchor: str
    title: str
    body: str


def path() -> Path:
    """Return where this machine's index is."""
    return Path(settings.GATEWAY_DATA_DIR) / FILE


# Building


class Draft:
    """An index that is being built."""

    def __init__(self, rows: sqlite3.Connection) -> None:
        """Make the tables."""
        self.pages = 0
        self.sections = 0
        self._rows = rows
        rows.executescript(TABLES)

    def add(self, page: str, text: str) -> int:
        """Add a page and return how many sections it has."""
        found = sections.cut(text, name=Path(page).stem)
        self._rows.executemany(
            "INSERT INTO section (id, page, anchor, title, headings, body)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            [
                (
                    _id(page, section),
                    page,
                    section.anchor,
                    section.title,
                    ARROW.join(section.headings),
                    section.text,
                )
                for section in found
            ],
        )
        self.sections += len(found)
        self.pages += bool(found)
        return len(found)

    def finish(self, *, version: str, now: datetime) -> About:
        """Write down what the index holds, and tidy it up.

        Raises:
            BuildRefused: it holds nothing.
        """
        if not self.sections:
            raise BuildRefused("None of the files is a page with text; the index stays as it was.")
        about = (version, now.isoformat(), self.pages, self.sections)
        self._rows.execute("INSERT INTO about VALUES (?, ?, ?, ?)", about)
        self._rows.execute("INSERT INTO section (section) VALUES ('optimize')")
        self._rows.execute(f"PRAGMA user_version = {FORMAT}")
        self._rows.commit()
        return About(version=version, built_at=now, pages=self.pages, sections=self.sections)


@contextmanager
def building() -> Iterator[Draft]:
    """Yield a draft, which takes the place of the index unless something fails.

    Raises:
        BuildRefused: the data directory cannot be written, or another draft is in the works.
    """
    target = path()
    file = target.with_name(f".{FILE}.new")
    try:
        with _alone(target.with_name("docs.lock")):
            try:
                file.unlink(missing_ok=True)
                with closing(sqlite3.connect(file)) as rows:
                    # A draft that breaks off is thrown away, so it needs no journal.
                    rows.execute("PRAGMA journal_mode = OFF")
                    yield Draft(rows)
                _settle(file)
                file.replace(target)
            finally:
                file.unlink(missing_ok=True)
    except (OSError, sqlite3.Error) as exc:
        raise BuildRefused(f"The index {target} cannot be written: {exc}.") from exc


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Keep other builders out; they write to the same draft."""
    with file.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BuildRefused("Another index_docs is running; wait until it has ended.") from None
        yield


def _settle(file: Path) -> None:
    """Bring the file to the disk, readable to the service whoever built it."""
    with file.open("rb") as written:
        os.fchmod(written.fileno(), 0o644)  # the folder around it is private
        os.fsync(written.fileno())


def _id(page: str, section: sections.Section) -> str:
    """Return the id of a section, the same in every index; GitLab reads small letters and digits.

    Short, because the model has to repeat it.
    """
    place = f"{page}#{section.anchor}#{section.part}"
    return hashlib.sha256(place.encode()).hexdigest()[:12]


# Reading


def about() -> About | None:
    """Return what the index holds, None if there is none.

    Raises:
        DocumentationUnavailable: it cannot be read.
    """
    rows = _ask("SELECT version, built_at, pages, sections FROM about")
    if rows is None:
        return None
    ((version, built_at, pages, count),) = rows
    built = datetime.fromisoformat(built_at)
    return About(version=version, built_at=built, pages=pages, sections=count)


def search(question: str, *, limit: int) -> list[Found] | None:
    """Return the sections that answer a question best; None if there is no index.

    Raises:
        DocumentationUnavailable: it cannot be read, or not in time.
    """
    statement = (
        "SELECT id, page, anchor, title, headings, body FROM section WHERE section MATCH ?"
        " ORDER BY rank LIMIT ?"
    )
    for expression in questions.expressions(question):
        rows = _ask(statement, expression, limit)
        if rows is None:
            return None
        if rows:
            return [_found(*row) for row in rows]
    return [] if path().exists() else None


def _found(key: str, page: str, anchor: str, title: str, headings: str, body: str) -> Found:
    return Found(
        id=key,
        page=page,
        anchor=anchor,
        title=f"{title}{ARROW}{headings}" if headings else title,
        body=body,
    )


def _ask(statement: str, *values: object) -> list[Any] | None:
    """Return the rows of a statement, None if there is no index.

    Raises:
        DocumentationUnavailable: it cannot be read, or not in time.
    """
    file, deadline = path(), time.monotonic() + SEARCH_MAX_S
    try:
        return _thread.run(_read, file, deadline, statement, values)
    except sqlite3.Error as exc:
        if not file.exists():
            return None
        if time.monotonic() > deadline:
            raise DocumentationUnavailable(
                "The search in the documentation took too long."
            ) from exc
        raise DocumentationUnavailable(BUILD_AGAIN) from exc


def _read(file: Path, deadline: float, statement: str, values: tuple[object, ...]) -> list[Any]:
    # Never changed once it is in its place, so nothing has to be locked.
    uri = f"{file.absolute().as_uri()}?mode=ro&immutable=1"
    with closing(sqlite3.connect(uri, uri=True)) as rows:
        rows.set_progress_handler(lambda: time.monotonic() > deadline, LOOK_EVERY_STEPS)
        if rows.execute("PRAGMA user_version").fetchone() != (FORMAT,):
            raise DocumentationUnavailable(BUILD_AGAIN)
        return rows.execute(statement, values).fetchall()
