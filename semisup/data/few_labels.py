"""The pools of a dataset all of whose labels are known, of which a strategy is given few."""

from __future__ import annotations

import numpy as np

from semisup.data.datamodule import DataModule
from semisup.data.pool import Pool
from semisup.data.pools import Pools
from semisup.data.splits import pick

__all__ = ["few_labels"]


def few_labels(
    data: DataModule,
    images: np.ndarray,
    labels: np.ndarray,
    train: np.ndarray,
    val: Pool | None,
    test: Pool | None,
    further: np.ndarray | None = None,
) -> Pools:
    """Gives `data.labels_per_class` labels of each class, chosen by `data.seed`, and all where that is None.

    Args:
        data: says how many labels, and by which seed they are chosen.
        images: (N, C, H, W) uint8.
        labels: (N,) int64.
        train: rows whose labels may be given; those whose labels are not given are the unlabeled pool.
        val: to choose on.
        test: to report on.
        further: rows that are unlabeled whatever is chosen.

    Raises:
        InputError: a class has fewer labels than that.
    """
    chosen = np.arange(len(train))
    if data.labels_per_class is not None:
        chosen = pick(labels[train], data.labels_per_class, data.spec.class_names, data.seed)
    labeled, unlabeled = train[chosen], np.delete(train, chosen)
    if further is not None:
        unlabeled = np.concatenate([unlabeled, further])
    return Pools(
        labeled=Pool(images, labels[labeled], labeled),
        unlabeled=Pool(images, rows=unlabeled) if len(unlabeled) else None,
        val=val,
        test=test,
        train_size=len(train),
        hidden_labels=labels[unlabeled] if len(unlabeled) else None,
    )
