"""Mixup over the global batch (Zhang et al. 2018, arXiv 1710.09412), as MixMatch and its descendants use it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from semisup.randomness import Draw
from semisup.runtime.ranks import gather


def mix(x: Tensor, partner: Tensor, share: Tensor) -> Tensor:
    """share * x + (1 - share) * partner, of tensors (B, ...) and a share (B,) of each row."""
    share = share.to(x.dtype).view(-1, *[1] * (x.ndim - 1))
    return share * x + (1 - share) * partner


def mixup_streams(
    images: Sequence[Tensor], targets: Sequence[Tensor], draws: Sequence[Draw], alpha: float
) -> tuple[list[Tensor], list[Tensor]]:
    """Every image of several streams, and its target, mixed with another one of any of them: l x + (1 - l) x'.

    l is max(l', 1 - l') with l' drawn for every image from Beta(alpha, alpha): an image stays nearer to itself than to
    its partner (MixMatch, Berthelot et al. 2019, arXiv 1905.02249, equations 8 to 11). Partners are a permutation of
    the global batch of all streams, whichever rank holds them.

    Args:
        images: of each stream (B, ...) float, this rank's.
        targets: of each stream (B, classes) probabilities.
        draws: of each stream, where its shares and the permutation come from.
        alpha: of the distribution Beta; 0 mixes nothing.

    Returns:
        The mixed images and targets of each stream.
    """
    if alpha == 0:
        return list(images), list(targets)
    everyone, theirs = (torch.cat([gather(x) for x in parts]) for parts in (images, targets))
    mixed_images, mixed_targets, first = [], [], 0
    for x, y, draw in zip(images, targets, draws, strict=True):
        placed = draw.among(first, len(everyone))  # its position in the batch of all streams, one after the other
        share, partners = placed.beta("share", alpha), placed.permutation("partners")[placed.position]
        share = torch.maximum(share, 1 - share)
        mixed_images.append(mix(x, everyone[partners], share))
        mixed_targets.append(mix(y, theirs[partners], share))
        first += draw.size
    return mixed_images, mixed_targets
