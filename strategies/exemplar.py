"""Surrogate classes: before the labeled training, the backbone learns to tell unlabeled images from each other.

    semisup fit --data stl10 --strategy exemplar
    semisup fit --data stl10 --strategy exemplar --exemplar.recipe paper --model.backbone 64c5-64c5-128f
    semisup fit --data stl10 --strategy exemplar+pseudolabel --exemplar.epochs 20

A surrogate class is all that a patch of one image turns into when it is moved, turned, scaled and, by the recipe of the
paper, recoloured (semisup/augment/surrogate.py). The network is trained to name the class of such samples, then the
head of the surrogate classes is thrown away. Source: Exemplar-CNN (Dosovitskiy et al. 2014, arXiv 1406.6909).

The pretraining is part of the fit. Its steps are logged with negative numbers, -1 being the last, and it saves itself
into `last.ckpt`, from which it goes on to the bit. What it learned is scored as in the paper, by a linear SVM on pooled
features of the labeled images (semisup/features/pooling.py).
"""

from __future__ import annotations

import time
from copy import deepcopy
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from tqdm import tqdm

from semisup.classifier import Classifier
from semisup.data.pool import Pool
from semisup.errors import require
from semisup.features.linear import linear_svm
from semisup.features.pooling import pooled_features
from semisup.runtime.console import say
from semisup.runtime.ranks import gather_rows, synchronize_buffers
from semisup.strategy import Strategy
from semisup.tracking.record import MetricsCSV
from semisup.training.checkpoints import pause
from semisup.training.pretraining import Pretraining, Recipe, SurrogateClasses

_CROP = 32  # pixels a side, of the course and of the paper
_BINS = 10  # of the histogram of the classes' accuracies


