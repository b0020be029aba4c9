"""Names that are one to a reader, and several to a file system."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from semisup.data.files import named
from semisup.errors import require


def spelled(name: str) -> str:
    """A name in Unicode's composed form (NFC): what macOS writes takes two characters for an accented letter."""
    return unicodedata.normalize("NFC", name)


def check_spelling(names: Sequence[str], where: Path) -> None:
    """Refuses classes whose names look the same.

    Args:
        names: of the classes.
        where: they are called so.

    Raises:
        InputError: two of them differ in nothing but how Unicode writes their letters.
    """
    for same in _groups(names, spelled):
        require(False, f"{where} has {named(same)}, which is one name that Unicode writes in two ways; join them")


def alikes(names: Iterable[str]) -> list[list[str]]:
    """Those that differ in capital letters, in the width of letters, or in blanks at their ends alone, together."""
    return _groups(names, lambda name: unicodedata.normalize("NFKC", name).casefold().strip())


def _groups(names: Iterable[str], key: Callable[[str], str]) -> list[list[str]]:
    """The names that have a key in common with others, together."""
    by_key: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        by_key[key(name)].append(name)
    return [group for group in by_key.values() if len(group) > 1]
