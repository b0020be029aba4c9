"""Anyone's text as each place takes it: a terminal, a shell, HTML, LaTeX, Markdown and CSV. Standard library only.

Names of classes, files and folders are the user's, and may hold anything. Every format has one function here, and what
it writes is read as exactly that text: none of it is markup, a formula or a command.
"""

from __future__ import annotations

import os
import re
import shlex
from html import escape as _html_escape
from pathlib import Path

MINUS, TIMES, DASH = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}", "\N{EN DASH}"

# What no format can hold, or what steers a terminal or the direction of the text around it: control characters but line
# breaks and tabs, lone surrogates, code points that are no characters, and the marks and overrides of direction.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u206f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000))
    + "]"
)


def printable(text: str) -> str:
    r"""The text with what can't be shown spelled out, as `\x1b` or `\u202e`. Line breaks and tabs stay."""
    return _UNPRINTABLE.sub(_spelled, text.replace("\r\n", "\n").replace("\r", "\n"))


def _spelled(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def one_line(text: str) -> str:
    """The printable text without line breaks and tabs; a single space stands for each run of white space."""
    start, end = (" " * bool(has_space) for has_space in (text[:1].isspace(), text[-1:].isspace()))
    words = " ".join(printable(text).split())
    return f"{start}{words}{end}" if words else start


# ---- shell


def shell(*words: str | Path) -> str:
    r"""A command, or a part of one, to be pasted into a shell: every word reaches the program as it is here.

    A path that would begin as an option or a home does (`-`, `~`) gets `./` before it, and what can't be printed is
    written as `$'\\012'`, which bash, zsh, ksh and the shells of POSIX 2024 read.

    Args:
        words: text, as it is; a `Path` is that of a file or a folder.
    """
    return " ".join(map(_word, words))


def nearby(path: Path) -> Path:
    """A path from the working directory on."""
    return Path(os.path.relpath(path))


def path_word(path: Path) -> str:
    """A path that no program takes for an option, and none of ours for a home."""
    return f"./{path}" if str(path)[0] in "-~" else str(path)


def _word(word: str | Path) -> str:
    text = path_word(word) if isinstance(word, Path) else word
    if all(_coded(c) == c for c in text if c not in "\\'"):
        return shlex.quote(text)
    return f"$'{''.join(map(_coded, text))}'"


def _coded(c: str) -> str:
    if c in "\\'":
        return f"\\{c}"
    if c not in "\n\t\r" and not _UNPRINTABLE.match(c):
        return c
    byte_of_a_name = "\udc80" <= c <= "\udcff"  # that is no UTF-8, as Python has it
    return "".join(
        f"\\{byte:03o}" for byte in c.encode("utf-8", "surrogateescape" if byte_of_a_name else "surrogatepass")
    )


# ---- HTML

_RIGHT_TO_LEFT = r"[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff\U00010800-\U00010fff\U0001e800-\U0001efff]"
_PHRASE = re.compile(rf"{_RIGHT_TO_LEFT}+(?: +{_RIGHT_TO_LEFT}+)*")


def html(text: str) -> str:
    """Text in an element or in a quoted attribute."""
    return _html_escape(printable(text))


def html_prose(text: str) -> str:
    """Text in an element, on one line, where words of right-to-left scripts don't reorder what stands around them."""
    return _PHRASE.sub(r"<bdi>\g<0></bdi>", html(one_line(text)))


# ---- LaTeX

_TEX = {
    **{c: f"\\{c}" for c in "{}$&#%_"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}"},
    **{"`": r"\textasciigrave{}", "\N{NO-BREAK SPACE}": "~", "\N{SOFT HYPHEN}": r"\-"},
    **{"±": r"\ensuremath{\pm}", TIMES: r"\ensuremath{\times}", MINUS: r"\ensuremath{-}", DASH: r"\textendash{}"},
}
_LIGATURES = "-,'!?"  # two of them would become one: a dash, a quotation mark
_BREAKS = "/_.,=+"  # after which a long word of code may go on in the next line
# In typewriter an apostrophe is straight, and a space as wide as any letter.
_TEX_CODE = _TEX | {"'": r"\textquotesingle{}"}
_TEX_CODE |= {c: _TEX_CODE.get(c, c) + r"\allowbreak{}" for c in _BREAKS}
_LONG = 40  # characters of a word, after each of which it may go on in the next line


def latex(text: str) -> str:
    r"""Text as LaTeX sets it letter by letter, on one line; needs `\codepoint` (semisup/report/latex.py) and T1."""
    return _tex(one_line(text), _TEX)


def latex_code(text: str) -> str:
    """The same in typewriter, which may be broken behind punctuation as well."""
    return _tex(one_line(text), _TEX_CODE)


def _tex(text: str, special: dict[str, str]) -> str:
    out, since = [], 0
    for c, after in zip(text, text[1:] + " ", strict=False):
        out.append(special.get(c) or (c if _has_letter(c) else f"\\codepoint{{{ord(c):04X}}}"))
        if c in _LIGATURES and after in _LIGATURES and not out[-1].endswith("{}"):
            out.append("{}")
        since = 0 if c.isspace() or out[-1].endswith(r"\allowbreak{}") else since + 1
        if since == _LONG and not after.isspace():
            out.append(r"\allowbreak{}")
            since = 0
    return "".join(out)


def _has_letter(c: str) -> bool:
    """Whether the standard fonts have a character: ASCII, and the letters of Western and Central Europe."""
    return " " <= c <= "~" or ("¡" <= c <= "ž" and c not in "ĦħĸĿŀŉŦŧ")


# ---- Markdown

_MARKS = re.compile(r"[\\`*_{}\[\]]")
# No backslash keeps these from being HTML, a strike-through, a formula or an address in every reader.
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "~": "&#126;", "$": "&#36;", "|": "&#124;"}


def markdown(text: str) -> str:
    """Text on one line, none of it markup."""
    escaped = _MARKS.sub(r"\\\g<0>", "".join(_ENTITIES.get(c, c) for c in one_line(text)))
    return escaped.replace("://", "&#58;//").replace("@", "&#64;").replace("www.", "www&#46;")


def markdown_code(text: str) -> str:
    """Text in typewriter."""
    text = one_line(text).strip()
    if not text:
        return ""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    pad = " " * (text.startswith("`") or text.endswith("`"))
    return f"{fence}{pad}{text}{pad}{fence}"


# ---- CSV

_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff0b\uff0d\uff1d\uff20]")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?(inf|nan)", re.ASCII)


def csv_cell(text: str) -> str:
    """A cell that no spreadsheet takes for a formula: one that would be begins with an apostrophe.

    That is a text that begins with `=`, `+`, `-`, `@`, their full-width forms, a tab or a line break, also behind
    apostrophes of its own; a number is left as it is. `csv_text` is the way back, for every text.
    """
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def csv_text(cell: str) -> str:
    """The text that a cell was made of."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
