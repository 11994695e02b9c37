"""Promises of gateway/documentation/questions.py: words go in, and never any syntax."""

import sqlite3

import pytest

from gateway.documentation.questions import MEANS, READ_MAX, STOP_WORDS, TERMS_MAX, expressions


def terms(question):
    return expressions(question)[0].split(" OR ")


class TestExpressions:
    def test_keep_the_words_that_say_something(self):
        assert terms("How do I cancel a pipeline?") == ['"cancel"', '"pipeline"']

    def test_keep_all_words_where_none_says_more_than_another(self):
        assert terms("What is it?") == ['"what"', '"is"', '"it"']

    def test_prefer_words_that_stand_together(self):
        assert '"deploy token"' in terms("make a deploy token")
        assert '"token deploy"' not in terms("make a deploy token")

    @pytest.mark.parametrize(
        ("written", "phrase"),
        [
            (".gitlab-ci.yml", '"gitlab ci yml"'),
            ("CI_JOB_TOKEN", '"ci job token"'),
            ("rules:if", '"rules if"'),
        ],
    )
    def test_prefer_what_was_written_without_blanks(self, written, phrase):
        assert phrase in terms(f"what is {written}")

    def test_know_what_people_call_things(self):
        assert '"merge request"' in terms("close an MR")
        assert not STOP_WORDS & MEANS.keys()

    def test_look_for_beginnings_where_nothing_has_the_words(self):
        assert expressions("kubern of an mr")[1] == '"kubern"* OR "merge"* OR "request"*'

    @pytest.mark.parametrize("question", ["", "   ", "?!", "…", "\x00", "_", "()\"'*"])
    def test_are_none_without_words(self, question):
        assert expressions(question) == []

    def test_are_bounded_however_much_is_asked(self):
        question = " ".join(f"word{number}" for number in range(100_000))

        assert len(terms(question)) <= 2 * TERMS_MAX
        assert f"word{READ_MAX}" not in expressions(question)[0]

    @pytest.mark.parametrize(
        "question",
        ['" OR title:x', "a NEAR(b c)", "a AND NOT b", "^a + b*", "{title body}: a", "-x", "a''b",
         "section MATCH 'x'", "日本語 のパイプライン", "ſ İ ß ﬁ", "\u202egnp.exe", "a" * 5_000],
        ids=lambda question: question[:16],
    )  # fmt: skip
    def test_are_always_expressions_that_can_be_looked_for(self, question):
        rows = sqlite3.connect(":memory:")
        rows.execute("CREATE VIRTUAL TABLE section USING fts5 (body)")

        for expression in expressions(question):
            assert rows.execute("SELECT * FROM section WHERE section MATCH ?", (expression,))
        rows.close()
