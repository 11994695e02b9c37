"""Cutting a page of GitLab's documentation into sections, one for each heading.

What GitLab's pages hold beside Markdown is taken out where it is no code: front matter, comments,
shortcodes (`{{< details >}}`), attributes (`{: .note}`), tiers in headings, and where links inside
the documentation lead. Anchors are those of GitLab's own help pages.
Source: GitLab's documentation style guide; pages of GitLab 16 to 19.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

# Four of them, the usual page of results, fit into the 8,000 tokens of an answer.
SECTION_MAX = 5_000

FENCE = re.compile(r"\s*(`{3,}|~{3,})(.*)")
HEADING = re.compile(r"(#{1,6})\s+(.*?)\s*#*\s*")
FRONT_MATTER = re.compile(r"\A---\s*\n(.*?\n)?---\s*(?:\n|\Z)", re.DOTALL)
FACT = re.compile(r"([a-z_]+):\s*(.*?)\s*")
TABLE_RULE = re.compile(r"\s*\|?[\s:|-]*-[\s:|-]*")

COMMENT = re.compile(r"<!--.*?-->")
TAB = re.compile(r"\{\{<\s*tab\s+title=\"([^\"]*)\"\s*>\}\}")
SHORTCODE = re.compile(r"\{\{[<%].*?[%>]\}\}")
ATTRIBUTES = re.compile(r"\s*\{:[^}]*\}\s*")
LINK_INSIDE = re.compile(r"!?\[([^\]]*)\]\((?!https?:)[^)]*\)")
LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
TIER = re.compile(r"\s*\*\*\([^)]*\)\*\*")
CUSTOM_ANCHOR = re.compile(r"\s*\{#([\w-]+)\}\s*")
NO_ANCHOR = re.compile(r"[^\w\- ]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """What stands under one heading of a page, up to the next; a long text comes in parts.

    `headings` lead from below the page's title to the section's own, which is the last.
    """

    title: str
    headings: tuple[str, ...]
    anchor: str
    part: int
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Line:
    """A line of a page; `block` is the number of the code block it belongs to, 0 for none."""

    text: str
    block: int


def cut(page: str, *, name: str) -> list[Section]:
    """Return the sections of a page that hold text; none of a page that only leads to another.

    `name` is the title of a page that has none.
    """
    front, body = _front_matter(page)
    if "redirect_to" in front:
        return []
    title = front.get("title", "")
    # The headings that lead to where we are, each with its level.
    path: list[tuple[int, str]] = []
    anchor = ""
    anchors: Counter[str] = Counter()
    found: list[tuple[tuple[str, ...], str, list[_Line]]] = [((), "", [])]
    for line in _lines(body):
        heading = None if line.block else HEADING.fullmatch(line.text)
        if heading is None:
            found[-1][2].append(line)
            continue
        level, text, anchor = len(heading[1]), *_heading(heading[2])
        if level == 1 and not title:
            title = text
            continue
        anchors[anchor] += 1
        if anchors[anchor] > 1:
            anchor = f"{anchor}-{anchors[anchor] - 1}"
        path = [step for step in path if step[0] < level] + [(level, text)]
        found.append((tuple(step[1] for step in path), anchor, []))
    return [
        Section(title=title or name, headings=headings, anchor=anchor, part=part, text=text)
        for headings, anchor, lines in found
        for part, text in enumerate(_parts(lines))
    ]


def _front_matter(page: str) -> tuple[dict[str, str], str]:
    """Return the facts at the head of a page, and the page without them."""
    page = page.removeprefix("\ufeff").replace("\r\n", "\n")
    head = FRONT_MATTER.match(page)
    if head is None:
        return {}, page
    facts = map(FACT.fullmatch, (head[1] or "").splitlines())
    return {fact[1]: fact[2].strip("'\"") for fact in facts if fact}, page[head.end() :]


def _lines(body: str) -> Iterator[_Line]:
    """Yield the lines; those outside of code without what is not for readers."""
    fence, block, is_comment = "", 0, False
    for text in body.split("\n"):
        mark = FENCE.fullmatch(text)
        if fence:
            yield _Line(text=text, block=block)
            if mark and mark[1].startswith(fence) and not mark[2].strip():
                fence = ""
        elif is_comment:
            is_comment = "-->" not in text
        elif mark and not (mark[1][0] == "`" and "`" in mark[2]):
            fence, block = mark[1], block + 1
            yield _Line(text=text, block=block)
        elif text.startswith("<!--") and "-->" not in text:
            is_comment = True
        elif not ATTRIBUTES.fullmatch(text):
            yield _Line(text=_plain(text), block=0)


def _plain(text: str) -> str:
    text = SHORTCODE.sub("", TAB.sub(r"**\1**", COMMENT.sub("", text)))
    return LINK_INSIDE.sub(r"\1", text).rstrip()


def _heading(text: str) -> tuple[str, str]:
    """Return a heading as it is read, and its anchor."""
    custom = CUSTOM_ANCHOR.search(text)
    shown = LINK.sub(r"\1", TIER.sub("", CUSTOM_ANCHOR.sub("", text))).replace("`", "").strip()
    return shown, custom[1] if custom else NO_ANCHOR.sub("", shown.lower()).replace(" ", "-")


# Long texts


def _parts(lines: list[_Line]) -> Iterator[str]:
    """Yield the text in parts of bounded length, cut between blocks as far as that goes."""
    part = ""
    for block in chain.from_iterable(map(_bounded, _blocks(lines))):
        if part and len(part) + len(block) > SECTION_MAX:
            yield part
            part = ""
        part = f"{part}\n\n{block}" if part else block
    if part:
        yield part


def _blocks(lines: list[_Line]) -> Iterator[list[str]]:
    """Yield the paragraphs, tables and code blocks."""
    block: list[str] = []
    number = 0
    for line in lines:
        if block and (line.block != number or (not line.block and not line.text)):
            yield block
            block = []
        number = line.block
        if line.block or line.text:
            block.append(line.text)
    if block:
        yield block


def _bounded(block: list[str]) -> Iterable[str]:
    """Return a block, in pieces where it is too long: each is code, or a table, of its own."""
    whole = "\n".join(block)
    if len(whole) <= SECTION_MAX:
        return [whole]
    head, lines, tail = _frame(block)
    room = max(SECTION_MAX - sum(map(len, head)) - sum(map(len, tail)) - 2, SECTION_MAX // 2)
    return ["\n".join([*head, piece, *tail]) for piece in _pieces(lines, room)]


def _frame(block: list[str]) -> tuple[list[str], list[str], list[str]]:
    """Return what each piece of a block begins with, what is to be cut, what each ends with."""
    if fence := FENCE.fullmatch(block[0]):
        last = FENCE.fullmatch(block[-1])
        is_closed = len(block) > 1 and last is not None and last[1].startswith(fence[1])
        return block[:1], block[1:-1] if is_closed else block[1:], [fence[1]]
    if len(block) > 2 and TABLE_RULE.fullmatch(block[1]):
        return block[:2], block[2:], []
    return [], block, []


def _pieces(lines: list[str], room: int) -> Iterator[str]:
    """Yield as many lines at a time as have room; a longer line is cut where the room ends."""
    piece = ""
    for line in lines:
        if piece and len(piece) + len(line) >= room:
            yield piece
            piece = ""
        piece = f"{piece}\n{line}" if piece else line
        while len(piece) > room:
            yield piece[:room]
            piece = piece[room:]
    if piece:
        yield piece
