"""Promises of gateway/documentation/index.py: the right section first, and always a whole index."""

import re
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from gateway.documentation import index
from gateway.documentation.index import BuildRefused
from gateway.errors import DocumentationUnavailable
from tests.gateway.documentation.conftest import build
from tests.gateway.test_concurrency import under_gevent

NOW = datetime(2026, 11, 23, tzinfo=UTC)

# What is asked -> page and anchor of the section that answers it.
QUESTIONS = {
    # As people ask.
    "How do I cancel a pipeline that is already running?": "ci/pipelines.md#stop-a-pipeline",
    "Can a pipeline start automatically every night?": "ci/pipelines.md#run-a-pipeline-on",
    "How can one job use files that another job made?": "ci/pipelines.md#artifacts-between-jobs",
    "When are artifacts deleted?": "ci/pipelines.md#how-long-artifacts-are-kept",
    "Why is my job stuck in pending?": "ci/runners.md#a-job-is-stuck",
    "How do I make sure that a password does not show up in the job log?": (
        "ci/variables.md#hide-a-variable"
    ),
    "How many people have to approve an MR?": "user/merge_requests.md#require-approvals",
    "What happens when two branches change the same line?": "user/merge_requests.md#solve-a",
    "How do I close an issue automatically with a commit message?": (
        "user/issues.md#close-an-issue"
    ),
    "How do I force all users to set up 2FA?": "security/sign_in.md#demand-a-second-factor",
    "What do I need to know before I restore from an archive?": "admin/backup.md#restore-from",
    "Our users don't receive any emails, what can I do?": "admin/email.md#nobody-gets",
    # As models ask.
    "CI_JOB_TOKEN allowlist": "ci/variables.md#use-ci_job_token",
    "scheduled pipeline cron": "ci/pipelines.md#run-a-pipeline-on",
    "cache dependencies": "ci/runners.md#keep-dependencies",
    "squash commits": "user/merge_requests.md#combine-all",
    "SAML SSO": "security/sign_in.md#single-sign-on",
    "CODEOWNERS file": "security/branches.md#code-owners",
    "gitlab-runner register token": "ci/runners.md#register",
    "REST API pagination per_page": "api/rest.md#pagination",
}


def build_of(pages):
    """Index pages by name."""
    with index.building() as draft:
        for name, text in pages.items():
            draft.add(name, text)
        draft.finish(version="", now=NOW)


def first(question):
    found = index.search(question, limit=4)
    return f"{found[0].page}#{found[0].anchor}" if found else None


class TestSearch:
    @pytest.mark.parametrize("question", QUESTIONS)
    def test_finds_the_section_that_answers(self, indexed, question):
        assert first(question).startswith(QUESTIONS[question])

    def test_returns_a_section_with_the_way_to_it(self, indexed):
        (found,) = index.search("expire_in", limit=1)

        assert found.title == ("Pipelines / Pass files between jobs / How long artifacts are kept")
        assert found.page == "ci/pipelines.md"
        assert found.body.startswith("`artifacts:expire_in` sets the time.")

    def test_returns_no_more_than_is_wanted(self, indexed):
        assert len(index.search("pipeline", limit=2)) == 2
        assert len(index.search("pipeline", limit=20)) > 4

    @pytest.mark.parametrize("question", ["pipelines", "Pipelines", "pipelined", "PIPELINE"])
    def test_finds_a_word_in_all_its_forms(self, indexed, question):
        assert first(question).startswith("ci/pipelines.md")

    def test_finds_the_beginning_of_a_word(self, indexed):
        assert first("recov").startswith("security/sign_in.md#two-factor")

    def test_prefers_words_that_stand_together_as_they_were_asked(self, data_dir):
        build_of(
            {
                "apart.md": "Deploy with care, deploy often. A token is needed, one token only.",
                "together.md": "A deploy token is a secret of a project that may be read by tools.",
            }
        )

        assert first("What is a deploy token?") == "together.md#"

    @pytest.mark.parametrize("question", ["", "?", "xyzzy", '" *'])
    def test_finds_nothing_where_there_is_nothing(self, indexed, question):
        assert index.search(question, limit=4) == []

    def test_names_a_section_by_an_id_that_gitlab_reads(self, indexed):
        found = index.search("pipeline job branch", limit=20)

        assert all(re.fullmatch("[0-9a-z]{12}", item.id) for item in found)
        assert len({item.id for item in found}) == len(found)

    def test_names_a_section_by_the_same_id_after_it_was_built_again(self, indexed):
        before = index.search("runner", limit=20)
        build()

        assert index.search("runner", limit=20) == before

    def test_says_that_there_is_no_index(self, data_dir):
        assert index.search("pipeline", limit=4) is None
        assert index.search("", limit=4) is None

    @pytest.mark.parametrize("content", [b"", b"no database " * 500])
    def test_says_that_the_index_is_broken(self, data_dir, content):
        index.path().write_bytes(content)

        with pytest.raises(DocumentationUnavailable, match=r"manage\.py index_docs"):
            index.search("pipeline", limit=4)

    def test_reads_no_index_of_another_format(self, indexed):
        with sqlite3.connect(index.path()) as rows:
            rows.execute(f"PRAGMA user_version = {index.FORMAT + 1}")
        rows.close()

        with pytest.raises(DocumentationUnavailable):
            index.search("pipeline", limit=4)

    def test_does_not_search_for_longer_than_it_may(self, data_dir, monkeypatch):
        page = "\n".join(f"## {number}\nword " + "x " * 50 for number in range(50))
        build_of({f"{number}.md": page for number in range(300)})
        monkeypatch.setattr(index, "SEARCH_MAX_S", 0.001)
        started_at = time.monotonic()

        with pytest.raises(DocumentationUnavailable, match="took too long"):
            index.search(" ".join(f"x{n}" for n in range(30)) + " word x", limit=20)

        assert time.monotonic() - started_at < 0.5

    def test_holds_up_nothing_else_in_a_process_with_greenlets(self, indexed, data_dir):
        code = f"""
import django, time
django.setup()
from pathlib import Path
from django.conf import settings
from gateway import concurrency
from gateway.documentation import index
settings.GATEWAY_DATA_DIR = Path({str(data_dir)!r})
index._read = lambda *_: monkey.get_original("time", "sleep")(0.5) or []
beats = []
concurrency.start(lambda: [time.sleep(0.01) or beats.append(1) for _ in range(1000)])
index.search("pipeline", limit=4)
print(len(beats) > 20)
"""

        assert under_gevent(code) == "True"


