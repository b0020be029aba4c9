"""Names in figures as they are: of any script, of any length, and none of them a formula.

matplotlib draws with one font. Where that lacks a character, the fonts that are installed are searched for one that has
it, which then stands behind the first; each character is looked for once in a process. What no font has is spelled in
ASCII, and a line says so, once.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Any

import matplotlib
from matplotlib import font_manager
from matplotlib.font_manager import FontProperties

from semisup.escape import one_line
from semisup.runtime.console import say

FONTS: dict[Any, Any] = {"font.family": ["sans-serif"]}  # every figure's; grows by the fonts that are needed
_NEVER = ("Last Resort", "cm", "STIXSize", "STIXNon")  # matplotlib's own, which hold boxes and parts of formulas
_INVISIBLE = ("Cf", "Mn", "Me")  # joiners, and marks that mean nothing without the letter below them
_LISTED = 12  # characters that the line about missing ones names
_said = False


def labels(names: Iterable[str], most: int = 24) -> list[str]:
    """How names are drawn, to be called before axes and texts are made: it may add a font to those in use.

    Args:
        names: any text.
        most: letters of which the middle is left out, where a name has more; a Chinese one counts as two.

    Returns:
        As many, different where the names are.
    """
    drawn = [one_line(name) for name in names]
    missing = {c: spelled(c) for c in dict.fromkeys("".join(drawn)) if not c.isspace() and not _is_drawn(c)}
    _say(missing)
    shown = [shortened("".join(missing.get(c, c) for c in name), most) for name in drawn]
    seen: Counter[str] = Counter()
    for place, name in enumerate(shown):
        seen[name] += 1
        if seen[name] > 1:
            shown[place] = f"{name} ({seen[name]})"
    return shown


def shortened(text: str, most: int) -> str:
    """The text, its middle left out where it takes more than `most` columns: names often differ at their end."""
    if sum(map(_columns, text)) <= most:
        return text
    start, end = "", ""
    for c in text:
        if sum(map(_columns, start + c)) > (most - 1) // 2:
            break
        start += c
    for c in reversed(text):
        if sum(map(_columns, start + c + end)) > most - 1:
            break
        end = c + end
    return f"{start}…{end}"


def _columns(c: str) -> int:
    return 2 if unicodedata.east_asian_width(c) in "WF" else 0 if unicodedata.combining(c) else 1


def spelled(c: str) -> str:
    """A character in ASCII: a letter by the last word of its Unicode name, a picture by its name, others by number.

    Marks that mean nothing without the letter before them are left out.
    """
    plain = unicodedata.normalize("NFKD", c).encode("ascii", "ignore").decode()
    if plain or unicodedata.category(c) in _INVISIBLE:
        return plain
    name = unicodedata.name(c, "")
    if any(kind in name for kind in (" LETTER ", " SYLLABLE ", " VOWEL SIGN ", " CHARACTER ")):
        return name.rpartition(" ")[2].lower()
    return f"({name.lower() if unicodedata.category(c) == 'So' and name else f'U+{ord(c):04X}'})"


@cache
def _is_drawn(c: str) -> bool:
    """Whether a font in use has a character, or one that is installed, which then is in use."""
    families = FONTS["font.family"]
    if any(_has(font_manager.findfont(FontProperties(family=[family])), c) for family in families):
        return True
    for family, path in _installed().items():
        if _has(path, c):
            FONTS["font.family"] = matplotlib.rcParams["font.family"] = [*families, family]
            return True
    return False


@cache
def _installed() -> dict[str, str]:
    """Upright fonts of usual weight: family -> file, those without serifs first."""
    entries = font_manager.fontManager.ttflist
    usual = [
        entry for entry in entries if entry.style == "normal" and entry.weight in ("normal", "regular", "book", 400)
    ]
    fonts = {entry.name: entry.fname for entry in usual if not entry.name.startswith(_NEVER)}
    return dict(sorted(fonts.items(), key=lambda font: ("Sans" not in font[0], font[0])))


def _has(path: str, c: str) -> bool:
    try:
        return font_manager.get_font(path).get_char_index(ord(c)) > 0
    except (OSError, RuntimeError, ValueError):  # a file that is gone, or that FreeType can't read
        return False


def _say(missing: dict[str, str]) -> None:
    global _said
    missing = {c: ascii_ for c, ascii_ in missing.items() if ascii_}
    if missing and not _said:
        _said = True
        some = ", ".join(f"{c} as {ascii_}" for c, ascii_ in [*missing.items()][:_LISTED])
        more = f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
        say(f"figures: no installed font has these characters, which are spelled: {some}{more}; Noto's fonts have most")
