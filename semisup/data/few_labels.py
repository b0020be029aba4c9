"""The pools of a dataset all of whose labels are known, of which a strategy is given few."""

from __future__ import annotations

import numpy as np

from semisup.batch import UNLABELED
from semisup.data.datamodule import DataModule
from semisup.data.pool import Pool, Stack
from semisup.data.pools import Pools
from semisup.data.splits import pick

__all__ = ["few_labels"]


def few_labels(
    data: DataModule,
    images: np.ndarray | Stack,
    labels: np.ndarray,
    train: np.ndarray,
    val: Pool | None,
    test: Pool | None,
    further: np.ndarray | None = None,
    rows: np.ndarray | None = None,
    names: list[str] | None = None,
) -> Pools:
    """Gives `data.labels_per_class` labels of each class, as `data.labeling_seed` chooses, and all where that is None.

    Args:
        data: says how many labels, and which seed chooses them.
        images: (M, C, H, W) uint8.
        labels: (N,) int64; `UNLABELED` where it is not known.
        train: rows whose labels may be given; those whose labels are not given are the unlabeled pool.
        val: to choose on.
        test: to report on.
        further: rows that are unlabeled whatever is chosen; they come first where the label of one is not known.
        rows: (N,) where in `images` each image lies; by default in this order.
        names: (N,) what each is called; by default by its row.

    Raises:
        InputError: a class has none.
    """
    chosen = np.arange(len(train))
    if data.labels_per_class is not None:
        chosen = pick(labels[train], data.labels_per_class, data.spec.class_names, data.labeling_seed)
    labeled, unlabeled = train[chosen], np.delete(train, chosen)
    if further is not None:
        unknown = (labels[further] == UNLABELED).any()
        unlabeled = np.concatenate([further, unlabeled] if unknown else [unlabeled, further])
    hidden = labels[unlabeled]

    def pool(those: np.ndarray, known: bool) -> Pool:
        called = [names[row] for row in those] if names else None
        return Pool(images, labels[those] if known else None, those if rows is None else rows[those], called)

    return Pools(
        labeled=pool(labeled, known=True),
        unlabeled=pool(unlabeled, known=False) if len(unlabeled) else None,
        val=val,
        test=test,
        train_size=len(train),
        hidden_labels=hidden if len(hidden) and (hidden != UNLABELED).all() else None,
    )
