"""What several test files share: a dataset that fits into a second, and a fit without files or noise."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import torch.multiprocessing as mp
from sklearn.datasets import load_sample_images

from semisup import plugins
from semisup.classifier import Classifier
from semisup.composition import Composition
from semisup.data.datamodule import DataModule
from semisup.data.pool import Pool
from semisup.data.pools import DataSpec, Pools
from semisup.predict import predict
from semisup.strategy import Strategy

# Seconds until a test gives up waiting: so many that the busiest machine needs fewer, and no outcome depends on them.
# They are there so that nothing hangs forever.
HANG = 1800.0


class Blobs(DataModule):
    """Three classes of noisy 8x8 pictures, each bright in one third: 12 labeled, 90 unlabeled, 30 val, 30 test."""

    default_augmentation = "none"

    def __init__(self, truth: str = "right", **kwargs: Any) -> None:
        super().__init__(**{"batch_size": 12, "eval_batch_size": 16, "steps_per_epoch": 4, **kwargs})
        self.truth = truth

    @property
    def spec(self) -> DataSpec:
        return DataSpec("blobs", ("left", "middle", "right"), channels=1, image_size=8)

    def read(self) -> Pools:
        rng = np.random.default_rng(0)
        labels = np.arange(162) % 3
        images = rng.integers(0, 120, (162, 1, 8, 8))
        for row, label in enumerate(labels):
            images[row, 0, :, 3 * label : 3 * label + 2] += 100
        images = images.astype(np.uint8)
        rows = np.arange(162)
        truth = {"right": labels[12:102], "permuted": rng.permutation(labels[12:102]), "unknown": None}[self.truth]
        return Pools(
            labeled=Pool(images, labels[:12], rows[:12]),
            unlabeled=Pool(images, rows=rows[12:102]),
            val=Pool(images, labels[102:132], rows[102:132]),
            test=Pool(images, labels[132:], rows[132:]),
            train_size=12,
            hidden_labels=truth,
        )


def install_blobs(patch: pytest.MonkeyPatch) -> None:
    """Makes `--data blobs` name the datamodule above, as if a package had brought it."""
    install(patch, blobs=(plugins.DATAMODULES, "helpers:Blobs"))


def install(patch: pytest.MonkeyPatch, **brought: tuple[str, str]) -> None:
    """Makes names mean plugins, each given by its group and its class, as if a package had brought them."""
    found = plugins.entry_points

    def with_brought(group: str) -> list[EntryPoint]:
        more = [EntryPoint(name, target, to) for name, (to, target) in brought.items() if to == group]
        return [*found(group=group), *more]

    patch.setattr(plugins, "entry_points", with_brought)


class Photographs(Blobs):
    """Twelve crops of photographs of 48x48 pixels, all of them unlabeled and labeled as well."""

    @property
    def spec(self) -> DataSpec:
        return DataSpec("photographs", ("one", "two", "three"), channels=3, image_size=48)

    def read(self) -> Pools:
        images = patches(48).numpy()
        return Pools(Pool(images, torch.arange(12).numpy() % 3), Pool(images), None, None, train_size=12)


class SaveAt(pl.callbacks.Checkpoint):  # Lightning runs these after all other callbacks
    """Saves a checkpoint after the given step, in the middle of an epoch or at its end."""

    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.global_step == self.step and self.step % 4:
            trainer.save_checkpoint(self.path)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


class KillAfter(pl.callbacks.Checkpoint):  # Lightning runs these last, when the epoch's checkpoint is written
    """Kills the process, as the machine would, after an epoch's checkpoint was written and the next one began."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, idx: int) -> None:
        if trainer.current_epoch == self.epochs and idx == 2:
            os.kill(os.getpid(), signal.SIGKILL)


class WaitAt(pl.Callback):
    """Stands still in the middle of a step until it is told to go on.

    Args:
        step: steps that were done before it.
        folder: where the file `waits` says that the step was reached, and the file `go` ends the waiting.
    """

    def __init__(self, step: int, folder: str) -> None:
        self.step, self.folder = step, Path(folder)

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: torch.Tensor) -> None:
        if trainer.global_step == self.step:
            (self.folder / "waits").touch()
            until((self.folder / "go").exists)


def until(condition: Callable[[], object], alive: Callable[[], bool] = lambda: True) -> None:
    """Waits until a condition holds, as long as what is to bring it about is alive."""
    end = time.monotonic() + HANG
    while not condition():
        assert (alive() or condition()) and time.monotonic() < end, "what was waited for can't come any more"
        time.sleep(0.01)


def unbounded() -> dict[str, str]:
    """An environment in which nobody has said how OpenMP's threads wait, and in which OpenMP says what it was told."""
    said = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    return {name: x for name, x in os.environ.items() if name not in said} | {"OMP_DISPLAY_ENV": "verbose"}


def spins(output: str) -> set[str]:
    """How often threads look before they sleep, as OpenMP said when it was loaded, by every process and every copy."""
    return set(re.findall(r"GOMP_SPINCOUNT = '(\d+)'", output))


def run_python(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs a Python process to its end."""
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=HANG, **options)


def classifier(data: DataModule, strategy: Strategy | None = None, name: str = "strategy", **kwargs: Any) -> Classifier:
    """A small classifier for a datamodule."""
    return Classifier(data.spec, Composition({name: strategy} if strategy else {}), **kwargs)


def trainer(epochs: int, **kwargs: Any) -> pl.Trainer:
    """A quiet trainer on the CPU that writes no files unless asked to."""
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    options = {**quiet, "enable_model_summary": False, "accelerator": "cpu", "devices": 1, **kwargs}
    return pl.Trainer(max_epochs=epochs, **options)


def weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of every parameter and buffer."""
    return {name: value.clone() for name, value in module.state_dict().items()}


def patches(side: int = 96, columns: tuple[int, ...] = (30, 270, 500)) -> torch.Tensor:
    """(4 * len(columns), 3, side, side) uint8, cut out of the two photographs that scikit-learn ships."""
    found = [
        torch.from_numpy(image[y : y + side, x : x + side].copy()).permute(2, 0, 1)
        for image in load_sample_images().images
        for y in (40, 250)
        for x in columns
    ]
    return torch.stack(found)


@contextmanager
def alone_with_wandb(folder: Path) -> Iterator[None]:
    """In a folder, without a W&B login, settings or a W&B process from outside."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB_") or name.lower().endswith("_proxy")]:
            patch.delenv(name)
        for name in ("CONFIG", "CACHE", "DATA", "ARTIFACT"):
            patch.setenv(f"WANDB_{name}_DIR", str(folder / "home" / name))
        patch.setenv("NETRC", str(folder / "netrc"))
        patch.chdir(folder)
        if "wandb" in sys.modules:
            with suppress(Exception):  # the W&B process of an earlier test may be gone
                sys.modules["wandb"].teardown()
        try:
            yield
        finally:
            if "wandb" in sys.modules:
                sys.modules["wandb"].teardown()


def in_two_processes(rank: Callable[[int, str, int], None], folder: Path) -> None:
    """Calls `rank` with its number, the folder and a free port for the two to meet at, and waits for both."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    method = "spawn" if torch.cuda.is_initialized() else "fork"  # which has imported everything: seconds less
    mp.start_processes(rank, (str(folder), port), nprocs=2, start_method=method)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of weights are equal bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def probabilities(module: Any, data: Blobs) -> torch.Tensor:
    """What a classifier says of the unlabeled images: (N, classes)."""
    assert data.pools.without_label is not None
    return torch.cat([p for _, p in predict(module, data.pools.without_label, 16)])
