"""Surrogate classes: what their pretraining depends on, what comes after it, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from exemplar_runs import CPU, FAST, fitted, recorded
from helpers import Blobs, classifier, same, trainer, weights
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import nn

from semisup.classifier import Classifier
from semisup.composition import Composition
from semisup.errors import InputError
from semisup.features.pooling import pooled_features
from semisup.models.backbones.small import Small
from semisup.randomness import key
from strategies.exemplar import Exemplar
from strategies.fixmatch import FixMatch
from strategies.kmeans import KMeans
from strategies.pseudolabel import PseudoLabel


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

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            assert (pl_module.ema is None) == (trainer.current_epoch < 3)
            if trainer.current_epoch == 3:
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
    assert called == ["exemplar", "kmeans"] * 3 + ["exemplar", "kmeans", "pseudolabel"] * 4
    assert len(pseudolabel.rows_) > 0 and module.strategy.owner is pseudolabel


def test_without_unlabeled_images_labeled_ones_serve(capsys: pytest.CaptureFixture[str]) -> None:
    data = Blobs()
    data.pools.unlabeled = None
    strategy = Exemplar(**FAST)
    fitted(strategy, data)
    assert strategy.rows_.tolist() == list(range(12))
    assert "12 surrogate classes (20 were asked for) of 4 crops, 8x8 pixels of labeled" in capsys.readouterr().out


# ---- what is refused


@pytest.mark.parametrize("name", ["images", "samples_per_class", "epochs", "batch_size", "lr", "crop"])
def test_options_out_of_range_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=rf"exemplar\.{name} is 0, but must be"):
        Exemplar(**{name: 0})


def test_a_pretraining_that_began_on_other_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="dies"):
        recorded(tmp_path, Exemplar(**FAST), dies=11)
    data = Blobs()
    data.pools.labeled_in_unlabeled -= 1  # another one of the images may make a class
    with pytest.raises(InputError, match="was pretraining on 20 surrogate classes, and now there are others"):
        module = classifier(data, Exemplar(**FAST))
        trainer(2).fit(module, data, ckpt_path=tmp_path / "last.ckpt", weights_only=True)


def test_a_crop_larger_than_the_images_is_refused() -> None:
    with pytest.raises(InputError, match=r"exemplar\.crop is 9, but the images have 8 pixels a side; type --exempl"):
        fitted(Exemplar(crop=9))
