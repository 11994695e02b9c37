"""The renderer: what is a placeholder, what stays text, and what is refused."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prompts.errors import InvalidPrompt, MissingInput, PromptTooLarge
from prompts.renderer import MAX_PROMPT_BYTES, MAX_TEMPLATE_CHARS, check_size, compile_template

# Short enough for every run, and enough to meet each pair of hostile pieces many times.
HARD = settings(max_examples=2000, deadline=None)
HOSTILE = (
    "{{7*7}}",
    "{{ 7*7 }}",
    "{m.api_key}",
    "{0.__class__.__mro__}",
    "{{self.__init__}}",
    "{{cycler|attr('x')}}",
    "%(x)s",
    "%s%n",
    "{% debug %}",
    "{# comment #}",
    "{:>999999999}",
    "{x!r:{y}}",
    "${x}",
    "{{{{",
    "}}}}",
    "{{}}",
    "{{ }}",
    "{{#}}",
    "{{/}}",
    "{{prefix",
    "prefix}}",
    "{{ pre fix }}",
    "{{pre\nfix}}",
    "{{>partial}}",
    "{{!note}}",
    "{{&prefix}}",
    "{{=<% %>=}}",
    "\x00",
    "\u202e",
)
DECLARED = ("prefix", "suffix")

# Text without a word in double braces: none of it may mean anything.
pieces = st.sampled_from(HOSTILE) | st.text(st.sampled_from("{}#^/%$ \n7*.é<|"), max_size=8)
values = st.text(max_size=40) | st.sampled_from(
    (*HOSTILE, "{{prefix}}", "{{suffix}}", "{{#prefix}}", "{{/prefix}}", "{{unknown}}", "")
)


def render(text, **inputs):
    return compile_template(text, tuple(inputs)).render(inputs)


class TestPlaceholder:
    def test_is_replaced_by_the_value(self):
        assert render("a{{prefix}}b{{suffix}}", prefix="1", suffix="2") == "a1b2"

    def test_may_have_blanks_inside_the_braces(self):
        assert render("{{ prefix }}{{\tprefix}}", prefix="1") == "11"

    def test_takes_the_inner_braces_of_three(self):
        assert render("{{{prefix}}}", prefix="1") == "{1}"

    def test_that_is_not_declared_is_refused_with_its_name_and_line(self):
        with pytest.raises(InvalidPrompt, match=r"^Line 3: 'api_key' is not a declared input\.$"):
            compile_template("one\ntwo {{prefix}}\n{{api_key}}", DECLARED)

    def test_with_letters_beyond_ascii_is_refused_and_not_taken_as_text(self):
        with pytest.raises(InvalidPrompt, match="präfix"):
            compile_template("{{präfix}}", DECLARED)

    @HARD
    @given(st.lists(st.tuples(pieces, st.sampled_from(DECLARED)), max_size=6), values, values)
    def test_is_the_only_thing_that_changes(self, parts, prefix, suffix):
        inputs = {"prefix": prefix, "suffix": suffix}
        # A line end between the parts: two of them must not make a tag together.
        template = "".join(f"{piece}\n{{{{{name}}}}}\n" for piece, name in parts)
        expected = "".join(f"{piece}\n{inputs[name]}\n" for piece, name in parts)

        text = compile_template(template, DECLARED).render(inputs)

        assert text == expected


class TestText:
    @pytest.mark.parametrize("text", HOSTILE)
    def test_stays_as_it_is_in_a_template(self, text):
        assert render(text, prefix="p") == text

    @pytest.mark.parametrize("text", [*HOSTILE, "{{prefix}}", "{{#prefix}}x{{/prefix}}"])
    def test_stays_as_it_is_in_a_value(self, text):
        assert render("<{{prefix}}|{{suffix}}>", prefix=text, suffix="s") == f"<{text}|s>"

    @HARD
    @given(st.lists(pieces | st.sampled_from(["prefix", "{{", "}}", "#", "/", " "])).map("".join))
    def test_of_any_kind_is_rendered_or_refused(self, text):
        try:
            template = compile_template(text, DECLARED)
        except InvalidPrompt:
            return

        rendered = template.render({"prefix": "{{suffix}}", "suffix": "\ue000"})

        # Only the value of `prefix` could have led to it.
        assert "\ue000" not in rendered


class TestSection:
    def test_appears_only_with_a_value(self):
        text = "a{{#prefix}}[{{prefix}}]{{/prefix}}b"

        assert render(text, prefix="x") == "a[x]b"
        assert render(text, prefix="") == "ab"

    def test_for_empty_appears_only_without_a_value(self):
        text = "a{{^prefix}}none{{/prefix}}b"

        assert render(text, prefix="x") == "ab"
        assert render(text, prefix="") == "anoneb"

    def test_can_stand_in_another_one(self):
        text = "{{#prefix}}a{{^suffix}}b{{/suffix}}c{{/prefix}}"

        assert render(text, prefix="x", suffix="") == "abc"
        assert render(text, prefix="x", suffix="y") == "ac"
        assert render(text, prefix="", suffix="") == ""

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{{#prefix}}", r"^The section 'prefix' is not closed\.$"),
            ("\n{{/prefix}}", r"^Line 2: 'prefix' closes a section that is not the one open"),
            ("{{#prefix}}{{#suffix}}{{/prefix}}{{/suffix}}", "'prefix' closes a section"),
            ("{{#other}}{{/other}}", "'other' is not a declared input"),
            ("{{#prefix}}" * 9 + "{{/prefix}}" * 9, "'prefix' is inside more than 8 sections"),
        ],
    )
    def test_that_is_malformed_is_refused(self, text, message):
        with pytest.raises(InvalidPrompt, match=message):
            compile_template(text, DECLARED)


class TestRender:
    def test_refuses_a_missing_input_by_name(self):
        template = compile_template("{{prefix}}{{suffix}}", DECLARED)

        with pytest.raises(MissingInput) as refused:
            template.render({"prefix": "x", "more": "y"})

        assert refused.value.names == ("suffix",)
        assert refused.value.declared == DECLARED
        assert refused.value.given == ("prefix", "more")

    def test_refuses_a_missing_input_that_the_template_does_not_show(self):
        with pytest.raises(MissingInput, match="'suffix'"):
            compile_template("{{prefix}}", DECLARED).render({"prefix": "x"})

    def test_never_shows_an_input_that_is_not_declared(self):
        template = compile_template("{{prefix}}", ("prefix",))

        assert template.render({"prefix": "x", "secret": "y"}) == "x"

    def test_refuses_what_is_too_large_and_takes_what_just_fits(self):
        template = compile_template("{{prefix}}!", ("prefix",))

        assert len(template.render({"prefix": "x" * (MAX_PROMPT_BYTES - 1)})) == MAX_PROMPT_BYTES
        with pytest.raises(PromptTooLarge):
            template.render({"prefix": "x" * MAX_PROMPT_BYTES})

    def test_counts_bytes_and_not_characters(self):
        with pytest.raises(PromptTooLarge):
            render("{{prefix}}", prefix="é" * (MAX_PROMPT_BYTES // 2 + 1))

    def test_survives_half_a_character(self):
        half = "\ud800" * (MAX_PROMPT_BYTES // 2)

        assert render("{{prefix}}", prefix=half) == half

    def test_takes_less_than_50_ms_whatever_the_template(self):
        tags = compile_template("{{p}}" * (MAX_TEMPLATE_CHARS // 5), ("p",))
        bomb = {"p": "é" * 10_000}

        started = time.perf_counter()
        with pytest.raises(PromptTooLarge):
            tags.render(bomb)
        tags.render({"p": "12345"})
        elapsed_ms = 1000 * (time.perf_counter() - started)

        assert elapsed_ms < 50


class TestCompile:
    def test_refuses_a_template_that_is_too_long(self):
        with pytest.raises(InvalidPrompt, match="over 262,144 characters"):
            compile_template("x" * (MAX_TEMPLATE_CHARS + 1), ())

    @pytest.mark.parametrize(
        "unit", ["{", "{{", "{{ ", "{{a", "{{a ", "{{#", "{{a}", "}}", "{{\t\t", "{{_"]
    )
    def test_takes_linear_time_on_text_made_to_backtrack(self, unit):
        text = (unit * MAX_TEMPLATE_CHARS)[:MAX_TEMPLATE_CHARS]

        started = time.perf_counter()
        compile_template(text, ())

        # Quadratic would be minutes.
        assert time.perf_counter() - started < 1


class TestCheckSize:
    def test_adds_the_texts_up(self):
        half = "x" * (MAX_PROMPT_BYTES // 2)

        check_size(half, half)
        with pytest.raises(PromptTooLarge):
            check_size(half, half, "x")
