"""Pictures of any size and kind, made equal once and kept in a store beside them that grows as they do.

Whatever in a store is damaged is found out when it is first read, and made again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, cast

import numpy as np

from datamodules.folder_stores import Record, State, caches, folders
from datamodules.folder_stores import store as folder_store
from semisup.data.checked import BlockCheck, Checked
from semisup.data.deep import FLOATS, INTEGERS, Range, seen_range
from semisup.data.picture import How, Reading, read, reading
from semisup.data.store import Block, Store
from semisup.errors import InputError, require
from semisup.escape import shell
from semisup.runtime.console import Watched, say

_THREADS = 4  # Pillow lets go of the interpreter while it works
_ROWS, _BYTES = 64, 1 << 24  # pictures and bytes in a block, at most: bounds the memory, and what one fault costs


@dataclass(frozen=True)
class Loaded:
    """The pictures of a folder.

    Attributes:
        images: (M, C, H, W) uint8, those of all files that the store ever held.
        rows: (N,) int64, where among them each file's picture is; -1 for a file that can't be read.
        records: (N,) what is known of each file.
        ranges: what is black and what is white, for each kind of values of more than 8 bits.
    """

    images: np.ndarray
    rows: np.ndarray
    records: list[Record]
    ranges: dict[str, Range]


def load(root: Path, names: list[str], parts: Sequence[str], how: How) -> Loaded:
    """The pictures, from the store, to which those that it doesn't have are added.

    Args:
        root: the folder that holds the pictures.
        names: (N,) their paths, relative to root.
        parts: (N,) what each is for; the first part with pictures of more than 8 bits says what is black and white.
        how: how to make them equal.

    Raises:
        InputError: the store can't be written, or `how.black` is not below `how.white` as measured.
    """
    stores = [folder_store(folder, root, how) for folder in folders(root)]
    states = [_state(f"{root}/{name}") for name in names]
    for store in stores:
        pictures = _Pictures(store, root, names, states, parts, how)
        if not pictures.missing():
            return pictures.loaded()
    for store in stores:
        try:
            lock = _patiently(store)
        except OSError:  # not writable
            continue
        with lock:
            pictures = _Pictures(store, root, names, states, parts, how)  # another process may have written meanwhile
            pictures.make()
            return pictures.loaded()
    raise InputError(
        f"neither {' nor '.join(map(str, folders(root)))} can be written, and resized pictures must be kept; "
        f"type XDG_CACHE_HOME=FOLDER before the command"
    )


def _patiently(store: Store) -> AbstractContextManager[Any]:
    with suppress(TimeoutError):
        return store.lock(0)
    say(f"data: another process is resizing pictures into {store.rows}; waiting for it")
    return store.lock(-1)


def _state(path: str | Path) -> State | None:
    """A file's size and time of change; None where nobody can open it now, whatever a store says of it."""
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return (stat.st_size, stat.st_mtime_ns) if os.access(path, os.R_OK) else None


