"""Surrogate classes: their samples, the pretraining step by step, stopping and going on, and what comes after."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.multiprocessing as mp
from helpers import Blobs, SaveAt, classifier, in_two_processes, same, trainer, weights
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import Tensor, nn

from semisup.classifier import Classifier
from semisup.errors import InputError
from semisup.features.pooling import pooled_features
from semisup.models.backbones.small import Small
from semisup.randomness import key
from semisup.runs.reading import read_metrics
from semisup.runtime.sync_batchnorm import CPUSync
from semisup.strategy import Composition
from semisup.tracking.record import ContinueRecord, MetricsCSV
from semisup.training.checkpoints import Checkpoints
from semisup.training.pretraining import Pretraining, falling
from strategies import exemplar
from strategies.exemplar import Exemplar
from strategies.fixmatch import FixMatch
from strategies.kmeans import KMeans
from strategies.pseudolabel import PseudoLabel

CPU = torch.device("cpu")
FAST: dict[str, Any] = {"images": 20, "samples_per_class": 4, "epochs": 3, "batch_size": 8, "svm": False}  # 30 steps


def fitted(ours: Exemplar, data: Blobs | None = None, epochs: int = 1, **kwargs: Any) -> Classifier:
    data = data or Blobs()
    module = classifier(data, ours)
    trainer(epochs, **kwargs).fit(module, data)
    return module


def test_the_weights_depend_on_the_seed_alone() -> None:
    found = []
    for seed in (0, 0, 1):
        data, strategy = Blobs(), Exemplar(**FAST)
        module = Classifier(data.spec, Composition({"exemplar": strategy}), seed=seed)
        trainer(1).fit(module, data)
        found.append({**weights(module), **strategy.backbone_})
    assert same(found[0], found[1]) and not same(found[0], found[2])


def test_the_truth_about_unlabeled_images_does_not_reach_training() -> None:
    right, permuted, unknown = (
        weights(fitted(Exemplar(**FAST), Blobs(truth))) for truth in ("right", "permuted", "unknown")
    )
    assert same(right, permuted) and same(right, unknown)


# ---- stopping and going on


class Dies(Exception):
    """Stands for whatever ends a process."""


def dies() -> None:
    raise Dies


def recorded(folder: Path, ours: Exemplar, epochs: int = 2, ckpt: Path | None = None, **kwargs: Any) -> Classifier:
    """A fit that leaves checkpoints and metrics as `semisup fit` does."""
    folder.mkdir(exist_ok=True)
    data = Blobs()
    module = classifier(data, ours)
    options = {"logger": MetricsCSV(folder), "enable_checkpointing": True, "log_every_n_steps": 4, **kwargs}
    fit = trainer(epochs, callbacks=[ContinueRecord(), Checkpoints(folder)], **options)
    fit.fit(module, data, ckpt_path=ckpt, weights_only=True)
    return module


def state(strategy: Exemplar) -> dict[str, Tensor]:
    plain = {"rows": strategy.rows_, "centres": strategy.centres_, "accuracy": torch.tensor(strategy.accuracy_)}
    return strategy.backbone_ | plain | {name: torch.tensor(x) for name, x in strategy.svm_.items()}


@pytest.mark.parametrize("step", [5, 13, 29])
def test_a_run_that_dies_while_pretraining_goes_on_to_the_bit(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {**FAST, "save_every": 5, "svm": True}
    whole = recorded(tmp_path / "whole", ours := Exemplar(**options))
    with monkeypatch.context() as patch:
        advance = Pretraining.advance

        def dying(running: Pretraining) -> None:
            if running.step == step:
                raise Dies
            advance(running)

        patch.setattr(Pretraining, "advance", dying)
        with pytest.raises(Dies):
            recorded(tmp_path / "cut", Exemplar(**options))
    if step > 5:
        assert not [row for row in read_metrics(tmp_path / "cut") if row["step"] >= step - 30]
    module = recorded(tmp_path / "cut", theirs := Exemplar(**options), ckpt=tmp_path / "cut" / "last.ckpt")
    assert f"30 steps, from step {step // 5 * 5}" in capsys.readouterr().out
    assert same(weights(module), weights(whole)) and same(state(theirs), state(ours))
    assert read_metrics(tmp_path / "cut") == read_metrics(tmp_path / "whole")
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == ["best.ckpt", "last.ckpt", "metrics.csv"]


def test_a_run_that_dies_after_pretraining_does_not_pretrain_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Ends(pl.Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            raise Dies

    whole = recorded(tmp_path / "whole", ours := Exemplar(**FAST))
    data = Blobs()
    last = Checkpoints(tmp_path)
    with pytest.raises(Dies):
        trainer(2, callbacks=[last, Ends()], enable_checkpointing=True).fit(classifier(data, Exemplar(**FAST)), data)
    capsys.readouterr()
    module = recorded(tmp_path / "again", theirs := Exemplar(**FAST), ckpt=tmp_path / "last.ckpt")
    assert "surrogate" not in capsys.readouterr().out
    assert same(weights(module), weights(whole)) and same(state(theirs), state(ours))


@pytest.mark.parametrize("step", [3, 4])
def test_a_run_that_is_resumed_later_keeps_its_weights(step: int, tmp_path: Path) -> None:
    data, strategy = Blobs(), Exemplar(**FAST)
    whole = classifier(data, strategy)
    trainer(2, callbacks=[SaveAt(step, tmp_path / "a.ckpt")], enable_checkpointing=True).fit(whole, data)
    resumed, other = Blobs(), Exemplar(**{**FAST, "epochs": 7})  # which is not begun again
    module = classifier(resumed, other)
    trainer(2).fit(module, resumed, ckpt_path=tmp_path / "a.ckpt", weights_only=True)
    assert same(weights(module), weights(whole)) and same(state(other), state(strategy))


def killed(folder: str) -> None:
    advance = Pretraining.advance

    def dying(running: Pretraining) -> None:
        if running.step == 13:
            os.kill(os.getpid(), signal.SIGKILL)
        advance(running)

    Pretraining.advance = dying  # type: ignore[method-assign]
    recorded(Path(folder), Exemplar(**FAST, save_every=5))


@pytest.mark.slow
def test_a_killed_process_goes_on_to_the_bit(tmp_path: Path) -> None:
    process = mp.get_context("spawn").Process(target=killed, args=(str(tmp_path / "cut"),))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    module = recorded(tmp_path / "cut", Exemplar(**FAST), ckpt=tmp_path / "cut" / "last.ckpt")
    assert same(weights(module), weights(recorded(tmp_path / "whole", Exemplar(**FAST))))
    assert read_metrics(tmp_path / "cut") == read_metrics(tmp_path / "whole")


# ---- what is logged


def test_pretraining_is_logged_before_step_zero(tmp_path: Path) -> None:
    recorded(tmp_path, strategy := Exemplar(**{**FAST, "svm": True}))
    rows = read_metrics(tmp_path)
    steps = [row["step"] for row in rows if "pretrain/loss" in row]
    assert steps == [-27, -23, -19, -15, -11, -7, -3, -1]  # every fourth of 30, and the last
    passes = [row for row in rows if "pretrain/class_accuracy_median" in row]
    assert [row["step"] for row in passes] == [-21, -11, -1]  # ten steps a pass
    for row in passes:
        low, middle, high = (row[f"pretrain/class_accuracy_{name}"] for name in ("min", "median", "max"))
        assert 0 <= low <= middle <= high <= 1
        assert sum(row[f"pretrain/class_accuracy/0.{i}"] for i in range(10)) == pytest.approx(1)
    rates = [row["pretrain/lr"] for row in rows if "pretrain/lr" in row]
    assert rates == pytest.approx([0.01 * falling(step + 30, 30) for step in steps])
    (svm,) = (row for row in rows if "exemplar/svm_val_accuracy" in row)
    assert svm["step"] == -1 and svm["exemplar/svm_val_accuracy"] == strategy.svm_["val_accuracy"]
    assert rows[-1]["exemplar/svm_test_accuracy"] == strategy.svm_["test_accuracy"]


# ---- what comes after


def test_the_linear_svm_is_scikit_learns_on_the_pretrained_features() -> None:
    data, strategy = Blobs(), Exemplar(**{**FAST, "svm": True})
    module = fitted(strategy, data, epochs=2)
    backbone = Small(1, 8)
    assert not same(strategy.backbone_, weights(module.network.backbone))  # fine-tuned since
    backbone.load_state_dict(strategy.backbone_)
    network, pools = nn.Sequential(module.network.normalization, backbone), data.pools
    assert pools.val is not None and pools.test is not None
    (x, y), val, test = (
        (pooled_features(network, pool, 16, CPU).numpy(), pool.labels.numpy())
        for pool in (pools.labeled, pools.val, pools.test)
    )
    svm = LinearSVC(C=strategy.svm_["c"], dual="auto", random_state=key(0, "linear svm") % 2**32)
    pipeline = make_pipeline(StandardScaler(), svm).fit(x, y)
    scores = {"val": pipeline.score(*val), "test": pipeline.score(*test)}
    assert (strategy.svm_["val_accuracy"], strategy.svm_["test_accuracy"]) == (scores["val"], scores["test"])
    said = f"val {100 * scores['val']:.1f} %, test {100 * scores['test']:.1f} %"
    assert strategy.summary() == f"a linear SVM on the features of 20 surrogate classes: {said}"


def test_the_labels_of_test_change_nothing_but_the_last_score() -> None:
    results = []
    for shift in (0, 1):
        data, strategy = Blobs(), Exemplar(**{**FAST, "svm": True})
        assert data.pools.test is not None
        data.pools.test.labels = (data.pools.test.labels + shift) % 3
        module = fitted(strategy, data)
        results.append((weights(module.network), strategy.svm_))
    (one, scores), (other, others) = results
    assert same(one, other)
    assert scores["c"] == others["c"] and scores["val_accuracy"] == others["val_accuracy"]
    assert scores["test_accuracy"] != others["test_accuracy"]


def test_without_validation_images_there_is_no_svm() -> None:
    data, strategy = Blobs(), Exemplar(**{**FAST, "svm": True})
    data.pools.val = None
    fitted(strategy, data)
    assert strategy.svm_ == {} and strategy.summary() == ""


@pytest.mark.parametrize("freeze", [True, False])
def test_a_frozen_backbone_stays_as_it_is(freeze: bool) -> None:
    strategy = Exemplar(**FAST, freeze=freeze)
    module = fitted(strategy, epochs=2)
    assert same(strategy.backbone_, weights(module.network.backbone)) == freeze
    assert all(p.requires_grad != freeze for p in module.network.backbone.parameters())
    head = classifier(Blobs()).network.head.weight
    assert not torch.equal(module.network.head.weight, head)


def test_the_moving_average_starts_from_the_pretrained_network() -> None:
    class Watch(pl.Callback):
        equal = False

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            self.equal = same(weights(pl_module.ema.average), weights(pl_module.network))

    data, watch, strategy = Blobs(), Watch(), Exemplar(**FAST)
    module = Classifier(data.spec, Composition({"exemplar": strategy, "fixmatch": FixMatch()}))
    trainer(1, callbacks=[watch]).fit(module, data)
    assert watch.equal and not same(strategy.backbone_, weights(Classifier(data.spec).network.backbone))


def test_it_composes_and_hooks_run_in_the_order_of_the_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    called: list[str] = []
    pseudolabel = PseudoLabel(threshold=0.4, warmup_epochs=2, every_n_epochs=2)
    parts = {"exemplar": Exemplar(**FAST), "kmeans": KMeans(patches_per_image=20), "pseudolabel": pseudolabel}
    for name, part in parts.items():
        monkeypatch.setattr(part, "on_train_epoch_start", lambda *args, name=name: called.append(name))
    data = Blobs()
    module = Classifier(data.spec, Composition(parts))
    trainer(4).fit(module, data)
    assert called == ["exemplar", "kmeans", "pseudolabel"] * 4
    assert len(pseudolabel.rows_) > 0 and module.strategy.owner is pseudolabel


def test_without_unlabeled_images_labeled_ones_serve(capsys: pytest.CaptureFixture[str]) -> None:
    data = Blobs()
    data.pools.unlabeled = None
    strategy = Exemplar(**FAST)
    fitted(strategy, data)
    assert strategy.rows_.tolist() == list(range(12))
    assert "12 surrogate classes (20 were asked for) of 4 crops, 8x8 pixels of labeled" in capsys.readouterr().out


# ---- what is refused


@pytest.mark.parametrize("name", ["images", "samples_per_class", "epochs", "batch_size", "lr", "crop", "save_every"])
def test_options_out_of_range_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=rf"exemplar\.{name} is 0, but must be"):
        Exemplar(**{name: 0})


def test_a_pretraining_that_began_on_other_images_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(Dies):
        pause = exemplar.pause
        patch.setattr(exemplar, "pause", lambda trainer, save=False: pause(trainer, save) or (save and dies()))
        recorded(tmp_path, Exemplar(**FAST, save_every=5))
    with pytest.raises(InputError, match="was pretraining on 20 surrogate classes, and now there are others"):
        recorded(tmp_path, Exemplar(**{**FAST, "images": 21}), ckpt=tmp_path / "last.ckpt")


def test_a_crop_larger_than_the_images_is_refused() -> None:
    with pytest.raises(InputError, match=r"exemplar\.crop is 9, but the images have 8 pixels a side; type --exempl"):
        fitted(Exemplar(crop=9))


# ---- two processes


def rank(number: int, folder: str, port: int) -> None:
    os.environ |= {"LOCAL_RANK": str(number), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    two: dict[str, Any] = {"devices": 2, "strategy": "ddp", "precision": "64-true", "plugins": [CPUSync()]}
    with pytest.raises(InputError, match=re.escape("type --exemplar.batch_size 8")):
        fitted(Exemplar(**{**FAST, "batch_size": 7}), **two)
    results = {}
    for freeze in (False, True):
        strategy = Exemplar(**{**FAST, "svm": True}, freeze=freeze, save_every=5)
        module = recorded(Path(folder) / str(freeze), strategy, **two)
        results |= {f"{freeze}/{name}": x for name, x in (state(strategy) | weights(module.network)).items()}
    torch.save(results, f"{folder}/{number}.pt")


def without_train(row: dict[str, float]) -> dict[str, float]:
    return {name: x for name, x in row.items() if not name.startswith("train/")}  # of rank 0 alone


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    in_two_processes(rank, tmp_path)
    one, other = (torch.load(tmp_path / f"{number}.pt", weights_only=True) for number in range(2))
    assert same(one, other)
    for freeze in (False, True):
        strategy = Exemplar(**{**FAST, "svm": True}, freeze=freeze)
        module = recorded(tmp_path / f"alone {freeze}", strategy, precision="64-true")
        for name, x in (state(strategy) | weights(module.network)).items():
            torch.testing.assert_close(one[f"{freeze}/{name}"], x, rtol=1e-9, atol=1e-12)
        together, alone = read_metrics(tmp_path / str(freeze)), read_metrics(tmp_path / f"alone {freeze}")
        for row, expected in zip(together, alone, strict=True):
            assert without_train(row) == pytest.approx(without_train(expected), rel=1e-5)
