"""What may be served in place of images."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from semisup.data.pool import Pool
from semisup.randomness import Draw


class Features(Protocol):
    """Features of a frozen backbone (semisup/features/cached.py)."""

    def prepare(self, pool: Pool, view: str) -> None:
        """Makes ready a view of a pool's images."""

    def gather(self, pool: Pool, index: Tensor, view: str, draw: Draw | None = None) -> Tensor:
        """(B, F) float32 of rows `index` (B,) int64 of a pool, on the device."""
        ...
