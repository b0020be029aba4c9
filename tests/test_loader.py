"""The loaders: every sample in its place, whatever the number of ranks, the epoch or the step that a run resumes at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from helpers import Blobs, classifier, trainer

from semisup.batch import UNLABELED, Batch
from semisup.data.loader import EvaluationLoader, Relabeled, TrainLoader, order
from semisup.data.pool import Pool
from strategies.fixmatch import FixMatch


def pool(count: int, labels: bool = True) -> Pool:
    """Images whose every pixel is their row, so that an image tells where it came from."""
    images = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 3, 4, 4))
    return Pool(images, np.arange(count) % 10 if labels else None)


def loader(rank: int = 0, world: int = 1, relabeled: Relabeled | None = None) -> TrainLoader:
    return TrainLoader(pool(20), 8, 5, 3, pool(50, labels=False), 2, relabeled, rank, world)


def test_an_epoch_goes_through_the_pool_once_before_any_image_comes_again() -> None:
    rows = torch.cat([order(0, "labeled", 0, 20, step * 8, 8) for step in range(5)])  # 40 draws: two passes
    assert sorted(rows[:20].tolist()) == list(range(20))
    assert sorted(rows[20:].tolist()) == list(range(20))
    assert rows[:20].tolist() != rows[20:].tolist()


def test_order_depends_on_seed_stream_and_epoch() -> None:
    def first(seed: int, stream: str, epoch: int) -> list[int]:
        return order(seed, stream, epoch, 100, 0, 100).tolist()

    assert first(0, "labeled", 0) == first(0, "labeled", 0)
    others = [first(1, "labeled", 0), first(0, "unlabeled", 0), first(0, "labeled", 1)]
    assert all(other != first(0, "labeled", 0) for other in others)


def test_a_pool_smaller_than_a_batch_is_repeated_evenly() -> None:
    rows = order(0, "labeled", 0, 3, 0, 9)
    assert rows.bincount().tolist() == [3, 3, 3]


def test_batches_carry_the_images_and_labels_of_their_rows() -> None:
    for batch in loader():
        assert batch.labeled.image[:, 0, 0, 0].tolist() == batch.labeled.index.tolist()
        assert (batch.labeled.target == batch.labeled.index % 10).all()
        assert batch.unlabeled is not None
        assert len(batch.unlabeled) == 16
        assert (batch.unlabeled.target == UNLABELED).all()


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_together_serve_the_global_batch(world: int) -> None:
    ranks = [list(loader(rank, world)) for rank in range(world)]
    for step, whole in enumerate(loader()):
        for stream in ("labeled", "unlabeled"):
            parts = [getattr(ranks[rank][step], stream) for rank in range(world)]
            for field in ("index", "position", "image", "target"):
                joined = torch.cat([getattr(part, field) for part in parts])
                assert torch.equal(joined, getattr(getattr(whole, stream), field))


def test_steps_are_counted_over_epochs() -> None:
    train = loader()
    assert [batch.step for batch in train] == [0, 1, 2, 3, 4]
    train.set_epoch(2)
    assert [batch.step for batch in train] == [10, 11, 12, 13, 14]


def test_an_epoch_starts_at_its_beginning_though_the_last_one_was_left_early() -> None:
    train = loader()
    next(iter(train))
    train.set_epoch(1)
    assert [batch.step for batch in train] == [5, 6, 7, 8, 9]


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_resume_goes_on_with_the_next_batch(stop: int) -> None:
    train, resumed = loader(), loader()
    train.set_epoch(4)
    whole = list(train)
    train.load_state_dict({"epoch": 4, "next": 0})
    batches = iter(train)
    for _ in range(stop):
        next(batches)
    resumed.load_state_dict(train.state_dict())
    resumed.set_epoch(4)
    rest = list(resumed)
    assert [batch.step for batch in rest] == [batch.step for batch in whole[stop:]]
    for ours, theirs in zip(rest, whole[stop:], strict=True):
        assert torch.equal(ours.labeled.index, theirs.labeled.index)


def test_only_relabeled_images_are_served_with_their_targets() -> None:
    relabeled = Relabeled()
    train = loader(relabeled=relabeled)
    assert all(batch.unlabeled is None for batch in train)
    relabeled.assign(torch.tensor([7, 30, 44]), torch.tensor([1, 2, 3]))
    train.set_epoch(1)
    given = {7: 1, 30: 2, 44: 3}
    for batch in train:
        assert batch.unlabeled is not None
        assert len(batch.unlabeled) == 16 and len(batch.labeled) == 8
        assert [given[row] for row in batch.unlabeled.index.tolist()] == batch.unlabeled.target.tolist()
        assert batch.unlabeled.image[:, 0, 0, 0].tolist() == batch.unlabeled.index.tolist()


def test_soft_targets_are_served_as_probabilities() -> None:
    relabeled = Relabeled()
    soft = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    relabeled.assign(torch.tensor([5, 6]), soft)
    batch = next(iter(loader(relabeled=relabeled)))
    assert batch.unlabeled is not None
    assert torch.equal(batch.unlabeled.target, soft[batch.unlabeled.index - 5])


@pytest.mark.parametrize(("count", "size", "world"), [(10, 4, 1), (10, 4, 2), (10, 4, 3), (3, 4, 2), (16, 4, 4)])
def test_evaluation_counts_every_image_once(count: int, size: int, world: int) -> None:
    ranks = [EvaluationLoader(pool(count), size, rank, world) for rank in range(world)]
    rows = [samples.index for rank in ranks for samples in rank]
    assert sorted(torch.cat(rows).tolist()) == list(range(count))
    assert [len(list(rank)) for rank in ranks] == [len(rank) for rank in ranks]


def test_a_transposed_memory_map_serves_the_same_pixels(tmp_path: pytest.TempPathFactory) -> None:
    stored = np.random.default_rng(0).integers(0, 256, (6, 3, 5, 5), dtype=np.uint8)
    stored.tofile(f"{tmp_path}/x.bin")
    images = np.memmap(f"{tmp_path}/x.bin", np.uint8, "r", shape=(6, 3, 5, 5)).transpose(0, 1, 3, 2)
    served = Pool(images, rows=np.array([4, 2]))
    expected = torch.from_numpy(np.stack([stored[2].transpose(0, 2, 1), stored[4].transpose(0, 2, 1)]))
    assert torch.equal(served.gather(torch.tensor([1, 0])), expected)
    served.make_resident(torch.device("cpu"))
    assert torch.equal(served.gather(torch.tensor([1, 0])), expected)
    assert served.nbytes == 2 * 3 * 5 * 5 and served.name(0) == "4"


@pytest.mark.parametrize(("batches", "count"), [(1, 1), (3, 3), (0.5, 2)])
def test_overfitting_trains_on_the_same_batches_in_every_epoch(batches: float, count: int) -> None:
    class Seen(pl.Callback):
        """The images of every step, by epoch."""

        def __init__(self) -> None:
            self.epochs: dict[int, list[list[int]]] = {}

        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Batch, idx: int) -> None:
            assert batch.unlabeled is not None
            rows = [*batch.labeled.index.tolist(), *batch.unlabeled.index.tolist()]
            self.epochs.setdefault(trainer.current_epoch, []).append(rows)

    data, seen = Blobs(batch_size=4), Seen()
    module = classifier(data, FixMatch(ratio=2, ema_decay=0.0))
    trainer(3, callbacks=[seen], overfit_batches=batches).fit(module, data)
    first, *others = seen.epochs.values()
    assert len(first) == count and others == [first, first]
    other, data = Seen(), Blobs(batch_size=4)
    trainer(2, callbacks=[other]).fit(classifier(data, FixMatch(ratio=2, ema_decay=0.0)), data)
    assert other.epochs[0][:count] == first and other.epochs[1] != other.epochs[0]
