"""A linear SVM on pretrained features, which says what they are worth without any further training of them.

As the paper scores them: on pooled features of the labeled images (semisup/features/pooling.py).
"""

from __future__ import annotations

from copy import deepcopy

import pytorch_lightning as pl
from torch import Tensor, nn

from semisup.classifier import Classifier
from semisup.data.pool import Pool
from semisup.features.linear import linear_svm
from semisup.features.pooling import pooled_features
from semisup.runtime.ranks import gather_rows


def score_on_validation(module: Classifier) -> dict[str, float]:
    """Trains it on the features of the network as it is, its C chosen on the validation images.

    Returns:
        `c` and `val_accuracy`; nothing where there are no validation images.
    """
    pools, seed = module.datamodule.pools, module.seed
    if pools.val is None or not pools.val.scorable:
        return {}
    train, val = (_features(module, module.network.backbone, pool) for pool in (pools.labeled, pools.val))
    y = pools.val.labels
    scores = linear_svm(train, pools.labeled.labels, val, y, val, y, seed=seed)  # test is not looked at yet
    _log(module.trainer, {"exemplar/svm_val_accuracy": scores.test_accuracy}, module.trainer.global_step - 1)
    return {"c": scores.c, "val_accuracy": scores.test_accuracy}


def score_on_test(module: Classifier, weights: dict[str, Tensor], c: float) -> dict[str, float]:
    """Scores it on test, once nothing is left to choose.

    Args:
        module: after its training.
        weights: of the backbone, as the pretraining left it.
        c: as it was chosen.

    Returns:
        `test_accuracy`; nothing where there are no test images with labels.
    """
    pools = module.datamodule.pools
    if pools.test is None or not pools.test.scorable:
        return {}
    backbone = deepcopy(module.network.backbone)
    backbone.load_state_dict(weights)
    train, test = (_features(module, backbone, pool) for pool in (pools.labeled, pools.test))
    labels = (pools.labeled.labels, None, None, test, pools.test.labels)
    accuracy = linear_svm(train, *labels, cs=(c,), seed=module.seed).test_accuracy
    _log(module.trainer, {"exemplar/svm_test_accuracy": accuracy}, module.trainer.global_step)
    return {"test_accuracy": accuracy}


def _features(module: Classifier, backbone: nn.Module, pool: Pool) -> Tensor:
    """The pooled features of a pool, (n, features) float32 on the CPU, on every rank."""
    network, data = nn.Sequential(module.network.normalization, backbone), module.datamodule
    share = pooled_features(network, pool, data.eval_batch_size, module.device, *data.rank)
    return gather_rows(share.to(module.device)).cpu()


def _log(trainer: pl.Trainer, metrics: dict[str, float], step: int) -> None:
    for logger in trainer.loggers:
        logger.log_metrics(metrics, step)
