"""Text that must stay text: what attackers put into prompts, answers, names and headers."""

from __future__ import annotations

SCRIPTS = (
    "<script>alert(1)</script>",
    "<ScRiPt src=//evil.example/x.js></sCrIpT>",
    "<img src=x onerror=alert(1)>",
    "<img src='http://evil.example/pixel.gif'>",
    "<svg/onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<body onload=alert(1)>",
    "<iframe src=javascript:alert(1)></iframe>",
    "<iframe srcdoc='<script>parent.alert(1)</script>'></iframe>",
    "<a href=javascript:alert(1)>click</a>",
    "<details open ontoggle=alert(1)>",
    "<input autofocus onfocus=alert(1)>",
    "<video><source onerror=alert(1)></video>",
    "<math><mtext></table><img src=x onerror=alert(1)>",
    "<form action=http://evil.example><button>go</button></form>",
    "<meta http-equiv=refresh content='0;url=http://evil.example'>",
    "<base href=http://evil.example/>",
    "<link rel=stylesheet href=http://evil.example/x.css>",
    "<style>@import 'http://evil.example/x.css';</style>",
    "<object data=http://evil.example/x.swf></object>",
    "</pre><script>alert(1)</script><pre>",
    "</iframe><script>alert(1)</script>",
    "</title></style></textarea><script>alert(1)</script>",
    '"><script>alert(1)</script>',
    "' onmouseover='alert(1)",
    '" autofocus onfocus="alert(1)" x="',
    "<!--><script>alert(1)</script>-->",
    "<![CDATA[<script>alert(1)</script>]]>",
    "{{constructor.constructor('alert(1)')()}}",
    "{% load static %}{{ settings.SECRET_KEY }}",
    '<div x-data x-init="alert(1)" x-html="\'<b>\'"></div>',
    "<div hx-get=http://evil.example hx-trigger=load></div>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "[click](javascript:alert(1)) ![x](http://evil.example/x.png)",
)

# Hidden text and how it is spelled out.
HIDDEN = {
    "nul\x00nul": "nul⟦NUL⟧nul",
    "\x1b[31mred\x1b[0m": "⟦ESC⟧[31mred⟦ESC⟧[0m",
    "\x1b]8;;http://evil.example\x07link": "⟦ESC⟧]8;;http://evil.example⟦BEL⟧link",
    "bell\x07 back\x08 del\x7f csi\x9b": "bell⟦BEL⟧ back⟦BS⟧ del⟦U+007F⟧ csi⟦U+009B⟧",
    "user\u202e nimda\u202c": "user⟦U+202E⟧ nimda⟦U+202C⟧",
    "\u2066isolate\u2069 \u200emark": "⟦U+2066⟧isolate⟦U+2069⟧ ⟦U+200E⟧mark",
    "zero\u200bwidth\ufeff\u2060": "zero⟦U+200B⟧width⟦U+FEFF⟧⟦U+2060⟧",
    "tags\U000e0068\U000e0069": "tags⟦U+E0068⟧⟦U+E0069⟧",
    "line\u2028separator\rreturn": "line⟦U+2028⟧separator⟦CR⟧return",
}
