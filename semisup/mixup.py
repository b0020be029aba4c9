"""Mixup over the global batch (Zhang et al. 2018, arXiv 1710.09412), as MixMatch and its descendants use it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from semisup.batch import Batch
from semisup.losses import distribution
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


def mixed_with_guesses(
    module: Any, batch: Batch, views: Sequence[Tensor], guess: Tensor, alpha: float, purpose: str
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """What a network says of labeled images and of views of the unlabeled ones, mixed with each other in one pass.

    Args:
        module: the classifier.
        batch: with unlabeled images.
        views: (B, ...) of the labeled images, then (n, ...) each of the unlabeled ones.
        guess: (n, classes) probabilities, the target of all these.
        alpha: of the distribution Beta; 0 mixes nothing.
        purpose: names the draws.

    Returns:
        Logits (B, classes) and mixed targets (B, classes) of the labeled images, and those of all the others.
    """
    count = len(views) - 1
    known = distribution(batch.labeled.target, guess.shape[1]).to(guess.dtype)
    draws = [module.draw(samples, batch, purpose) for samples in (batch.labeled, *[batch.unlabeled] * count)]
    images, targets = mixup_streams(views, [known, *[guess] * count], draws, alpha)
    labeled, *unlabeled = module.joint(*images)[0]
    return (labeled, targets[0]), (torch.cat(unlabeled), torch.cat(targets[1:]))


def resize_mix(images: Tensor, partners: Tensor, side: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """Every image with the middle of its partner, made small, somewhere in it.

    ResizeMix (Qin et al. 2020, arXiv 2012.11101) as RegMixMatch has it: nine tenths of the partner, to the nearest
    pixel.

    Args:
        images: (B, C, H, W) float.
        partners: (B, C, H, W), of each image.
        side: (B,) float, the piece's sides over the image's; what sticks out of the image is lost, 0 changes nothing.
        centre: (B, 2) float in [0, 1), where the piece's centre is, down and to the right.

    Returns:
        The mixed images, and the share (B,) float32 of the pixels that are an image's own.
    """
    inside, source, sizes = [], [], []
    for axis, size in enumerate(images.shape[-2:]):
        half, middle = (size * side).long() // 2, (size * centre[:, axis]).long()
        first, last = (middle - half).clamp_min(0)[:, None], (middle + half).clamp_max(size)[:, None]  # (B, 1)
        place, whole = torch.arange(size, device=images.device), int(size * 0.9)
        inside.append((place >= first) & (place < last))  # (B, size)
        position = (size - whole) // 2 + (place - first) * whole // (last - first).clamp_min(1)
        source.append(position.clamp(0, size - 1))
        sizes.append((last - first)[:, 0].float() / size)
    hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]  # (B, 1, H, W)
    rows, columns = source[0][:, None, :, None], source[1][:, None, None, :]
    every, channel = (torch.arange(n, device=images.device) for n in images.shape[:2])
    pieces = partners[every[:, None, None, None], channel[None, :, None, None], rows, columns]
    return torch.where(hole, pieces, images), 1 - sizes[0] * sizes[1]
