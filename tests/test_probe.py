"""Nearest neighbours against scikit-learn and a loop; features of a pool; both probes on one process and on two."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import Blobs, classifier, in_two_processes, trainer
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from semisup.cli.config import parse
from semisup.data.pool import Pool
from semisup.data.pools import Pools
from semisup.errors import InputError
from semisup.features.linear import GRID
from semisup.runs.reading import read_metrics
from semisup.runtime.sync_batchnorm import CPUSync
from semisup.tracking.record import MetricsCSV
from semisup.training.probe import KNN, LinearProbe, nearest_votes, pool_features
from strategies.fixmatch import FixMatch


def neighbours(seed: int, images: int = 57, labeled: int = 40) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features of images and of labeled images, and the classes 0 to 3 of these, of which 2 is missing."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.tensor([0, 1, 3])[torch.randint(0, 3, (labeled,), generator=generator)]
    bank = torch.randn(labeled, 6, generator=generator) + torch.nn.functional.one_hot(target, 6)
    return torch.randn(images, 6, generator=generator), bank, target


@pytest.mark.parametrize("k", [1, 5, 40])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_votes_equal_scikit_learn(k: int, temperature: float) -> None:
    features, bank, target = neighbours(k)
    learner = KNeighborsClassifier(k, metric="cosine", weights=lambda far: np.exp((1 - far) / temperature))
    learner.fit(bank.numpy(), target.numpy())
    votes = nearest_votes(features, bank, target, 4, k, temperature)
    assert votes[:, 2].abs().max() == 0
    np.testing.assert_allclose(votes[:, [0, 1, 3]], learner.predict_proba(features.numpy()), atol=1e-5)
    assert votes.argmax(1).tolist() == learner.predict(features.numpy()).tolist()


def test_votes_equal_a_loop_and_all_vote_where_there_are_fewer_than_k() -> None:
    features, bank, target = neighbours(9, labeled=7)
    votes = nearest_votes(features, bank, target, 4, k=200, temperature=0.07)
    for image, vote in zip(features.tolist(), votes, strict=True):
        counted = [0.0] * 4
        for other, label in zip(bank.tolist(), target.tolist(), strict=True):
            cosine = sum(a * b for a, b in zip(image, other, strict=True)) / math.hypot(*image) / math.hypot(*other)
            counted[label] += math.exp(cosine / 0.07)
        assert vote.tolist() == pytest.approx([count / sum(counted) for count in counted], abs=1e-5)


def test_a_low_temperature_does_not_overflow() -> None:
    features, bank, target = neighbours(2)
    assert torch.equal(
        nearest_votes(features, bank, target, 4, 40, 1e-4).argmax(1),
        nearest_votes(features, bank, target, 4, 1).argmax(1),
    )


class Few(Blobs):
    """Blobs with one validation image, fewer than two ranks have."""

    def read(self) -> Pools:
        pools = super().read()
        assert pools.val is not None
        pools.val = Pool(pools.val.gather(torch.arange(1)).numpy(), pools.val.labels[:1].numpy())
        return pools


def probed(data: Blobs, folder: Path, **options: Any) -> tuple[list[dict[str, float]], dict[str, float], Any]:
    """Two epochs with both probes: what was logged, the scores on test, and the classifier."""
    folder.mkdir()
    module = classifier(data)
    callbacks = [KNN(k=3, every_n_epochs=2), LinearProbe()]
    fitter = trainer(2, callbacks=callbacks, logger=MetricsCSV(folder), precision="64-true", **options)
    fitter.fit(module, data)
    fitter.test(module, data, verbose=False)
    return read_metrics(folder), module.scores["test"].scalars, module


def test_what_is_logged_equals_scikit_learn(tmp_path: Path) -> None:
    rows, _, module = probed(Blobs(), tmp_path / "run")
    pools = module.datamodule.pools
    features = {}
    for name, pool in (("labeled", pools.labeled), ("val", pools.val), ("test", pools.test)):
        order, x = pool_features(module, pool, name)
        assert order.tolist() == list(range(len(pool)))
        images = pool.gather(order).to(module.dtype) / 255
        network = module.network.eval()
        np.testing.assert_allclose(x, network.backbone(network.normalization(images)).detach(), atol=1e-6)
        features[name] = x.numpy(), pool.labels.numpy()
    learner = KNeighborsClassifier(3, metric="cosine", weights=lambda far: np.exp((1 - far) / 0.07))
    wanted = learner.fit(*features["labeled"]).score(*features["val"])
    assert [row["epoch"] for row in rows if "val/knn_accuracy" in row] == [1]
    assert next(row["val/knn_accuracy"] for row in rows if "val/knn_accuracy" in row) == pytest.approx(wanted)
    scaler = StandardScaler().fit(features["labeled"][0])
    scaled = {name: (scaler.transform(x), y) for name, (x, y) in features.items()}
    machines = [LinearSVC(C=c, dual="auto").fit(*scaled["labeled"]) for c in GRID]
    best = max(machine.score(*scaled["val"]) for machine in machines)
    last = rows[-1]
    assert last["val/linear_accuracy"] == pytest.approx(best)
    assert last["test/linear_accuracy"] in [pytest.approx(machine.score(*scaled["test"])) for machine in machines]


def test_the_weights_that_evaluate_are_probed() -> None:
    data = Blobs()
    module = classifier(data, FixMatch())
    trainer(1).fit(module, data)
    assert module.ema is not None
    _, features = pool_features(module, data.pools.labeled, "labeled")
    images = data.pools.labeled.gather(torch.arange(12)).float() / 255
    with torch.no_grad():
        torch.testing.assert_close(module.ema.average.head(features), module.evaluate(images))
        assert not torch.allclose(module.network.eval().head(features), module.network(images), atol=1e-3)


def rank(number: int, folder: str, port: int) -> None:
    os.environ |= {"LOCAL_RANK": str(number), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    two: dict[str, Any] = {"devices": 2, "strategy": "ddp", "plugins": [CPUSync()]}
    for name, data in (("whole", Blobs()), ("few", Few())):
        rows, scores, _ = probed(data, Path(folder, f"{name}-{number}"), **two)
        torch.save([rows, scores], Path(folder, f"{name}-{number}.pt"))


@pytest.mark.slow
def test_two_processes_count_every_image_once(tmp_path: Path) -> None:
    """And compute the AUC of all of them."""
    in_two_processes(rank, tmp_path)
    for name, data in (("whole", Blobs()), ("few", Few())):
        alone, scores, _ = probed(data, tmp_path / name)
        found, first = torch.load(tmp_path / f"{name}-0.pt", weights_only=True)
        _, second = torch.load(tmp_path / f"{name}-1.pt", weights_only=True)
        assert first == pytest.approx(scores) and second == pytest.approx(scores) and "auc" in scores
        logged = {key for row in alone for key in row if key.startswith(("val/", "test/"))}
        assert {"val/knn_accuracy", "val/linear_accuracy", "test/linear_accuracy"} <= logged
        for ours, theirs in zip(found, alone, strict=True):
            assert ours == pytest.approx(theirs, rel=1e-6)


def test_data_without_validation_images_is_refused_before_training() -> None:
    class Blind(Blobs):
        def read(self) -> Pools:
            pools = super().read()
            pools.val = None
            return pools

    for probe in (KNN(), LinearProbe()):
        data = Blind()
        with pytest.raises(InputError, match=f"{type(probe).__name__} needs validation images .* leave it out"):
            trainer(1, callbacks=[probe]).fit(classifier(data), data)


def test_the_command_line_makes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = "--data digits --trainer.callbacks+ semisup.training.probe.KNN --trainer.callbacks.k 10"
    first, second = parse(
        "fit", [*words.split(), "--trainer.callbacks+", "semisup.training.probe.LinearProbe"]
    ).trainer["callbacks"]
    assert isinstance(first, KNN) and (first.k, first.temperature) == (10, 0.07) and isinstance(second, LinearProbe)
