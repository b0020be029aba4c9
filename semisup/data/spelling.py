"""Names that are one to a reader, and several to a file system."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from semisup.data.files import named
from semisup.errors import require
from semisup.runtime.console import say


def spelled(name: str) -> str:
    """A name in Unicode's composed form (NFC): what macOS writes takes two characters for an accented letter."""
    return unicodedata.normalize("NFC", name)


def check_spelling(names: Sequence[str], where: object) -> None:
    """Refuses names of classes that look the same, or that no file can hold.

    Args:
        names: of the classes.
        where: what calls them so.

    Raises:
        InputError: two of them differ in nothing but how Unicode writes their letters, or one is no Unicode.
    """
    odd = next((name for name in names if name != name.encode("utf-8", "replace").decode()), None)
    require(odd is None, f"{where} has the class {odd!r}, which is no Unicode and can't be saved; give it another name")
    for same in _groups(names, spelled):
        require(False, f"{where} has {named(same)}, which is one name that Unicode writes in two ways; join them")


def tell_alikes(names: Iterable[str]) -> None:
    """Says which classes differ in capital letters, in the width of letters, or in blanks at their ends alone."""
    for alike in _groups(names, lambda name: unicodedata.normalize("NFKC", name).casefold().strip()):
        say(f"data: warning: {named(alike)} are {len(alike)} classes; join them if they are meant to be one")


def _groups(names: Iterable[str], key: Callable[[str], str]) -> list[list[str]]:
    """The names that have a key in common with others, together."""
    by_key: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        by_key[key(name)].append(name)
    return [group for group in by_key.values() if len(group) > 1]
