"""Labels that are uneven: a warning, a sampler and weights that balance them; and images that are there twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import Blobs, SaveAt, classifier, same, trainer, weights
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from datamodules.digits import Digits
from semisup.data.doubles import doubles
from semisup.data.fingerprint import Fingerprint
from semisup.data.loader import TrainLoader, balanced_order
from semisup.data.pool import Pool
from semisup.data.pools import Pools
from semisup.errors import InputError
from semisup.losses import LABELED, LabeledLoss, class_weights, weighted
from semisup.models.options import ModelOptions

UNEVEN = torch.tensor([0] * 3 + [1] * 15 + [2] * 15 + [3] * 3)[
    torch.randperm(36, generator=torch.Generator().manual_seed(0))
]


class Uneven(Blobs):
    """Blobs with two, four and six labeled images of the classes."""

    def read(self) -> Pools:
        pools = super().read()
        return Pools(**{**vars(pools), "labeled": pools.labeled.at(np.array([0, 3, 1, 4, 7, 10, 2, 5, 8, 11, 2, 5]))})


# ---- the sampler


def test_a_balanced_pass_has_every_class_as_often_and_every_image_of_it() -> None:
    for number in range(3):
        rows = balanced_order(UNEVEN, 7, "labeled", 2, number * 60, 60)
        assert UNEVEN[rows].bincount().tolist() == [15] * 4
        times = Counter(rows.tolist())
        assert [times[k] for k in range(36)] == [5 if label in (0, 3) else 1 for label in UNEVEN.tolist()]
    first, second = (balanced_order(UNEVEN, 7, "labeled", 2, start, 60).tolist() for start in (0, 60))
    assert first != second and sorted(first) == sorted(second)
    labels = torch.tensor([0, 0, 0, 2, 2])  # a class that isn't there, and one that doesn't divide
    rows = balanced_order(labels, 0, "labeled", 0, 0, 6)
    assert labels[rows].tolist().count(2) == 3 and {3, 4} <= {*rows.tolist()}


def test_it_is_a_function_of_its_place_whatever_the_step_and_the_rank() -> None:
    whole = balanced_order(UNEVEN, 7, "labeled", 2, 0, 150)
    cut = [balanced_order(UNEVEN, 7, "labeled", 2, first, 25) for first in range(0, 150, 25)]
    assert torch.equal(whole, torch.cat(cut))
    assert not torch.equal(whole, balanced_order(UNEVEN, 7, "labeled", 3, 0, 150))
    pool = Pool(np.zeros((36, 1, 2, 2), np.uint8), UNEVEN.numpy())

    def served(rank: int = 0, world: int = 1, step: int = 0) -> list[torch.Tensor]:
        loader = TrainLoader(pool, 12, 4, 0, rank=rank, world=world, balanced=True)
        loader.load_state_dict({"epoch": 0, "next": step})
        return [batch.labeled.index for batch in loader]

    halves = zip(served(0, 2), served(1, 2), strict=True)
    assert all(torch.equal(one, torch.cat(both)) for one, both in zip(served(), halves, strict=True))
    assert all(map(torch.equal, served(step=2), served()[2:]))


def test_a_run_with_both_goes_on_to_the_bit(tmp_path: Path) -> None:
    def fit(stop: int | None = None, **resumed: Any) -> dict[str, torch.Tensor]:
        data = Uneven(sampler="balanced")
        module = classifier(data, model=ModelOptions(class_weights=[1, 2, 3]))
        callbacks: Any = [SaveAt(stop, tmp_path / "x.ckpt")] if stop else []
        trainer(2, callbacks=callbacks, enable_checkpointing=bool(stop)).fit(module, data, weights_only=True, **resumed)
        return weights(module)

    whole = fit(6)
    assert same(whole, fit(ckpt_path=tmp_path / "x.ckpt"))
    data = Uneven()
    plain = classifier(data)
    trainer(2).fit(plain, data)
    assert not same(whole, weights(plain))


def test_the_sampler_is_of_the_labeled_pool_alone() -> None:
    data = Digits(sampler="balanced", imbalance=4, labels_per_class=8)
    assert data.train_dataloader().balanced and not Digits().train_dataloader().balanced
    data.serve(lambda: data.pools.labeled)
    assert not data.train_dataloader().balanced


# ---- the weights


def test_balanced_weights_are_scikit_learns() -> None:
    found = class_weights("balanced", UNEVEN, 4)
    expected = compute_class_weight("balanced", classes=np.arange(4), y=UNEVEN.numpy())
    assert found is not None and found.tolist() == pytest.approx(expected.tolist())
    assert found[UNEVEN].mean().item() == pytest.approx(1)
    assert class_weights("none", UNEVEN, 4) is None


@pytest.mark.parametrize("name", LABELED)
def test_a_weighted_loss_is_what_each_image_gives_times_its_weight(name: LabeledLoss) -> None:
    rng = torch.Generator().manual_seed(0)
    logits, target = torch.randn(6, 4, generator=rng, requires_grad=True), torch.tensor([0, 1, 2, 3, 1, 1])
    soft, w = torch.rand(6, 4, generator=rng).softmax(1), torch.tensor([0.5, 1.0, 2.0, 0.0])
    for targets in (target, soft):
        found = weighted(name, logits, targets, w)
        own = [w[t] if t.ndim == 0 else (t * w).sum() for t in targets]
        slow = sum(x * LABELED[name](logits[k : k + 1], targets[k : k + 1]) for k, x in enumerate(own)) / 6
        torch.testing.assert_close(found, slow)
        torch.testing.assert_close(*(torch.autograd.grad(x, logits)[0] for x in (found, slow)))
        torch.testing.assert_close(weighted(name, logits, targets, torch.ones(4)), LABELED[name](logits, targets))
    halves = [weighted(name, logits[part], target[part], w) for part in (slice(0, 3), slice(3, 6))]
    torch.testing.assert_close(weighted(name, logits, target, w), sum(halves) / 2)
    if name == "nll":
        theirs = F.cross_entropy(logits, target, w, reduction="sum") / 6
        torch.testing.assert_close(weighted(name, logits, target, w), theirs)


@pytest.mark.parametrize("wrong", [[1.0], [1, -1, 1], [0, 0, 0], [1, 1, float("inf")]])
def test_weights_that_can_not_be_are_refused(wrong: list[float]) -> None:
    with pytest.raises(InputError, match="but must be balanced, none, or a number from 0 on for each of 3 classes"):
        class_weights(wrong, torch.tensor([0, 1, 2]), 3)


# ---- what is told


def test_uneven_labels_are_told_and_both_ways_to_balance_too(capsys: pytest.CaptureFixture[str]) -> None:
    data = Uneven(sampler="balanced")
    trainer(1, limit_train_batches=1, limit_val_batches=0).fit(
        classifier(data, model=ModelOptions(class_weights="balanced")), data
    )
    said = capsys.readouterr().out
    assert "data: warning: labels are uneven, from 2 of left to 6 of right; look at the balanced " in said
    assert "model: warning: --model.class_weights and --data.sampler both balance; rare classes count twice" in said
    for quiet in (Blobs(), Digits(imbalance=4, labels_per_class=8)):
        quiet.setup("fit")
    assert "uneven" not in capsys.readouterr().out


def test_images_in_two_pools_and_under_two_classes_are_found() -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, 1, 4, 4), dtype=np.uint8)
    images[[1, 4, 6]] = images[0]
    images[5] = images[3]
    pools = Pools(
        labeled=Pool(images, np.array([0, 1, 0]), np.array([0, 1, 2])),
        unlabeled=Pool(images, rows=np.array([3, 4])),
        val=Pool(images, np.array([1, 0]), np.array([5, 6])),
        test=Pool(images, np.array([1, 1]), np.array([7, 8])),
        train_size=3,
    )
    told = "data: warning: {} images too ({}); a score on them says little, leave them out of one"
    assert [*doubles(Fingerprint.of(pools), ("cat", "dog"))] == [
        "data: 2 labeled images are unlabeled images too (0 is 4, 1 is 4)",
        told.format("2 labeled images are val", "0 is 6, 1 is 6"),
        told.format("2 unlabeled images are val", "4 is 6, 3 is 5"),
        "data: warning: 1 images are there under two classes (0 of cat and 1 of dog); one of them is wrong",
    ]
    assert not [*doubles(Blobs().fingerprint, ("a", "b", "c"))] and not [*doubles(Digits().fingerprint, "0123456789")]
