"""What differs by where and how a view runs: one image after the other on the CPU, or all at once in one graph.

On the CPU a copy in blocks or a smaller group is faster than arithmetic on every pixel. On accelerators, and wherever
`torch.compile` makes kernels of a whole view, it is the other way round: no shape may depend on data, nothing is read
back, and what is done for nothing costs little. Either way the bytes are the same.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor


def steps_on_cpu(device: torch.device) -> bool:
    """Whether operations run one by one on the CPU, where they may look at values."""
    return device.type == "cpu" and not torch.compiler.is_compiling()


def pick(values: tuple[float, ...], place: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """The values at `place` (int64, any shape), without a copy from the host that the device would be waited for."""
    if not torch.compiler.is_compiling():
        return _table(values, dtype, place.device)[place]
    picked = torch.full_like(place, values[0], dtype=dtype)
    for i, value in enumerate(values):
        if value != values[0]:
            picked = torch.where(place == i, value, picked)
    return picked.to(dtype)


@cache
def _table(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=device)
