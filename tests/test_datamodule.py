"""The base of the datamodules: the length of an epoch, where images are kept, and how a batch is split over devices."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers import Blobs, classifier, same, trainer, weights
from sklearn.datasets import load_digits

from datamodules.digits import Digits
from semisup.augment.views import find_view
from semisup.batch import UNLABELED, Needs
from semisup.data.pool import Pool
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
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
        global_rank=0,
        world_size=1,
        overfit_batches=0,
    )
    before = data.pools.labeled.gather(torch.arange(12))
    data.train_dataloader()
    resident = data.pools.labeled._resident
    assert resident is not None and resident.dtype == torch.uint8 and torch.equal(resident, before)


@pytest.mark.parametrize(
    ("augmentation", "views"),
    [
        ("shift", ("shift", "medium_shift", "strong_shift", "contrastive_shift")),
        ("weak", ("weak", "medium", "strong", "contrastive")),
    ],
)
def test_views_are_what_suits_the_pictures(augmentation: Any, views: tuple[str, ...]) -> None:
    data = Blobs(augmentation=augmentation, seed=4)
    asked = ("weak", "medium", "strong", "contrastive")
    data.needs = Needs(labeled_views=asked)
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    for name, view in zip(asked, views, strict=True):
        draw = Draw(4, 0, f"labeled/{name}", batch.labeled.position, 12)
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
    assert pools.without_label is not None and pools.val is not None and pools.test is not None
    parts = [pools.labeled, pools.without_label, pools.val, pools.test]
    assert [len(part) for part in parts] == [40, 1217, 180, 360]
    assert sorted(row for part in parts for row in part.rows) == list(range(1797))
    assert pools.hidden_labels is not None
    assert pools.hidden_labels.tolist() == load_digits().target[pools.without_label.rows].tolist()
    assert pools.labeled.labels.bincount().tolist() == [4] * 10
    assert Digits(seed=4).pools.labeled.rows.tolist() != pools.labeled.rows.tolist()


def test_a_seed_of_its_own_chooses_the_labels() -> None:
    usual, fixed, other = Digits(seed=3), Digits(seed=4, labels_seed=3), Digits(seed=3, labels_seed=4)
    rows = [data.pools.labeled.rows.tolist() for data in (usual, fixed, other)]
    assert rows[0] == rows[1] != rows[2] == Digits(seed=4).pools.labeled.rows.tolist()
    tails = [Digits(seed=seed, labels_seed=3, imbalance=4, labels_per_class=8).pools for seed in (3, 4)]
    assert tails[0].labeled.rows.tolist() == tails[1].labeled.rows.tolist()
    assert (fixed.seed, fixed.train_dataloader().seed) == (4, 4)  # the order of the images, and their views
    with pytest.raises(InputError, match="labels_seed is -1, but must be at least 0"):
        Digits(labels_seed=-1)


# ---- labeled images among the unlabeled ones


def pixels(pool: Pool | None) -> torch.Tensor:
    assert pool is not None
    return pool.gather(torch.arange(len(pool)))


@pytest.mark.parametrize("residency", ["host", "device"])
def test_labeled_images_are_served_among_the_unlabeled_ones_too(residency: Any) -> None:
    pools = Digits(seed=3, residency=residency).pools
    assert pools.unlabeled is not None and pools.without_label is not None
    if residency == "device":
        pools.unlabeled.make_resident(torch.device("cpu"))
    assert (len(pools.unlabeled), len(pools.without_label), pools.labeled_in_unlabeled) == (1217 + 40, 1217, 40)
    assert torch.equal(pixels(pools.unlabeled)[1217:], pixels(pools.labeled))
    assert torch.equal(pixels(pools.unlabeled)[:1217], pixels(pools.without_label))
    assert pools.unlabeled.labels.unique().tolist() == [UNLABELED]
    assert [pools.unlabeled.name(row) for row in (0, 1216, 1217)] == [
        pools.without_label.name(0),
        pools.without_label.name(1216),
        pools.labeled.name(0),
    ]
    apart = Digits(seed=3, labeled_in_unlabeled=False).pools
    assert torch.equal(pixels(apart.unlabeled), pixels(pools.without_label))
    assert apart.without_label is apart.unlabeled
    every = Digits(labels_per_class=None).pools
    assert every.unlabeled is None and every.labeled_in_unlabeled == 0  # there is nothing for them to be among


def test_precision_is_of_images_without_a_label() -> None:
    data = Blobs()
    hidden, truth = data.hidden_labels, torch.as_tensor(data.pools.hidden_labels)
    assert data.pools.unlabeled is not None and hidden is None
    hidden = data.hidden_labels
    assert hidden is not None and len(truth) == 90 and len(data.pools.unlabeled) == 102
    rows, wrong = torch.tensor([3, 4, 5, 6, 90, 101]), torch.tensor([0, 0, 0, 1, 1, 1])
    assert hidden.precision(rows, (truth[rows.clamp(max=89)] + wrong) % 3)[0] == 0.75


@pytest.mark.parametrize("among", [True, False])
def test_a_run_says_whether_they_are(among: bool, capsys: pytest.CaptureFixture[str]) -> None:
    data = Blobs(labeled_in_unlabeled=among)
    data.setup("fit")
    told = "among the unlabeled ones too, without their labels" if among else "not among the unlabeled ones"
    assert capsys.readouterr().out == (
        "data: blobs, 12 labeled, 90 unlabeled, 30 val, 30 test\n"
        f"data: the labeled images are {told} (--data.labeled_in_unlabeled {str(among).lower()})\n"
    )


def test_rounds_of_pseudo_labels_are_the_same_with_them_and_without() -> None:
    found = []
    for among in (True, False):
        data, strategy = (
            Blobs(labeled_in_unlabeled=among),
            PseudoLabel(threshold=0.1, warmup_epochs=1, every_n_epochs=1),
        )
        module = classifier(data, strategy)
        trainer(2).fit(module, data)
        assert strategy.rows_.tolist() == list(range(90))
        found.append(weights(module))
    assert same(*found)


@pytest.mark.parametrize("residency", ["host", "device"])
def test_a_stack_of_arrays_is_one_array(residency: str) -> None:
    rng = np.random.default_rng(0)
    parts = [rng.integers(0, 256, (n, 3, 4, 5), dtype=np.uint8).transpose(0, 1, 3, 2) for n in (7, 4)]
    pool = Pool(parts[0], rows=np.array([6, 0, 3])).followed_by(Pool(parts[1], np.array([1, 2]), np.array([2, 1])))
    if residency == "device":
        pool.make_resident(torch.device("cpu"))
    whole = np.concatenate([parts[0][[6, 0, 3]], parts[1][[2, 1]]])
    index = torch.tensor([4, 0, 2, 2, 3])
    assert pool.shape == (3, 5, 4) and np.array_equal(pool.gather(index).numpy(), whole[index])
    assert pool.gather(index[:2]).stride()[2:] == pool.gather(index[1:3]).stride()[2:]
    assert np.array_equal(pool.first(2).gather(torch.tensor([1, 0])).numpy(), whole[[1, 0]])


@pytest.mark.parametrize("name", ["batch_size", "eval_batch_size", "labels_per_class", "steps_per_epoch"])
def test_numbers_below_one_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"data.{name} is -2, but must be at least 1"):
        Blobs(**{name: -2})
