"""Promises of gateway/documentation/sections.py: each section stands alone and leads back."""

import pytest

from gateway.documentation import sections
from gateway.documentation.sections import SECTION_MAX


def cut(*lines, name="page"):
    return sections.cut("\n".join(lines), name=name)


def texts(*lines):
    return [section.text for section in cut(*lines)]


class TestCut:
    def test_makes_a_section_of_what_stands_under_each_heading(self):
        found = cut("# Runners", "One.", "", "## Register", "Two.", "## Remove", "Three.")

        assert [(s.title, s.headings, s.anchor, s.text) for s in found] == [
            ("Runners", (), "", "One."),
            ("Runners", ("Register",), "register", "Two."),
            ("Runners", ("Remove",), "remove", "Three."),
        ]

    def test_names_all_headings_that_lead_to_a_section(self):
        found = cut("# T", "## A", "a", "#### Deep", "b", "### C", "c", "## D", "d")

        assert [s.headings for s in found] == [("A",), ("A", "Deep"), ("A", "C"), ("D",)]

    def test_leaves_out_a_heading_without_text_of_its_own(self):
        assert [s.headings for s in cut("# T", "## A", "", "### B", "text")] == [("A", "B")]

    @pytest.mark.parametrize(
        ("lines", "title"),
        [
            (("---", "stage: Plan", "title: 'Boards: how to'", "---", "x"), "Boards: how to"),
            (("---", 'title: "Boards"', "---", "", "# Other", "x"), "Boards"),
            (("# From the heading", "x"), "From the heading"),
            (("x",), "page"),
            (("---", "---", "x"), "page"),
        ],
    )
    def test_takes_the_title_from_where_it_stands(self, lines, title):
        assert cut(*lines)[0].title == title

    def test_takes_no_page_that_only_leads_to_another(self):
        assert cut("---", "redirect_to: 'new.md'", "---", "", "It was moved.") == []

    @pytest.mark.parametrize("page", ["", "\n\n", "# Only a title", "---\ntitle: x\n---\n"])
    def test_makes_nothing_of_a_page_without_text(self, page):
        assert sections.cut(page, name="page") == []

    @pytest.mark.parametrize("page", ["---\ntitle: open", "```\nnever closed", "<!-- never closed"])
    def test_survives_what_is_never_closed(self, page):
        assert all(section.text for section in sections.cut(page, name="page"))

    def test_reads_pages_that_were_written_on_windows(self):
        found = sections.cut("\ufeff---\r\ntitle: T\r\n---\r\n\r\n## A\r\n\r\nx\r\n", name="page")

        assert [(s.title, s.anchor, s.text) for s in found] == [("T", "a", "x")]


class TestAnchor:
    @pytest.mark.parametrize(
        ("heading", "shown", "anchor"),
        [
            ("Merge when it's green", "Merge when it's green", "merge-when-its-green"),
            ("Use `CI_JOB_TOKEN`", "Use CI_JOB_TOKEN", "use-ci_job_token"),
            ("CI/CD variables", "CI/CD variables", "cicd-variables"),
            ("Kept **(PREMIUM ALL)**", "Kept", "kept"),
            ("Over there {#here}", "Over there", "here"),
            ("[Linked](other.md) text ##", "Linked text", "linked-text"),
            ("Zugänge", "Zugänge", "zugänge"),
        ],
    )
    def test_is_that_of_gitlabs_help_pages(self, heading, shown, anchor):
        (found,) = cut("# T", f"## {heading}", "text")

        assert (found.headings, found.anchor) == ((shown,), anchor)

    def test_counts_headings_that_are_equal(self):
        found = cut("# T", "## Add", "a", "## Add", "b", "## Add", "c")

        assert [section.anchor for section in found] == ["add", "add-1", "add-2"]


class TestText:
    @pytest.mark.parametrize(
        ("line", "text"),
        [
            ("See [how](../x.md#y) and ![a picture](img/z.png).", "See how and a picture."),
            ("See [outside](https://example.com/a).", "See [outside](https://example.com/a)."),
            ('{{< alert type="note" >}}Mind.{{< /alert >}}', "Mind."),
            ('{{< tab title="Docker" >}}', "**Docker**"),
            ("before <!-- for writers --> after", "before  after"),
            ("Mind. {{% percent %}}", "Mind."),
        ],
    )
    def test_holds_what_is_for_readers(self, line, text):
        assert texts(line) == [text]

    def test_leaves_out_comments_and_attributes_that_fill_lines(self):
        assert texts("one", "<!-- a", "## no heading", "b -->", "{: .note}", "two") == ["one\ntwo"]

    @pytest.mark.parametrize("fence", ["```", "~~~", "````yaml", "  ```yaml"])
    def test_keeps_code_as_it_is(self, fence):
        code = ["# a comment", "", "[a](b) {{< c >}} <!-- d -->", "{: .e}"]
        end = fence.replace("yaml", "")

        (text,) = texts("# T", fence, *code, end)

        assert text == "\n".join([fence, *code, end])

    def test_ends_code_only_where_it_ends(self):
        found = cut("# T", "````markdown", "```", "## inside", "```", "````", "## Outside", "x")

        assert [section.headings for section in found] == [(), ("Outside",)]


class TestLongText:
    def test_is_cut_between_paragraphs(self):
        paragraphs = [f"{number} " + "word " * 200 for number in range(20)]

        found = cut("# T", "## A", *"\n\n".join(paragraphs).split("\n"))

        assert len(found) > 3
        assert [section.part for section in found] == list(range(len(found)))
        assert {section.anchor for section in found} == {"a"}
        assert all(len(section.text) <= SECTION_MAX for section in found)
        joined = "\n\n".join(section.text for section in found)
        assert joined == "\n\n".join(paragraph.rstrip() for paragraph in paragraphs)

    def test_stays_code_in_every_part(self):
        lines = [f"line {number} " + "x" * 60 for number in range(300)]

        found = texts("# T", "```ruby", *lines, "```")

        assert len(found) > 3
        assert all(text.startswith("```ruby\nline") and text.endswith("\n```") for text in found)
        assert [line for text in found for line in text.split("\n")[1:-1]] == lines

    def test_stays_a_table_in_every_part(self):
        rows = [f"| {number} | {'x' * 60} |" for number in range(300)]

        found = texts("# T", "| a | b |", "|---|---|", *rows)

        assert len(found) > 3
        assert all(text.startswith("| a | b |\n|---|---|\n| ") for text in found)
        assert all(len(text) <= SECTION_MAX for text in found)

    def test_is_cut_within_a_line_that_never_ends(self):
        found = texts("# T", "y" * (3 * SECTION_MAX))

        assert all(len(text) <= SECTION_MAX for text in found)
        assert "".join(found) == "y" * (3 * SECTION_MAX)