class Exemplar(Strategy):
    """Pretrains the backbone on surrogate classes of unlabeled images (Exemplar-CNN, Dosovitskiy et al. 2014).

    It acts before the first step and owns no loss: alone it trains on the labeled images then, and
    `exemplar+pseudolabel` composes it with another strategy. Where there are no unlabeled images, labeled ones serve. A
    backbone that takes images of one size only sees its crops enlarged to that.

    Args:
        images: images to make a surrogate class each of, two or more; all where there are fewer.
        samples_per_class: crops of each class, the same in every epoch.
        epochs: passes over the crops of all classes; the authors made about 80 over 16,000 classes.
        batch_size: crops in a batch, over all devices; two or more on each.
        lr: learning rate of SGD; over the last quarter of the steps it falls to .4, .1, .04 and .01 of this.
        recipe: course (patches anywhere, moved, turned and scaled), or paper (where the image has strong gradients, and
            recoloured as well).
        crop: side of a crop in pixels; 32 by default, or that of the images where they are smaller.
        freeze: train the head alone afterwards, on the backbone as the pretraining left it.
        svm: score the pretrained features by a linear SVM as well.
        save_every: steps from one checkpoint of the pretraining to the next.
    """

    presentation = "strategies.exemplar_figures:PRESENTATION"

    def __init__(
        self,
        images: int = 4000,
        samples_per_class: int = 100,
        epochs: int = 1,
        batch_size: int = 128,
        lr: float = 0.01,
        recipe: Recipe = "course",
        crop: int | None = None,
        freeze: bool = False,
        svm: bool = True,
        save_every: int = 1000,
    ) -> None:
        counts = {"images": images, "samples_per_class": samples_per_class, "epochs": epochs, "batch_size": batch_size}
        least = {"images": 2, "batch_size": 2}  # one class is told from none, and one crop has no batch statistics
        for name, value in {**counts, "crop": crop, "save_every": save_every}.items():
            low = least.get(name, 1)
            require(value is None or value >= low, f"exemplar.{name} is {value}, but must be at least {low}")
        for name, value in {"batch_size": batch_size, "samples_per_class": samples_per_class}.items():
            require(value <= 1_000_000, f"exemplar.{name} is {value}, but must be at most 1,000,000")
        require(lr > 0, f"exemplar.lr is {lr}, but must be more than 0")
        self.images, self.samples_per_class, self.epochs = images, samples_per_class, epochs
        self.batch_size, self.lr, self.recipe, self.crop = batch_size, lr, recipe, crop
        self.freeze, self.svm, self.save_every = freeze, svm, save_every
        self.rows_ = torch.empty(0, dtype=torch.int64)  # (N,) of the pool, one for each surrogate class
        self.centres_ = torch.empty(0, 2)  # (N, 2), x and y of the patches
        self.backbone_: dict[str, Tensor] = {}  # as the pretraining left it; empty until then
        self.accuracy_ = 0.0  # of the surrogate classes, over the last pass
        self.svm_: dict[str, float] = {}  # c, val_accuracy and, when all training has ended, test_accuracy
        self._pretraining: Pretraining | None = None
        self._restored: dict[str, Any] | None = None

    # ---- the pretraining

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuses what can't be pretrained, and freezes the backbone before the optimiser takes its parameters."""
        if stage != "fit":
            return
        assert isinstance(pl_module, Classifier)
        side, world = pl_module.spec.image_size, trainer.world_size
        require(
            self.crop is None or self.crop <= side,
            f"exemplar.crop is {self.crop}, but the images have {side} pixels a side; type --exemplar.crop {side}",
        )
        pool, name = _pool(pl_module)
        require(
            len(pool) > 1,
            f"exemplar tells surrogate classes apart, and of a single {name} image there is one; add unlabeled images, "
            f"or leave exemplar out of --strategy",
        )
        require(
            self.batch_size % world == 0 and self.batch_size > world,
            f"exemplar.batch_size is {self.batch_size}, the crops in a batch over all devices, and can't be split "
            f"evenly over {world} devices, two or more on each; type --exemplar.batch_size "
            f"{max(2, -(-self.batch_size // world)) * world}",
        )
        if self.freeze:
            pl_module.network.backbone.requires_grad_(False)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Pretrains, or goes on with it; does nothing on a run that is resumed after it."""
        if self.backbone_:
            return
        assert isinstance(pl_module, Classifier)
        start, backbone = time.monotonic(), pl_module.network.backbone
        backbone.requires_grad_(True).train()
        self._pretraining = running = self._begin(trainer, pl_module)
        steps = range(running.step, running.steps)
        for step in tqdm(steps, "exemplar", leave=False, unit="step", disable=trainer.global_rank > 0 or None):
            running.advance()
            self._log(trainer, running, step)
            pause(trainer, save=running.step % self.save_every == 0 and running.step < running.steps)
        self._pretraining = None
        backbone.requires_grad_(not self.freeze).zero_grad()
        synchronize_buffers(backbone)
        if pl_module.ema is not None:  # it began as a copy of the network that was not pretrained
            pl_module.ema.average.load_state_dict(pl_module.network.state_dict())
        self.backbone_ = {name: value.detach().cpu().clone() for name, value in backbone.state_dict().items()}
        took = f"{time.monotonic() - start:.1f} s"
        self._score(pl_module)
        svm = f"; validation accuracy of a linear SVM: {100 * self.svm_['val_accuracy']:.1f} %" if self.svm_ else ""
        say(f"exemplar: {100 * self.accuracy_:.1f} % of the crops are told apart, after {took}{svm}")
        pause(trainer, save=True)

    def remap(self, module: Classifier, places: Tensor) -> None:
        """Keeps the classes' order, which their samples depend on, and the rows of the images that are still there."""
        rows = places.to(self.rows_.device)[self.rows_] if _pool(module)[1] == "unlabeled" else self.rows_
        require(
            bool(self.backbone_) or torch.equal(rows, self.rows_),
            "exemplar had not ended its pretraining, whose surrogate classes are images that were there, and can't go "
            "on with others; put the data back as it was, or leave --resume out to begin another run",
        )
        self.rows_ = rows

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keeps the statistics of a frozen backbone's batch normalisation as they are."""
        assert isinstance(pl_module, Classifier)
        if self.freeze:
            pl_module.network.backbone.eval()

    def _begin(self, trainer: pl.Trainer, module: Classifier) -> Pretraining:
        """Chooses the surrogate classes and goes to where a run that is resumed had stopped."""
        (pool, name), crop = _pool(module), self.crop or min(_CROP, module.spec.image_size)
        classes = SurrogateClasses.choose(
            pool, self.images, self.samples_per_class, crop, self.recipe, module.seed, module.device
        )
        require(
            self._restored is None or torch.equal(self.rows_, classes.rows),
            f"the checkpoint was pretraining on {len(self.rows_):,} surrogate classes, and now there are others; a "
            f"resumed run must go on as it began",
        )
        self.rows_, self.centres_ = classes.rows, classes.centres.cpu()
        steps = int(trainer.fast_dev_run) or max(1, self.epochs * classes.count // self.batch_size)  # type: ignore[attr-defined]
        running = Pretraining(module, classes, self.batch_size, self.lr, steps)
        if self._restored:
            running.load_state_dict(self._restored)
            self._restored = None
            for logger in trainer.loggers:
                if isinstance(logger, MetricsCSV):
                    logger.truncate(running.step - steps)  # the rows that are about to be logged again
        asked = "" if len(pool) >= self.images else f" ({self.images:,} were asked for)"
        larger = f", enlarged to {running.side}x{running.side}" if running.side > crop else ""
        say(
            f"exemplar: {len(self.rows_):,} surrogate classes{asked} of {self.samples_per_class} crops, "
            f"{crop}x{crop} pixels of {name} images{larger}; {steps:,} steps"
            f"{f', from step {running.step:,}' if running.step else ''}"
        )
        return running

    def _log(self, trainer: pl.Trainer, running: Pretraining, step: int) -> None:
        """Logs loss and accuracy since the last time and, after each pass over the crops, those of the classes."""
        metrics: dict[str, float] = {}
        last, count = running.step == running.steps, running.classes.count
        every = trainer.log_every_n_steps or running.steps  # type: ignore[attr-defined]
        if last or running.step % every == 0:
            metrics |= running.recent() | {"lr": running.rate(step)}
        if last or running.step * self.batch_size // count > step * self.batch_size // count:
            self.accuracy_, per_class = running.passed()
            shares = torch.histc(per_class, _BINS, 0, 1) / len(per_class)
            metrics |= {f"class_accuracy/{i / _BINS:.1f}": float(share) for i, share in enumerate(shares)}
            metrics |= {"class_accuracy_min": float(per_class.min()), "class_accuracy_max": float(per_class.max())}
            metrics |= {"class_accuracy_median": float(per_class.median())}
        if metrics:
            _log(trainer, {f"pretrain/{name}": value for name, value in metrics.items()}, step - running.steps)

    # ---- the linear evaluation

    def _score(self, module: Classifier) -> None:
        """Trains a linear SVM on the pretrained features, its C chosen on the validation images."""
        pools, seed = module.datamodule.pools, module.seed
        if self.svm and pools.val is not None and pools.val.scorable:
            train, val = (_features(module, module.network.backbone, pool) for pool in (pools.labeled, pools.val))
            y = pools.val.labels
            scores = linear_svm(train, pools.labeled.labels, val, y, val, y, seed=seed)  # test is not looked at yet
            self.svm_ = {"c": scores.c, "val_accuracy": scores.test_accuracy}
            _log(module.trainer, {"exemplar/svm_val_accuracy": scores.test_accuracy}, -1)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Scores that SVM on test, now that nothing is left to choose."""
        assert isinstance(pl_module, Classifier)
        pools = pl_module.datamodule.pools
        if self.svm_ and pools.test is not None and pools.test.scorable:
            backbone = deepcopy(pl_module.network.backbone)
            backbone.load_state_dict(self.backbone_)
            train, test = (_features(pl_module, backbone, pool) for pool in (pools.labeled, pools.test))
            labels, cs = (pools.labeled.labels, None, None, test, pools.test.labels), (self.svm_["c"],)
            self.svm_["test_accuracy"] = linear_svm(train, *labels, cs=cs, seed=pl_module.seed).test_accuracy
            _log(trainer, {"exemplar/svm_test_accuracy": self.svm_["test_accuracy"]}, trainer.global_step)

    def summary(self) -> str:
        """What the pretrained features are worth without any further training of them."""
        scores = {name: self.svm_.get(f"{name}_accuracy") for name in ("val", "test")}
        said = ", ".join(f"{name} {100 * score:.1f} %" for name, score in scores.items() if score is not None)
        return f"a linear SVM on the features of {len(self.rows_):,} surrogate classes: {said}" if said else ""

    # ---- checkpoints

    def state_dict(self) -> dict[str, Any]:
        """The surrogate classes, the pretrained backbone and its scores, or how far the pretraining has come."""
        return {
            "rows": self.rows_,
            "centres": self.centres_,
            "backbone": self.backbone_,
            "accuracy": self.accuracy_,
            "svm": self.svm_,
            "pretraining": self._pretraining.state_dict() if self._pretraining else None,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up those of the run that is resumed."""
        self.rows_, self.centres_, self.backbone_ = (state_dict[name] for name in ("rows", "centres", "backbone"))
        self.accuracy_, self.svm_, self._restored = (state_dict[name] for name in ("accuracy", "svm", "pretraining"))


def _pool(module: Classifier) -> tuple[Pool, str]:
    """The images that surrogate classes are made of, and what they are called."""
    pools = module.datamodule.pools
    return (pools.without_label, "unlabeled") if pools.without_label else (pools.labeled, "labeled")


def _features(module: Classifier, backbone: nn.Module, pool: Pool) -> Tensor:
    """The pooled features of a pool, (n, features) float32 on the CPU, on every rank."""
    network, data = nn.Sequential(module.network.normalization, backbone), module.datamodule
    share = pooled_features(network, pool, data.eval_batch_size, module.device, *data.rank)
    return gather_rows(share.to(module.device)).cpu()


def _log(trainer: pl.Trainer, metrics: dict[str, float], step: int) -> None:
    for logger in trainer.loggers:
        logger.log_metrics(metrics, step)
