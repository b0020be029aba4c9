"""The base of every datamodule: pools, their residency, and the loaders and views that a strategy's needs ask for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch

from semisup.augment.views import View, find_view, meant
from semisup.batch import Batch, Needs, Samples, by_label
from semisup.data.augmented import Augmenter
from semisup.data.contract import Contract
from semisup.data.fingerprint import Fingerprint
from semisup.data.hidden_labels import HiddenLabels
from semisup.data.imbalance import Unlabeled, check_tails, imbalanced
from semisup.data.loader import EvaluationLoader, Relabeled, TrainLoader
from semisup.data.picture import How
from semisup.data.pool import Pool
from semisup.data.pools import DataSpec, Pools
from semisup.data.preprocessing import Preprocessing
from semisup.data.residency import Residency, make_resident
from semisup.data.said import say_pools
from semisup.data.served import Features
from semisup.errors import check, require

__all__ = ["DataModule", "DataSpec", "Pools"]

Augmentation = Literal["auto", "none", "shift", "weak", "course", "course_copies", "flip_half"]
_LEAST_STEPS = 50  # of an epoch: with few labels, validating after every handful of steps would take most of the time


class DataModule(pl.LightningDataModule, ABC):
    """Serves the pools of one dataset as a strategy needs them.

    A subclass says what the dataset is (`spec`), reads it (`read`), and which light augmentation suits it.

    Args:
        batch_size: labeled images in a global batch, over all devices.
        eval_batch_size: images in a batch of validation, test, prediction and pseudo-labeling, on each device.
        labels_per_class: labels given to the strategy for each class, or all where a class has fewer; all of them by
            default.
        labels_seed: chooses the labeled images, so that seeds vary the weights alone; by default the run's seed.
        sampler: of the labeled images: uniform (each of them as often), or balanced (each class as often in every pass,
            so that images of classes with fewer come several times).
        steps_per_epoch: batches in an epoch; by default one pass over the training images that have a label in the
            dataset, whatever labels_per_class is, and at least 50.
        augmentation: the light augmentation of training images: none, shift (reflect-pad crop), weak (flip and crop),
            course (translate, rotate, scale up or down, flip half of the batch), course_copies (one of these four or
            the original, and flip half: as the course did), flip_half (that alone), or auto, the dataset's own.
        residency: where images are kept as uint8: host (memory map), device, or auto, the device where they take less
            than half of its free memory.
        labeled_in_unlabeled: whether the labeled images are served among the unlabeled ones too, without their labels,
            where there are unlabeled ones: as in FixMatch's code, TorchSSL and USB (`include_lb_to_ulb`), and so in
            published figures. They are no candidates for pseudo-labels in rounds, for clustering or surrogate classes.
        imbalance: labeled images of the first class over those of the last, the others in between falling off evenly
            (semisup/data/imbalance.py): 100 makes the classic long-tailed data, 1 leaves the classes as they are. The
            first class keeps labels_per_class.
        unlabeled_imbalance: how the unlabeled images of imbalanced data fall off: equal (as the labeled ones),
            reversed, or uniform; where the dataset does not know their classes they stay as they are.
        unlabeled_per_class: unlabeled images of imbalanced data's most frequent class; as many as there can be by
            default.
        seed: chooses the labeled images, unless `labels_seed` does, the order of samples and the augmentation.
    """

    default_augmentation: str = "weak"

    def __init__(
        self,
        batch_size: int = 64,
        eval_batch_size: int = 256,
        labels_per_class: int | None = None,
        labels_seed: int | None = None,
        sampler: Literal["uniform", "balanced"] = "uniform",
        steps_per_epoch: int | None = None,
        augmentation: Augmentation = "auto",
        residency: Residency = "auto",
        labeled_in_unlabeled: bool = True,
        imbalance: float = 1.0,
        unlabeled_imbalance: Unlabeled = "equal",
        unlabeled_per_class: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        most = 1_000_000  # images in a batch: more fit into no memory
        check("data", batch_size=(batch_size, 1, most), eval_batch_size=(eval_batch_size, 1, most))
        counts = {"labels_per_class": labels_per_class, "unlabeled_per_class": unlabeled_per_class}
        for name, value in {**counts, "steps_per_epoch": steps_per_epoch}.items():
            require(value is None or value >= 1, f"data.{name} is {value}, but must be at least 1")
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.labels_per_class, self.steps_per_epoch = labels_per_class, steps_per_epoch
        require(labels_seed is None or labels_seed >= 0, f"data.labels_seed is {labels_seed}, but must be at least 0")
        self.labels_seed, self.sampler = labels_seed, sampler
        self.augmentation = self.default_augmentation if augmentation == "auto" else augmentation
        check_tails(imbalance, unlabeled_imbalance, unlabeled_per_class)
        self.imbalance, self.unlabeled_imbalance = imbalance, unlabeled_imbalance
        self.unlabeled_per_class = unlabeled_per_class
        self.residency, self.labeled_in_unlabeled, self.seed = residency, labeled_in_unlabeled, seed
        self._needs = Needs()
        self.serve()
        self.relabeled = Relabeled()
        self.hidden_labels: HiddenLabels | None = None
        self.features: Features | None = None  # in place of images, where the classifier needs no more
        self._pools: Pools | None = None
        self.find_view: Callable[[str], View] = find_view  # compiled ones on accelerators, where asked for

    @property
    @abstractmethod
    def spec(self) -> DataSpec:
        """What the dataset is; cheap, and known before `setup`.

        Raises:
            InputError: the dataset's files are missing or not what they should be.
        """

    @abstractmethod
    def read(self) -> Pools:
        """Opens the dataset's files.

        Raises:
            InputError: the dataset's files are missing or not what they should be.
        """

    @property
    def labeling_seed(self) -> int:
        """What chooses the labeled images."""
        return self.seed if self.labels_seed is None else self.labels_seed

    @property
    def preprocessing(self) -> Preprocessing:
        """How pictures from elsewhere become such as these; a checkpoint carries it, to predict any picture by."""
        return Preprocessing(How(self.spec.image_size, self.spec.channels))

    def file(self, name: str) -> Path | None:
        """The file of the picture that a pool calls by this name; None where pictures are no files of their own."""
        return None

    @property
    def pools(self) -> Pools:
        """The dataset's images, opened when first asked for.

        Raises:
            InputError: they can't be opened, or are not what they must be (semisup/data/contract.py).
        """
        if self._pools is None:
            pools = Contract(type(self)).read(self)
            if self.imbalance > 1:
                tails = (self.imbalance, self.unlabeled_imbalance, self.unlabeled_per_class)
                pools = imbalanced(pools, self.spec.class_names, *tails, self.labeling_seed)
            self._pools = pools.with_labeled_unlabeled() if self.labeled_in_unlabeled else pools
            hidden = pools.hidden_labels
            self.hidden_labels = None if hidden is None else HiddenLabels(hidden, len(self.spec.class_names))
        return self._pools

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """Which images the pools hold; a checkpoint carries it."""
        return Fingerprint.of(self.pools)

    @property
    def needs(self) -> Needs:
        """What the strategy asks for.

        Raises:
            InputError: when it is set, where that takes unlabeled images and there are none.
        """
        return self._needs

    @needs.setter
    def needs(self, needs: Needs) -> None:
        require(
            not needs.unlabeled_ratio or bool(self.pools.unlabeled),
            f"the strategy needs unlabeled images and {self.spec.name} has none here; add some, give fewer labels "
            f"(--data.labels_per_class N), or type --strategy supervised",
        )
        self._needs = needs

    def serve(
        self, labeled: Callable[[], Pool] | None = None, batch_size: int | None = None, first_epoch: int = 0
    ) -> None:
        """What training batches are of from now on.

        Args:
            labeled: makes the pool to train on in place of the labeled images, when it is first needed; None for those.
            batch_size: images of it in a global batch; None for `--data.batch_size`.
            first_epoch: epoch of the trainer in which it begins; batches count epochs and steps from there.
        """
        self._labeled, self._first_epoch = labeled, first_epoch
        self._instead: Pool | None = None  # what that has made
        self._size = batch_size or self.batch_size

    @property
    def training_pool(self) -> Pool:
        """The images that are trained on with their labels."""
        if self._labeled is None:
            return self.pools.labeled
        if self._instead is None:
            self._instead = self._labeled()
        return self._instead

    def setup(self, stage: str) -> None:
        """Opens the files and says what was found."""
        pools = self.pools
        if stage == "fit":
            say_pools(self.spec, pools, self.imbalance, lambda: self.fingerprint)
            world = self.trainer.world_size if self.trainer else 1
            require(
                self.batch_size % world == 0,
                f"data.batch_size is {self.batch_size}, the labeled images in a batch over all devices, and can't be "
                f"split evenly over {world} devices; type --data.batch_size {-(-self.batch_size // world) * world}",
            )

    @property
    def steps(self) -> int:
        """Batches in an epoch; of images that a phase brings itself, as many as there are whole ones."""
        if self._labeled is not None:
            return max(1, len(self.training_pool) // self._size)
        return self.steps_per_epoch or max(_LEAST_STEPS, self.pools.train_size // self.batch_size)

    def train_dataloader(self) -> TrainLoader:
        """Batches as `needs` asks for them."""
        pools, needs = self.pools, self.needs
        unlabeled = pools.unlabeled if needs.unlabeled_ratio else None
        if self.features is None:
            make_resident([pool for pool in (self.training_pool, unlabeled) if pool], self.residency, self.device)
        else:
            for pool, view in self.trained_views():
                self.features.prepare(pool, view)
        return TrainLoader(
            self.training_pool,
            self._size,
            self.steps,
            self.seed,
            unlabeled,
            needs.unlabeled_ratio,
            self.relabeled if needs.unlabeled == "relabeled" else None,
            *self.rank,
            self.device,
            always_the_same=bool(self.trainer and self.trainer.overfit_batches),  # type: ignore[attr-defined]
            first_epoch=self._first_epoch,
            balanced=self.sampler == "balanced" and self._labeled is None,
        )

    def trained_views(self) -> list[tuple[Pool, str]]:
        """The pools that are trained on now, each with the views of it, once each and by their own names."""
        needs, pools = self.needs, [(self.training_pool, self.needs.labeled_views)]
        if needs.unlabeled_ratio and self.pools.unlabeled:
            pools.append((self.pools.unlabeled, needs.unlabeled_views))
        return [
            (pool, view)
            for pool, views in pools
            for view in dict.fromkeys(meant(name, self.augmentation) for name in by_label(views).values())
        ]

    def val_dataloader(self) -> EvaluationLoader | list[Any]:
        """The validation pool in order; empty where the split holds nothing out."""
        return self._evaluation(self.pools.val)

    def test_dataloader(self) -> EvaluationLoader | list[Any]:
        """The test pool in order."""
        if self.pools.test:
            Contract(type(self)).test_labels(self.pools.test, len(self.spec.class_names))
        return self._evaluation(self.pools.test)

    def _evaluation(self, pool: Pool | None) -> EvaluationLoader | list[Any]:
        if self.features is not None and pool:
            self.features.prepare(pool, "none")
        return EvaluationLoader(pool, self.eval_batch_size, *self.rank, self.device) if pool else []

    @property
    def rank(self) -> tuple[int, int]:
        """This process's rank, and the number of ranks."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    @property
    def device(self) -> torch.device:
        """Where this process trains."""
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    def transfer_batch_to_device(self, batch: Batch | Samples, device: torch.device, dataloader_idx: int) -> Any:
        """Moves a batch; what is resident already stays where it is."""
        return batch.to(device)

    def on_after_batch_transfer(self, batch: Batch | Samples, dataloader_idx: int) -> Any:
        """Augments on the device: the views that the strategy needs, or the plain images for evaluation."""
        augmenter = Augmenter(self.augmentation, self.seed, self.find_view, self.features)
        if isinstance(batch, Samples):
            pool = self.pools.test if self.trainer and self.trainer.testing else self.pools.val
            augmenter.add(batch, pool, "evaluation", ("none",), 0, len(batch))
            return batch
        needs, step = self.needs, batch.step
        augmenter.add(batch.labeled, self.training_pool, "labeled", needs.labeled_views, step, self._size)
        if batch.unlabeled is not None:
            size = self._size * needs.unlabeled_ratio
            augmenter.add(batch.unlabeled, self.pools.unlabeled, "unlabeled", needs.unlabeled_views, step, size)
        return batch
