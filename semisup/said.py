"""What is said of a network when its fit begins."""

from __future__ import annotations

from semisup.data.datamodule import DataModule
from semisup.learner import Learner
from semisup.models import adapt
from semisup.runtime.console import say
from semisup.runtime.scale import scale


def say_model(module: Learner, data: DataModule) -> None:
    """Says which network is trained, what evaluates and makes targets, and how many images are in a step."""
    million = sum(p.numel() for p in module.network.parameters()) / 1e6
    trained = adapt.trained_parameters(module.network)
    part = f", {trained:,} of them trained" if module.network.frozen else ""
    why = " (by the size of the images)" if module.options.backbone == "auto" else ""
    by = f"; a moving average of decay {module.ema.decay} evaluates" if module.ema else ""
    if module.ema and module.strategy.targets_from:
        by += f", the {module.strategy.targets_from} weights make targets"
    say(f"model: {module.backbone_name}{why}, {million:.2f} million parameters{part}{by}")
    if module.takes.size != module.spec.image_size:
        sizes = f"{module.spec.image_size} to {module.takes.size} pixels"
        say(f"model: images are brought from {sizes} on the device, a batch at a time (--model.input_size)")
    unlabeled = data.batch_size * data.needs.unlabeled_ratio
    rate = module.optimizer.parameters.get("lr", "by default")
    say(f"training: {scale(module.trainer, data.batch_size, unlabeled, rate)}")
