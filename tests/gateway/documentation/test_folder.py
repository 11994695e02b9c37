"""Promises of gateway/documentation/folder.py: nothing outside is read, and a fault is named."""

import os

import pytest

from gateway.documentation import folder
from gateway.documentation.folder import FolderRefused, PageRefused
from tests.gateway.documentation.conftest import CORPUS


def write(path, text="text"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


class TestLookInto:
    def test_takes_the_folder_doc_of_a_checkout(self, tmp_path):
        write(tmp_path / "doc" / "ci" / "index.md")
        write(tmp_path / "doc" / "about.md")
        write(tmp_path / "README.md")
        write(tmp_path / "doc" / "picture.png")
        write(tmp_path / "VERSION", "18.9.0-ee\n")

        found = folder.look_into(tmp_path)

        assert (found.pages, found.version) == (("about.md", "ci/index.md"), "18.9.0-ee")
        assert folder.look_into(tmp_path / "doc") == found

    def test_takes_any_folder_with_pages(self, tmp_path):
        write(tmp_path / "a.md")

        found = folder.look_into(tmp_path)

        assert (found.pages, found.version) == (("a.md",), "")

    @pytest.mark.parametrize("name", ["missing", "file.md"])
    def test_refuses_what_is_no_folder(self, tmp_path, name):
        write(tmp_path / "file.md")

        with pytest.raises(FolderRefused, match=f"{name} is no folder"):
            folder.look_into(tmp_path / name)

    def test_refuses_a_folder_without_pages(self, tmp_path):
        write(tmp_path / "a.txt")

        with pytest.raises(FolderRefused, match=r"holds no Markdown files \(\*\.md\); name a"):
            folder.look_into(tmp_path)

    def test_refuses_a_folder_with_too_many(self, tmp_path, monkeypatch):
        monkeypatch.setattr(folder, "PAGES_MAX", 2)
        for number in range(3):
            write(tmp_path / f"{number}.md")

        with pytest.raises(FolderRefused, match="holds more than 2 Markdown files"):
            folder.look_into(tmp_path)

    def test_follows_no_link_out_of_the_folder(self, tmp_path):
        write(tmp_path / "secret" / "key.md", "a secret")
        write(tmp_path / "docs" / "a.md")
        (tmp_path / "docs" / "link.md").symlink_to(tmp_path / "secret" / "key.md")
        (tmp_path / "docs" / "linked").symlink_to(tmp_path / "secret")
        (tmp_path / "docs" / "round").symlink_to(tmp_path / "docs")

        found = folder.look_into(tmp_path / "docs")

        assert found.pages == ("a.md",)
        assert found.refused == (("link.md", "is no regular file; links are not followed"),)

    def test_waits_for_no_pipe(self, tmp_path):
        write(tmp_path / "a.md")
        os.mkfifo(tmp_path / "pipe.md")

        assert [name for name, _ in folder.look_into(tmp_path).refused] == ["pipe.md"]

    def test_shows_no_name_that_would_drive_a_terminal(self, tmp_path):
        write(tmp_path / "a.md")
        write(tmp_path / "\x1b[2J.md")

        ((name, _),) = folder.look_into(tmp_path).refused

        assert name.isprintable()


class TestRead:
    def test_returns_the_text_of_a_page(self):
        assert "timetable" in folder.look_into(CORPUS).read("ci/pipelines.md")

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"caf\xe9", "is not UTF-8"),
            (b"a\x00b", "is no text"),
            (b"x" * (folder.PAGE_MAX_BYTES + 1), "is larger than 2 MB"),
        ],
    )
    def test_says_why_a_file_is_no_page(self, tmp_path, data, reason):
        (tmp_path / "a.md").write_bytes(data)

        with pytest.raises(PageRefused, match=reason):
            folder.look_into(tmp_path).read("a.md")

    def test_says_that_a_file_is_gone(self, tmp_path):
        write(tmp_path / "a.md")
        found = folder.look_into(tmp_path)
        (tmp_path / "a.md").unlink()

        with pytest.raises(PageRefused, match=r"cannot be read \(No such file"):
            found.read("a.md")
