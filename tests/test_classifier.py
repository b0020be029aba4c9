"""The classifier: what it normalises by, what its checkpoints hold, and that a resumed run is the same run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from helpers import Blobs, SaveAt, classifier, same, trainer, weights

from semisup.classifier import Classifier, ModelOptions, OptimizerOptions
from semisup.data.pool import Pool
from semisup.data.pools import DataSpec, Pools
from semisup.errors import InputError
from semisup.models.modes import evaluation_mode
from semisup.predict import predict
from strategies.pseudolabel import PseudoLabel

DROPOUT = ModelOptions(backbone="sample")  # has dropout, so that its draws are tested as well


def run(epochs: int, ckpt_path: Path | None = None, **kwargs: Any) -> Classifier:
    data = Blobs(augmentation="weak")
    strategy = PseudoLabel(threshold=0.4, warmup_epochs=2, every_n_epochs=2, ramp_end=4)
    module = classifier(data, strategy, model=DROPOUT)
    trainer(epochs, **kwargs).fit(module, data, ckpt_path=ckpt_path, weights_only=True)
    return module


@pytest.mark.parametrize("step", [3, 8, 14, 16, 19])
def test_a_resumed_run_ends_with_the_same_weights(step: int, tmp_path: Path) -> None:
    whole = run(6, enable_checkpointing=True, callbacks=[SaveAt(step, tmp_path / "x.ckpt")])
    torch.rand(7)  # whatever the global generator did in between must not matter
    resumed = run(6, tmp_path / "x.ckpt")
    assert same(weights(whole), weights(resumed))
    ours, theirs = (m.strategy.owner for m in (whole, resumed))
    assert isinstance(ours, PseudoLabel) and isinstance(theirs, PseudoLabel)
    assert len(ours.rows_) > 0 and torch.equal(ours.rows_, theirs.rows_) and torch.equal(ours.targets_, theirs.targets_)


def test_a_run_repeats_itself_and_another_seed_does_not() -> None:
    def fit(seed: int) -> dict[str, torch.Tensor]:
        data = Blobs(augmentation="weak", seed=seed)
        module = classifier(data, model=DROPOUT, seed=seed)
        trainer(1).fit(module, data)
        return weights(module)

    assert same(fit(1), fit(1)) and not same(fit(1), fit(2))


def test_the_input_is_normalised_by_the_labeled_training_images_alone() -> None:
    data = Blobs()
    module = classifier(data)
    trainer(1).fit(module, data)
    images = data.pools.labeled.gather(torch.arange(12)).double() / 255
    assert module.network.normalization.mean.flatten().item() == pytest.approx(images.mean().item(), rel=1e-5)
    assert module.network.normalization.std.flatten().item() == pytest.approx(images.std(correction=0).item(), rel=1e-5)


def test_scores_are_those_of_the_predictions() -> None:
    data = Blobs()
    module, fit = classifier(data), trainer(3)
    fit.fit(module, data)
    logged = fit.test(module, data, verbose=False)[0]
    assert data.pools.test is not None
    p = torch.cat([p for _, p in predict(module, data.pools.test, 7)])
    right = p.argmax(1) == data.pools.test.labels
    assert logged["test/accuracy"] == pytest.approx(right.float().mean().item())
    assert module.scores["test"].confusion.sum() == 30


def test_predictions_do_not_depend_on_the_batch_and_leave_the_modes_as_they_were() -> None:
    data = Blobs()
    module = classifier(data, model=DROPOUT)
    module.network.backbone.eval()
    before = [part.training for part in module.modules()]
    assert data.pools.test is not None
    big, small = (torch.cat([p for _, p in predict(module, data.pools.test, size)]) for size in (30, 4))
    assert torch.allclose(big, small, atol=1e-6)
    assert [part.training for part in module.modules()] == before
    with evaluation_mode(module):
        assert not module.training and not torch.is_grad_enabled()
    assert module.training and torch.is_grad_enabled()


def test_the_learning_rate_follows_the_schedule_of_steps() -> None:
    rates = []

    class Watch(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    data = Blobs()
    sgd = OptimizerOptions("SGD", {"lr": 0.5, "momentum": 0.9})
    trainer(2, callbacks=[Watch()]).fit(classifier(data, optimizer=sgd), data)
    assert rates == pytest.approx([0.5 * np.cos(7 * np.pi * k / (16 * 8)) for k in range(8)])


def test_a_batch_of_one_through_batch_norm_is_one_clear_error() -> None:
    class Wide(Blobs):
        """One channel of 48 pixels: what the course's network takes, whose neck normalises single values."""

        @property
        def spec(self) -> DataSpec:
            return DataSpec("wide", ("left", "middle", "right"), channels=1, image_size=48)

        def read(self) -> Pools:
            images = np.zeros((3, 1, 48, 48), dtype=np.uint8)
            return Pools(Pool(images, np.arange(3)), None, None, None, train_size=3)

    data = Wide(batch_size=1)
    module = classifier(data, model=ModelOptions("solution"))
    with pytest.raises(InputError, match=r"no variance over one image.*--data.batch_size with 2 or more"):
        trainer(1).fit(module, data)
    trainer(1, max_steps=1).fit(classifier(Wide(batch_size=2), model=ModelOptions("solution")), Wide(batch_size=2))


@pytest.mark.parametrize("loss", ["nll", "mse", "multi_margin"])
def test_the_loss_of_the_evaluation_is_the_mean_over_all_images(loss: Literal["nll", "mse", "multi_margin"]) -> None:
    data = Blobs(eval_batch_size=7)  # 30 images: the last batch is smaller
    module = classifier(data, model=ModelOptions("small", loss=loss))
    run = trainer(1)
    run.fit(module, data)
    for stage, pool, evaluate in (("val", data.pools.val, run.validate), ("test", data.pools.test, run.test)):
        evaluate(module, data, verbose=False)
        assert pool is not None
        images = pool.gather(torch.arange(len(pool))).float() / 255
        with evaluation_mode(module):
            expected = module.labeled_loss(module.evaluate(images), pool.labels)
        found = run.callback_metrics[f"{stage}/loss"]
        assert float(found) == pytest.approx(float(expected), rel=1e-5)
        assert (float(found) == pytest.approx(module.scores[stage].scalars["nll"])) is (loss == "nll")
