"""Every installed strategy, with settings at which a training of seconds uses all of it; a new one enters by itself."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any

from helpers import Blobs, classifier, trainer

from datamodules.digits import Digits
from semisup import plugins
from semisup.data.datamodule import DataModule
from semisup.strategy import LossStrategy, Strategy, TermStrategy

# Options that many strategies share; each takes those that it has.
COMMON: dict[str, Any] = {"ratio": 2, "threshold": 0.4, "ema_decay": 0.9, "ramp": 0.5, "warmup": 0.25}
OWN: dict[str, dict[str, Any]] = {
    "supervised": {"ema_decay": 0.0},
    "pseudolabel": {"warmup_epochs": 1, "every_n_epochs": 1, "ramp_end": 4, "ratio": 1},
    "curriculum": {"step": 50},
    "crest": {"generations": 2, "decay": 0.9},
    "noisystudent": {"generations": 1, "ratio": 1},
    "kmeans": {"patches_per_image": 20},
    "remixmatch": {"copies": 2, "ramp": 0.5},
    "regmixmatch": {"mix_threshold": 0.5},
    "darp": {"interval": 2},
    "dash": {"interval": 0.2},
    "exemplar": {"images": 20, "samples_per_class": 4, "epochs": 1, "batch_size": 10, "svm": False},
    "simclr": {"epochs": 1, "batch_size": 24, "projection": 8},
}


@cache
def teachers(data: type[DataModule] = Blobs) -> list[str]:
    """Checkpoints of two networks that were trained for a step on a dataset; processes that this one starts find them.

    A dataset of another seed, on which other images have labels, is another one.
    """
    place = f"SEMISUP_TEST_TEACHERS_{data.__name__}"
    if place not in os.environ:
        os.environ[place] = tempfile.mkdtemp()
        atexit.register(shutil.rmtree, os.environ[place], ignore_errors=True)
    found = [str(Path(os.environ[place], f"{seed}.ckpt")) for seed in range(2)]
    for seed, path in enumerate(found):
        if not Path(path).exists():
            fitting = trainer(1, max_steps=1, limit_val_batches=0)
            fitting.fit(classifier(made := data(), seed=seed), made)
            fitting.save_checkpoint(path)
    return found


def settings(name: str, data: type[DataModule] = Blobs) -> dict[str, Any]:
    """The options of a strategy by the name that it is installed under, for a training on a dataset."""
    options = {**COMMON, **OWN.get(name, {})}
    if name == "ensemble":
        options["runs"] = teachers(data)
    return {key: options[key] for key in signature(plugins.load(plugins.STRATEGIES, name)).parameters if key in options}


def make(name: str) -> Strategy:
    """A strategy by the name that it is installed under."""
    made: Strategy = plugins.load(plugins.STRATEGIES, name)(**settings(name))
    return made


def typed(name: str) -> list[str]:
    """A composition and its options as they are typed, for the digits."""
    parts = {part: settings(part, Digits) for part in name.split("+")}
    options = {f"--{part}.{key}": str(value) for part, its in parts.items() for key, value in its.items()}
    return ["--strategy", name, *(word for pair in options.items() for word in pair)]


def parts(name: str) -> dict[str, Strategy]:
    """The strategies of a composition, `kmeans+fixmatch`."""
    return {part: make(part) for part in name.split("+")}


STRATEGIES = sorted(plugins.installed(plugins.STRATEGIES))
OWNERS = [name for name in STRATEGIES if issubclass(plugins.load(plugins.STRATEGIES, name), LossStrategy)]


def is_added(cls: type[Strategy]) -> bool:
    """Whether it adds a term to the loss of another, or refines its targets."""
    return issubclass(cls, TermStrategy) or cls.refines


TERMS = [name for name in STRATEGIES if is_added(plugins.load(plugins.STRATEGIES, name))]
# Such a one is composed with what it is added to.
NAMES = [f"fixmatch+{name}" if name in TERMS else name for name in STRATEGIES]
