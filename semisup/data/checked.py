"""A memory map of a store whose blocks are held against their digests when they are first read."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from semisup.data.store import Block


class Checked(np.memmap):
    """A memory map that has its rows checked before it gives them away; views with the same rows do so too."""

    _check: Callable[[np.ndarray], None] | None = None

    @classmethod
    def of(cls, array: np.memmap, check: Callable[[np.ndarray], None]) -> Checked:
        """A view of a memory map.

        Args:
            array: (N, ...).
            check: called with rows (n,) int64 of it that will be read next.
        """
        view = array.view(cls)
        view._check = check
        return view

    def __array_finalize__(self, origin: Any) -> None:
        super().__array_finalize__(origin)
        if isinstance(origin, Checked) and self.ndim == origin.ndim and self.shape[:1] == origin.shape[:1]:
            self._check = origin._check

    def __getitem__(self, key: Any) -> Any:
        """What is there, as a plain array."""
        if self._check is not None:
            rows = key[0] if isinstance(key, tuple) else key
            if not isinstance(rows, np.ndarray) or rows.dtype.kind != "i":
                rows = np.arange(len(self))[rows]
            self._check(np.atleast_1d(rows))
        return np.asarray(self)[key]


class BlockCheck:
    """Checks each block of rows once, when the first of its rows is asked for.

    Args:
        rows: (M, ...) uint8, all that the store holds.
        blocks: of it.
        mend: called with a block whose rows are not what was written, to put into `rows` what should be there.
    """

    def __init__(self, rows: np.ndarray, blocks: list[Block], mend: Callable[[Block], None]) -> None:
        self._rows, self._blocks, self._mend = rows, blocks, mend
        self._block_of = np.full(len(rows), -1, dtype=np.int64)
        for number, block in enumerate(blocks):
            self._block_of[block.start : block.start + block.count] = number
        self._seen = np.zeros(len(blocks), dtype=bool)
        self._lock = threading.Lock()

    def __call__(self, rows: np.ndarray) -> None:
        numbers = self._block_of[rows]
        for number in np.unique(numbers[(numbers >= 0) & ~self._seen[numbers]]):
            with self._lock:
                self._look(int(number))

    def _look(self, number: int) -> None:
        block = self._blocks[number]
        if not self._seen[number] and not block.holds(self._rows[block.start : block.start + block.count]):
            self._mend(block)
        self._seen[number] = True
