"""What the features are worth without the head that training fits to them: nearest neighbours, and a linear probe.

    python -m semisup fit --trainer.callbacks semisup.training.probe.KNN --trainer.callbacks.k 10
    python -m semisup fit --trainer.callbacks+ semisup.training.probe.KNN \\
        --trainer.callbacks+ semisup.training.probe.LinearProbe

Features are what the linear head is given, by the weights that evaluate, of images without augmentation. They are
judged by the labeled training images against the validation images; under several ranks every image counts once.
"""

from __future__ import annotations

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from semisup.classifier import Classifier
from semisup.data.pool import Pool
from semisup.errors import InputError, require
from semisup.features.linear import linear_svm
from semisup.models.network import Network
from semisup.predict import predict
from semisup.runtime.ranks import gather_rows, synchronize_buffers

_IMAGES_AT_ONCE = 1024  # images that are compared with all labeled ones at once


def nearest_votes(
    features: Tensor, bank: Tensor, target: Tensor, classes: int, k: int = 200, temperature: float = 0.07
) -> Tensor:
    """Votes (N, classes) of the k labeled images nearest by cosine, exp(cosine / temperature) each; a row sums to 1.

    Wu, Xiong, Yu & Lin 2018, "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", section 3.4,
    whose k is 200 and whose temperature 0.07.

    Args:
        features: (N, F) float, of the images to classify.
        bank: (M, F) float, of the labeled images; where M is less than k, all of them vote.
        target: (M,) int64, their classes.
        classes: their number.
        k: how many vote.
        temperature: the lower, the more the nearest ones decide.
    """
    bank, votes = F.normalize(bank), []
    for part in F.normalize(features).split(_IMAGES_AT_ONCE):
        cosine, nearest = (part @ bank.T).topk(min(k, len(bank)))
        weights = (cosine / temperature).softmax(1)
        votes.append(part.new_zeros(len(part), classes).scatter_add(1, target[nearest], weights))
    return torch.cat(votes) if votes else features.new_zeros(0, classes)


def knn_accuracy(module: Classifier, labeled: Pool, val: Pool, k: int = 200, temperature: float = 0.07) -> Tensor:
    """The share, a scalar float32, of images that their nearest labeled ones classify rightly, the same on every rank.

    Args:
        module: the classifier, in a fit; features are what its head is given, by the weights that evaluate.
        labeled: the images that vote (`nearest_votes`).
        val: the images that are classified; ranks share the work.
        k: how many vote.
        temperature: of the votes' weights.
    """
    synchronize_buffers(module)
    bank_rows, bank = (gather_rows(x) for x in pool_features(module, labeled, "k-NN: labeled images"))
    rows, features = pool_features(module, val, "k-NN: validation images")
    target = labeled.labels.to(rows.device)[bank_rows]
    votes = nearest_votes(features, bank, target, len(module.spec.class_names), k, temperature)
    right = (votes.argmax(1) == val.labels.to(rows.device)[rows]).sum().float()
    total = module.trainer.strategy.reduce(right, reduce_op="sum")
    assert isinstance(total, Tensor)
    return total / len(val)


class KNN(pl.Callback):
    """Logs `val/knn_accuracy`: validation images classified by their nearest labeled training images (`nearest_votes`).

    It costs a forward pass over the labeled and the validation images.

    Args:
        k: labeled images that vote; all of them where there are fewer.
        temperature: of the votes' weights.
        every_n_epochs: from one time to the next.
    """

    def __init__(self, k: int = 200, temperature: float = 0.07, every_n_epochs: int = 1) -> None:
        require(k >= 1, f"KNN's k is {k}, but must be at least 1")
        require(temperature > 0, f"KNN's temperature is {temperature}, but must be more than 0")
        require(every_n_epochs >= 1, f"KNN's every_n_epochs is {every_n_epochs}, but must be at least 1")
        self.k, self.temperature, self.every_n_epochs = k, temperature, every_n_epochs

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuses data without validation images."""
        _pools(pl_module, type(self).__name__)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Classifies every rank's share of the validation images, where it is time to, and logs the whole."""
        if (trainer.current_epoch + 1) % self.every_n_epochs:
            return
        module, labeled, val = _pools(pl_module, type(self).__name__)
        accuracy = knn_accuracy(module, labeled, val, self.k, self.temperature)
        module.log("val/knn_accuracy", accuracy, sync_dist=True)


class LinearProbe(pl.Callback):
    """Logs `val/linear_accuracy` and `test/linear_accuracy` when training ends: a linear SVM on the features.

    The features are those of the last weights. It is trained on the labeled training images, its C chosen on the
    validation images, and the test images are looked at once (`semisup.features.linear.linear_svm`). Where the test
    images have no labels, there is no score on them.
    """

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuses data without validation images."""
        _pools(pl_module, type(self).__name__)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Computes the features on all ranks; the first one trains and logs."""
        module, labeled, val = _pools(pl_module, type(self).__name__)
        test = module.datamodule.pools.test
        pools = {"train": labeled, "val": val, "test": test if test and test.scorable else val}
        synchronize_buffers(module)
        x, y = {}, {}
        for name, pool in pools.items():
            rows, features = (gather_rows(x).cpu() for x in pool_features(module, pool, f"LinearProbe: {name} images"))
            x[name], y[name] = features, pool.labels[rows]
        if trainer.is_global_zero:
            scores = linear_svm(x["train"], y["train"], x["val"], y["val"], x["test"], y["test"], seed=module.seed)
            assert scores.val_accuracy is not None
            accuracies = {"val/linear_accuracy": scores.val_accuracy}
            if pools["test"] is not val:
                accuracies["test/linear_accuracy"] = scores.test_accuracy
            for logger in trainer.loggers:
                logger.log_metrics(accuracies, step=trainer.global_step)


def pool_features(module: Classifier, pool: Pool, title: str) -> tuple[Tensor, Tensor]:
    """This rank's share of a pool, on the module's device: rows (n,) int64 and features (n, F) float32.

    Args:
        module: the classifier; features are what its head is given, by the weights that evaluate.
        pool: the images.
        title: of the progress bar.
    """
    network, data = module.ema.average if module.ema else module.network, module.datamodule
    assert isinstance(network, Network)
    kept = [torch.empty(0, network.head.in_features, device=module.device)]
    rows = [torch.empty(0, dtype=torch.int64, device=module.device)]
    hook = network.head.register_forward_pre_hook(lambda head, inputs: kept.append(inputs[0].float()))
    try:
        rows += [index for index, _ in predict(module, pool, data.eval_batch_size, *data.rank, title=title)]
    finally:
        hook.remove()
    return torch.cat(rows), torch.cat(kept)


def _pools(module: pl.LightningModule, who: str) -> tuple[Classifier, Pool, Pool]:
    """The classifier, its labeled and its validation images."""
    assert isinstance(module, Classifier)
    data = module.datamodule
    if data.pools.val is None or not data.pools.val.scorable:
        raise InputError(f"{who} needs validation images with labels, and {data.spec.name} has none here; leave it out")
    return module, data.pools.labeled, data.pools.val
