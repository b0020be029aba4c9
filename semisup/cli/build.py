"""What the verbs share: from a `Config` to a datamodule, a trainer, and a checkpoint that fits the data."""

from __future__ import annotations

import logging
import sys
import warnings
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ProgressBar, TQDMProgressBar

from semisup import plugins
from semisup.classifier import Classifier
from semisup.cli.config import Config
from semisup.data.datamodule import DataModule, DataSpec
from semisup.errors import InputError, require
from semisup.runs.directory import find_checkpoint
from semisup.runtime import launch
from semisup.runtime.console import say
from semisup.runtime.sync_batchnorm import CPUSync


def build_data(config: Config) -> DataModule:
    """The datamodule that a configuration names, with its files opened, so that what is wrong with them is said first.

    Raises:
        InputError: files are missing or not what they should be.
    """
    data: DataModule = plugins.load(plugins.DATAMODULES, config.data_name)(**config.data, seed=config.seed)
    _ = data.pools
    return data


def build_trainer(config: Config, **ours: Any) -> pl.Trainer:
    """Lightning's Trainer with the user's flags; ours fill in what was not asked for.

    Raises:
        InputError: Lightning can't be had with these flags.
    """
    _quieten()
    usual = {name: parameter.default for name, parameter in signature(pl.Trainer).parameters.items()}
    # No value means Lightning's own where it has none; elsewhere it is one, as for check_val_every_n_epoch.
    asked = {name: x for name, x in config.trainer.items() if x is not None or usual.get(name) is not None}
    flags = launch.fill_in(asked)
    if flags.get("sync_batchnorm") and flags.get("accelerator") == "cpu":
        flags["plugins"] = [*as_list(flags.get("plugins")), CPUSync()]
        del flags["sync_batchnorm"]  # Lightning takes either the flag or the plugin
    require(
        not flags.get("barebones"),
        "--trainer.barebones leaves out the record and the checkpoints, which a run is made of; leave it out",
    )
    require(
        flags.get("profiler") != "xla" or find_spec("torch_xla") is not None,
        "--trainer.profiler xla needs torch_xla; type pip install torch_xla, or --trainer.profiler simple",
    )
    callbacks = as_list(ours.get("callbacks", flags.get("callbacks")))
    a_bar = any(isinstance(callback, ProgressBar) for callback in callbacks)
    quiet = {"enable_model_summary": False, "enable_progress_bar": a_bar or sys.stderr.isatty()}
    flags = {**quiet, "precision": _precision(flags.get("accelerator", "auto")), **flags, **ours}
    if flags["enable_progress_bar"] and not a_bar:
        # A bar reads the loss, and so waits for the device: as often as the loggers do, and not at every step.
        callbacks = [*callbacks, TQDMProgressBar(refresh_rate=flags.get("log_every_n_steps", 50))]
    try:
        trainer = pl.Trainer(**{**flags, "callbacks": callbacks})
    except (ImportError, TypeError, ValueError, RuntimeError) as error:  # an absent package, a value out of range
        raise InputError(f"--trainer: Lightning refuses these options: {error}") from error
    launch.check(trainer.num_devices, trainer.num_nodes)
    launch.end_with_rank_zero()
    return trainer


def _precision(accelerator: str) -> str:
    """bf16 on GPUs that multiply it; float32 on CPUs, most of which are many times slower in bf16."""
    cuda = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return "bf16-mixed" if cuda and torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"


def as_list(value: Any) -> list[Any]:
    """What a Trainer flag holds that takes nothing, one thing, or a list of them."""
    return [] if value is None else value if isinstance(value, list) else [value]


def _quieten() -> None:
    """Keeps Lightning's hints, which a user of the command line can't act on, off the console."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    for message in (
        ".*LeafSpec.*",  # inside Lightning, about torch
        ".*override existing callbacks.*",
        ".*Checkpoint directory .* exists and is not empty.*",  # a resumed run
        ".*The number of training batches .* is smaller than the logging interval.*",
        r".*module\(s\) in eval mode at the start of training.*",  # the moving average
        ".*You requested to overfit but enabled train dataloader shuffling.*",  # the loader has its own way to
        ".*Trying to infer the `batch_size`.*",
        ".*Be aware that when using `ckpt_path`, callbacks used to create the checkpoint need to be provided.*",
    ):
        warnings.filterwarnings("ignore", message)


def restore(path: str, data: DataSpec) -> tuple[Classifier, Path]:
    """The classifier of a run or checkpoint, and the checkpoint's path.

    Raises:
        InputError: there is no such checkpoint, or it was trained on other classes or images than the data has.
    """
    checkpoint = find_checkpoint(Path(path))
    module = Classifier.from_checkpoint(checkpoint)
    known = module.spec
    if known.class_names != data.class_names:
        advice = f"type --data {known.name}, or give a run that was trained on {data.name}"
        if known.name == data.name:
            renamed = dict(zip(known.class_names, data.class_names, strict=False))
            first = next((name for name, now in renamed.items() if name != now), known.class_names[-1])
            advice = (
                f"they must be called as they were, in that order, the first that isn't is {first!r}: rename them, or "
                f"type --data.root FOLDER for the data that it was trained with"
            )
        raise InputError(
            f"{checkpoint} knows the classes {listed(known.class_names)}, and {data.name} has the classes "
            f"{listed(data.class_names)}; {advice}"
        )
    if (known.channels, known.image_size) != (data.channels, data.image_size):
        raise InputError(
            f"{checkpoint} was trained on {_shape(known)} images, and {data.name} has {_shape(data)} ones; give a run "
            f"that was trained on such"
        )
    say(f"checkpoint: {checkpoint}, {module.backbone_name}")
    return module, checkpoint


def _shape(data: DataSpec) -> str:
    return f"{data.channels}x{data.image_size}x{data.image_size}"


def listed(names: tuple[str, ...], most: int = 12) -> str:
    """Names in a message, not too many of them."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def first_line(config: Config) -> str:
    """What runs on which data, and why on these."""
    why = f" ({config.data_why})" if config.data_why else ""
    return f"semisup {config.verb}: {config.strategy} on {config.data_name}, seed {config.seed}{why}"
