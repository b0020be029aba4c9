"""Where the images that are trained on are kept: a memory map of the host, or the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from semisup.data.pool import Pool
from semisup.runtime.console import say

Residency = Literal["auto", "device", "host"]


def make_resident(pools: Sequence[Pool], residency: Residency, device: torch.device) -> None:
    """Moves the images of pools to the device where that is asked for, or where half of its free memory holds them."""
    on_device = residency == "device"
    if residency == "auto" and device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        on_device = sum(pool.nbytes for pool in pools) < free / 2
        say(f"data: images stay {'on the device' if on_device else 'in the memory map'} (--data.residency auto)")
    if on_device:
        for pool in pools:
            pool.make_resident(device)
