"""Where equal pictures are kept, how such a store is told from others, and what its index says of each picture.

A picture is known by its name, size and time of change; how it was made equal is in the name of the store. Free of
torch: `semisup data clean` lists and removes what is here.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import astuple, dataclass
from operator import le
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np

from semisup.data.cache import Cache, user_cache
from semisup.data.deep import Range
from semisup.data.picture import READER, How, Reading, heif_version
from semisup.data.store import Store, about

State = tuple[int, int]  # of a file: its size in bytes, and when it was changed, in nanoseconds
_FOLDER = ".semisup-cache"  # in the root, or in the user's cache folder under a hash of the root
_NUMBERS = (int, float)
_KINDS = {  # of what a record holds, in JSON
    (str, state, list, str, str, str, list, made, bool, bool) for state in (list, NoneType) for made in (list, NoneType)
}


@dataclass(frozen=True)
class Record:
    """What is known of a file, as the index of a store keeps it: the fields of `Reading`, and what they hold for.

    Attributes:
        name: its path below the root.
        state: its size in bytes and time of change in nanoseconds.
        limits: the most megapixels and megabytes of metadata that were allowed.
        decoder: the version of pillow-heif where the picture depends on it; empty where Pillow itself reads it.
        reason: why it can't be read; empty where it can.
        kind: of the values of a picture of more than 8 bits; empty for others.
        measured: the least and the largest of them.
        range: what became black and what white; None for other pictures, and where it has no row yet.
        several: whether it has more pages or frames.
        flat: whether nothing is to be seen in it.
    """

    name: str
    state: State | None
    limits: tuple[float, float]
    decoder: str = ""
    reason: str = ""
    kind: str = ""
    measured: Range = (0.0, 0.0)
    range: Range | None = None
    several: bool = False
    flat: bool = False

    @classmethod
    def load(cls, value: Any) -> Record | None:
        """From JSON, which knows no tuples; None of what `json` doesn't write."""
        if not isinstance(value, list) or tuple(map(type, value)) not in _KINDS:
            return None
        its: list[Any] = [tuple(field) if isinstance(field, list) else field for field in value]
        pairs = [field for field in its if isinstance(field, tuple)]
        right = all(len(pair) == 2 and type(pair[0]) in _NUMBERS and type(pair[1]) in _NUMBERS for pair in pairs)
        return cls(*its) if right else None

    def holds(self, state: State | None, how: How) -> bool:
        """Whether reading the file now would come to the same."""
        same = self.limits == _limits(how) if self.reason else all(map(le, self.limits, _limits(how)))
        return same and self.state == state and (not self.decoder or self.decoder == _decoder())

    @classmethod
    def of(cls, name: str, state: State | None, its: Reading, how: How, made: Range | None) -> Record:
        """What came of reading a file, with `made` as the range of its values."""
        return cls(
            name,
            state,
            _limits(how),
            _decoder() if its.reason or its.heif else "",
            its.reason,
            its.kind,
            (its.low, its.high),
            None if its.pixels is None else made,
            its.several,
            its.flat,
        )

    def json(self) -> list[Any]:
        """What `load` takes."""
        return list(astuple(self))


def _limits(how: How) -> tuple[float, float]:
    return how.max_megapixels, how.max_metadata_mb


def _decoder() -> str:
    return heif_version() or "none"


def folders(root: Path) -> tuple[Path, Path]:
    """Where a store may be, the better place first."""
    return root / _FOLDER, user_cache() / hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]


def store(folder: Path, root: Path, how: How) -> Store:
    """The store for pictures that are made equal in this way."""
    options = {"background": "#{:02x}{:02x}{:02x}".format(*how.background), "black": how.black, "white": how.white}
    told = {"reader": READER, **options}
    name = f"{how.size}x{how.size}x{how.channels}-{hashlib.sha256(repr(told).encode()).hexdigest()[:12]}"
    return Store(folder, name, int(np.prod(how.shape)), {**told, "root": str(root.resolve())})


def caches(root: Path) -> list[Cache]:
    """What was kept of the pictures in a folder, and in the user's cache folder of all folders."""
    elsewhere = [path for path in user_cache().glob("*") if len(path.name) == 16 and path.is_dir()]
    return [cache for folder in (root / _FOLDER, *sorted(elsewhere)) for cache in _caches(folder)]


def _caches(folder: Path) -> list[Cache]:
    caches, beside = [], folder.name == _FOLDER
    for index in sorted(folder.glob("*.index")):
        rows, lock = index.with_suffix(".rows"), index.with_suffix(".lock")
        keys = rows.with_name(f".{rows.name}.keys")  # of the pictures, for the fingerprint of a dataset
        told = about(index) or {}
        of = folder.parent if beside else told.get("root", "unknown folders")
        what = f"pictures of {of} at {index.stem.rpartition('-')[0]}"
        old = ""
        if told.get("reader") != READER:
            old = f"made by another version, {told.get('reader', 'which is not known')}"
        elif not beside and not Path(told["root"]).is_dir():
            old = f"{told['root']} is gone"
        caches.append(Cache((rows, index, keys, lock), what, old, lock))
    known = {path for cache in caches for path in cache.files}
    for path in sorted(folder.glob("*")):
        if path not in known and path.is_file():
            if path.suffix in (".pixels", ".rows"):
                caches.append(Cache((path,), "pictures", "made by an earlier version"))
            elif path.suffix == ".part":
                caches.append(Cache((path,), "pictures", "left by a process that was killed"))
    return caches
