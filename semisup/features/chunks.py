"""How much to compute at once, where there are too many rows for one step."""

from __future__ import annotations

import torch

# Floats: 4 MB stay in a CPU's cache, which made k-means twice and features three times as fast as 128 MB did; a GPU
# wants more to do for every call.
NUMBERS = {"cpu": 1 << 20, "cuda": 1 << 26}


def rows_at_once(width: int, device: torch.device) -> int:
    """Rows of which each takes `width` floats, one or more."""
    return max(1, NUMBERS.get(device.type, NUMBERS["cpu"]) // width)
