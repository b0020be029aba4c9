"""Randomness as a function: every draw is computed from what it is for, and no generator keeps a state.

Sample order is a function of (seed, stream, epoch), augmentation of (seed, stream, step, position in the global batch),
dropout of (seed, step, rank). So a run that is stopped and resumed draws what it would have drawn, and one process and
two draw the same for the same samples.

Numbers come from a counter-based generator: the key and the counter go through the 64-bit finaliser of SplitMix64
(Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators", figure 16).
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from semisup.batch import move

_MASK = (1 << 64) - 1
_GOLDEN, _M1, _M2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def _signed(value: int) -> int:
    """The same 64 bits read as a signed integer, which is what an int64 tensor holds."""
    return value - (1 << 64) if value >> 63 else value


def number(name: str) -> int:
    """The number that stands for a name in a key."""
    return crc32(name.encode())


def _state(*parts: int | str) -> int:
    """What a key is cut from: 64 bits of some whole numbers and names, which more of them may be added to."""
    state = 0
    for part in parts:
        value = number(part) if isinstance(part, str) else part
        state = (state ^ (value & _MASK)) + _GOLDEN & _MASK
        state = (state ^ (state >> 30)) * _M1 & _MASK
        state = (state ^ (state >> 27)) * _M2 & _MASK
        state ^= state >> 31
    return state


def key(*parts: int | str) -> int:
    """A 63-bit key of some whole numbers and names, in this order; the same on every machine."""
    return _state(*parts) >> 1


def seed_layers(device: torch.device, *parts: int | str) -> None:
    """Seeds what dropout and its like draw from on a device, by the key of some parts.

    `torch.manual_seed` would seed every kind of accelerator, and where one is not in use it keeps the call stack for
    later: milliseconds in every step.
    """
    seed = key(*parts)
    if device.type in ("cpu", "cuda"):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            torch.cuda.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def seed_libraries(*parts: int | str) -> None:
    """Seeds what Python, numpy and torch draw from where nobody says how, by the key of some parts.

    Nothing of ours draws from there. It is for code of others, such as the initialisation of a strategy's layers.
    """
    seed = key(*parts)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical shift to the right; torch's own copies the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def bits(key_: int | Tensor, counter: Tensor) -> Tensor:
    """64 random bits (int64, the shape of `counter`) for every counter (int64) under a key, a number or (1,) int64."""
    return _mixed(counter * _signed(_GOLDEN) + key_)


def _mixed(x: Tensor) -> Tensor:
    """SplitMix64's finaliser."""
    x = (x ^ _shift(x, 30)) * _signed(_M1)
    x = (x ^ _shift(x, 27)) * _signed(_M2)
    return x ^ _shift(x, 31)


def permutation(count: int, *parts: int | str) -> Tensor:
    """A permutation of `range(count)` (int64, (count,), on the CPU) that depends on `parts` alone."""
    generator = torch.Generator().manual_seed(key(*parts))
    return torch.randperm(count, generator=generator)


@dataclass(frozen=True)
class Draw:
    """Where the random numbers of one batch come from.

    Attributes:
        seed: the run's seed.
        step: global step, counted from 0.
        stream: name of the stream and view, such as `"labeled/weak"`.
        position: (B,) int64, each sample's position in the global batch (over all ranks).
        size: number of samples in the global batch.
        state: (1,) int64, what seed, stream and step come to where they are in a tensor (`as_tensors`); None else.
    """

    seed: int
    step: int
    stream: str
    position: Tensor
    size: int
    state: Tensor | None = None

    def as_tensors(self) -> Draw:
        """The same draws with seed, stream and step in a tensor on the device, and no longer in Python's numbers.

        A graph compiled for one step then serves every other. What is drawn on the host (`beta`) needs the numbers.
        """
        state = torch.tensor([_signed(_state(self.seed, self.stream, self.step))])
        return Draw(0, 0, "", self.position, self.size, move(state, self.position.device))

    def key(self, what: str) -> int | Tensor:
        """The key of a purpose; (1,) int64 where the state is a tensor."""
        if self.state is None:
            return key(self.seed, self.stream, self.step, what)
        return _shift(_mixed((self.state ^ number(what)) + _signed(_GOLDEN)), 1)

    def _bits(self, what: str, position: Tensor, count: int) -> Tensor:
        columns = torch.arange(count, device=position.device)
        counter = position[:, None] * count + columns  # (B, count)
        return bits(self.key(what), counter)

    def uniform(self, what: str, count: int = 1, low: float = 0.0, high: float = 1.0) -> Tensor:
        """(B, count) float32, uniform from `low` to `high`, on the device of `position`; `what` names the purpose.

        0 to 1 is [0, 1) in steps of 2^-24; with other bounds the rounding to float32 may reach `high` itself. The same
        purpose gives the same numbers, whatever they are used for: give two things two names.
        """
        unit = _shift(self._bits(what, self.position, count), 40).float() * 2.0**-24
        return low + (high - low) * unit

    def normal(self, what: str, count: int = 1) -> Tensor:
        """(B, count) float32, standard normal, on the device of `position`: the transform of Box & Muller (1958).

        At most 5.8 in size, which is as far as steps of 2^-24 reach.
        """
        radius = (-2 * torch.log1p(-self.uniform(f"{what}/radius", count))).sqrt()  # 1 - u is in (0, 1]
        return radius * torch.cos(2 * math.pi * self.uniform(f"{what}/angle", count))

    def integers(self, what: str, high: int, count: int = 1) -> Tensor:
        """(B, count) int64, uniform in 0..high-1, on the device of `position`."""
        return _shift(self._bits(what, self.position, count), 33) * high >> 31

    def categorical(self, what: str, p: Tensor) -> Tensor:
        """(B,) int64, of each row of probabilities (B, classes) a class that is drawn by them."""
        cumulative = p.cumsum(1)
        reached = self.uniform(what) * cumulative[:, -1:] >= cumulative  # whose sum may have been rounded
        return reached.sum(1).clamp_max(p.shape[1] - 1)

    def half(self, what: str) -> Tensor:
        """(B,) bool: true for exactly `size // 2` samples of the global batch, whichever rank holds them."""
        return self.permutation(what)[self.position] < self.size // 2  # of a random permutation, exactly so many values

    def among(self, offset: int, size: int) -> Draw:
        """The same samples where they lie in a larger batch: `offset` positions further on, of `size`."""
        return replace(self, position=self.position + offset, size=size)

    def permutation(self, what: str) -> Tensor:
        """(size,) int64, a permutation of the positions in the global batch, the same on every rank."""
        everyone = torch.arange(self.size, device=self.position.device)
        return self._bits(what, everyone, 1)[:, 0].argsort(stable=True)

    def beta(self, what: str, alpha: float) -> Tensor:
        """(B,) float32, each from the symmetric distribution Beta(alpha, alpha), on the device of `position`."""
        everyone = np.random.default_rng(key(self.seed, self.stream, self.step, what)).beta(alpha, alpha, self.size)
        return move(torch.from_numpy(everyone.astype(np.float32)), self.position.device)[self.position]
