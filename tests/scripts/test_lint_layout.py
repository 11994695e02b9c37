"""The layout rules, on a small tree of our own and on this project."""

from __future__ import annotations

import pytest

from scripts import lint_layout


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(lint_layout, "EXCEPTIONS", {})
    put(tmp_path, "gateway/bus.py", '"""The bus."""\n')
    put(tmp_path, "tests/gateway/test_bus.py", '"""Its test."""\n')
    return tmp_path


def put(root, name, text):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


class TestMain:
    def test_finds_nothing_wrong_with_a_module_that_has_docstring_and_test(self, root):
        assert lint_layout.main(root) == 0

    def test_names_a_module_without_docstring(self, root, capsys):
        put(root, "gateway/bus.py", "import os\n")

        assert lint_layout.main(root) == 1
        assert capsys.readouterr().out == "gateway/bus.py: no module docstring\n"

    def test_names_a_module_without_test(self, root, capsys):
        put(root, "gateway/api/v2/chat.py", '"""Chat."""\n')

        assert lint_layout.main(root) == 1
        assert capsys.readouterr().out == (
            "gateway/api/v2/chat.py: no tests/gateway/api/v2/test_chat.py\n"
        )

    def test_wants_no_test_for_packages_settings_and_migrations(self, root):
        put(root, "gateway/__init__.py", "")
        put(root, "gateway/settings/base.py", '"""Settings."""\n')
        put(root, "gateway/migrations/0001_initial.py", "")

        assert lint_layout.main(root) == 0

    def test_accepts_an_exception_and_names_one_that_is_stale(self, root, monkeypatch, capsys):
        put(root, "gateway/wsgi.py", '"""WSGI."""\n')
        exceptions = {"gateway/wsgi.py": "two lines", "gateway/gone.py": "was two lines"}
        monkeypatch.setattr(lint_layout, "EXCEPTIONS", exceptions)

        assert lint_layout.main(root) == 1
        assert capsys.readouterr().out == (
            "scripts/lint_layout.py: the exception gateway/gone.py is no longer needed\n"
        )
