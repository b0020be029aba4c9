"""Frozen networks: their features are computed once and served in place of images (`--model.adapt head`)."""

from __future__ import annotations

from torch import Tensor

from semisup.data.datamodule import DataModule
from semisup.errors import require
from semisup.features.cached import CachedFeatures
from semisup.learner import Learner
from semisup.models.modes import evaluation_mode
from semisup.runs import checkpoint_file


def cached_features(module: Learner, data: DataModule) -> CachedFeatures | None:
    """Features in place of images, where nothing before the head is trained and they are asked for.

    Raises:
        InputError: a strategy works on the pixels of images.
    """
    options = module.options
    if options.adapt != "head" or not options.draws:
        return None
    for name, part in module.strategy.parts.items():
        require(
            not part.sees_pixels,
            f"{name} works on the pixels of images, and with --model.adapt head steps are given features that were "
            f"computed before; type --model.draws 0 to compute them in every step, or another --strategy",
        )
    network, precision = module.network, module.trainer.precision_plugin
    values = {
        part: dict(frozen.state_dict())
        for part, frozen in (("normalization", network.normalization), ("backbone", network.backbone))
    }
    words = f"{module.backbone_name} {module.takes} {options.normalization} {precision.precision}"
    digest = f"{words} {checkpoint_file.digest(values)}"

    def compute(images: Tensor) -> Tensor:
        with evaluation_mode(network), precision.forward_context():
            return network.features(images)

    width = network.head.in_features
    cached = CachedFeatures(compute, digest, width, options.draws, data.eval_batch_size, data.device)
    if not module.trainer.ckpt_path:  # a run that goes on keeps as many as it had
        cached.limit(data.trained_views())
    return cached
