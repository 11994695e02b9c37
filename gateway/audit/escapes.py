"""Text that users and models wrote, made safe to look at: what a screen hides is spelled out.

HTML is inert because templates escape it; that is not enough. A bidi override shows code in another
order than a compiler reads it, tag characters carry whole sentences that nobody sees, and a copied
control character drives a terminal. All of these become visible: `⟦ESC⟧`, `⟦U+202E⟧`.
Source: Unicode 15, categories Cc, Cf, Cs, Zl and Zp, and what else is ignored in display.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

# Tab and line feed are ordinary; variation selectors up to U+FE0F are part of emoji.
HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2"
    "\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ud800-\udfff\ufeff\uffa0\ufff0-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# Not the pictures of U+2400 and after: hardly any font draws them.
CONTROLS = (
    *("NUL", "SOH", "STX", "ETX", "EOT", "ENQ", "ACK", "BEL", "BS", "HT", "LF", "VT", "FF", "CR"),
    *("SO", "SI", "DLE", "DC1", "DC2", "DC3", "DC4", "NAK", "SYN", "ETB", "CAN", "EM", "SUB"),
    *("ESC", "FS", "GS", "RS", "US"),
)


def visible(text: str) -> str:
    """Return the text with every hidden character spelled out."""
    return HIDDEN.sub(lambda found: _spelled(found[0]), text)


def visible_html(text: str) -> SafeString:
    """Return the text as HTML, escaped, with every hidden character spelled out and marked.

    The mark tells a hidden character from the same spelling typed by a person.
    """
    pieces: list[tuple[str, SafeString]] = []
    start = 0
    for found in HIDDEN.finditer(text):
        pieces.append((text[start : found.start()], _mark(found[0])))
        start = found.end()
    pieces.append((text[start:], SafeString()))
    return format_html_join("", "{}{}", pieces)


@lru_cache(maxsize=1024)
def _mark(character: str) -> SafeString:
    name = unicodedata.name(character, f"U+{ord(character):04X}")
    return format_html('<mark title="{}">{}</mark>', name, _spelled(character))


def _spelled(character: str) -> str:
    number = ord(character)
    return f"⟦{CONTROLS[number] if number < len(CONTROLS) else f'U+{number:04X}'}⟧"
