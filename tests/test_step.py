"""The training step: no wait for the device, no compilation after the first epoch, the fastest order in memory."""

from __future__ import annotations

import traceback
from functools import partial
from pathlib import Path
from typing import Any

import methods
import pytest
import pytorch_lightning as pl
import torch
from helpers import Blobs, classifier, same, trainer, weights
from methods import make
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from semisup.augment.compiled import compiled_views
from semisup.batch import Batch
from semisup.classifier import ModelOptions
from semisup.runs.reading import read_metrics
from semisup.strategy import LossStrategy
from semisup.tracking.record import MetricsCSV
from strategies.fixmatch import FixMatch
from strategies.metapseudolabels import MetaPseudoLabels
from strategies.pseudolabel import PseudoLabel
from strategies.supervised import Supervised

OWNERS: dict[str, Any] = {name: partial(make, name) for name in methods.OWNERS} | {
    "supervised": partial(Supervised, view="strong", ema_decay=0.9),
    "pseudolabel": partial(PseudoLabel, threshold=0.0, warmup_epochs=1, every_n_epochs=1),
    "fixmatch": partial(FixMatch, threshold=0.5, ratio=2),
    "metapseudolabels": partial(MetaPseudoLabels, threshold=0.4, ratio=2, finetune_epochs=0),
}


def meta_batch(data: Blobs) -> Batch:
    batch = next(iter(data.train_dataloader())).to(torch.device("meta"))
    augmented: Batch = data.on_after_batch_transfer(batch, 0)
    return augmented


