"""Promises of gateway/management/commands/index_docs.py."""

import pytest
from django.core.management import CommandError, call_command

from gateway.documentation import index
from gateway.management.commands import index_docs
from tests.gateway.documentation.conftest import CORPUS


@pytest.fixture(autouse=True)
def data_dir(settings, tmp_path):
    """A data directory that is not there yet."""
    settings.GATEWAY_DATA_DIR = tmp_path / "var"
    return settings.GATEWAY_DATA_DIR


def run(capsys, *arguments):
    """Run the command and return what it printed: (out, err)."""
    call_command("index_docs", *map(str, arguments))
    return capsys.readouterr()


class TestCommand:
    def test_builds_an_index_and_says_what_it_holds(self, capsys):
        out, err = run(capsys, CORPUS)

        first, second = out.splitlines()
        assert "docs.sqlite3: 10 pages in 44 sections, of GitLab 18.9.0-ee, built 20" in first
        assert "Left out: 1 pages without text, 0 files that are no pages." in second
        assert err == ""
        assert index.search("pipeline", limit=1)

    def test_shows_how_far_it_is(self, capsys, monkeypatch):
        monkeypatch.setattr(index_docs, "PROGRESS_EVERY", 4)

        out, _ = run(capsys, CORPUS)

        assert out.startswith("4 of 11 files …\n8 of 11 files …\n")

    def test_names_the_files_that_are_no_pages_and_takes_the_others(self, capsys, tmp_path):
        docs = tmp_path / "docs"
        docs.mkdir()
        (docs / "latin.md").write_bytes(b"caf\xe9")
        (docs / "link.md").symlink_to("/etc/passwd")
        (docs / "good.md").write_text("# Zebras\n\nA zebra is striped.")

        out, err = run(capsys, docs)

        assert err.splitlines() == [
            "Left out: link.md is no regular file; links are not followed.",
            "Left out: latin.md is not UTF-8.",
        ]
        assert "1 pages in 1 sections, of an unknown version of GitLab" in out
        assert "2 files that are no pages" in out
        assert index.search("root", limit=4) == []

    def test_takes_the_version_that_it_is_told(self, capsys):
        out, _ = run(capsys, CORPUS, "--gitlab-version", "19.1.2-ee")

        assert "of GitLab 19.1.2-ee," in out

    def test_says_what_the_index_holds_without_building_one(self, capsys):
        before, _ = run(capsys)
        run(capsys, CORPUS)
        after, _ = run(capsys)

        assert before.startswith("There is no index of the documentation: manage.py index_docs")
        assert "10 pages" in after

    @pytest.mark.parametrize(
        ("files", "message"),
        [
            (None, "is no folder"),
            ({}, "holds no Markdown files"),
            ({"a.txt": b"x"}, "holds no Markdown files"),
            ({"a.md": b"\xff"}, "None of the files is a page with text"),
            ({"a.md": b"# T\n"}, "None of the files is a page with text"),
        ],
    )
    def test_refuses_a_folder_in_one_sentence(self, capsys, tmp_path, files, message):
        docs = tmp_path / "docs"
        if files is not None:
            docs.mkdir()
            for name, data in files.items():
                (docs / name).write_bytes(data)

        with pytest.raises(CommandError, match=message):
            run(capsys, docs)

        assert not index.path().exists()

    def test_refuses_a_data_directory_that_cannot_be_written(self, capsys, data_dir):
        data_dir.touch()

        with pytest.raises(CommandError, match="cannot be written"):
            run(capsys, CORPUS)

    def test_says_that_the_index_is_broken(self, capsys, data_dir):
        data_dir.mkdir()
        index.path().write_bytes(b"broken " * 1_000)

        with pytest.raises(CommandError, match=r"build it again with `manage\.py index_docs`"):
            run(capsys)