class _Pictures:
    """The pictures of a folder and a store, while the one is brought into the other."""

    def __init__(
        self, store: Store, root: Path, names: list[str], states: list[State | None], parts: Sequence[str], how: How
    ) -> None:
        self.store, self.root, self.names, self.states = store, root, names, states
        self.parts, self.how = parts, how
        self.blocks = store.blocks()
        self.rows = np.full(len(names), -1, dtype=np.int64)
        self.records: list[Record | None] = [None] * len(names)
        place = {name: position for position, name in enumerate(names)}
        for block in self.blocks:
            for number, value in enumerate(block.records):
                known = isinstance(value, list) and value and isinstance(value[0], str)
                position = place.get(value[0]) if known else None
                record = None if position is None else Record.load(value)
                if position is not None and record and record.holds(states[position], how):
                    self.records[position] = record
                    self.rows[position] = block.start + number if number < block.count else -1
        for position, state in enumerate(states):
            if state is None:
                reason = "not open to this user" if os.path.exists(root / names[position]) else "broken links"
                self.records[position] = Record(names[position], None, (0, 0), reason=reason)
                self.rows[position] = -1

    def ranges(self) -> dict[str, Range]:
        """What is black and what is white in each kind of values, as far as it can be told yet."""
        if None in self.records:
            return {kind: self.how.range for kind in (INTEGERS, FLOATS)} if self.how.range else {}
        by_kind: dict[str, Range] = {}
        for part in dict.fromkeys(self.parts):
            here = [record for record, its in zip(self.records, self.parts, strict=True) if record and its == part]
            for kind in (INTEGERS, FLOATS):
                measured = [record.measured for record in here if record.kind == kind]
                if measured and kind not in by_kind:
                    by_kind[kind] = self._range(
                        min(low for low, _ in measured), max(high for _, high in measured), kind
                    )
        return by_kind

    def _range(self, low: float, high: float, kind: str) -> Range:
        """What was typed, and what was measured where nothing was."""
        bottom, top = seen_range(low, high, kind)
        black = bottom if self.how.black is None else self.how.black
        white = top if self.how.white is None else self.how.white
        require(
            black < white,
            f"pictures of more than 8 bits would be seen from {black:g} (black) to {white:g} (white), where they hold "
            f"{low:g} to {high:g}; type both --data.black and --data.white, the first one lower",
        )
        return black, white

    def missing(self) -> list[int]:
        """Places of the files that have to be read."""
        if unknown := [position for position, record in enumerate(self.records) if record is None]:
            return unknown
        ranges = self.ranges()
        return [
            position
            for position, record in enumerate(self.records)
            if record and not record.reason and record.range != ranges.get(record.kind)
        ]

    def make(self) -> None:
        """Reads what is missing, and adds it to the store, whose lock is held."""
        done: set[int] = set()
        try:
            with self.store.writing():
                while missing := self.missing():  # twice where pictures must be measured before they can be scaled
                    self._append(missing)
                    done.update(missing)
        except OSError as error:
            raise InputError(
                f"can't write {len(self.names) * np.prod(self.how.shape) / 1e6:,.0f} MB of resized pictures to "
                f"{self.store.rows.parent} ({error.strerror}); make room, or type a smaller --data.image_size"
            ) from error
        if done:
            say(f"data: resized {len(done):,} files, kept in {self.store.rows}")
            if old := sum(cache.size for cache in caches(self.root) if cache.old):
                say(
                    f"data: {old / 1e6:,.0f} MB of older caches will not be used again; type semisup data clean --root "
                    f"{shell(self.root)} to remove them"
                )

    def _append(self, missing: list[int]) -> None:
        step = max(_THREADS, min(_ROWS, _BYTES // int(np.prod(self.how.shape))))
        ranges = self.ranges()
        one = partial(self._read, ranges=ranges)
        with reading(self.how), ThreadPool(_THREADS) as pool, Watched("resizing", len(missing), "files") as bar:
            for start in range(0, len(missing), step):
                chunk = missing[start : start + step]
                self._keep(list(zip(chunk, pool.map(one, chunk), strict=True)), ranges)
                bar.update(len(chunk))

    def _read(self, position: int, ranges: Mapping[str, Range]) -> Reading:
        return read(self.root / self.names[position], self.how, ranges)

    def _keep(self, readings: list[tuple[int, Reading]], ranges: Mapping[str, Range]) -> None:
        """Appends a block of what was read, but for what may come out otherwise the next time."""
        readings.sort(key=lambda pair: pair[1].pixels is None)
        records = [self._record(position, its, ranges) for position, its in readings]
        pixels = [its.pixels for _, its in readings if its.pixels is not None]
        kept = [record.json() for record, (_, its) in zip(records, readings, strict=True) if not its.passing]
        block = self.store.append(np.stack(pixels) if pixels else np.empty((0, *self.how.shape), np.uint8), kept)
        self.blocks.append(block)
        for number, (record, (position, _)) in enumerate(zip(records, readings, strict=True)):
            self.records[position] = record
            self.rows[position] = block.start + number if number < block.count else -1

    def _record(self, position: int, its: Reading, ranges: Mapping[str, Range]) -> Record:
        return Record.of(self.names[position], self.states[position], its, self.how, ranges.get(its.kind))

    def loaded(self) -> Loaded:
        """What there is, once nothing is missing."""
        records = [record for record in self.records if record]
        if not (self.rows >= 0).any():
            shape = (0, self.how.channels, self.how.size, self.how.size)
            return Loaded(np.empty(shape, np.uint8), self.rows, records, self.ranges())
        count = self.store.rows.stat().st_size // int(np.prod(self.how.shape))
        # What is written into this map stays in the memory of this process.
        self._pixels = np.memmap(self.store.rows, np.uint8, "c", shape=(count, *self.how.shape))
        images = cast(np.memmap, self._pixels.transpose(0, 3, 1, 2))  # (M, C, H, W)
        check = BlockCheck(self._pixels, self.blocks, self._mend)
        return Loaded(Checked.of(images, check), self.rows, records, self.ranges())

    def _mend(self, block: Block) -> None:
        """Reads the pictures of a damaged block again."""
        here = (self.rows >= block.start) & (self.rows < block.start + block.count)
        positions = [int(position) for position in np.flatnonzero(here)]
        if not positions:  # nobody will see them
            return
        ranges, readings = self.ranges(), []
        with reading(self.how):
            for position in positions:
                path = self.root / self.names[position]
                its = self._read(position, ranges)
                require(
                    its.pixels is not None and _state(path) == self.states[position],
                    f"what {self.store.rows} kept of {path} is damaged, and the picture itself was changed since; "
                    f"type the same command again",
                )
                readings.append((position, its))
        for position, its in readings:
            self._pixels[self.rows[position]] = np.asarray(its.pixels)
        say(f"data: {len(readings):,} pictures in {self.store.rows} were damaged, and are made again from their files")
        with suppress(OSError), self.store.lock(0), self.store.writing():  # else the next run mends them again
            records = [self._record(position, its, ranges).json() for position, its in readings]
            self.store.append(np.stack([its.pixels for _, its in readings if its.pixels is not None]), records)
