"""Faults of a training: numbers that are none, and signals."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from .outcome import Outcome, ended_well, variables
from .runs import fit, step_of, stopped


def nan_loss(folder: Path, whole: Path) -> Outcome:
    """A weight becomes nan before step 4."""
    return _bad_weight(folder, float("nan"), "the loss is nan at step 4 of epoch 1")


def infinite_loss(folder: Path, whole: Path) -> Outcome:
    """Biases become 3e38 and -3e38 before step 4."""
    return _bad_weight(folder, 3e38, "the loss is inf at step 4 of epoch 1")


def _bad_weight(folder: Path, value: float, words: str) -> Outcome:
    def poison(trainer: pl.Trainer, module: Any) -> None:
        module.network.head.bias.data[:2] = torch.tensor([value, -value])

    ended = fit(folder / "runs", act=poison)
    met = ended.told(2, words, "by rows of the pools: labeled images ") | {"saved": step_of(folder) == 3}
    return ended_well(ended, "the loss is", folder, met)


def nan_gradient(folder: Path, whole: Path) -> Outcome:
    """A gradient is nan in the very last step, whose loss is finite."""

    def poison(trainer: pl.Trainer, module: Any) -> None:
        module.network.head.weight.register_hook(lambda gradient: gradient * float("nan"))

    ended = fit(folder / "runs", act=poison, step=5)
    met = ended.told(2, "weights are not finite (network.head.weight") | {"saved": step_of(folder) == 3}
    return ended_well(ended, "weights", folder, met)


def sigterm(folder: Path, whole: Path) -> Outcome:
    """SIGTERM in step 4."""
    return _signalled(folder, whole, signal.SIGTERM, "stopped by SIGTERM; go on with")


def sighup(folder: Path, whole: Path) -> Outcome:
    """SIGHUP in step 4, as of a closed terminal."""
    return _signalled(folder, whole, signal.SIGHUP, "stopped by SIGHUP; go on with")


def sigquit(folder: Path, whole: Path) -> Outcome:
    """SIGQUIT in step 4."""
    return _signalled(folder, whole, signal.SIGQUIT, "stopped by SIGQUIT; go on with")


def sigxcpu(folder: Path, whole: Path) -> Outcome:
    """SIGXCPU in step 4, as of `ulimit -t`."""
    return _signalled(folder, whole, signal.SIGXCPU, "stopped by SIGXCPU; go on with")


def sigusr2(folder: Path, whole: Path) -> Outcome:
    """SIGUSR2 in step 4."""
    return _signalled(folder, whole, signal.SIGUSR2, "stopped by SIGUSR2; go on with")


def ctrl_c(folder: Path, whole: Path) -> Outcome:
    """SIGINT in step 4."""
    return _signalled(folder, whole, signal.SIGINT, "stopped by Ctrl-C; go on with")


def slurm_preemption(folder: Path, whole: Path) -> Outcome:
    """SIGUSR1 in step 4 of a run with SLURM's variables, and a `scontrol` that says what it is asked."""
    (folder / "scontrol").write_text(f'#!/bin/sh\necho "$@" > {folder}/asked\n')
    (folder / "scontrol").chmod(0o755)
    task = {"NTASKS": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0", "JOB_NAME": "job", "JOB_ID": "41"}
    slurm = {f"SLURM_{name}": value for name, value in task.items()}
    with variables(PATH=f"{folder}:{os.environ['PATH']}", **slurm):
        outcome = _signalled(folder, whole, signal.SIGUSR1, "SLURM queues job 41 again")
    outcome.met["scontrol requeue 41"] = (folder / "asked").read_text() == "requeue 41\n"
    return outcome


def _signalled(folder: Path, whole: Path, number: int, words: str) -> Outcome:
    ended = stopped(folder / "runs", number=number)
    met = ended.told(128 + number, words) | {"finished the step, and saved": step_of(folder) == 5}
    return ended_well(ended, words, folder / "runs", met, whole)


FAULTS = [nan_loss, infinite_loss, nan_gradient, sigterm, sighup, sigquit, sigxcpu, sigusr2, ctrl_c, slurm_preemption]
