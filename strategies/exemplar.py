"""Surrogate classes: before the labeled training, the backbone learns to tell unlabeled images from each other.

    semisup fit --data stl10 --strategy exemplar
    semisup fit --data stl10 --strategy exemplar --exemplar.recipe paper --model.backbone 64c5-64c5-128f
    semisup fit --data stl10 --strategy exemplar+pseudolabel --exemplar.epochs 20

A surrogate class is all that a patch of one image turns into when it is moved, turned, scaled and, by the recipe of the
paper, recoloured (semisup/augment/surrogate.py). The network is trained to name the class of such samples, then the
head of the surrogate classes is thrown away. Source: Exemplar-CNN (Dosovitskiy et al. 2014, arXiv 1406.6909).

The pretraining is the fit's first phase (`semisup.strategy.Phase`); an epoch of it is a pass over the samples of all
classes. What it learned is scored as in the paper, by a linear SVM on pooled features of the labeled images
(semisup/features/pooling.py).
"""

from __future__ import annotations

from typing import Annotated, Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semisup.batch import Batch, Needs, Samples
from semisup.classifier import Classifier
from semisup.data.pool import Pool, Repeated
from semisup.errors import require
from semisup.ranges import Count, Positive, Range, check_ranges
from semisup.runtime.console import say
from semisup.runtime.ranks import gather
from semisup.strategy import Loss, Phase
from strategies.exemplar_classes import Falling, Recipe, SurrogateClasses, input_side
from strategies.exemplar_svm import score_on_test, score_on_validation
from strategies.pretraining import Pretraining

__all__ = ["Exemplar", "Falling", "SurrogateClasses"]

_CROP = 32  # pixels a side, of the course and of the paper
_BINS = 10  # of the histogram of the classes' accuracies
_MOMENTUM, _WEIGHT_DECAY = 0.9, 0.004  # the authors'; the decay is that of their fully connected layers


