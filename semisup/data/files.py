"""The files in folders: links are followed, and nothing is left out in silence."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from semisup.errors import InputError

_NAMED = 10  # files that are called by name


def listing(top: Path) -> tuple[list[Path], list[Path]]:
    """The folders and the files in a folder, sorted and without the hidden ones; none where it isn't there.

    Raises:
        InputError: it can't be listed.
    """
    folders, files = _listed(str(top))
    return [top / name for name in folders], [top / name for name in files]


def _listed(top: str) -> tuple[list[str], list[str]]:
    """`listing` by name alone: of a hundred thousand files, paths would take a second."""
    _, *content = next(os.walk(top, onerror=_fail), ("", [], []))
    folders, files = (sorted(name for name in names if not name.startswith(".")) for names in content)
    return folders, files


def _fail(error: OSError) -> None:
    """A folder that can't be listed would else pass for an empty one."""
    if not isinstance(error, FileNotFoundError):
        raise InputError(f"can't list {error.filename} ({error.strerror}); make it readable, or remove it") from error


def files(root: Path, tops: Sequence[str]) -> tuple[list[list[str]], list[str]]:
    """The files below folders, at any depth and behind links, each folder's once.

    Args:
        root: the folder that all are in.
        tops: (n,) the folders, relative to it. What one of them holds is not also that of another one that it lies in.

    Returns:
        (n,) files in a fixed order, those of a folder before those of folders below it, and what is behind links last;
        and the folders that were left out, because their files were found in another place already. A link that leads
        back to where it lies is one of them. All are relative to root.
    """
    by_top: list[list[str]] = [[] for _ in tops]
    left_out: list[str] = []
    seen: set[str] = set()
    real_root = os.path.realpath(root)

    def is_linked(folder: str) -> bool:
        return os.path.realpath(root / folder) != os.path.normpath(os.path.join(real_root, folder))

    # First what lies below each folder itself, the inner ones before those that they lie in: a link from elsewhere must
    # not take it away.
    starts = [(number, top, is_linked(top)) for number, top in enumerate(tops)]
    starts.sort(key=lambda start: (start[2], -len(Path(start[1]).parts)))
    while starts:
        number, start, linked = starts.pop(0)
        below = [start]
        while below:
            folder = below.pop()
            path = os.path.join(root, folder)
            real = os.path.realpath(path)
            if real in seen:
                left_out += [folder] if linked else []
                continue
            seen.add(real)
            folders, its = _listed(path)
            by_top[number] += [f"{folder}/{name}" for name in its]
            links = [name for name in folders if os.path.islink(f"{path}/{name}")]
            below += [f"{folder}/{name}" for name in reversed(folders) if name not in links]
            starts += [(number, f"{folder}/{name}", True) for name in links]
    return by_top, left_out


def named(names: Sequence[str], most: int = _NAMED) -> str:
    """The first few names."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(printable, names[:most])) + more


def printable(name: str) -> str:
    """A file's name with what is not Unicode, or controls a terminal, as an escape: it can be printed and saved."""
    name = name.encode("utf-8", "backslashreplace").decode()
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda match: f"\\x{ord(match[0]):02x}", name)
