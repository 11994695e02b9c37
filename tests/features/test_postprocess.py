"""What is taken out of answers, and that everything else stays."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.postprocess import ThinkBlockStripper, strip_think_block, unescape_underscores

ANSWERS = {
    "def add(a, b):\n": "def add(a, b):\n",
    "    return a": "    return a",
    "\n\n  x": "\n\n  x",
    "": "",
    "<think>let me think</think>\ndef": "def",
    "<think>\n\n</think>\n\n    return a": "    return a",
    "\n <think>a</think>\r\n\r\nb": "b",
    "<think>a</think>b</think>c": "b</think>c",
    "<think>a</think><think>b</think>": "<think>b</think>",
    "<think>never closed": "",
    "<think>": "",
    "<think></think>": "",
    "<think></thin": "",
    "<thi": "<thi",
    " <": " <",
    "<thin>x</thin>": "<thin>x</thin>",
    "<Think>x</Think>": "<Think>x</Think>",
    "x = '<think>a</think>'": "x = '<think>a</think>'",
    "a</think>b": "a</think>b",
}

parts = st.sampled_from(["<think>", "</think>", "<thi", "nk>", "</", "\n", "\r", " ", "x", "<"])


class TestUnescapeUnderscores:
    def test_repairs_what_mixtral_escapes(self):
        # Recording v2comp-mixtral-escape.
        assert unescape_underscores("<s>[SUFFIX][PREFIX]a\\_b = ") == "<s>[SUFFIX][PREFIX]a_b = "

    def test_leaves_other_backslashes_alone(self):
        assert unescape_underscores(r"'\n' \* a_b") == r"'\n' \* a_b"


class TestStripThinkBlock:
    @pytest.mark.parametrize(("text", "expected"), ANSWERS.items())
    def test_removes_only_a_reasoning_at_the_start(self, text, expected):
        assert strip_think_block(text) == expected


class TestThinkBlockStripper:
    @pytest.mark.parametrize(("text", "expected"), ANSWERS.items())
    def test_gives_the_same_one_character_at_a_time(self, text, expected):
        stripper = ThinkBlockStripper()

        shown = "".join(map(stripper.feed, text)) + stripper.flush()

        assert shown == expected

    @settings(max_examples=2000, deadline=None)
    @given(st.lists(st.lists(parts, max_size=3).map("".join), max_size=8))
    def test_gives_the_same_whatever_the_chunks_are(self, chunks):
        stripper = ThinkBlockStripper()

        shown = "".join(map(stripper.feed, chunks)) + stripper.flush()

        assert shown == strip_think_block("".join(chunks))

    def test_passes_the_first_chunk_of_code_on_at_once(self):
        assert ThinkBlockStripper().feed("def") == "def"

    def test_shows_nothing_of_a_reasoning(self):
        stripper = ThinkBlockStripper()

        shown = [stripper.feed(chunk) for chunk in ("<th", "ink>se", "cret</th", "ink>", "\n", "x")]

        assert shown == ["", "", "", "", "", "x"]

    def test_does_not_keep_a_long_reasoning_in_memory(self):
        stripper = ThinkBlockStripper()
        stripper.feed("<think>")

        stripper.feed("x" * 100_000)

        assert len(stripper._held) < 10
