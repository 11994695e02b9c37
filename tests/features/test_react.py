"""Promises of features/react.py: a turn is read the same however it comes, and nothing is lost."""

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import react
from features.react import Action, FinalAnswer, Parser, Unknown


def read(*pieces):
    """Return what was shown, and what the turn was."""
    parser = Parser()
    shown = "".join(parser.feed(piece) for piece in pieces)
    turn = parser.end()
    assert parser.has_shown == bool(shown)
    return shown, turn


def action(tool="issue_reader", tool_input="#42", thought="I need it."):
    return Action(thought=thought, tool=tool, tool_input=tool_input)


ACTION = "I need it.\nAction: issue_reader\nAction Input: #42"
ANSWER = " I know this.\nFinal Answer: Use `git rebase`.\n\nIt is **safe**."
SHOWN = "Use `git rebase`.\n\nIt is **safe**."

# Turns of every kind, and what is read in them.
TURNS = {
    "an action": (ACTION, "", action()),
    "an action that repeats the prefix": (f"Thought: {ACTION}", "", action()),
    "an action without a thought": (
        "Action: issue_reader\nAction Input: #42",
        "",
        action(thought=""),
    ),
    "an action in one line": (
        "I need it. Action: issue_reader Action Input: #42",
        "",
        action(),
    ),
    "an action of many lines": (
        "I need\nit.\n\nAction:\nissue_reader\n\nAction Input:\n#42\nand !7\n",
        "",
        action(thought="I need\nit.", tool_input="#42\nand !7"),
    ),
    "an action with an answer that the model makes up": (
        f"{ACTION}\nObservation: It is open.\nThought: Good.\nFinal Answer: It is open.",
        "",
        action(),
    ),
    "an action with a next step": (
        f"{ACTION}\nThought: And then.\nAction: epic_reader\nAction Input: &5",
        "",
        action(),
    ),
    "an answer": (ANSWER, SHOWN, FinalAnswer()),
    "an answer that repeats the prefix": (f"\n Thought:{ANSWER}", SHOWN, FinalAnswer()),
    "an answer without a thought": ("Final Answer: Yes.", "Yes.", FinalAnswer()),
    "an answer in one line": ("Fine. Final Answer: Yes.", "Yes.", FinalAnswer()),
    "an answer behind an action": (
        "Fine.\nAction: DirectAnswer\nFinal Answer: Yes.",
        "Yes.",
        FinalAnswer(),
    ),
    "an answer behind an action with an input": (
        "Fine.\nAction: None\nAction Input: None\nFinal Answer: Yes.",
        "Yes.",
        FinalAnswer(),
    ),
    "an answer that speaks of answers": (
        "Final Answer: Write\nAction: x\nAction Input: y\nObservation: z\nFinal Answer: a",
        "Write\nAction: x\nAction Input: y\nObservation: z\nFinal Answer: a",
        FinalAnswer(),
    ),
    "an answer that speaks of reasoning": (
        "They ask about <think>.\nFinal Answer: <think> opens, </think> closes.",
        "<think> opens, </think> closes.",
        FinalAnswer(),
    ),
    "an answer with blanks around it": (
        "Final Answer: \n\n  Yes,\n\n  it is. \n\t",
        "Yes,\n\n  it is.",
        FinalAnswer(),
    ),
    "an answer of other letters": ("Final Answer:世界 🎉\u2028é", "世界 🎉\u2028é", FinalAnswer()),
    "an observation without an action": (
        "Fine.\nObservation: it rains.\nFinal Answer: Yes.",
        "Yes.",
        FinalAnswer(),
    ),
    "reasoning before an action": (
        f"<think>\nFinal Answer: no\nAction: x\n</think>\n\nThought: {ACTION}",
        "",
        action(),
    ),
    "reasoning behind the prefix": (
        f"Thought: <think>Final Answer: no</think>{ANSWER}",
        SHOWN,
        FinalAnswer(),
    ),
    "reasoning that the chat format opened": (
        f"Let me see. Observation: none.\n</think>\n\nThought: {ACTION}",
        "",
        action(),
    ),
    "reasoning that never ends": ("<think>Final Answer: no", "", Unknown(text="")),
    "reasoning that ends as the turn does": ("<think>Final Answer: no</thin", "", Unknown(text="")),
    "an action that speaks of reasoning": (
        "I need it.\nAction: gitlab_documentation\nAction Input: what is </think>",
        "",
        action("gitlab_documentation", "what is </think>"),
    ),
    "plain text": ("\n I am plain. \n", "", Unknown(text="I am plain.")),
    "plain text that repeats the prefix": ("Thought: Plain.", "", Unknown(text="Plain.")),
    "plain text with an observation": (
        "Fine.\nObservation: it rains.",
        "",
        Unknown(text="Fine.\nObservation: it rains."),
    ),
    "plain text that speaks of reasoning": (
        "Write the tag <think> abcd",
        "",
        Unknown(text="Write the tag <think> abcd"),
    ),
    "half an action": (
        "I need it.\nAction: issue_reader",
        "",
        Unknown(text="I need it.\nAction: issue_reader"),
    ),
    "half a prefix": ("Thoug", "", Unknown(text="Thoug")),
    "half a reasoning's start": ("<thi", "", Unknown(text="<thi")),
    "half a marker": ("Fine.\nFinal Answe", "", Unknown(text="Fine.\nFinal Answe")),
    "an answer that never begins": ("Fine.\nFinal Answer: \n", "", Unknown(text="")),
    "nothing": ("", "", Unknown(text="")),
    "blanks": (" \n\t\n ", "", Unknown(text="")),
    "the prefix and nothing": ("Thought:", "", Unknown(text="")),
}

