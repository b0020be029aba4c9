"""The precision of a training on a CPU where none is asked for, and the work that decides about it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from semisup.models.modes import evaluation_mode
from semisup.models.network import Network

CPUINFO = Path("/proc/cpuinfo")
BF16, FLOAT32 = "bf16-mixed", "32-true"
# Floating-point operations of one image's way through a network from which on bf16 pays; below, converting takes what
# multiplying saves (experiments/bench/precision.py).
PAYS_FROM = 10e6


def by_default(network: Network, channels: int, size: int) -> str | None:
    """The precision in which a network is trained on this CPU, on the threads that there are.

    bf16 where the CPU multiplies matrices of it, the network is large enough and there is one thread. On several,
    oneDNN's gradients of convolutions wait for each other at full speed, which no bound reaches (unlike OpenMP's,
    semisup/runtime/openmp.py): beside other processes a step then takes ten to twenty times as long.

    Args:
        network: that is trained, on the CPU.
        channels: of its images.
        size: their side in pixels.

    Returns:
        As `--trainer.precision` takes it; None for float32 on any CPU, since the network is small.
    """
    if operations(network, channels, size) < PAYS_FROM:
        return None
    return BF16 if multiplies_bf16() and torch.get_num_threads() == 1 else FLOAT32


def operations(network: Network, channels: int, size: int) -> int:
    """Floating-point operations of one image's forward pass, a multiplication and an addition each.

    Args:
        network: on any device; on `meta` nothing is computed.
        channels: of the image.
        size: its side in pixels.
    """
    with FlopCounterMode(display=False) as counter, evaluation_mode(network):
        network(torch.zeros(1, channels, size, size, device=network.head.weight.device))
    return counter.get_total_flops()


def multiplies_bf16() -> bool:
    """Whether this CPU has instructions for products of bf16 matrices (Intel's AMX), by what Linux says of it.

    Vectors of bf16 (AVX-512 without AMX) are not enough: with these a step takes twice as long as in float32.
    """
    try:
        return "amx_bf16" in CPUINFO.read_text().split()
    except OSError:  # another system
        return False
