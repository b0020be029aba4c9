"""One process with a batch and two with half of it each: the same samples, views, targets, losses, weights, scores."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from helpers import Blobs, classifier, in_two_processes, same, trainer, weights
from methods import NAMES, parts
from torch import Tensor

from semisup import plugins
from semisup.batch import Batch
from semisup.classifier import Classifier
from semisup.composition import Composition
from semisup.data.pool import Pool
from semisup.data.pools import Pools
from semisup.runs.reading import read_metrics
from semisup.runtime.ranks import gather
from semisup.runtime.sync_batchnorm import CPUSync
from semisup.strategy import Loss, Strategy
from semisup.tracking.record import MetricsCSV
from semisup.training import forecast
from semisup.training.forecast import Forecast, TooLittleMemory
from strategies.kmeans import KMeans
from strategies.pseudolabel import PseudoLabel
from strategies.supervised import Supervised

ROUNDS: dict[str, Any] = {"warmup_epochs": 1, "every_n_epochs": 1, "threshold": 0.5, "top_k": 20}
VAL, TEST = 7, 1  # not divisible by two, and fewer than two


class Odd(Blobs):
    """Blobs that can't be evaluated in equal shares."""

    def read(self) -> Pools:
        pools = super().read()
        assert pools.val is not None and pools.test is not None
        pools.val, pools.test = (
            Pool(pool.gather(torch.arange(count)).numpy(), pool.labels[:count].numpy())
            for pool, count in ((pools.val, VAL), (pools.test, TEST))
        )
        return pools


def strategies() -> dict[str, dict[str, Strategy]]:
    """Every strategy, every rule, and the composition that has a name."""
    rules = ("threshold", "top_k_overall", "top_k_per_class", "percentile")
    return {
        **{name: parts(name) for name in NAMES if name != "pseudolabel"},
        "strong": {"supervised": Supervised(view="strong")},
        **{rule: {"pseudolabel": PseudoLabel(rule, **ROUNDS)} for rule in rules},  # type: ignore[arg-type]
        "soft": {"pseudolabel": PseudoLabel(**ROUNDS, soft=True, ratio=2)},
        "combined": {"kmeans": KMeans(patches_per_image=20), "pseudolabel": PseudoLabel(**ROUNDS)},
    }


class Witness(pl.Callback):
    """Writes down what every step was given, and the loss that it came to."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Tensor]] = []

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Batch, batch_idx: int) -> None:
        seen = {}
        for stream, samples in (("labeled", batch.labeled), ("unlabeled", batch.unlabeled)):
            if samples is not None:
                parts = {
                    "index": samples.index,
                    "position": samples.position,
                    "target": samples.target,
                    **samples.views,
                }
                seen |= {f"{stream}/{name}": x.clone() for name, x in parts.items()}
        self.steps.append(seen)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, *args: Any) -> None:
        self.steps[-1]["loss"] = outputs["loss"].detach()[None]


def fit(name: str, folder: Path, *callbacks: pl.Callback, **options: Any) -> dict[str, Any]:
    """Trains two epochs in double precision, in which rounding can't tip a choice; everything that came of it."""
    data, parts, witness = Odd(), strategies()[name], Witness()
    module = Classifier(data.spec, Composition(parts))
    folder.mkdir(exist_ok=True)
    logging = {"logger": MetricsCSV(folder), "log_every_n_steps": 1, "reload_dataloaders_every_n_epochs": 1}
    fitter = trainer(2, callbacks=[*callbacks, witness], precision="64-true", **logging, **options)
    fitter.fit(module, data)
    fitter.test(module, data, verbose=False)
    scores = {stage: [scores.scalars, scores.confusion] for stage, scores in module.scores.items()}
    state = {**weights(module), "rows": data.relabeled.rows, "targets": data.relabeled.targets}
    return {"steps": witness.steps, "scores": scores, "state": state}


class FailsInPart(Supervised):
    """Its loss gathers, and does not take a part of a batch on one of two ranks."""

    def loss(self, module: Classifier, batch: Batch) -> Loss:
        loss, metrics = super().loss(module, batch)
        if len(batch.labeled) < 6 and module.global_rank == 1:
            raise RuntimeError("6 images, please")
        return loss + 0 * gather(batch.labeled.target).sum(), metrics


