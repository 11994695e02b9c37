"""Promises of gateway/audit/escapes.py."""

import sys
import unicodedata

import pytest

from gateway.audit.escapes import HIDDEN, visible, visible_html
from tests.gateway.audit import hostile

ORDINARY = (
    "def add(a, b):\n\treturn a + b",
    "Grüße, 日本語, Привет, नमस्ते, ﷽",
    "❤️ 👍🏽 → ≠ ⟦",
    "no\u00a0break",
)


class TestVisible:
    @pytest.mark.parametrize(("text", "spelled"), hostile.HIDDEN.items())
    def test_spells_hidden_characters_out(self, text, spelled):
        assert visible(text) == spelled

    @pytest.mark.parametrize("text", ORDINARY)
    def test_leaves_ordinary_text_alone(self, text):
        assert visible(text) == text

    def test_leaves_nothing_hidden(self):
        everything = "".join(map(chr, range(sys.maxunicode + 1)))

        shown = set(visible(everything)) - {"\t", "\n"}

        hidden_kinds = {"Cc", "Cf", "Cs", "Zl", "Zp"}
        assert {c for c in shown if unicodedata.category(c) in hidden_kinds} == set()

    def test_is_done_after_one_pass(self):
        text = "".join(hostile.HIDDEN)

        assert not HIDDEN.search(visible(text))


class TestVisibleHtml:
    def test_marks_what_was_hidden_and_names_it(self):
        assert visible_html("a\u202eb") == (
            'a<mark title="RIGHT-TO-LEFT OVERRIDE">⟦U+202E⟧</mark>b'
        )

    def test_does_not_mark_the_same_spelling_typed_by_a_person(self):
        assert visible_html("⟦U+202E⟧") == "⟦U+202E⟧"

    @pytest.mark.parametrize("text", hostile.SCRIPTS)
    def test_escapes_html_before_and_after_what_was_hidden(self, text):
        shown = visible_html(f"{text}\x1b{text}").replace('<mark title="U+001B">⟦ESC⟧</mark>', "")

        assert "<" not in shown
        assert '"' not in shown
        assert "'" not in shown

    def test_shows_an_empty_text_as_nothing(self):
        assert visible_html("") == ""
