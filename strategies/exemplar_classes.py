"""The surrogate classes that `exemplar` tells apart, and how it learns to (strategies/exemplar.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from semisup.augment.patch_sampling import seed_patches
from semisup.augment.surrogate import COURSE, PAPER, Components, Ranges, fit_components, surrogate_crops
from semisup.classifier import Classifier
from semisup.data.pool import Pool
from semisup.models.modes import evaluation_mode
from semisup.randomness import Draw, permutation

_IMAGES_AT_ONCE = 256  # images whose patches are chosen at once

Recipe = Literal["course", "paper"]
_RECIPES: dict[Recipe, tuple[Ranges, Literal["gradient", "uniform"]]] = {
    "course": (COURSE, "uniform"),
    "paper": (PAPER, "gradient"),
}


@dataclass(frozen=True)
class SurrogateClasses:
    """Surrogate classes, whose samples are made whenever they are asked for and never stored.

    Attributes:
        pool: of the N images that they are made of.
        rows: (N,) int64, these images' rows of the pool that they were chosen from, ascending.
        centres: (N, 2) float32, (x, y) of the patches in pixels, on the device.
        per_class: samples of each.
        crop: side of a sample in pixels.
        ranges: what may happen to a patch.
        components: of the images' colours; None where colours stay.
        seed: of the draws.
    """

    pool: Pool
    rows: Tensor
    centres: Tensor
    per_class: int
    crop: int
    ranges: Ranges
    components: Components | None
    seed: int

    @classmethod
    def choose(
        cls, pool: Pool, images: int, per_class: int, crop: int, recipe: Recipe, seed: int, device: torch.device
    ) -> SurrogateClasses:
        """One class for each of some random images of a pool, or for all where there are not more than `images`."""
        ranges, by = _RECIPES[recipe]
        rows = permutation(len(pool), seed, "exemplar images")[:images].sort().values  # in the order of the file
        chosen, centres = pool.at(rows.numpy()), torch.empty(len(rows), 2, device=device)
        for part in torch.arange(len(rows)).split(_IMAGES_AT_ONCE):
            draw = Draw(seed, 0, "exemplar patches", part.to(device), len(rows))
            centres[part.to(device)] = seed_patches(chosen.gather(part).to(device), crop, draw, by)
        parts = (images.to(device) for images in chosen.chunks(_IMAGES_AT_ONCE))
        components = fit_components(parts) if ranges.color else None
        return cls(chosen, rows, centres, per_class, crop, ranges, components, seed)

    @property
    def count(self) -> int:
        """Samples of all classes."""
        return len(self.rows) * self.per_class

    def samples(self, images: Tensor, number: Tensor) -> Tensor:
        """The samples of these numbers (B,) int64, each from 0 to count - 1, whose class is number // per_class.

        Args:
            images: (B, C, H, W) uint8, the images of their classes.
            number: on the same device.

        Returns:
            (B, C, crop, crop) float32 in [0, 1].
        """
        draw = Draw(self.seed, 0, "exemplar", number, self.count)  # of no step: every pass sees the same samples
        centres = self.centres[torch.div(number, self.per_class, rounding_mode="floor")]
        return surrogate_crops(images, centres, draw, self.ranges, self.components, self.crop)


class Falling:
    """The learning rate falls to .4, .1, .04 and .01 of its first value, from step 10/13 on.

    Source: the authors' `train_nn_pretrain_distr.sh`, by the lengths of its five runs: 20, 2, 2, 1 and 1 twenty-sixths.
    The paper says: a third each time that the validation error stops to fall.
    """

    def factor(self, step: int, total_steps: int, steps_per_epoch: int) -> float:
        """The factor of the learning rate at a step, counted from 0."""
        done = 26 * step / total_steps
        return 1.0 if done < 20 else 0.4 if done < 22 else 0.1 if done < 24 else 0.04 if done < 25 else 0.01


def input_side(module: Classifier, crop: int) -> int:
    """The side in which a backbone sees crops: their own, or that of the images where it takes no others."""
    backbone = module.network.backbone
    images = module.network.head.weight.new_zeros(2, module.spec.channels, crop, crop)
    with evaluation_mode(backbone):
        try:
            fits = backbone(images).shape == (2, backbone.num_features)
        except (RuntimeError, ValueError, AssertionError):  # how layers refuse a size differs from layer to layer
            fits = False
    return crop if fits else module.spec.image_size
