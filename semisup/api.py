"""`semisup.fit`: what `semisup fit` does, as a function.

    model = semisup.fit("digits", "fixmatch", trainer={"max_epochs": 5}, model={"backbone": "small"})
    model = semisup.fit(semisup.Data(labeled=(images, labels), unlabeled=more, test=(x, y)), "fixmatch")
    model.scores["best/test_accuracy"], model.directory
    model.predict("new-pictures").classes

Options, their checks and their messages, the run directory, resuming and locks are those of the command line, and the
run is the same to the bit.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import replace
from enum import Enum
from typing import Any

import numpy as np

from semisup import plugins
from semisup.cli import config as configuration
from semisup.cli import expand
from semisup.cli.config_file import LEFT_OUT
from semisup.cli.fit import Trained, train
from semisup.cli.lightning_errors import lightning_errors
from semisup.cli.verbs import VERBS
from semisup.data.given import Data
from semisup.data.memory import Memory
from semisup.errors import InputError
from semisup.model import Model, load
from semisup.runs.paths import local
from semisup.runtime.caller import kept
from semisup.runtime.launch import end_started_ranks
from semisup.runtime.signals import Stopped

__all__ = ["fit"]

_SWITCHES = ("trust", *(option.name for option in VERBS["fit"].options if not option.type))
_PLAIN = bool | int | float | str | os.PathLike | Enum | None


def fit(data: Any = None, strategy: str | None = None, **options: Any) -> Model:
    """Trains, chooses on validation and reports on test, in a run directory of its own, as `semisup fit` does.

    Args:
        data: the name of a dataset (`semisup list datamodules`), a folder of pictures, `semisup.Data` or what it takes
            as labeled pictures, or a mapping of the options of `--data.*`, such as `{"name": "digits", "batch_size":
            32}`. By default as on the command line.
        strategy: such as `"fixmatch"` or `"kmeans+pseudolabel"`; supervised by default.
        options: as on the command line (`semisup fit --help`), those of a group in a mapping: `seed=3`,
            `trainer={"max_epochs": 5}`, `optimizer={"name": "adamw", "lr": 1e-3}`, `fixmatch={"threshold": 0.9}`,
            `model="small"`, `tracking={"mode": "disabled"}`, `config="mine.yaml"`, `resume="auto"` or the path of a
            run. The trainer's may be objects, such as `trainer={"callbacks": [Mine()]}`, which config.yaml leaves out.
            Several devices run the program that calls, which is to be a file, once for each up to this training, the
            first one in it; what follows runs once.

    Returns:
        The model that was scored, with its `scores`, its run's `directory`, `predict` and `features`.

    Raises:
        InputError: an option or the data is wrong, or another process trains the run.
        KeyboardInterrupt: Ctrl-C; the step was finished and saved, and `resume` goes on from there.
    """
    trainer = options.get("trainer")
    objects = {}
    if isinstance(trainer, Mapping):
        objects = {name: value for name, value in trainer.items() if not _is_plain(value)}
        options["trainer"] = {name: value for name, value in trainer.items() if name not in objects}
    given = _given(data)
    named = {"data": {"name": "memory", **given.options} if given else _data(data), "strategy": strategy}
    arguments = expand(_arguments({name: x for name, x in named.items() if x is not None} | options))
    try:
        with kept(), lightning_errors():
            config = configuration.parse("fit", arguments)
            pictures = None
            if given:
                pictures = config.data.datamodule()
                assert isinstance(pictures, Memory)
                pictures.given = given
                config = configuration.parse("fit", [*arguments, f"--data.images={pictures.digest}"])
            if objects:
                lines = (f"{LEFT_OUT}trainer.{name}, {value!r}".replace("\n", " ") for name, value in objects.items())
                config = replace(config, trainer=config.trainer | objects, yaml="\n".join([*lines, config.yaml]))
            trained = train(config, pictures, from_python=True)
    except Stopped as stopped:
        # To the caller, as it would have come without a training: Ctrl-C is a KeyboardInterrupt.
        signal.raise_signal(stopped.number)
        raise InputError(f"{stopped.name} has stopped the training; resume goes on with it") from None
    except SystemExit as leaving:  # Lightning ends the process after a Ctrl-C that it sees
        if isinstance(leaving.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    end_started_ranks()
    return _model(trained, "cpu" if config.trainer.get("accelerator") == "cpu" else None)


def _model(trained: Trained, device: str | None) -> Model:
    """The best checkpoint's; of a run that keeps none, of the weights that it ended with."""
    if any(trained.run_dir.glob("checkpoints/*.ckpt")):
        return load(trained.run_dir, device)
    trained.module.preprocessing = trained.data.preprocessing
    return Model(trained.module, trained.module.device, trained.run_dir)


def _given(data: Any) -> Data | None:
    """Pictures that are here, and not named."""
    if data is None or isinstance(data, str | os.PathLike | Data):
        return data if isinstance(data, Data) else None
    return None if isinstance(data, Mapping) and "name" in data else Data(data)


def _data(data: Any) -> Any:
    """`data` as options of the group: a path is a folder, and text one where no dataset is called so."""
    if not isinstance(data, str | os.PathLike):
        return data
    name, path = os.fspath(data), local(os.fspath(data))
    a_folder = isinstance(data, os.PathLike) or path.is_dir() or len(path.parts) > 1
    if a_folder and (isinstance(data, os.PathLike) or name not in plugins.installed(plugins.DATAMODULES)):
        return {"name": "folder", "root": name}
    return {"name": name}


def _arguments(options: Mapping[str, Any]) -> Iterator[str]:
    """Options as they are typed."""
    for name, value in options.items():
        if name in _SWITCHES:
            yield from [f"--{name}"] if value else []
        elif name == "config" and isinstance(value, list | tuple):
            yield from (f"--config={_text(name, each)}" for each in value)
        elif isinstance(value, Mapping):
            yield from (f"--{name}.{option}={_text(f'{name}.{option}', inner)}" for option, inner in value.items())
        elif value is not None or name not in ("resume", "config"):
            yield f"--{name}={_text(name, value)}"


def _text(name: str, value: Any) -> str:
    if not _is_plain(value):
        kinds = "numbers, text, choices, and lists and mappings of these"
        raise InputError(f"--{name}: expected {kinds}, got {value!r}")
    value = _simple(value)
    return value if isinstance(value, str) else json.dumps(value)


def _simple(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, Mapping):
        return {str(key): _simple(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_simple(inner) for inner in value]
    if isinstance(value, np.generic):
        return value.item()
    return value.value if isinstance(value, Enum) else os.fspath(value) if isinstance(value, os.PathLike) else value


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return isinstance(value, _PLAIN | np.generic)
