"""What a training computes on, and how much of it in a step."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl


def scale(trainer: pl.Trainer, labeled: int, unlabeled: int, rate: Any) -> str:
    """Devices, precision, batch and learning rate, none of which follows from another one.

    Args:
        trainer: that will train.
        labeled: images in a batch, over all devices.
        unlabeled: likewise.
        rate: the learning rate as it was given.
    """
    name, world = trainer.strategy.root_device.type, trainer.world_size
    sizes = {"labeled": labeled, "unlabeled": unlabeled}
    batch = " and ".join(f"{size} {kind}" for kind, size in sizes.items() if size)
    each = " and ".join(f"{size // world}" for size in sizes.values() if size)
    batch += f" in all, {each} on each device" if world > 1 else ""
    several = trainer.accumulate_grad_batches
    batch += f", {several} such batches in a step" if several > 1 else ""
    devices = f"{world} devices" if world > 1 else "1 device"
    return f"{devices} ({name}), {trainer.precision}, batch {batch}, learning rate {rate}"
