"""Bounds what is allocated while a network is built whose size a file decides."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from semisup.errors import InputError

_MAKES = ("empty", "zeros", "ones", "full", "rand", "new_")  # how the names begin of what makes a tensor of a size


class Bounded(TorchDispatchMode):
    """Meanwhile, tensors of no more than a number of bytes can be made, all together; a view counts as a tensor.

    What only has a shape, on the meta device, counts nothing.

    Args:
        most: bytes.

    Raises:
        InputError: in place of the allocation that would be one too many.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.made = most, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """Looks at sizes before what is asked for, and at results after it."""
        kwargs = kwargs or {}
        meta = torch.device(kwargs.get("device") or "cpu").type == "meta"
        if func.overloadpacket.__name__.startswith(_MAKES) and not meta:
            size = next((x for x in args if isinstance(x, list | tuple)), [])
            dtype = kwargs.get("dtype") or torch.get_default_dtype()
            self._require(self.made + math.prod(size) * dtype.itemsize)
        result = func(*args, **kwargs)
        for made in tree_leaves(result):
            # What was given and comes back, as of operations in place, is not made.
            if isinstance(made, Tensor) and made.device.type != "meta" and not any(made is x for x in args):
                self.made += made.nbytes
        self._require(self.made)
        return result

    def _require(self, bytes_: int) -> None:
        if bytes_ > self.most:
            raise InputError(f"it would take over {self.most / 1e6:,.0f} MB")