class Exemplar(Pretraining):
    """Pretrains the backbone on surrogate classes of unlabeled images (Exemplar-CNN, Dosovitskiy et al. 2014).

    It brings a phase before the training and owns no loss of that: alone it trains on the labeled images then, and
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
    """

    presentation = "strategies.exemplar_figures:PRESENTATION"
    sees_pixels = True
    retired = "save_every"

    def __init__(
        self,
        images: Annotated[int, Range(2)] = 4000,  # one class is told from none
        samples_per_class: Annotated[int, Range(1, 1_000_000)] = 100,
        epochs: Count = 1,
        batch_size: Annotated[int, Range(2, 1_000_000)] = 128,  # one crop has no batch statistics
        lr: Positive = 0.01,
        recipe: Recipe = "course",
        crop: Annotated[int | None, Range(1)] = None,
        freeze: bool = False,
        svm: bool = True,
    ) -> None:
        check_ranges("exemplar", Exemplar, locals())
        super().__init__()
        self.images, self.samples_per_class, self.epochs = images, samples_per_class, epochs
        self.batch_size, self.lr, self.recipe, self.crop = batch_size, lr, recipe, crop
        self.freeze, self.svm = freeze, svm
        self.rows_ = torch.empty(0, dtype=torch.int64)  # (N,) of the pool, one for each surrogate class
        self.centres_ = torch.empty(0, 2)  # (N, 2), x and y of the patches
        self.accuracy_ = 0.0  # of the surrogate classes, over the last pass
        self.passed_ = torch.zeros(2, 0, dtype=torch.int64)  # (2, N): samples named rightly, and all, in this pass
        self.svm_: dict[str, float] = {}  # c, val_accuracy and, when all training has ended, test_accuracy
        self._side = 0  # height and width that the backbone sees the samples in
        self._classes: SurrogateClasses | None = None

    def begin_fit(self, module: Classifier) -> None:
        """Refuses what can't be pretrained."""
        self.require_trained(module)
        side, world = module.spec.image_size, module.trainer.world_size
        require(
            self.crop is None or self.crop <= side,
            f"exemplar.crop is {self.crop}, but the images have {side} pixels a side; type --exemplar.crop {side}",
        )
        pool, name = _pool(module)
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

    # ---- the phase

    def phases(self, module: Classifier) -> list[Phase]:
        """The pretraining, with a head of its own."""
        classes = min(self.images, len(_pool(module)[0]))
        return [
            Phase(
                name="exemplar",
                epochs=self.epochs,
                needs=Needs(labeled_views=(), modules={"surrogate": lambda width, _: nn.Linear(width, classes)}),
                loss=self._loss,
                labeled=self._samples,
                batch_size=self.batch_size,
                ema_decay=0.0,
                optimizer=self._optimizer,
                schedule=Falling(),
                lr_option="--exemplar.lr",
                validated=False,
                metrics="pretrain",
                end=self._end,
            )
        ]

    def begin_phase(self, module: Classifier, phase: Phase) -> None:
        """Trains the backbone in the pretraining and, unless it is frozen then, after it; the head after it alone."""
        ours = phase.loss == self._loss
        module.network.backbone.requires_grad_(ours or not self.freeze)
        module.network.head.requires_grad_(not ours)
        if ours:
            classes: int = module.extra["surrogate"].out_features  # type: ignore[assignment]
            self.passed_ = torch.zeros(2, classes, dtype=torch.int64, device=module.device)
            self._side = input_side(module, self._crop(module))

    def _crop(self, module: Classifier) -> int:
        return self.crop or min(_CROP, module.spec.image_size)

    def _samples(self, module: Classifier) -> Pool:
        """Chooses the surrogate classes; their images, each as often as there are samples of it."""
        (pool, name), crop = _pool(module), self._crop(module)
        self._classes = classes = SurrogateClasses.choose(
            pool, self.images, self.samples_per_class, crop, self.recipe, module.seed, module.device
        )
        require(
            len(self.rows_) == 0 or torch.equal(self.rows_.cpu(), classes.rows),
            f"the checkpoint was pretraining on {len(self.rows_):,} surrogate classes, and now there are others; a "
            f"resumed run must go on as it began",
        )
        self.rows_, self.centres_ = classes.rows, classes.centres
        asked = "" if len(pool) >= self.images else f" ({self.images:,} were asked for)"
        larger = f", enlarged to {self._side}x{self._side}" if self._side > crop else ""
        say(
            f"exemplar: {len(self.rows_):,} surrogate classes{asked} of {self.samples_per_class} crops, "
            f"{crop}x{crop} pixels of {name} images{larger}"
        )
        return Repeated(classes.pool, self.samples_per_class)

    def _optimizer(self, module: Classifier) -> torch.optim.Optimizer:
        network = module.network
        linear = {part.weight for part in network.modules() if isinstance(part, nn.Linear)}
        trained = [x for x in network.parameters() if x.requires_grad]
        decayed: dict[str, Any] = {"params": [x for x in trained if x in linear], "weight_decay": _WEIGHT_DECAY}
        others: dict[str, Any] = {"params": [x for x in trained if x not in linear]}
        return torch.optim.SGD([decayed, others], self.lr, momentum=_MOMENTUM)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Makes the samples, whose numbers are the rows of the batch, before the step is in its own precision."""
        assert isinstance(pl_module, Classifier)
        if pl_module.phase.loss == self._loss:
            batch.labeled.views["sample"] = self._views(batch.labeled)

    def _views(self, samples: Samples) -> Tensor:
        assert self._classes is not None
        crops, side = self._classes.samples(samples.image, samples.index), self._side
        if side > self._classes.crop:
            crops = F.interpolate(crops, (side, side), mode="bilinear", align_corners=False)
        return crops

    def _loss(self, module: Classifier, batch: Batch) -> Loss:
        """Cross-entropy of the surrogate classes."""
        target = batch.labeled.target
        logits = module.extra["surrogate"](module.features(batch.labeled.views["sample"]))
        right = logits.argmax(1) == target
        seen, named = gather(target), gather(right.long())
        self.passed_.scatter_add_(1, seen.expand(2, -1), torch.stack([named, torch.ones_like(named)]))
        return F.cross_entropy(logits.float(), target), {"surrogate_accuracy": right.float().mean()}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Logs the accuracy on the samples of the classes, after a pass over them."""
        assert isinstance(pl_module, Classifier)
        if pl_module.phase.loss != self._loss:
            return
        right, seen = self.passed_.cpu()
        self.passed_ = torch.zeros_like(self.passed_)
        self.accuracy_ = float(right.sum() / seen.sum())
        per_class = right[seen > 0] / seen[seen > 0]
        shares = torch.histc(per_class, _BINS, 0, 1) / len(per_class)
        metrics = {f"class_accuracy/{i / _BINS:.1f}": float(share) for i, share in enumerate(shares)}
        metrics |= {"class_accuracy_min": float(per_class.min()), "class_accuracy_max": float(per_class.max())}
        metrics |= {"class_accuracy_median": float(per_class.median())}
        pl_module.log_dict({f"pretrain/{name}": value for name, value in metrics.items()}, sync_dist=True)

    def _end(self, module: Classifier) -> None:
        """Keeps the backbone, and scores it."""
        self.keep(module)
        self.svm_ = score_on_validation(module) if self.svm else {}
        svm = f"; validation accuracy of a linear SVM: {100 * self.svm_['val_accuracy']:.1f} %" if self.svm_ else ""
        say(f"exemplar: {100 * self.accuracy_:.1f} % of the crops are told apart{svm}")

    # ---- the training after it

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keeps the statistics of a frozen backbone's batch normalisation as they are."""
        assert isinstance(pl_module, Classifier)
        if self.freeze and pl_module.phase.loss != self._loss:
            pl_module.network.backbone.eval()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The same where the pretraining has just ended."""
        self.on_train_start(trainer, pl_module)

    def remap(self, module: Classifier, places: Tensor) -> None:
        """Keeps the classes' order, which their samples depend on, and the rows of the images that are still there."""
        rows = places.to(self.rows_.device)[self.rows_] if _pool(module)[1] == "unlabeled" else self.rows_
        require(
            bool(self.backbone_) or torch.equal(rows, self.rows_),
            "exemplar had not ended its pretraining, whose surrogate classes are images that were there, and can't go "
            "on with others; put the data back as it was, or leave --resume out to begin another run",
        )
        self.rows_ = rows

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up that of the run that is resumed; earlier versions trained before the loop began."""
        require(
            not state_dict.get("pretraining"),
            "the checkpoint was written in the middle of a pretraining by an earlier version, which can't be gone on "
            "with; leave --resume out to begin another run",
        )
        super().load_state_dict({"passed": self.passed_, **state_dict})

    # ---- the linear evaluation

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Scores that SVM on test, now that nothing is left to choose."""
        assert isinstance(pl_module, Classifier)
        if self.svm_:
            self.svm_ |= score_on_test(pl_module, self.backbone_, self.svm_["c"])

    def summary(self) -> str:
        """What the pretrained features are worth without any further training of them."""
        scores = {name: self.svm_.get(f"{name}_accuracy") for name in ("val", "test")}
        said = ", ".join(f"{name} {100 * score:.1f} %" for name, score in scores.items() if score is not None)
        return f"a linear SVM on the features of {len(self.rows_):,} surrogate classes: {said}" if said else ""


def _pool(module: Classifier) -> tuple[Pool, str]:
    """The images that surrogate classes are made of, and what they are called."""
    pools = module.datamodule.pools
    return (pools.without_label, "unlabeled") if pools.without_label else (pools.labeled, "labeled")
