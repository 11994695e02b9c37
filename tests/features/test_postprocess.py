"""What is taken out of answers, and that everything else stays."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.postprocess import (
    GenerationCleaner,
    ThinkBlockStripper,
    clean,
    cleaner,
    drop_reflections,
    start_line,
    strip_think_block,
    unescape_underscores,
)

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


WRAPPED = {
    # Fences, gateway-api.md 5.6.
    "x = 1\n": "x = 1\n",
    "```python\nx = 1\n```": "x = 1\n",
    "```python\nx = 1\n```\n": "x = 1\n",
    "```\r\nx = 1\r\n```": "x = 1\r\n",
    "```c++ \nx = 1```": "x = 1",
    "Here:\n```\nx = 1\n```\nDone.": "Here:\nx = 1\nDone.",
    "``": "``",
    "```": "",
    "```python": "",
    "x = `1`": "x = `1`",
    "x = ``": "x = ``",
    "x ```y``` z\n": "x ```y``` z\n",
    "    ```\n": "    ```\n",
    # The tags that GitLab's examples teach.
    "<new_code>x = 1": "x = 1",
    "<new_code>x = 1</new_code>": "x = 1",
    "<new_code>\nx = 1\n</new_code>\nThat is it.": "x = 1\n",
    "\n <new_code>x = 1</new_code>": "\nx = 1",
    "x = 1\n</new_code>": "x = 1\n",
    "<new_code>\n```python\nx = 1\n```\n</new_code>": "x = 1\n",
    "```\n<new_code>x = 1</new_code>\n```": "x = 1",
    "x = '<new_code>'": "x = '<new_code>'",
    "<new_code>": "",
    # Reasoning.
    "<think>hm\n```\n</think>\n\n```python\nx = 1\n```": "x = 1\n",
    "<think>never closed": "",
    "\nx = 1\n": "\nx = 1\n",
    "\n\n": "\n\n",
    "": "",
}
BEHIND_A_COMMENT = {
    "```python\nx = 1\n```": "\nx = 1\n",
    "<new_code>\nx = 1\n</new_code>": "\nx = 1\n",
    "<new_code>\n```\nx = 1\n```": "\nx = 1\n",
    "\n```\nx = 1\n```": "\nx = 1\n",
    "```\n\nx = 1\n```": "\n\nx = 1\n",
    "<new_code>x = 1</new_code>": "x = 1",
    "x = 1\n```\ny": "x = 1\ny",
}

wrappings = st.sampled_from(
    ["<think>", "</think>", "<new_code>", "</new_code>", "```", "`", "py", "\n", "\r", " ", "x"]
)


def cleaned(chunks, *, above=""):
    stream = GenerationCleaner(above=above)
    return "".join(map(stream.feed, chunks)) + stream.flush()


class TestGenerationCleaner:
    @pytest.mark.parametrize(("text", "expected"), WRAPPED.items())
    def test_takes_code_out_of_its_wrappings(self, text, expected):
        assert cleaned([text]) == expected

    @pytest.mark.parametrize(("text", "expected"), WRAPPED.items())
    def test_gives_the_same_one_character_at_a_time(self, text, expected):
        assert cleaned(text) == expected

    @pytest.mark.parametrize(("text", "expected"), BEHIND_A_COMMENT.items())
    def test_does_not_run_into_the_line_of_the_cursor(self, text, expected):
        assert cleaned([text], above="x = 0\n# set x") == expected

    @pytest.mark.parametrize("above", ["", "x\n", "x\n    "])
    def test_adds_no_line_where_the_line_of_the_cursor_is_empty(self, above):
        assert cleaned(["```\nx = 1\n```"], above=above) == "x = 1\n"

    @settings(max_examples=2000, deadline=None)
    @given(
        st.lists(st.lists(wrappings, max_size=4).map("".join), max_size=8),
        st.sampled_from(["", "a\n", "# a"]),
    )
    def test_gives_the_same_whatever_the_chunks_are(self, chunks, above):
        assert cleaned(chunks, above=above) == cleaned(["".join(chunks)], above=above)

    @settings(max_examples=500, deadline=None)
    @given(st.text("ab =\n\r\t'\"#", max_size=60))
    def test_leaves_plain_code_alone(self, code):
        assert cleaned([code], above="# a") == code

    def test_shows_a_line_as_soon_as_it_is_whole(self):
        stream = GenerationCleaner(above="")

        shown = [stream.feed(chunk) for chunk in ("x", " = 1", "\ny", " = 2\nz\n", "w")]

        assert shown == ["", "", "x = 1\n", "y = 2\nz\n", ""]
        assert stream.flush() == "w"

    def test_keeps_a_long_line_together(self):
        stream = GenerationCleaner(above="")

        shown = [stream.feed("ab`") for _ in range(20_000)]

        assert "".join(shown) + stream.flush() == "ab`" * 20_000


class TestStartLine:
    @pytest.mark.parametrize(
        ("above", "text", "expected"),
        [
            ("# add\n", "x", "x"),
            ("# add", "x", "\nx"),
            ("# add", "\nx", "\nx"),
            ("def f():\n    ", "x", "\nx"),
            ("", "x", "\nx"),
        ],
    )
    def test_adds_a_break_where_the_reference_does(self, above, text, expected):
        assert start_line(text, above=above) == expected


LICENSE = "".join(f"# this is line {n} of the license\n" for n in "abcdefgh")


class TestDropReflections:
    @pytest.mark.parametrize(
        ("above", "text", "expected"),
        [
            ("# add\n", "# add\nx = 1\n", "x = 1\n"),
            ("// add\n", "    // add\nx = 1;\n", "x = 1;\n"),
            ("/* add */\n", "/* add */\nx", "x"),
            # The first line goes on in the cursor's line.
            ("# add\n# add", "# add\nx", "# add\nx"),
            ("# add\n# add", "\n# add\nx", "\nx"),
            # What is no comment may be meant twice.
            ("x = 1\n", "x = 1\ny = 2\n", "x = 1\ny = 2\n"),
            ("    return a\n", "    return a\n", "    return a\n"),
            ("# a\n# b\n", "# a\n# b\n", "# a\n# b\n"),
            # Conditions of a preprocessor look like comments.
            ("#ifdef A\n#endif\n", "#ifdef A\nx\n#endif\n", "#ifdef A\nx\n#endif\n"),
            ("# add\n", "# subtract\nx\n", "# subtract\nx\n"),
            (LICENSE, LICENSE + "x = 1\n", "x = 1\n"),
            (LICENSE, LICENSE[: LICENSE.index("# this is line e")], ...),
            ("\n\n", "\n\nx", "\n\nx"),
            ("", "# add\n", "# add\n"),
        ],
    )
    def test_drops_what_only_repeats_the_text_above(self, above, text, expected):
        assert drop_reflections(text, above=above) == (text if expected is ... else expected)

    def test_keeps_repeated_code_that_is_dense(self):
        dense = "".join(f"({name}[{n}], {name}());\n" for n, name in enumerate("abcdef"))

        assert drop_reflections(dense, above=dense) == dense

    @given(st.text("# a\n\x0b\u2028", max_size=40), st.text("# a\n", max_size=40))
    def test_changes_no_line_that_it_keeps(self, text, above):
        kept = drop_reflections(text, above=above)

        rest = iter(text.splitlines(keepends=True))
        assert all(line in rest for line in kept.splitlines(keepends=True))


class TestClean:
    @pytest.mark.parametrize("family", ["codestral", "qwen", "general", "mixtral"])
    def test_takes_the_reasoning_out_of_completions_of_every_family(self, family):
        answer = "<think>hm</think>\ndef"

        assert clean(answer, feature="code_completions", family=family, inputs={}) == "def"

    @pytest.mark.parametrize(
        ("family", "expected"), [("mixtral", "a_b ```"), ("mistral", "a\\_b ```")]
    )
    def test_leaves_completions_verbatim_otherwise(self, family, expected):
        given = {"feature": "code_completions", "family": family, "inputs": {}}

        assert clean("a\\_b ```", **given) == expected

    @pytest.mark.parametrize("repairs", ["", "yes"])
    def test_makes_blank_generations_empty(self, repairs):
        inputs = {"prefix": "x", "repairs": repairs}

        assert clean(" \n ", feature="code_generations", family="gpt", inputs=inputs) == ""

    def test_repairs_generations_where_asked(self):
        given = {"feature": "code_generations", "family": "gpt"}
        inputs = {"prefix": "# add\nx"}

        plain = clean("# add\ny", **given, inputs={**inputs, "repairs": ""})
        repaired = clean("# add\ny", **given, inputs={**inputs, "repairs": "yes"})

        assert (plain, repaired) == ("# add\ny", "\ny")

    @pytest.mark.parametrize(
        "answer",
        [
            '{"libraries": []}',
            ' {"libraries": []}\n',
            '```json\n{"libraries": []}\n```\n',
            '```\n{"libraries": []}```',
            '<think>hm</think>\n\n```json\n{"libraries": []}\n```',
            '```json  \r\n\n{"libraries": []}\r\n```',
        ],
    )
    def test_leaves_json_alone_of_an_answer_that_is_to_be_json(self, answer):
        text = clean(answer, feature="x_ray_libraries", family="qwen", inputs={})

        assert text == '{"libraries": []}'

    @pytest.mark.parametrize("answer", ["```", "``` ```", "```json", '```json\n{"a": 1}', "{\n```"])
    def test_leaves_half_a_fence_alone(self, answer):
        given = {"feature": "x_ray_libraries", "family": "qwen", "inputs": {}}

        assert clean(answer, **given) == answer

    def test_takes_little_time_over_a_fence_of_blanks(self):
        given = {"feature": "x_ray_libraries", "family": "qwen", "inputs": {}}
        started_at = time.monotonic()

        clean("```" + " " * 200_000 + "x", **given)

        assert time.monotonic() - started_at < 1

    def test_takes_only_the_reasoning_out_of_other_features(self):
        answer = "<think>hm</think>\n```\nx\n```"

        cleaned_answer = clean(answer, feature="duo_chat", family="qwen", inputs={})

        assert cleaned_answer == "```\nx\n```"


class TestCleaner:
    @pytest.mark.parametrize(
        ("feature", "expected"),
        [("code_completions", "```\nx"), ("code_generations", "x"), ("duo_chat", "```\nx")],
    )
    def test_cleans_streams_of_code(self, feature, expected):
        stream = cleaner(feature=feature, inputs={"prefix": ""})

        shown = [stream.feed(chunk) for chunk in ("<think>a</think>", "``", "`\n", "x")]

        assert "".join(shown) + stream.flush() == expected
