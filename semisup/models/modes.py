"""Modes of a network: evaluation without gradients, and batch normalisation that keeps its running statistics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from semisup.errors import InputError


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Switches a module to evaluation without gradients, and each of its parts back to what it was."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in modes.items():
            part.training = training


@contextmanager
def frozen_batchnorm(module: nn.Module) -> Iterator[None]:
    """Batch normalisation goes on normalising by the batch, and its running statistics stay as they are.

    For passes whose images the network is not to remember, such as the adversarial ones of VAT.
    """
    training = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
    for part in training:
        part.track_running_stats = False  # then the batch's own statistics are used, and none are kept
    try:
        yield
    finally:
        for part in training:
            part.track_running_stats = True


@contextmanager
def separate_batchnorm(module: nn.Module) -> Iterator[None]:
    """Batch normalisation over all ranks normalises each rank's images by themselves, and asks no other rank."""
    over_ranks = [
        m for m in module.modules() if isinstance(m, _BatchNorm) and type(m).forward is not _BatchNorm.forward
    ]
    for part in over_ranks:
        part.forward = partial(_BatchNorm.forward, part)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for part in over_ranks:
            del part.forward


@contextmanager
def enough_images() -> Iterator[None]:
    """Makes one clear error of a batch that is too small for batch normalisation to have a variance in."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise InputError(
            "batch normalisation has no variance over one image, and a device has no more of them in a batch; type "
            "--data.batch_size with 2 or more for each device, or another --model.backbone"
        ) from error
