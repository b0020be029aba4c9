"""FixMatch: its loss in a step, its two ways through the network, and which weights evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers import Blobs, SaveAt, classifier, same, trainer, weights

from semisup.batch import Batch
from semisup.classifier import Classifier
from semisup.errors import InputError
from strategies.fixmatch import FixMatch


def fitted(epochs: int = 2, **options: Any) -> tuple[Classifier, Blobs]:
    kwargs = {name: options.pop(name) for name in ("callbacks", "enable_checkpointing") if name in options}
    data = Blobs(augmentation="weak")
    module = classifier(data, FixMatch(**{"threshold": 0.5, "ratio": 2, "ema_decay": 0.9, **options}))
    trainer(epochs, **kwargs).fit(module, data)
    return module, data


def one_batch(module: Classifier, data: Blobs) -> Batch:
    batch: Batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    return batch


@pytest.mark.parametrize("joint", [True, False])
def test_the_loss_of_a_step(joint: bool) -> None:
    module, data = fitted(weight=0.5, joint=joint)
    batch = one_batch(module, data)
    module.eval()  # batch statistics would couple the images of the naive version
    assert isinstance(module.strategy.owner, FixMatch)
    loss, metrics, _ = module.strategy.loss(module, batch)
    assert batch.unlabeled is not None and len(batch.unlabeled) == 24
    labeled = F.cross_entropy(module(batch.labeled.views["weak"]), batch.labeled.target)
    terms, confident = [], 0
    for weak, strong in zip(batch.unlabeled.views["weak"], batch.unlabeled.views["strong"], strict=True):
        p = module(weak[None]).softmax(1)[0]
        counts = p.max() >= 0.5
        confident += int(counts)
        terms.append(F.cross_entropy(module(strong[None]), p.argmax()[None]) if counts else torch.tensor(0.0))
    assert loss.item() == pytest.approx((labeled + 0.5 * torch.stack(terms).mean()).item(), rel=1e-4)
    assert metrics["confident"].item() == pytest.approx(confident / 24)
    assert confident > 0


def test_weak_and_strong_are_views_of_the_same_images() -> None:
    module, data = fitted(epochs=1)
    batch = one_batch(module, data)
    assert batch.unlabeled is not None
    views = batch.unlabeled.views
    assert views["weak"].shape == views["strong"].shape == (24, 1, 8, 8)
    assert not torch.equal(views["weak"], views["strong"])


def test_the_two_ways_through_the_network_differ_only_by_batch_statistics() -> None:
    module, data = fitted()
    batch = one_batch(module, data)
    module.eval()
    losses = [FixMatch(threshold=0.5, ratio=2, joint=joint).loss(module, batch)[0].item() for joint in (True, False)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_which_weights_evaluate_and_which_make_targets_is_said_and_saved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.ckpt"
    fitted(1, callbacks=[SaveAt(4, path)], enable_checkpointing=True)
    assert "a moving average of decay 0.9 evaluates, the training weights make targets" in capsys.readouterr().out
    saved = Classifier.saved(path)
    assert (saved["ema_decay"], saved["targets_from"]) == (0.9, "training")


def test_the_truth_about_unlabeled_images_does_not_reach_training() -> None:
    results = []
    for truth in ("right", "permuted"):
        data = Blobs(truth)
        module = classifier(data, FixMatch(threshold=0.5))
        trainer(2).fit(module, data)
        results.append(weights(module))
    assert same(*results)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 0}, "fixmatch.ratio is 0"),
        ({"threshold": -0.1}, "fixmatch.threshold is -0.1"),
        ({"weight": -1.0}, "fixmatch.weight is -1.0"),
        ({"ema_decay": 1.0}, "fixmatch.ema_decay is 1.0"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        FixMatch(**options)