# Texts that are likely to go wrong: markers, parts of them, and what may stand between.
FRAGMENTS = st.sampled_from(
    [
        "Thought:",
        "Action:",
        "Action Input:",
        "Observation:",
        "Final Answer:",
        "<think>",
        "</think>",
        "Final",
        "Action",
        " ",
        "\n",
        "a",
        "\\_",
        "世",
    ]
)
TEXTS = st.lists(FRAGMENTS, max_size=12).map("".join) | st.text(max_size=80)


class TestParser:
    @pytest.mark.parametrize("kind", TURNS)
    def test_reads(self, kind):
        text, shown, turn = TURNS[kind]

        assert read(text) == (shown, turn)

    @pytest.mark.parametrize("kind", TURNS)
    def test_reads_the_same_wherever_it_is_cut(self, kind):
        text, shown, turn = TURNS[kind]

        cuts = [read(text[:at], text[at:]) for at in range(len(text) + 1)]

        assert set(cuts) == {(shown, turn)}
        assert read(*text) == (shown, turn)

    @given(TEXTS, st.lists(st.integers(0, 200), max_size=6))
    def test_reads_anything_the_same_in_any_pieces(self, text, places):
        ends = sorted({min(place, len(text)) for place in places} | {0, len(text)})
        pieces = [text[start:end] for start, end in pairwise(ends)]

        assert read(*pieces) == read(text) == read(*text)

    @given(st.text(alphabet=st.characters(blacklist_categories=["Cs"]), max_size=80))
    def test_shows_a_final_answer_as_it_is(self, answer):
        shown, _ = read("I know.\nFinal Answer:", answer)

        assert shown == answer.strip()

    def test_shows_a_final_answer_while_it_comes(self):
        parser = Parser()

        shown = [parser.feed(piece) for piece in ["I know.\nFinal Answer:", " The", " end", ".\n"]]

        assert shown == ["", "The", " end", "."]

    def test_holds_blanks_back_until_it_is_known_that_they_are_inside(self):
        parser = Parser()

        shown = [parser.feed(piece) for piece in ["Final Answer: a", "\n", "\n", "b", "\n"]]

        assert shown == ["a", "", "", "\n\nb", ""]

    @pytest.mark.parametrize(
        "tool",
        [
            "issue_reader",
            " issue_reader \n",
            "IssueReader",
            "Issue_Reader",
            "issue\\_reader",
            "`issue_reader`",
            "**issue_reader**",
            '"issue_reader"',
            "[issue_reader]",
            "issue_reader\n-",
        ],
    )
    def test_knows_a_tool_whatever_is_put_around_its_name(self, tool):
        _, turn = read(f"I need it.\nAction: {tool}\nAction Input: #42")

        assert turn == action()

    def test_knows_names_that_are_written_as_markdown(self):
        _, turn = read("issue\\_reader it is.\nAction: issue\\_reader\nAction Input: a\\_b")

        assert turn == action(thought="issue_reader it is.", tool_input="a\\_b")

    @pytest.mark.parametrize(
        "hard", ["<think>", "a", " ", "Action Input:", "\nObservation:", "x\n"]
    )
    def test_takes_time_in_proportion_to_the_text(self, hard):
        started_at = time.monotonic()

        read(*[hard * 100] * 2_000)

        assert time.monotonic() - started_at < 3


class TestWriting:
    """What is written for a model is read as what it was."""

    def test_an_action(self):
        text = react.write_action(thought="I need\\_it.", tool="issue\\_reader", tool_input="a\\_b")

        assert text == "Thought: I need_it.\nAction: issue_reader\nAction Input: a\\_b"
        assert read(text) == ("", action(thought="I need_it.", tool_input="a\\_b"))

    def test_an_observation(self):
        assert react.write_observation("It is open.") == "Observation: It is open."

    def test_an_answer(self):
        assert read(react.write_answer("Yes.")) == ("Yes.", FinalAnswer())