@pytest.mark.parametrize("augmentation", ["weak", "shift", "course", "course_copies"])
@pytest.mark.parametrize("name", OWNERS)
def test_a_step_reads_no_value_back(name: str, augmentation: Any) -> None:
    """On the meta device there are none to read, so what works there never waits for a GPU to tell one."""
    if name == "vat":
        pytest.skip("torch.autocast, which it turns off for a pass, does not know the meta device")
    data = Blobs(augmentation=augmentation)
    strategy: LossStrategy = OWNERS[name]()
    module = classifier(data, strategy)
    trainer(2).fit(module, data)
    module.to("meta")
    strategy.move_state(torch.device("meta"))
    optimizer = torch.optim.SGD(module.network.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    for _ in range(2):  # the second one has momentum
        batch = meta_batch(data)
        loss, metrics, *rest = strategy.loss(module, batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if strategy.steps_twice:
            loss, metrics, *_ = strategy.second_loss(module, batch, rest[0])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        if module.ema:
            module.ema.update(module.network)
    assert all(value.device.type == "meta" for value in (loss, *metrics.values()))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", OWNERS)
def test_a_step_does_not_wait_for_the_gpu(name: str) -> None:
    class Strict(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
            torch.cuda.set_sync_debug_mode("error" if trainer.current_epoch else "default")

        def on_train_batch_end(self, *args: Any) -> None:
            torch.cuda.set_sync_debug_mode("default")

    data = Blobs(augmentation="weak")
    fit = trainer(3, accelerator="cuda", callbacks=[Strict()])
    fit.fit(classifier(data, OWNERS[name]()), data)
    assert fit.global_step == 12


@pytest.mark.parametrize("interval", [4, 8])
def test_logging_reads_values_once_per_interval(interval: int, tmp_path: Any) -> None:
    """What a logged loss costs is one read of the device, and only where it is written down."""
    reads = []
    for logger in (False, pl.loggers.CSVLogger(tmp_path)):
        data = Blobs(augmentation="weak", steps_per_epoch=16)
        fit = trainer(1, logger=logger, log_every_n_steps=interval, limit_val_batches=0)
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            fit.fit(classifier(data, Supervised()), data)
        reads.append(sum(event.count for event in profiled.key_averages() if event.key == "aten::item"))
    assert reads[1] - reads[0] == 16 // interval


@pytest.mark.parametrize("accumulated", [1, 2])
def test_scalars_that_nobody_looks_at_are_not_logged(
    accumulated: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record, and what callbacks see of an epoch, are those of a run that gives every scalar to Lightning."""
    ends: list[float] = []

    class Looks(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            ends.append(trainer.callback_metrics["train/loss"].item())

    found, counts = [], []
    for name in ("all", "some"):
        folder, data = tmp_path / name, Blobs(augmentation="weak", steps_per_epoch=10)
        folder.mkdir()
        module = classifier(data, Supervised())
        logged: list[str] = []
        plain = module.log

        def log(key: str, *rest: Any, plain: Any = plain, logged: list[str] = logged, **options: Any) -> None:
            logged.append(key)
            plain(key, *rest, **options)

        monkeypatch.setattr(module, "log", log)
        with monkeypatch.context() as patch:
            if name == "all":
                patch.setattr("semisup.logged.is_looked_at", lambda module: True)
            options = {"log_every_n_steps": 3, "accumulate_grad_batches": accumulated, "callbacks": [Looks()]}
            trainer(3, logger=MetricsCSV(folder), **options).fit(module, data)
        found.append((folder / "metrics.csv").read_text())
        counts.append(logged.count("train/loss"))
    steps = [row["step"] for row in read_metrics(tmp_path / "some") if "train/loss" in row]
    assert found[0] == found[1] and sorted(set(steps)) == [*range(2, 30 // accumulated, 3)]
    assert ends[:3] == ends[3:]
    assert counts[0] == 30 and counts[1] <= 18


def test_nothing_is_compiled_after_the_first_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even for the larger batches that pseudo-labels bring; and the compiled network learns what the other does."""
    counters = torch._dynamo.utils.counters
    # The graphs and their guards are those of the default backend, which would need a C++ compiler.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    graphs = []

    class Count(pl.Callback):
        def on_train_epoch_end(self, *args: Any) -> None:
            graphs.append(counters["stats"]["unique_graphs"])

    torch._dynamo.reset()
    counters.clear()
    results, sizes = [], []
    for compiled in (True, False):
        data = Blobs(augmentation="weak", batch_size=18)  # torch's convolutions take batches below 16 another way
        module = classifier(data, OWNERS["pseudolabel"](ratio=3), model=ModelOptions("small", compile=compiled))
        trainer(4, callbacks=[Count()]).fit(module, data)
        results.append(weights(module))
        sizes.append(len(data.relabeled))
    assert graphs == [1] * 8 and sizes == [90, 90]
    assert same(*results)


def test_compiled_views_are_compiled_once_and_teach_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on an accelerator, where `--model.compile` compiles them; by another backend, as above."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    results = []
    for compiled in (True, False):
        data = Blobs(augmentation="weak", batch_size=18)
        module = classifier(data, OWNERS["pseudolabel"](ratio=3), model=ModelOptions("small", compile=compiled))
        if compiled:
            data.find_view = compiled_views()
        trainer(3).fit(module, data)
        results.append(weights(module))
    graphs = {"network", "weak", "none"}
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == len(graphs)
    assert same(*results)


def test_longer_training_waits_for_the_device_no_more_often() -> None:
    """Counted where values are read back, by Lightning's loop and ours, of the step, its optimiser and the average.

    The loader is left out: what it reads lies on the host.
    """
    aten = torch.ops.aten
    reading = (aten._local_scalar_dense, aten.nonzero, aten.masked_select)

    class Waits(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if not any(frame.filename.endswith("loader.py") for frame in traceback.extract_stack(limit=12)):
                self.count += func.overloadpacket in reading
            return func(*args, **(kwargs or {}))

    counts = []
    for steps in (3, 9):
        data = Blobs(augmentation="weak", steps_per_epoch=steps)
        module = classifier(data, FixMatch(threshold=0.5, ratio=2))
        with Waits() as waits:
            trainer(1, log_every_n_steps=1000, limit_val_batches=0).fit(module, data)
        counts.append(waits.count)
    assert counts[0] == counts[1]


def test_images_and_weights_are_in_the_order_that_convolutions_are_fastest_in() -> None:
    data = Blobs()
    module = classifier(data)
    seen = []
    module.network.backbone.register_forward_pre_hook(lambda _, images: seen.append(images[0]))
    module(torch.rand(4, 1, 8, 8))
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    kernels = [m.weight for m in module.network.modules() if isinstance(m, torch.nn.Conv2d) and m.in_channels > 1]
    assert kernels and all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)
