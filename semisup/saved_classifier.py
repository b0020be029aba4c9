"""A classifier in a checkpoint: what is written down beside its weights, and how it is built from that again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from semisup.data.fingerprint import Fingerprint
from semisup.data.pools import DataSpec
from semisup.data.preprocessing import Preprocessing
from semisup.errors import InputError, require
from semisup.features.cached import CachedFeatures
from semisup.learner import Learner
from semisup.models.options import ModelOptions
from semisup.runs import checkpoint_file
from semisup.runtime.allocation import Bounded

_EVALUATED = tuple(f"{network}.{part}." for network in ("network", "ema.average") for part in ("backbone", "head"))
_Kind = TypeVar("_Kind", bound=Learner)
_ROOM = 256 << 20  # bytes, for what is small beside any network


def description(module: Learner, phase: dict[str, int]) -> dict[str, Any]:
    """What `restore` needs of a classifier beside its weights, in plain types that `weights_only` loading accepts."""
    # What was chosen, which another version of a library could choose otherwise.
    size = module.takes.size if module.takes.size != module.spec.image_size else module.options.input_size
    chosen: dict[str, Any] = {"backbone": module.backbone_name, "input_size": size}
    if isinstance(features := module.datamodule.features, CachedFeatures):
        chosen["draws"] = features.count
    model = asdict(module.options) | chosen
    spec = {**asdict(module.spec), "class_names": list(module.spec.class_names)}
    return {
        "format": checkpoint_file.FORMAT,
        "spec": spec,
        "model": model,
        "origin": module.origin,
        "strategy": module.strategy.name,
        "ema_decay": module.ema.decay if module.ema else 0.0,
        "targets_from": module.strategy.targets_from,
        "evaluating_head": module.evaluating_head,
        "phase": phase,
        "data": module.datamodule.fingerprint.saved(),
        "pictures": module.datamodule.preprocessing.saved(),
    }


def described(path: Path, sealed: bool = False) -> dict[str, Any]:
    """As `Classifier.saved`."""
    checkpoint = (checkpoint_file.read_sealed if sealed else checkpoint_file.read)(path)
    known = checkpoint["semisup"]
    return {**known, "epochs": int(checkpoint["epoch"]) + 1 - known.get("phase", {}).get("first_epoch", 0)}


def restore(make: Callable[..., _Kind], path: Path, finite: bool = True) -> _Kind:
    """As `Classifier.from_checkpoint`, of what `make` makes."""
    checkpoint = checkpoint_file.read(path)
    known = checkpoint["semisup"]
    try:
        spec = DataSpec(**{**known["spec"], "class_names": tuple(known["spec"]["class_names"])})
        with Bounded(_room(checkpoint["state_dict"], len(spec.class_names))):
            module = make(spec, model=ModelOptions(**known["model"]), restored=True)
            module.start_ema(known["ema_decay"])
            module.on_load_checkpoint(checkpoint)
        weights = checkpoint["state_dict"]  # and which version of each layer they are of, which goes with them
        if head := known.get("evaluating_head"):
            _put_in_place(weights, str(head))
        for name in weights.keys() - module.state_dict().keys():
            del weights[name]
        _check_kinds(weights, module.state_dict(), finite)
        module.load_state_dict(weights)
    except InputError as error:
        raise InputError(f"{path} asks for a network that can't be built: {error}") from error
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise InputError(f"{path} contradicts itself ({repr(error)[:300]}); give a run directory") from error
    try:
        module.trained_on = Fingerprint.restored(known.get("data"), len(spec.class_names))
        if module.trained_on:
            module.group(torch.from_numpy(module.trained_on.pools["labeled"].labels))
        if "pictures" in known:  # of an earlier version where not
            module.preprocessing = Preprocessing.restored(known["pictures"])
    except InputError as error:
        raise InputError(f"{path} contradicts itself: {error}; give a run directory") from error
    return module.eval()


def _check_kinds(weights: dict[str, Tensor], own: dict[str, Tensor], finite: bool) -> None:
    """Refuses weights that can only be damaged: of another kind of numbers, which copying would convert, or not finite.

    Raises:
        ValueError: as said.
    """
    for name, value in weights.items():
        kind = own[name].dtype
        if value.dtype != kind and not (value.is_floating_point() and kind.is_floating_point):
            raise ValueError(f"{name} holds {value.dtype}, and not {kind}")
        if finite and kind.is_floating_point and name.startswith(_EVALUATED) and not bool(value.isfinite().all()):
            raise ValueError(f"{name} holds numbers that are not finite")


def _put_in_place(weights: dict[str, Tensor], head: str) -> None:
    """Puts the weights of the head that evaluated where those of the network's are, in it and in its average."""
    for network in ("network", "ema.average"):
        for part in ("weight", "bias"):
            if f"{network}.head.{part}" in weights:
                weights[f"{network}.head.{part}"] = weights[f"{network}.extra.{head}.{part}"]


def _room(weights: dict[str, Tensor], classes: int) -> int:
    """Bytes that a classifier may take while it is built, whose weights a file holds.

    A network is made, and made again in another memory format, by some backbones twice; beside it there are matrices of
    classes by classes.

    Raises:
        InputError: these would be far larger than the network.
    """
    held, matrices = sum(x.nbytes for x in weights.values()), 64 * classes**2
    small = matrices <= 64 * held + _ROOM
    require(small, f"it has {classes:,} classes, and too few weights for so many")
    return 4 * held + matrices + _ROOM
