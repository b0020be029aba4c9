"""Which images a pool holds: their names, their labels and what they show, without their pixels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Pictures:
    """The images of a pool, in its order.

    Attributes:
        names: (n,) what they are called.
        labels: (n,) int64, `UNLABELED` where there is none.
        keys: (n,) uint64, of what they show.
    """

    names: tuple[str, ...]
    labels: np.ndarray
    keys: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def digests(self) -> dict[str, str]:
        """Of the names, of the labels and of the content, 16 hexadecimal digits each; they depend on the order."""
        parts = {"names": encoded(self.names), "labels": self.labels.astype("<i8"), "content": self.keys.astype("<u8")}
        return {name: short_digest(np.asarray(part).tobytes()) for name, part in parts.items()}


def encoded(names: tuple[str, ...]) -> np.ndarray:
    """(bytes,) uint8: the names in UTF-8 with a zero between two."""
    return np.frombuffer("\0".join(names).encode("utf-8", "surrogatepass"), np.uint8)


def short_digest(content: bytes) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of some bytes."""
    return hashlib.sha256(content).hexdigest()[:16]
