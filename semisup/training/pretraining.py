"""Pretraining on surrogate classes (Exemplar-CNN, Dosovitskiy et al. 2014, arXiv 1406.6909): the samples and the loop.

The strategy `exemplar` (strategies/exemplar.py) runs it, logs it and saves it.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from semisup.augment.patch_sampling import seed_patches
from semisup.augment.surrogate import COURSE, PAPER, Components, Ranges, fit_components, surrogate_crops
from semisup.batch import move
from semisup.classifier import Classifier
from semisup.data.loader import order
from semisup.data.pool import Pool
from semisup.models.modes import evaluation_mode
from semisup.randomness import Draw, key, permutation, seed_layers
from semisup.runtime.finite import Diverged

_MOMENTUM, _WEIGHT_DECAY = 0.9, 0.004  # the authors'; the decay is that of their fully connected layers
_CHUNK = 256  # images whose patches are chosen at once

Recipe = Literal["course", "paper"]
_RECIPES: dict[Recipe, tuple[Ranges, Literal["gradient", "uniform"]]] = {
    "course": (COURSE, "uniform"),
    "paper": (PAPER, "gradient"),
}


@dataclass(frozen=True)
class SurrogateClasses:
    """Surrogate classes, whose samples are made whenever they are asked for and never stored.

    Attributes:
        rows: (N,) int64, the pool's rows that they are made of, ascending.
        images: (N, C, H, W) uint8, on the device.
        centres: (N, 2) float32, (x, y) of the patches in pixels, on the device.
        per_class: samples of each.
        crop: side of a sample in pixels.
        ranges: what may happen to a patch.
        components: of the images' colours; None where colours stay.
        seed: of the draws.
    """

    rows: Tensor
    images: Tensor
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
        kept = torch.empty((len(rows), *pool.shape), dtype=torch.uint8, device=device)
        centres = torch.empty(len(rows), 2, device=device)
        for part in torch.arange(len(rows)).split(_CHUNK):
            chunk = slice(int(part[0]), int(part[-1]) + 1)
            kept[chunk] = pool.gather(rows[part]).to(device)
            draw = Draw(seed, 0, "exemplar patches", part.to(device), len(rows))
            centres[chunk] = seed_patches(kept[chunk], crop, draw, by)
        components = fit_components(kept.split(_CHUNK)) if ranges.color else None
        return cls(rows, kept, centres, per_class, crop, ranges, components, seed)

    @property
    def count(self) -> int:
        """Samples of all classes."""
        return len(self.rows) * self.per_class

    def samples(self, number: Tensor) -> tuple[Tensor, Tensor]:
        """The samples of these numbers (B,) int64, each from 0 to count - 1, on the device.

        Returns:
            (B, C, crop, crop) float32 in [0, 1], and their classes (B,) int64.
        """
        target = torch.div(number, self.per_class, rounding_mode="floor")
        draw = Draw(self.seed, 0, "exemplar", number, self.count)  # of no step: every pass sees the same samples
        crops = surrogate_crops(
            self.images[target], self.centres[target], draw, self.ranges, self.components, self.crop
        )
        return crops, target


class Pretraining:
    """Trains a classifier's backbone, under a head of its own, to name the surrogate class of a sample.

    Args:
        module: the classifier, on its device.
        classes: what to tell apart.
        batch_size: samples in a batch, over all ranks.
        lr: the learning rate that it begins with.
        steps: in all.

    Attributes:
        step: steps done.
        side: height and width that the backbone sees the samples in.
    """

    def __init__(self, module: Classifier, classes: SurrogateClasses, batch_size: int, lr: float, steps: int) -> None:
        self.module, self.classes, self.batch_size, self.lr, self.steps = module, classes, batch_size, lr, steps
        self.rank, self.world = module.datamodule.rank
        self.step, self.side, backbone = 0, input_side(module, classes.crop), module.network.backbone
        with torch.random.fork_rng():
            torch.manual_seed(key(module.seed, "exemplar head"))
            self.head = nn.Linear(int(backbone.num_features), len(classes.rows)).to(module.device, module.dtype)  # type: ignore[arg-type]
        network = nn.Sequential(module.network.normalization, backbone, self.head)
        self.forward = torch.compile(network) if module.options.compile else network
        linear = {part.weight for part in network.modules() if isinstance(part, nn.Linear)}
        parameters = list(network.parameters())  # in their order, which the optimiser's state refers to
        decayed: dict[str, Any] = {"params": [x for x in parameters if x in linear], "weight_decay": _WEIGHT_DECAY}
        others: dict[str, Any] = {"params": [x for x in parameters if x not in linear]}
        self.optimizer = torch.optim.SGD([decayed, others], lr, momentum=_MOMENTUM)
        # Sums since they were asked for last: loss, samples named rightly, steps; of each class, rightly and in all.
        self._recent = torch.zeros(3, device=module.device)
        self._passed = torch.zeros(2, len(classes.rows), dtype=torch.int64, device=module.device)

    def rate(self, step: int) -> float:
        """The learning rate at a step."""
        return self.lr * falling(step, self.steps)

    def advance(self) -> None:
        """One step of the optimiser, on this rank's part of the next batch."""
        module, size = self.module, self.batch_size // self.world
        chosen = order(module.seed, "exemplar", 0, self.classes.count, self.step * self.batch_size, self.batch_size)
        crops, target = self.classes.samples(move(chosen[self.rank * size :][:size], module.device))
        if self.side > self.classes.crop:
            crops = F.interpolate(crops, (self.side, self.side), mode="bilinear", align_corners=False)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(self.step)
        seed_layers(module.device, module.seed, "exemplar dropout", self.step, self.rank)
        # 16-mixed would need its loss scaled; there it is float32.
        precision = module.trainer.precision_plugin
        with nullcontext() if module.trainer.precision == "16-mixed" else precision.forward_context():
            logits = self.forward(crops.to(module.dtype, memory_format=torch.channels_last))
        loss = F.cross_entropy(logits.float(), target)
        self.optimizer.zero_grad()
        loss.backward()
        self._average_gradients()
        self.optimizer.step()
        right = logits.argmax(1) == target
        self._recent += torch.stack([loss.detach(), right.sum(), torch.ones_like(loss)])
        self._passed.scatter_add_(1, target.expand(2, -1), torch.stack([right, torch.ones_like(right)]).long())
        self.step += 1

    def _average_gradients(self) -> None:
        """The mean over all ranks. (DDP's own hooks act only in steps that began with its forward.)"""
        if self.world > 1:
            gradients = [p.grad for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            dist.all_reduce(flat)
            for gradient, mean in zip(
                gradients, (flat / self.world).split([g.numel() for g in gradients]), strict=True
            ):
                gradient.copy_(mean.view_as(gradient))

    def recent(self) -> dict[str, float]:
        """`loss` and `surrogate_accuracy` of all ranks since this was asked last; it waits for the device.

        Raises:
            Diverged: the loss is not finite.
        """
        loss, right, steps = self._summed(self._recent).tolist()
        self._recent.zero_()
        if not math.isfinite(loss):
            first = self.step - round(steps / self.world)
            raise Diverged(
                f"in the pretraining the loss became {loss} between the steps {first} and {self.step - 1}, counted "
                f"from 0; type a smaller --exemplar.lr than {self.lr}"
            )
        return {"loss": loss / steps, "surrogate_accuracy": right / (steps * (self.batch_size // self.world))}

    def passed(self) -> tuple[float, Tensor]:
        """Accuracy since this was asked last: on all samples, and (n,) float32 on those of each class that was seen."""
        right, seen = self._summed(self._passed).cpu()
        self._passed.zero_()
        return float(right.sum() / seen.sum()), right[seen > 0] / seen[seen > 0]

    def _summed(self, x: Tensor) -> Tensor:
        total = self.module.trainer.strategy.reduce(x.clone(), reduce_op="sum")
        assert isinstance(total, Tensor)
        return total

    def state_dict(self) -> dict[str, Any]:
        """How far it has come; the backbone itself is the classifier's."""
        tensors = {"recent": self._summed(self._recent), "passed": self._summed(self._passed)}
        return {"step": self.step, "head": self.head.state_dict(), "optimizer": self.optimizer.state_dict(), **tensors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from there."""
        self.step = state["step"]
        self.head.load_state_dict(state["head"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.rank == 0:  # the sums of all ranks
            self._recent.copy_(state["recent"])
            self._passed.copy_(state["passed"])


def falling(step: int, steps: int) -> float:
    """The factor of the learning rate at a step, counted from 0: 1, and .4, .1, .04 and .01 from step 10/13 on.

    Source: the authors' `train_nn_pretrain_distr.sh`, by the lengths of its five runs: 20, 2, 2, 1 and 1 twenty-sixths.
    The paper says: a third each time that the validation error stops to fall.
    """
    done = 26 * step / steps
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
