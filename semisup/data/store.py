"""Rows of equal size in a file that only grows, and an index of what they are: what was computed once, kept in parts.

`NAME.rows` holds the rows. Each line of `NAME.index` describes a block of them: where it begins, the SHA-256 of its
bytes, and a record of each row; the line begins with its own digest. The first line says what the store is of. So
whatever a killed process, a full disk or a second writer leaves behind is found out, and nothing whole is lost by it.
No byte of a row is ever written twice: a process that has mapped the file reads on what it found.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

_SEAL = 16  # hexadecimal digits before each line


@dataclass(frozen=True)
class Block:
    """Rows that were written at once.

    Attributes:
        start: its first row.
        count: how many rows it has.
        digest: SHA-256 of their bytes, in hexadecimal.
        records: JSON values, one for each row, and then perhaps some about things that have no row.
    """

    start: int
    count: int
    digest: str
    records: list[Any]

    def holds(self, rows: np.ndarray) -> bool:
        """Whether the bytes of all its rows, (count, ...) uint8, are what was written."""
        return hashlib.sha256(np.ascontiguousarray(rows).data).hexdigest() == self.digest


class Store:
    """The rows and the index in one folder.

    Args:
        folder: where they are; made when first written to.
        name: of the two files, without their endings.
        row: bytes in a row.
        about: what the store is of, a JSON object, for people and for `about`.
    """

    def __init__(self, folder: Path, name: str, row: int, about: dict[str, Any]) -> None:
        self.rows, self.index, self._lock = (folder / f"{name}{end}" for end in (".rows", ".index", ".lock"))
        self._row, self._about = row, about
        self._end = 0

    def blocks(self) -> list[Block]:
        """The blocks that can be whole, in the order in which they were written.

        Their line is whole, their rows are in the file, and no later block, of a second writer that the lock didn't
        keep apart, has rows in common with them.
        """
        there = self._size() // self._row
        readable = [block for block in self._described() if block.start + block.count <= there]
        owner = np.full(there, -1)
        for number, block in enumerate(readable):
            owner[block.start : block.start + block.count] = number
        return [
            block
            for number, block in enumerate(readable)
            if (owner[block.start : block.start + block.count] == number).all()
        ]

    def _described(self) -> list[Block]:
        blocks = (_block(_unsealed(line)) for line in _lines(self.index))
        return [block for block in blocks if block]

    def _size(self) -> int:
        return self.rows.stat().st_size if self.rows.is_file() else 0

    def lock(self, timeout: float) -> AbstractContextManager[Any]:
        """Makes this process the only one that writes, until the context that it returns is left.

        Args:
            timeout: seconds to wait for another process that writes; less than 0 to wait until it ends.

        Raises:
            TimeoutError: another process is still writing.
            OSError: the folder can't be written, or one of the files is no plain file: whoever brought the folder may
                have made a link, to what is not to be written to.
        """
        self.index.parent.mkdir(parents=True, exist_ok=True)
        for path in (self.rows, self.index, self._lock):
            if os.path.lexists(path) and (path.is_symlink() or not path.is_file()):
                raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        return FileLock(self._lock).acquire(timeout)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Prepares for `append`, under `lock`; at the end all of it is on the disk.

        Where an error of the operating system ends it, a store that was not there before is removed.

        Raises:
            OSError: the disk is full, or fails.
        """
        new = not self.index.exists()
        try:
            # Behind every row that a line tells of, were it cut off: what is written there is never another's.
            ends = [block.start + block.count for block in self._described()]
            self._end = max([-(-self._size() // self._row), *ends])
            if new:
                self._describe(self._about)
            yield
            for path in (self.rows, self.index):
                if path.exists():
                    with path.open("rb") as file:
                        os.fsync(file.fileno())
        except OSError:
            if new:
                for path in (self.index, self.rows, self._lock):
                    path.unlink(missing_ok=True)
            raise

    def append(self, rows: np.ndarray, records: list[Any]) -> Block:
        """Writes a block, inside of `writing`.

        Args:
            rows: (n, ...) uint8.
            records: JSON values, one for each row, and then perhaps some about things that have no row.
        """
        rows = np.ascontiguousarray(rows)
        block = Block(self._end, len(rows), hashlib.sha256(rows.data).hexdigest(), records)
        if len(rows):
            with self.rows.open("r+b" if self.rows.exists() else "xb") as file:
                file.seek(block.start * self._row)
                file.write(rows.data)
        self._describe([block.start, block.count, block.digest, block.records])
        self._end += len(rows)
        return block

    def _describe(self, line: Any) -> None:
        with self.index.open("a+b") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                torn = file.read(1) != b"\n"  # a process was killed while it wrote
                file.write(b"\n" if torn else b"")
            file.write(_sealed(line))


def about(index: Path) -> dict[str, Any] | None:
    """What a store is of, by its index; None where that isn't told."""
    first = next(_lines(index), b"")
    told = _unsealed(first)
    return told if isinstance(told, dict) else None


def _lines(index: Path) -> Iterator[bytes]:
    if index.is_file():
        with index.open("rb") as file:
            yield from file


def _block(line: Any) -> Block | None:
    """The block that a line describes; None of one that no store writes."""
    if not isinstance(line, list) or [*map(type, line)] != [int, int, str, list] or min(line[:2]) < 0:
        return None
    return Block(*line)


def _sealed(line: Any) -> bytes:
    text = json.dumps(line, separators=(",", ":")).encode()
    return b"%s %s\n" % (hashlib.sha256(text).hexdigest()[:_SEAL].encode(), text)


def _unsealed(line: bytes) -> Any:
    """What a line says; None where it is not what was written."""
    seal, _, text = line.rstrip(b"\n").partition(b" ")
    return json.loads(text) if seal == hashlib.sha256(text).hexdigest()[:_SEAL].encode() else None
