"""From options to objects: classes that options name, paths on this machine, a datamodule, a trainer."""

from __future__ import annotations

import logging
import re
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from jsonargparse import ArgumentParser, Namespace
from pytorch_lightning.callbacks import ProgressBar

from semisup import plugins
from semisup.classifier import Classifier
from semisup.data.contract import Contract
from semisup.data.datamodule import DataModule
from semisup.errors import InputError, require
from semisup.models import precision
from semisup.runs.paths import local
from semisup.runtime import launch
from semisup.runtime.sync_batchnorm import CPUSync
from semisup.training.bar import Bar

_PATH = re.compile(r"[._](root|path|dir|folder|file|csv)$")  # the options that are paths


@dataclass(frozen=True)
class DataOptions:
    """A dataset.

    Attributes:
        name: the datamodule's, `--data` or what it stood for.
        arguments: the datamodule's, without the seed.
        seed: of every random draw.
        why: why that one was chosen, empty where it was named.
    """

    name: str
    arguments: dict[str, Any]
    seed: int
    why: str = field(compare=False)

    def datamodule(self) -> DataModule:
        """The datamodule, whose files are not opened yet."""
        return Contract(plugins.load(plugins.DATAMODULES, self.name)).made(**self.arguments, seed=self.seed)


def build_data(options: DataOptions) -> DataModule:
    """The datamodule, with its files opened, so that what is wrong with them is said first.

    Raises:
        InputError: files are missing or not what they should be.
    """
    data = options.datamodule()
    _ = data.pools
    return data


def build_trainer(options: Mapping[str, Any], **ours: Any) -> pl.Trainer:
    """Lightning's Trainer with the user's options; ours fill in what was not asked for.

    Raises:
        InputError: Lightning can't be had with these flags.
    """
    _quieten()
    usual = {name: parameter.default for name, parameter in signature(pl.Trainer).parameters.items()}
    # No value means Lightning's own where it has none; elsewhere it is one, as for check_val_every_n_epoch.
    asked = {name: x for name, x in options.items() if x is not None or usual.get(name) is not None}
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
        callbacks = [*callbacks, Bar(refresh_rate=flags.get("log_every_n_steps", 50))]
    try:
        trainer = pl.Trainer(**{**flags, "callbacks": callbacks})
    except (ImportError, TypeError, ValueError, RuntimeError) as error:  # an absent package, a value out of range
        raise InputError(f"--trainer: Lightning refuses these options: {error}") from error
    launch.check(trainer.num_devices, trainer.num_nodes)
    launch.end_with_rank_zero()
    return trainer


def default_precision(options: Mapping[str, Any], module: Classifier) -> str | None:
    """The precision of a training on this CPU that begins without being asked for one; None leaves it to the Trainer.

    Args:
        options: the Trainer's.
        module: that is to be trained.
    """
    asked = options.get("precision") or options.get("plugins") or options.get("num_nodes", 1) != 1
    # Of several ranks the first may have other threads than the others, and all are to decide alike.
    if asked or not _on_cpu(options) or options.get("devices", "auto") not in ("auto", "1", 1) or launch.launcher():
        return None
    return precision.by_default(module.network, module.spec.channels, module.spec.image_size)


def began_precision(options: Mapping[str, Any], began: str | None) -> str | None:
    """The precision to evaluate in: that which a CPU trained in, where this one multiplies it too.

    Args:
        options: the Trainer's.
        began: what the run's config.yaml says.
    """
    same = began == precision.BF16 and precision.multiplies_bf16() and _on_cpu(options)
    return options.get("precision") or (began if same else None)


def _on_cpu(options: Mapping[str, Any]) -> bool:
    accelerator = options.get("accelerator", "auto")
    return accelerator == "cpu" or (accelerator == "auto" and not torch.accelerator.is_available())


def _precision(accelerator: str) -> str:
    """bf16 on GPUs that multiply it; else float32 (of CPUs, `default_precision` looks at the network)."""
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


def instantiate(parser: ArgumentParser, parsed: Namespace) -> Namespace:
    """The options, with an object in place of each that is given by class_path and init_args.

    Raises:
        InputError: a class refuses what it is given.
    """
    refused: list[tuple[type, Exception]] = []

    def build(cls: type, *args: Any, **kwargs: Any) -> Any:
        try:
            return cls(*args, **kwargs)
        except Exception as error:  # of whatever kind; jsonargparse goes on to try the option's other types
            refused.append((cls, error))
            raise

    try:
        return parser.instantiate(parsed, instantiators=[(build, object, True)])
    except Exception as error:
        if not refused:
            raise
        cls, reason = refused[0]
        said = str(reason) or type(reason).__name__
        raise InputError(f"{cls.__name__} refuses what it is given: {said}; look at its init_args") from error


def arguments(built: Namespace, group: str) -> dict[str, Any]:
    """The options of a group but for its name; those that are named as a path are paths on this machine."""
    options = vars(built.get(group, Namespace()))
    return {key: _local(f"{group}.{key}", value) for key, value in options.items() if key != "name"}


def _local(option: str, value: Any) -> Any:
    if not isinstance(value, str | Path) or not value or not _PATH.search(option):
        return value
    try:
        return type(value)(local(value))
    except InputError as error:
        raise InputError(f"--{option}: {error}") from error