def rank(number: int, folder: str, port: int) -> None:
    os.environ |= {"LOCAL_RANK": str(number), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ["XDG_CACHE_HOME"] = folder
    said: dict[str, list[str]] = {}
    for name in strategies():
        forecast.say = said.setdefault(name, []).append
        two: dict[str, Any] = {"devices": 2, "strategy": "ddp", "plugins": [CPUSync()]}
        torch.save(fit(name, Path(folder, name), Forecast(), **two), Path(folder, f"{name}-{number}.pt"))
    for name, room in (("fails in part", 2**40), ("no room", 2 if number else 2**40)):  # rank 1 has 2 bytes
        forecast.say, forecast.available = said.setdefault(name, []).append, lambda device, room=room: room
        data = Blobs()
        module = classifier(data, FailsInPart() if name == "fails in part" else Supervised())
        try:
            trainer(1, callbacks=[Forecast()], devices=2, strategy="ddp").fit(module, data)
        except TooLittleMemory as error:
            said[name].append(str(error))
    Path(folder, f"said-{number}.json").write_text(json.dumps(said))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What two processes left, for every strategy."""
    path = tmp_path_factory.mktemp("ranks")
    in_two_processes(rank, path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(path))
        yield path


@pytest.mark.slow
def test_two_processes_tell_memory_and_stop_together(folder: Path) -> None:
    """What a forecast leaves behind, the test below would see: one process makes none there."""
    first, second = (json.loads((folder / f"said-{number}.json").read_text()) for number in range(2))
    told = r"memory: about [\d.]+ GB of [\d.]+ GB for each of 2 ranks"
    assert [name for name in strategies() if not any(re.fullmatch(told, line) for line in first[name])] == []
    assert not any("memory" in line for line in first["fails in part"] + second["fails in part"])
    assert "for 2 steps" in first["fails in part"][-1]  # it trains
    assert first["no room"] == second["no room"] and len(first["no room"]) == 1
    assert first["no room"][0].startswith("this training needs about ")


def test_no_strategy_is_left_out() -> None:
    covered = {part for parts in strategies().values() for part in parts}
    assert covered >= set(plugins.installed(plugins.STRATEGIES))
    assert list(strategies()["combined"]) == plugins.split_names("combined")


@pytest.mark.slow
@pytest.mark.parametrize("name", strategies())
def test_two_processes_do_what_one_does(name: str, folder: Path) -> None:
    first, second = (torch.load(folder / f"{name}-{number}.pt", weights_only=True) for number in range(2))
    alone = fit(name, folder / f"{name} alone")

    assert len(alone["steps"]) == len(first["steps"]) >= 8  # more, where there are more phases
    for step, one, other in zip(alone["steps"], first["steps"], second["steps"], strict=True):
        assert step.keys() == one.keys() == other.keys()
        torch.testing.assert_close((one.pop("loss") + other.pop("loss")) / 2, step.pop("loss"), rtol=1e-6, atol=1e-9)
        for what, x in step.items():
            assert torch.equal(torch.cat([one[what], other[what]]), x), what

    assert same(first["state"], second["state"])
    for what, x in alone["state"].items():
        torch.testing.assert_close(first["state"][what], x, rtol=1e-7, atol=1e-10, msg=what)
    assert torch.equal(first["state"]["rows"], alone["state"]["rows"])
    assert "pseudolabel" not in strategies()[name] or len(alone["state"]["rows"])

    for stage, count in (("val", VAL), ("test", TEST)):
        scalars, confusion = alone["scores"][stage]
        assert confusion.sum() == count
        for result in (first, second):
            assert result["scores"][stage][0] == pytest.approx(scalars, rel=1e-6)  # nll is a sum of rounded numbers
            assert torch.equal(result["scores"][stage][1], confusion)

    together, expected = read_metrics(folder / name), read_metrics(folder / f"{name} alone")
    assert sum("train/loss" in row for row in expected) >= 8
    for ours, theirs in zip(together, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-6, nan_ok=True)  # the precision of no target
