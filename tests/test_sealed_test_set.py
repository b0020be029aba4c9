"""The test set is closed until the training has ended, and choosing and stopping go by validation alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from altered_data import Altered, fit
from helpers import trainer
from methods import parts
from pytorch_lightning.callbacks import EarlyStopping
from torch import Tensor

from semisup.cli.front import main
from semisup.data.pictures import Pictures
from semisup.data.pool import Pool
from semisup.data.pools import Pools
from semisup.runs.reading import read_metrics
from semisup.training.train_accuracy import TrainAccuracy
from strategies.exemplar import Exemplar

pytestmark = pytest.mark.usefixtures("cache")


# ---- the test set is closed until the training has ended


class Sealed(Pool):
    """Test images that nobody may read, nor ask their labels, before they are opened."""

    opened = True

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool._images, pool.labels.numpy(), pool.rows, pool.names)
        self.opened = False

    def pictures(self, keys: Any = None) -> Pictures:
        """Which images they are is written into checkpoints, and nothing is trained or chosen by it."""
        opened, self.opened = self.opened, True
        found = super().pictures(keys)
        self.opened = opened
        return found

    def gather(self, index: Tensor) -> Tensor:
        assert self.opened, "a test image was read while training"
        return super().gather(index)

    @property
    def labels(self) -> Tensor:
        assert self.opened, "a label of test was read while training"
        return self._labels

    @labels.setter
    def labels(self, labels: Tensor) -> None:
        self._labels = labels


class Open(pl.Callback):
    """Opens the test set at the end of the training, when nothing is left to choose."""

    def __init__(self, pool: Sealed) -> None:
        self.pool = pool

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.pool.opened = True


@pytest.mark.parametrize("name", ["supervised", "fixmatch", "exemplar+kmeans+pseudolabel"])
def test_the_test_set_is_not_read_before_training_has_ended(name: str, tmp_path: Path) -> None:
    data = Altered()
    assert data.pools.test is not None
    data.pools.test = sealed = Sealed(data.pools.test)
    strategies = parts(name)
    if "exemplar" in strategies:
        strategies["exemplar"] = Exemplar(images=20, samples_per_class=4, epochs=1, batch_size=8, svm=True)
    module = fit(strategies, data, tmp_path / "run", callbacks=[Open(sealed), TrainAccuracy()])
    assert sealed.opened
    for part in module.strategy.parts.values():
        assert not isinstance(part, Exemplar) or "test_accuracy" in part.svm_  # it may look now
    sealed.opened = False
    with pytest.raises(AssertionError, match="while training"):
        trainer(1).test(module, data, verbose=False)


def test_fit_reads_test_only_for_its_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datamodules.digits import Digits

    pools: list[Sealed] = []
    read, fits = Digits.read, pl.Trainer.fit

    def sealed(self: Digits) -> Pools:
        found = read(self)
        assert found.test is not None
        pools.append(Sealed(found.test))
        found.test = pools[-1]
        return found

    def opened_after(*args: Any, **kwargs: Any) -> None:
        fits(*args, **kwargs)
        pools[0].opened = True

    monkeypatch.setattr(Digits, "read", sealed)
    monkeypatch.setattr(pl.Trainer, "fit", opened_after)
    monkeypatch.chdir(tmp_path)
    brief = ["--data.steps_per_epoch", "2", "--trainer.max_epochs", "2", "--tracking.mode", "disabled"]
    options = ["--strategy", "pseudolabel", "--pseudolabel.warmup_epochs", "1", "--pseudolabel.every_n_epochs", "1"]
    assert main(["fit", "--data", "digits", "--trainer.accelerator", "cpu", *options, *brief]) == 0
    assert len(pools) == 1 and pools[0].opened
    (run,) = Path("runs").glob("*/*/*")
    assert "best/test_accuracy" in read_metrics(run)[-1]


# ---- choosing and stopping


def stopped(folder: Path, *altered: str) -> tuple[int, int, float]:
    """The epochs that an early stopping allowed, the epoch that was kept as the best, and its accuracy."""
    stop = EarlyStopping("val/accuracy", mode="max", patience=2, min_delta=0.0)
    module = fit(parts("pseudolabel"), Altered(*altered), folder, 20, callbacks=[stop])
    best = torch.load(folder / "best.ckpt", weights_only=True)
    return module.trainer.current_epoch, best["epoch"], best["callbacks"]["Checkpoints"]["best"]


def test_choosing_and_stopping_go_by_validation_alone(tmp_path: Path) -> None:
    plain = stopped(tmp_path / "plain")
    assert plain[0] < 20
    assert stopped(tmp_path / "test", "test", "truth") == plain
    assert stopped(tmp_path / "val", "val labels") != plain
