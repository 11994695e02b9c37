"""What of the code is kept when the model's window is small."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models_registry.providers.types import Message, Prompt, ToolCall
from prompts.budget import (
    BYTES_PER_TOKEN,
    IMAGE_TOKENS,
    MARKER_TOKENS,
    RESERVED_TOKENS,
    Cut,
    answer_room,
    count_images,
    estimate_answer,
    estimate_prompt,
    estimate_tokens,
    fit_code,
    fit_past,
)
from prompts.budget import fit as fit_inputs
from prompts.library import render
from prompts.renderer import MAX_PROMPT_BYTES

# 1,000 tokens of room: 930 for the prefix, 70 for the suffix.
WINDOW = 1000 + RESERVED_TOKENS

code = st.text(max_size=400) | st.text("ab\n", max_size=400)


def fit(prefix="", suffix="", context=(), window_tokens=WINDOW):
    return fit_code(prefix=prefix, suffix=suffix, context=context, window_tokens=window_tokens)


class TestFitCode:
    def test_leaves_alone_what_fits(self):
        fitted = fit(prefix="def f():\n", suffix="\n")

        assert (fitted.prefix, fitted.suffix) == ("def f():\n", "\n")
        assert (fitted.context_tokens, fitted.cut) == (0, {})

    def test_keeps_the_end_of_the_prefix(self):
        fitted = fit(prefix="a" * 5000 + "b" * 2790)

        assert fitted.prefix == "b" * 2790
        assert fitted.cut

    def test_keeps_the_start_of_the_suffix(self):
        fitted = fit(suffix="a" * 210 + "b" * 5000)

        assert fitted.suffix == "a" * 210
        assert fitted.cut

    def test_does_not_cut_what_fits_exactly(self):
        fitted = fit(prefix="a" * 2790, suffix="b" * 210)

        assert not fitted.cut

    def test_puts_the_context_before_the_prefix_as_the_reference_does(self):
        # Recording v2comp-context.
        fitted = fit(
            prefix="def fibonacci(n):\n", context=["def helper():\n    return 1\n", "X = 2\n"]
        )

        assert fitted.prefix == "def helper():\n    return 1\n\nX = 2\n\ndef fibonacci(n):\n"
        assert fitted.context_tokens == pytest.approx(13, abs=2)
        assert not fitted.cut

    def test_counts_one_token_for_one_character_of_context(self):
        # Recording v2comp-lsp-headers.
        fitted = fit(prefix="x", context=["c"])

        assert (fitted.prefix, fitted.context_tokens) == ("c\nx", 1)

    def test_gives_the_context_what_prefix_and_suffix_leave(self):
        fitted = fit(prefix="p" * 1500, suffix="s" * 150, context=["a" * 1350 + "b" * 9000])

        assert fitted.prefix == "a" * 1350 + "\n" + "p" * 1500
        assert fitted.context_tokens == 450
        assert fitted.cut

    def test_drops_the_context_if_there_is_no_room(self):
        fitted = fit(prefix="p" * 9000, suffix="s" * 9000, context=["c"])

        assert fitted.prefix == "p" * 2790
        assert (fitted.context_tokens, fitted.cut["context"]) == (0, Cut(kept=0, of=1))

    def test_takes_empty_context_as_none(self):
        fitted = fit(prefix="p", context=["", ""])

        assert (fitted.prefix, fitted.cut) == ("p", {})

    def test_gives_half_of_a_tiny_window_to_the_code(self):
        fitted = fit(prefix="p" * 9000, window_tokens=256)

        assert len(fitted.prefix) == 360  # 93 % of 128 tokens, rounded up, at 3 bytes

    def test_never_cuts_a_character_in_two(self):
        fitted = fit(prefix="a" + "世" * 5000, suffix="🎉" * 5000)

        assert fitted.prefix == "世" * 930
        assert fitted.suffix == "🎉" * 52

    def test_makes_a_prompt_of_the_allowed_size_even_for_the_largest_window(self):
        sides = "世" * 100_000
        fitted = fit(sides, sides, ["世" * 500_000] * 3, window_tokens=1_000_000)
        inputs = {"prefix": fitted.prefix, "suffix": fitted.suffix}

        rendered = render(
            feature="code_completions",
            family="gemini",
            inputs={**inputs, "file_name": "a.py", "language": "python"},
        )

        size = sum(len(message.content.encode()) for message in rendered.prompt.messages)
        assert 0.9 * MAX_PROMPT_BYTES < size <= MAX_PROMPT_BYTES

    @settings(max_examples=500, deadline=None)
    @given(code, code, st.integers(1, 700))
    def test_keeps_what_is_next_to_the_cursor(self, prefix, suffix, window_tokens):
        fitted = fit(prefix, suffix, window_tokens=window_tokens)

        assert prefix.endswith(fitted.prefix)
        assert suffix.startswith(fitted.suffix)
        assert bool(fitted.cut) == ((fitted.prefix, fitted.suffix) != (prefix, suffix))

    @settings(max_examples=500, deadline=None)
    @given(code, code, st.lists(code, min_size=1, max_size=3), st.integers(1, 700))
    def test_never_sends_more_than_there_is_room_for(self, prefix, suffix, context, window_tokens):
        fitted = fit(prefix, suffix, context, window_tokens=window_tokens)

        sent = len(fitted.prefix.encode()) + len(fitted.suffix.encode())
        room = max(window_tokens - RESERVED_TOKENS, window_tokens // 2)
        assert sent <= BYTES_PER_TOKEN * room + 1  # the line end between context and prefix


# 1,000 tokens of room beside a template of 100 and an answer of 200.
BESIDE = {"fixed_tokens": 100, "answer_tokens": 200, "window_tokens": 1300 + MARKER_TOKENS}
CUT = {"files": "end", "log": "start"}


def fitted(inputs, cut=None, **changes):
    found = fit_inputs(inputs, cut=CUT if cut is None else cut, **{**BESIDE, **changes})
    return {**inputs, **found.inputs}, found.cut


class TestFit:
    def test_leaves_alone_what_fits(self):
        inputs = {"log": "l" * 2000, "files": "f" * 1000}

        assert fitted(inputs) == (inputs, {})

    def test_cuts_at_the_end_that_is_declared(self):
        kept, cut = fitted({"log": "a" * 100 + "b" * 3000}, {"log": "start"})

        assert kept == {"log": "b" * 3000}
        assert cut == {"log": Cut(kept=3000, of=3100)}

    def test_lets_the_first_give_way_first(self):
        kept, cut = fitted({"log": "l" * 2500, "files": "f" * 800 + "g" * 200})

        assert kept == {"log": "l" * 2500, "files": "f" * 500}
        assert cut == {"files": Cut(kept=500, of=1000)}

    def test_goes_on_with_the_next_when_nothing_is_left_of_the_first(self):
        kept, cut = fitted({"log": "a" * 500 + "l" * 3000, "files": "f" * 1000})

        assert kept == {"log": "l" * 3000, "files": ""}
        assert cut == {"files": Cut(kept=0, of=1000), "log": Cut(kept=3000, of=3500)}

    def test_never_cuts_what_is_not_declared(self):
        kept, cut = fitted({"question": "q" * 9000, "files": "f", "log": "l"})

        assert kept == {"question": "q" * 9000, "files": "", "log": ""}
        assert "question" not in cut

    def test_never_cuts_a_character_in_two(self):
        kept, cut = fitted({"log": "é" * 2000, "files": ""})

        assert kept["log"] == "é" * 1500
        assert cut == {"log": Cut(kept=1500, of=2000)}

    def test_leaves_three_quarters_of_the_window_to_the_question(self):
        kept, _ = fitted({"log": "l" * 9000, "files": ""}, answer_tokens=100_000, fixed_tokens=0)

        assert len(kept["log"]) == BYTES_PER_TOKEN * (1300 + MARKER_TOKENS - 341 - MARKER_TOKENS)

    def test_expects_a_usual_answer_where_no_length_is_said(self):
        kept, _ = fitted(
            {"log": "l" * 100_000, "files": ""}, answer_tokens=None, window_tokens=32_000
        )

        assert len(kept["log"]) == BYTES_PER_TOKEN * (32_000 - 4096 - 100 - MARKER_TOKENS)

    def test_cuts_to_the_allowed_size_even_for_the_largest_window(self):
        kept, cut = fitted({"log": "世" * 500_000, "files": ""}, window_tokens=1_000_000)

        assert len(kept["log"].encode()) <= MAX_PROMPT_BYTES
        assert cut["log"].of == 500_000

    def test_survives_a_window_without_any_room(self):
        kept, _ = fitted({"log": "l" * 100, "files": "f"}, window_tokens=50)

        assert kept == {"log": "", "files": ""}

    @settings(max_examples=500, deadline=None)
    @given(code, code, st.integers(1, 700))
    def test_keeps_a_part_and_never_more_than_there_is_room_for(self, files, log, window_tokens):
        kept, cut = fitted({"files": files, "log": log}, window_tokens=window_tokens)

        assert files.startswith(kept["files"])
        assert log.endswith(kept["log"])
        assert bool(cut) == (kept != {"files": files, "log": log})
        answer = min(200, window_tokens // 4)
        room = max(window_tokens - 100 - answer - MARKER_TOKENS, 0)
        assert len((kept["files"] + kept["log"]).encode()) <= BYTES_PER_TOKEN * room


class TestFitPast:
    # 1,000 tokens of room; an exchange of 90 and 294 characters is 30 + 98 + 2 * 8 = 144 tokens.
    EXCHANGE = ("q" * 90, "a" * 294)

    def fitting(self, count, **changes):
        options = {"needed_tokens": 100, "answer_tokens": 200, "window_tokens": 1300}
        options["window_tokens"] += MARKER_TOKENS
        return fit_past([self.EXCHANGE] * count, **{**options, **changes})

    @pytest.mark.parametrize(("count", "fitting"), [(0, 0), (1, 1), (6, 6), (7, 6), (50, 6)])
    def test_counts_whole_exchanges(self, count, fitting):
        assert self.fitting(count) == fitting

    def test_counts_from_the_latest(self):
        exchanges = [("x",), ("y" * 9000,), ("z",)]

        count = fit_past(
            exchanges, needed_tokens=0, answer_tokens=100, window_tokens=1300 + MARKER_TOKENS
        )

        assert exchanges[len(exchanges) - count :] == [("z",)]

    def test_keeps_nothing_where_there_is_no_room(self):
        assert self.fitting(3, needed_tokens=5000) == 0


class TestAnswerRoom:
    @pytest.mark.parametrize(
        ("prompt", "window_tokens", "room"),
        [
            (["short"], 10_000, 2048),
            (["x" * 3000, "y" * 3000], 4096, 4096 - MARKER_TOKENS - 2000),
            (["x" * 100_000], 4096, 1024),
            (["x"], 0, 1),
        ],
    )
    def test_is_what_the_prompt_leaves_of_the_window(self, prompt, window_tokens, room):
        assert answer_room(answer_tokens=2048, prompt=prompt, window_tokens=window_tokens) == room


class TestEstimatePrompt:
    def test_counts_all_that_the_model_reads(self):
        call = ToolCall(id="call_1", name="add", arguments="{}x")
        picture = {"type": "image_url", "image_url": {"url": "data:" + "A" * 9_000}}
        messages = (
            Message(role="user", content="abc", parts=({"type": "text", "text": "abc"}, picture)),
            Message(role="assistant", content="", tool_calls=(call,)),
        )
        tool = {"a": "b"}

        assert estimate_prompt(Prompt(text="abcd")) == 2
        assert estimate_prompt(Prompt(messages=messages)) == 1 + 2 + IMAGE_TOKENS
        assert estimate_prompt(Prompt(messages=messages, tools=(tool,))) == 3 + 3 + IMAGE_TOKENS

    def test_counts_images(self):
        assert count_images(Prompt(messages=(Message(role="user", content="a"),))) == 0


class TestEstimateAnswer:
    def test_counts_what_a_tool_is_called_with(self):
        call = ToolCall(id="call_1", name="add", arguments="{}x")

        assert estimate_answer("abc", (call, call)) == 1 + 2 + 2


class TestEstimateTokens:
    @pytest.mark.parametrize(
        ("text", "tokens"), [("", 0), ("c", 1), ("abc", 1), ("abcd", 2), ("世界", 2), ("🎉", 2)]
    )
    def test_counts_bytes(self, text, tokens):
        assert estimate_tokens(text) == tokens

    def test_is_on_the_safe_side_for_code(self):
        # Recording v2comp-long-100k: the reference's tokenizer counted about 30,860 tokens.
        assert estimate_tokens("abcdefghi\n" * 10_000) > 30_860
