"""Names that files and classes may have, and that formats stumble over."""

from __future__ import annotations

MARKUP = (
    "Ba$$in",
    "$a_1$",
    "50 %",
    "a#b",
    "R&D",
    "\\frac{1}{2}",
    "{}",
    "x^2",
    "~home",
    "<b>bold</b>",
    "`tick`",
    "*_*|",
)
SCRIPTS = ("猫", "قطة كبيرة", "बिल्ली", "แมว", "한국어", "חתול", "🐱", "Ω", "émile")
FORMULAS = ("=1+1", "+cmd|' /C calc'!A0", "-x", "@SUM(A1)", "\t=1", "'=1", "''@a", "\uff1d1+1")
CONTROLS = ("a\u202eb", "bell\x07", "\x1b[31mred", "two\nlines", "\u200f mark", "\u2066isolate")
LONG = ("x" * 250 + "1", "x" * 250 + "2")
NAMES = (*MARKUP, *SCRIPTS, *FORMULAS, *CONTROLS, *LONG, "_under", "-1.5", "a  b", "it's")
BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