class TestBuilding:
    def test_says_what_the_index_holds(self, indexed):
        assert index.about() == indexed
        assert (indexed.version, indexed.pages) == ("18.9.0-ee", 10)
        assert indexed.sections > 35

    def test_takes_the_place_of_the_old_index_in_one_step(self, indexed):
        with index.building() as draft:
            draft.add("new.md", "## Brand new\n\nzebra")
            assert index.search("zebra", limit=4) == []
            assert index.search("pipeline", limit=4)
            draft.finish(version="19.0", now=NOW)

        assert first("zebra") == "new.md#brand-new"
        assert index.search("pipeline", limit=4) == []
        assert index.about().version == "19.0"

    def test_changes_nothing_under_a_search_that_has_begun(self, indexed):
        with index.path().open("rb") as begun:
            before = begun.read()
            build_of({"new.md": "zebra"})
            begun.seek(0)

            assert begun.read() == before

    def test_is_seen_by_a_process_that_searched_before(self, data_dir):
        code = (
            "import django; django.setup()\n"
            "from pathlib import Path\n"
            "from django.conf import settings\n"
            "from gateway.documentation import index\n"
            f"settings.GATEWAY_DATA_DIR = Path({str(data_dir)!r})\n"
            "while True:\n"
            "    input(); print(index.search('zebra', limit=4) or None, flush=True)\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as other:

            def asked():
                other.stdin.write("\n")
                other.stdin.flush()
                return other.stdout.readline()

            assert asked() == "None\n"
            build()
            assert asked() == "None\n"
            build_of({"new.md": "zebra"})
            assert "new.md" in asked()
            other.kill()

    def test_leaves_the_old_index_where_it_breaks_off(self, indexed, data_dir):
        with pytest.raises(AttributeError):
            build_of({"new.md": "zebra", "no text.md": 7})

        assert index.about() == indexed
        assert sorted(path.name for path in data_dir.iterdir()) == ["docs.lock", index.FILE]

    def test_refuses_to_replace_it_with_nothing(self, indexed):
        with pytest.raises(BuildRefused, match="None of the files"):
            build_of({"empty.md": "# Nothing\n"})

        assert index.about() == indexed

    def test_is_done_by_one_at_a_time(self, data_dir):
        with index.building() as draft:
            with pytest.raises(BuildRefused, match="Another index_docs is running"):
                build()
            draft.add("a.md", "zebra")
            draft.finish(version="", now=NOW)

        assert first("zebra") == "a.md#"

    def test_says_that_it_cannot_be_written(self, settings, tmp_path):
        settings.GATEWAY_DATA_DIR = tmp_path / "missing"

        with pytest.raises(BuildRefused, match="cannot be written"):
            build()

    def test_can_be_read_by_the_service_whoever_builds_it(self, indexed):
        assert index.path().stat().st_mode & 0o777 == 0o644


class TestAbout:
    def test_is_none_without_an_index(self, data_dir):
        assert index.about() is None
