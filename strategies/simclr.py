"""A first phase on all images without any label: two views of an image are to be found again among those of others.

    semisup fit --data stl10 --strategy simclr
    semisup fit --data stl10 --strategy simclr+fixmatch --simclr.epochs 200

SimCLR (Chen, Kornblith, Norouzi & Hinton 2020, arXiv 2002.05709). Of every image in a batch of N two views are drawn
(`contrastive`, semisup/augment/views.py: crop, mirror, colours; at this size without blur). Their features go through a
projection head, a hidden layer and 128 outputs, and each of the 2 N is to be nearer to the other view of its own image
than to the 2 N - 2 views of others: the loss NT-Xent (equation 1). The projection head is thrown away after it, and
the strategy that owns the loss goes on with the backbone.

Labeled and unlabeled images are trained on alike, and no label is. While it trains, what the features are worth is
logged and shown as `pretrain/knn_accuracy`: validation images, classified by their nearest labeled training images.

The paper trains CIFAR-10 for 1,000 epochs by LARS, with a temperature of .5 (appendix B.9); torch has no LARS, and here
it is Adam, with the paper's weight decay and its schedule: a warm-up over the first tenth, then a cosine to 0. The
projection head of the authors' code is batch-normalised; here it is as the paper says.
"""

from __future__ import annotations

from typing import Annotated

import pytorch_lightning as pl
import torch
from torch import nn

from semisup.batch import Batch, Needs
from semisup.classifier import Classifier
from semisup.data.pool import Pool
from semisup.embeddings import nt_xent, two_layer_head
from semisup.errors import require
from semisup.models.optim import Cosine
from semisup.ranges import Count, Positive, Range, check_ranges
from semisup.runtime.console import say
from semisup.runtime.ranks import gather_with_gradient
from semisup.strategy import Loss, Phase
from semisup.training.probe import knn_accuracy
from strategies.pretraining import Pretraining

_WEIGHT_DECAY = 1e-6
_SHOWN = 20  # times that k-NN accuracy is looked at


class SimCLR(Pretraining):
    """Pretrains the backbone by telling views of one image from those of others (SimCLR, Chen et al. 2020).

    It brings a phase before the training and owns no loss of that: alone it trains on the labeled images then, and
    `simclr+fixmatch` composes it with another strategy.

    Args:
        epochs: passes over all images.
        batch_size: images in a batch, over all devices; all of them where there are fewer.
        lr: learning rate of Adam.
        temperature: of the cosines.
        projection: outputs of the projection head.
    """

    presentation = "strategies.simclr_figures:PRESENTATION"
    sees_pixels = True

    def __init__(
        self,
        epochs: Count = 100,
        batch_size: Annotated[int, Range(2, 1_000_000)] = 512,
        lr: Positive = 0.001,
        temperature: Positive = 0.5,
        projection: Annotated[int, Range(1, 1_000_000)] = 128,
    ) -> None:
        check_ranges("simclr", SimCLR, locals())
        super().__init__()
        self.epochs, self.batch_size, self.lr = epochs, batch_size, lr
        self.temperature, self.projection = temperature, projection
        self.knn_: dict[str, float] = {}  # val_accuracy of nearest neighbours, when it was last looked at

    def phases(self, module: Classifier) -> list[Phase]:
        """The pretraining, with a projection head.

        Raises:
            InputError: there is nothing to train, or nothing to train it on.
        """
        self.require_trained(module)
        world, count = module.trainer.world_size, len(_pool(module))
        size = min(self.batch_size, count) // world * world
        require(
            size >= 2 * world,
            f"simclr tells images apart, and there are {count:,} for {world} devices in batches of {self.batch_size}; "
            f"type --simclr.batch_size {2 * world} or more, add images, or leave simclr out of --strategy",
        )
        head = two_layer_head(self.projection, nn.ReLU())
        return [
            Phase(
                name="simclr",
                epochs=self.epochs,
                needs=Needs({"one": "contrastive", "other": "contrastive"}, modules={"contrast": head}),
                loss=self._loss,
                labeled=_pool,
                batch_size=size,
                ema_decay=0.0,
                optimizer=self._optimizer,
                schedule=Cosine(cycles=0.5, warmup_share=0.1),
                lr_option="--simclr.lr",
                validated=False,
                metrics="pretrain",
                end=self._end,
            )
        ]

    def _optimizer(self, module: Classifier) -> torch.optim.Optimizer:
        trained = [x for x in module.network.parameters() if x.requires_grad]
        return torch.optim.Adam(trained, self.lr, weight_decay=_WEIGHT_DECAY)

    def begin_phase(self, module: Classifier, phase: Phase) -> None:
        """Leaves out the head that classifies while nothing is classified."""
        module.network.head.requires_grad_(phase.loss != self._loss)

    def _loss(self, module: Classifier, batch: Batch) -> Loss:
        views = batch.labeled.views
        own = module.extra["contrast"](module.features(torch.cat([views["one"], views["other"]])))
        own = own.unflatten(0, (2, -1))
        everyone = gather_with_gradient(own.transpose(0, 1)).transpose(0, 1)
        return nt_xent(own, everyone, batch.labeled.position, self.temperature), {}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Looks what the features are worth, every few epochs and when the pretraining ends."""
        assert isinstance(pl_module, Classifier)
        done = pl_module.epoch + 1
        if pl_module.phase.loss != self._loss or (done % max(1, self.epochs // _SHOWN) and done < self.epochs):
            return
        pools = pl_module.datamodule.pools
        if pools.val is not None and pools.val.scorable:
            self.knn_ = {"val_accuracy": float(knn_accuracy(pl_module, pools.labeled, pools.val))}
            pl_module.log("pretrain/knn_accuracy", self.knn_["val_accuracy"], prog_bar=True, sync_dist=True)

    def _end(self, module: Classifier) -> None:
        """Keeps the backbone where it is needed again."""
        if module.phases.will_restart:
            self.keep(module)
        if known := self.summary():
            say(f"simclr: {known}")

    def summary(self) -> str:
        """What the pretrained features are worth without any further training of them."""
        right = self.knn_.get("val_accuracy")
        known = "" if right is None else f"{100 * right:.1f} % of the validation images rightly"
        return known and f"after pretraining, nearest labeled neighbours classify {known}"


def _pool(module: Classifier) -> Pool:
    """All images to train on, labeled or not."""
    pools = module.datamodule.pools
    if not pools.unlabeled:
        return pools.labeled
    return pools.unlabeled if pools.labeled_in_unlabeled else pools.labeled.followed_by(pools.unlabeled)
