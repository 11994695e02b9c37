"""Language detection, as GitLab's clients see and the models read it."""

import pytest

from features.languages import LANGUAGES, detect

PAIRS = [(slug, extension) for slug, extensions, _ in LANGUAGES for extension in extensions.split()]
EDITORS = [(slug, editor_id) for slug, _, ids in LANGUAGES for editor_id in ids.split()]


def found(file_name, language_identifier=None):
    language = detect(file_name, language_identifier)
    return language.id, language.prompt_name, language.is_known


class TestLanguages:
    def test_are_the_hundred_that_gitlab_knows(self):
        assert len({slug for slug, _, _ in LANGUAGES}) == len(LANGUAGES) == 100

    def test_share_no_extension_and_no_editor_id(self):
        assert len({extension for _, extension in PAIRS}) == len(PAIRS)
        assert len({editor_id.lower() for _, editor_id in EDITORS}) == len(EDITORS)


class TestDetect:
    @pytest.mark.parametrize(("slug", "extension"), PAIRS)
    def test_knows_each_extension(self, slug, extension):
        assert detect(f"file.{extension}", None).id == slug

    @pytest.mark.parametrize(("slug", "editor_id"), EDITORS)
    def test_knows_each_editor_id(self, slug, editor_id):
        assert detect("file", editor_id).id == slug

    @pytest.mark.parametrize(
        ("file_name", "language_identifier", "expected"),
        [
            ("app.py", None, ("python", "python", True)),  # v2comp-family-codestral
            ("src/deep/dir/app.rb", None, ("ruby", "ruby", True)),  # v2comp-file-path
            ("   app.py   ", None, ("python", "python", True)),  # v2comp-file-spaces
            ("noext", "rust", ("rust", "rust", True)),  # v2comp-lang-editor
            ("Noext", None, ("", "", False)),  # v2comp-lang-none
            ("thing.zzz", None, ("", "zzz", True)),  # v2comp-lang-unknown-ext
            ("t.html", None, ("", "html", True)),  # v2comp-jinja-in-code
            ("ünï.py", None, ("python", "python", True)),  # v2comp-unicode
        ],
    )
    def test_agrees_with_the_recordings(self, file_name, language_identifier, expected):
        assert found(file_name, language_identifier) == expected

    @pytest.mark.parametrize(
        ("file_name", "prompt_name"),
        [("a.cs", "c_sharp"), ("a.jsx", "javascript"), ("a.tsx", "typescript")],
    )
    def test_writes_short_ids_out_in_prompts(self, file_name, prompt_name):
        assert detect(file_name, None).prompt_name == prompt_name

    def test_takes_the_id_from_the_extension_and_the_prompt_name_from_the_editor(self):
        assert found("a.ts", "TypeScriptReact") == ("ts", "typescriptreact", True)
        assert found("a.py", "rust") == ("python", "rust", True)

    def test_takes_the_editor_for_a_file_with_an_unknown_extension(self):
        assert found("a.zzz", "python") == ("python", "python", True)

    def test_passes_an_editor_id_on_that_it_does_not_know(self):
        assert found("Jenkinsfile", "jenkins") == ("", "jenkins", True)

    @pytest.mark.parametrize(("name", "slug"), [("a.C", "cpp"), ("a.c", "c"), ("a.PY", "")])
    def test_respects_the_case_of_an_extension(self, name, slug):
        assert detect(name, None).id == slug

    @pytest.mark.parametrize(
        "file_name", ["", "Makefile", "v1.2/Makefile", "./Makefile", "trailing."]
    )
    def test_finds_no_extension_where_there_is_none(self, file_name):
        assert found(file_name) == ("", "", False)

    def test_takes_what_follows_the_last_dot(self):
        assert detect("a.test.py", "").id == "python"
