"""How files are damaged, and values that no reader expects."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=40).filter(
    lambda name: not name.startswith(".")
)
HUGE = (2**31, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**30, 1e308, -1e308, 5e-324)
NUMBERS: SearchStrategy[Any] = st.one_of(
    st.sampled_from((0, 1, -1, -3, 7, 0.5, *HUGE)), st.integers(), st.floats(), st.integers(-5, 300)
)
VALUES: SearchStrategy[Any] = st.one_of(
    NUMBERS,
    st.none(),
    st.booleans(),
    TEXT,
    st.sampled_from(([], {}, [[]], ["x"], {"x": 1}, {"": None}, [None], "1e3", "null", "***", "../..", "\ud800")),
)


@st.composite
def damaged(draw: DrawFn, content: bytes) -> bytes:
    """The content with some bytes changed, left out, put in or repeated; or something else altogether."""
    size = len(content)
    where = draw(st.integers(0, size))
    match draw(st.sampled_from(("flip", "flip", "flip", "cut", "cut", "insert", "remove", "repeat", "other", "zeros"))):
        case "flip":
            changed = bytearray(content)
            # Headers are small, and most decisions are made of them.
            places = st.one_of(st.integers(0, max(0, min(size, 64) - 1)), st.integers(0, max(0, size - 1)))
            for place in draw(st.lists(places, min_size=1, max_size=6)) if size else ():
                changed[place] = draw(st.integers(0, 255))
            return bytes(changed)
        case "cut":
            return content[:where]
        case "insert":
            return content[:where] + draw(st.binary(min_size=1, max_size=40)) + content[where:]
        case "remove":
            return content[:where] + content[where + draw(st.integers(1, 64)) :]
        case "repeat":
            return content + content[where:]
        case "zeros":
            return bytes(min(size, draw(st.integers(0, 5000))))
    return draw(st.binary(max_size=200))


@st.composite
def some_damaged(draw: DrawFn, files: Mapping[str, bytes], *, missing: bool = True) -> tuple[dict[str, bytes], bool]:
    """One or two of the files damaged or, where that is meant, missing; and whether they are still what they were."""
    found = dict(files)
    for name in draw(st.lists(st.sampled_from(sorted(files)), max_size=2, unique=True)):
        if missing and draw(st.integers(0, 9)) == 0:
            del found[name]
        else:
            found[name] = draw(damaged(files[name]))
    return found, found == dict(files)


@st.composite
def distorted(draw: DrawFn, tree: Any, values: SearchStrategy[Any] = VALUES) -> Any:
    """A tree of mappings and lists with one to three of its values replaced, left out, or a key put in."""
    tree = copy.deepcopy(tree)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(tree))
        holder, key = places[draw(st.integers(0, len(places) - 1))] if places else (tree, None)
        match draw(st.sampled_from(("replace", "replace", "replace", "remove", "add"))):
            case "replace" if key is not None:
                holder[key] = draw(values)
            case "remove" if key is not None:
                del holder[key]
            case "add" if isinstance(holder, dict):
                holder[draw(TEXT)] = draw(values)
    return tree


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(tree, dict | list):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield tree, key
            yield from _places(value)
