"""A folder of GitLab's documentation: which files are its pages, and what stands in them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PAGE_MAX_BYTES = 2 * 1024 * 1024
PAGES_MAX = 20_000


class FolderRefused(Exception):
    """The folder cannot be indexed; the message is one sentence for an operator."""


class PageRefused(Exception):
    """A file is no page; the message says why in a few words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Folder:
    """The documentation of one version of GitLab.

    `pages` are paths below `root`, in order; `refused` are files that are not even looked into,
    each with the reason.
    """

    root: Path
    version: str
    pages: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]

    def read(self, page: str) -> str:
        """Return the text of a page.

        Raises:
            PageRefused: it is too large, no text, or cannot be read.
        """
        try:
            with (self.root / page).open("rb") as file:
                data = file.read(PAGE_MAX_BYTES + 1)
        except OSError as exc:
            raise PageRefused(f"cannot be read ({exc.strerror})") from exc
        if len(data) > PAGE_MAX_BYTES:
            raise PageRefused(f"is larger than {PAGE_MAX_BYTES // 1024 // 1024} MB")
        try:
            text = data.decode()
        except UnicodeDecodeError as exc:
            raise PageRefused("is not UTF-8") from exc
        if "\0" in text:
            raise PageRefused("is no text")
        return text


def look_into(path: Path) -> Folder:
    """Return what a folder holds: GitLab's source code, or the `doc` folder in it.

    Raises:
        FolderRefused: it is no folder, or holds no pages, or too many.
    """
    if not path.is_dir():
        raise FolderRefused(f"{path} is no folder.")
    source = path.resolve()
    root = source / "doc" if (source / "doc").is_dir() else source
    pages: list[str] = []
    refused: list[tuple[str, str]] = []
    for file in _markdown(root):
        name = Path(file.path).relative_to(root).as_posix()
        if not file.is_file(follow_symlinks=False):
            refused.append((name, "is no regular file; links are not followed"))
        elif not name.isprintable():
            refused.append((repr(name), "has a name that cannot be shown"))
        else:
            pages.append(name)
        if len(pages) > PAGES_MAX:
            raise FolderRefused(
                f"{root} holds more than {PAGES_MAX:,} Markdown files; name the folder of GitLab's"
                " documentation alone."
            )
    if not pages:
        raise FolderRefused(
            f"{root} holds no Markdown files (*.md); name a checkout of GitLab, or its folder doc."
        )
    return Folder(
        root=root, version=_version(root), pages=tuple(sorted(pages)), refused=tuple(refused)
    )


def _markdown(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield what is called *.md below a folder; links to folders are not entered.

    Raises:
        FolderRefused: a folder cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from _markdown(Path(entry.path))
                elif entry.name.endswith(".md"):
                    yield entry
    except OSError as exc:
        raise FolderRefused(f"{folder} cannot be read ({exc.strerror}).") from exc


def _version(root: Path) -> str:
    """Return the version that a checkout of GitLab states, nothing if it states none."""
    try:
        return (root.parent / "VERSION").read_text()[:100].strip()
    except (OSError, UnicodeDecodeError):
        return ""
