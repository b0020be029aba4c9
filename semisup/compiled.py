"""Compiles a training step's parts: the network's passes, and the views on accelerators (`--model.compile`)."""

from __future__ import annotations

import torch

from semisup.augment.compiled import compiled_views
from semisup.data.cache import user_cache
from semisup.data.datamodule import DataModule
from semisup.learner import Learner
from semisup.runtime.compiling import keep_compiled


def compile_step(module: Learner, data: DataModule) -> None:
    """Compiles when a part runs first; what the compiler makes is kept for the next run."""
    keep_compiled(user_cache() / "compiled")
    mode = "reduce-overhead" if module.captures else None
    module.compiled = torch.compile(module.network.features, mode=mode)
    # On the CPU a view looks only at the samples that an operation was drawn for, which no graph can.
    if module.trainer.strategy.root_device.type != "cpu":
        data.find_view = compiled_views()
