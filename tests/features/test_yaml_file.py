"""Tests for features/yaml_file.py."""

import pytest

from features import yaml_file
from features.yaml_file import BadFile


def value(text):
    return yaml_file.read(f"key: {text}").mapping()["key"]


class TestRead:
    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "line 1: the file is empty"),
            ("a: [1", "this is not YAML"),
            ("a: \x00", "this is not YAML"),
            ("a: &x 1\nb: *x", "aliases"),
            ("a: 1\n\tb: 2", "line 2: this is not YAML"),
            ("[" * 100_000, "nested too deeply"),
            ("a: 1\n---\nb: 2", "not YAML"),
        ],
    )
    def test_names_what_is_no_yaml(self, text, reason):
        with pytest.raises(BadFile, match=reason):
            yaml_file.read(text)

    def test_refuses_a_bomb_at_once(self):
        bomb = "a: &a [1,1]\n" + "".join(
            f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)},*{chr(97 + n)}]\n" for n in range(20)
        )

        with pytest.raises(BadFile, match="aliases"):
            yaml_file.read(bomb)

    def test_refuses_what_is_too_large(self, monkeypatch):
        monkeypatch.setattr(yaml_file, "MAX_BYTES", 10)

        with pytest.raises(BadFile, match="larger"):
            yaml_file.read("a: " + "x" * 10)


class TestEntry:
    def test_knows_its_line(self):
        root = yaml_file.read("a: 1\n\nb:\n  - x\n  - y").mapping()

        assert root["a"].line == 1
        assert [entry.line for entry in root["b"].sequence("x")] == [4, 5]

    @pytest.mark.parametrize("text", ["1", "abc", "'true'", '"x y"'])
    def test_reads_a_text(self, text):
        assert value(text).text() == text.strip("'\"")

    @pytest.mark.parametrize("text", ["true", "null", "", "1.5", "[a]", "{a: b}", '"a\\x07"'])
    def test_takes_nothing_else_for_a_text(self, text):
        with pytest.raises(BadFile, match="line 1: key"):
            value(text).text()

    @pytest.mark.parametrize("text", ["0", "-1", "1.5", "seven", "9" * 30, "[1]", "true"])
    def test_takes_nothing_but_a_whole_number_for_one(self, text):
        with pytest.raises(BadFile, match="line 1: key must be"):
            value(text).number()

    def test_reads_numbers_amounts_and_flags(self):
        assert (value("7").number(), value("null").number()) == (7, None)
        assert (value("0.5").amount(), value("3").amount(), value("~").amount()) == (0.5, 3.0, None)
        assert (value("true").flag(), value("false").flag()) == (True, False)

    @pytest.mark.parametrize("text", ["yes", "1", "[true]"])
    def test_takes_nothing_but_true_and_false_for_a_flag(self, text):
        with pytest.raises(BadFile):
            value(text).flag()

    @pytest.mark.parametrize("text", ["0", "-1", "fast", ".nan", ".inf", "true"])
    def test_takes_nothing_but_an_amount_for_one(self, text):
        with pytest.raises(BadFile):
            value(text).amount()

    def test_lists_what_it_knows(self):
        with pytest.raises(BadFile, match="'c' is not known; known are: a, b"):
            value("c").choice("ab", "ab")

    def test_lets_a_key_stand_once(self):
        with pytest.raises(BadFile, match="line 2: 'a' stands here a second time"):
            yaml_file.read("a: 1\na: 2").mapping()
