"""The base of the datamodules: the length of an epoch, where images are kept, and how a batch is split over devices."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers import Blobs, classifier, same, trainer, weights
from sklearn.datasets import load_digits

from datamodules.digits import Digits
from semisup.augment.views import find_view
from semisup.batch import Needs
from semisup.errors import InputError
from semisup.randomness import Draw
from strategies.pseudolabel import PseudoLabel


def fitted(**options: Any) -> dict[str, torch.Tensor]:
    data = Blobs(augmentation="weak", **options)
    module = classifier(data, PseudoLabel(threshold=0.4, warmup_epochs=1, every_n_epochs=1))
    trainer(3).fit(module, data)
    return weights(module)


def test_where_images_are_kept_changes_nothing() -> None:
    assert same(fitted(residency="host"), fitted(residency="device"))


def test_resident_images_are_gathered_where_they_are() -> None:
    data = Blobs(residency="device")
    data.trainer = SimpleNamespace(  # type: ignore[assignment]
        strategy=SimpleNamespace(root_device=torch.device("cpu")), global_rank=0, world_size=1
    )
    before = data.pools.labeled.gather(torch.arange(12))
    data.train_dataloader()
    resident = data.pools.labeled._resident
    assert resident is not None and resident.dtype == torch.uint8 and torch.equal(resident, before)


@pytest.mark.parametrize(
    ("augmentation", "views"), [("shift", ("shift", "strong_shift")), ("weak", ("weak", "strong"))]
)
def test_weak_and_strong_are_what_suits_the_pictures(augmentation: Any, views: tuple[str, str]) -> None:
    data = Blobs(augmentation=augmentation, seed=4)
    data.needs = Needs(labeled_views=("weak", "strong"))
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    for name, view in zip(("weak", "strong"), views, strict=True):
        draw = Draw(4, 0, f"labeled/{name}", batch.labeled.place, 12)
        assert torch.equal(batch.labeled.views[name], find_view(view)(batch.labeled.image, draw))


def test_an_epoch_is_a_pass_over_what_could_be_labeled_and_at_least_fifty_steps() -> None:
    assert Digits(batch_size=8).steps == (1797 - 360 - 180) // 8
    assert Digits(batch_size=8, labels_per_class=100).steps == (1797 - 360 - 180) // 8
    assert Digits(batch_size=64).steps == 50
    assert Digits(steps_per_epoch=7).steps == 7


def test_a_batch_that_can_not_be_split_evenly_is_refused() -> None:
    data = Blobs(batch_size=10)
    data.trainer = SimpleNamespace(world_size=4)  # type: ignore[assignment]
    with pytest.raises(InputError, match=r"can't be split evenly over 4 devices; type --data.batch_size 12"):
        data.setup("fit")


def test_the_digits_are_split_without_overlap_and_truth_belongs_to_its_images() -> None:
    pools = Digits(seed=3).pools
    assert pools.unlabeled is not None and pools.val is not None and pools.test is not None
    parts = [pools.labeled, pools.unlabeled, pools.val, pools.test]
    assert [len(part) for part in parts] == [40, 1217, 180, 360]
    assert sorted(row for part in parts for row in part.rows) == list(range(1797))
    assert pools.truth is not None
    assert pools.truth.tolist() == load_digits().target[pools.unlabeled.rows].tolist()
    assert pools.labeled.labels.bincount().tolist() == [4] * 10
    assert Digits(seed=4).pools.labeled.rows.tolist() != pools.labeled.rows.tolist()


@pytest.mark.parametrize("name", ["batch_size", "eval_batch_size", "labels_per_class", "steps_per_epoch"])
def test_numbers_below_one_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"data.{name} is -2, but must be at least 1"):
        Blobs(**{name: -2})
