"""The accuracy on the labeled training images after every epoch.

semisup fit --trainer.callbacks+ semisup.training.train_accuracy.TrainAccuracy
"""

from __future__ import annotations

import pytorch_lightning as pl
import torch

from semisup.classifier import Classifier
from semisup.predict import predict
from semisup.runtime.ranks import synchronize_buffers


class TrainAccuracy(pl.Callback):
    """Logs `train/accuracy`: the labeled images without augmentation, by the weights that evaluate, after every epoch.

    It costs a forward pass over the labeled images, and shows by its distance to validation how far they are fitted.
    """

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Scores every rank's share and logs the whole."""
        assert isinstance(pl_module, Classifier)
        data = pl_module.datamodule
        pool, right = data.pools.labeled, torch.zeros((), device=pl_module.device)
        synchronize_buffers(pl_module)
        for rows, p in predict(pl_module, pool, data.eval_batch_size, *data.rank, title="train accuracy"):
            right += (p.argmax(1) == pool.labels.to(rows.device)[rows]).sum()
        share = trainer.strategy.reduce(right, reduce_op="sum") / len(pool)
        pl_module.log("train/accuracy", share, sync_dist=True)
