"""Long-tailed pools: classes with ever fewer images, as the papers on imbalanced semi-supervised learning have them.

Class k of C, counted from 0, has n_1 * ratio^(-k / (C - 1)) images, rounded down, and at least one. The unlabeled
images fall off as the labeled ones do, the other way round, or not at all (Kim et al. 2020, DARP, arXiv 2007.08844; Oh
et al. 2022, DASO, arXiv 2106.05682). Validation and test images stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from semisup.data.splits import of_each_class
from semisup.errors import check, require
from semisup.runtime.console import say

if TYPE_CHECKING:
    from semisup.data.pools import Pools

Unlabeled = Literal["equal", "reversed", "uniform"]


def long_tail(first: int, ratio: float, classes: int) -> list[int]:
    """Images of every class, from `first` of the first one down to `first / ratio` of the last one."""
    return [max(1, math.floor(first * _share(k, ratio, classes) + 1e-6)) for k in range(classes)]


def _share(k: int, ratio: float, classes: int) -> float:
    return float(ratio ** (-k / max(1, classes - 1)))


def _most(available: Sequence[int], ratio: float) -> int:
    """The greatest number of images of the first class for which every class has enough."""
    classes = len(available)
    # A class of which one image is wanted has it, however many the first class has.
    return min(math.floor((count + 1 - 1e-6) / _share(k, ratio, classes)) for k, count in enumerate(available))


def check_tails(imbalance: float, unlabeled: Unlabeled, unlabeled_per_class: int | None) -> None:
    """Refuses what can't be asked for.

    Raises:
        InputError: the ratio is less than 1, or the unlabeled images' tail is spoken of where there is none.
    """
    check("data", imbalance=(imbalance, 1, math.inf))
    require(
        imbalance > 1 or (unlabeled == "equal" and unlabeled_per_class is None),
        "data.unlabeled_imbalance and data.unlabeled_per_class are of imbalanced data, and data.imbalance is 1; "
        "type --data.imbalance 100, or another ratio",
    )


def imbalanced(
    pools: Pools,
    class_names: Sequence[str],
    ratio: float,
    unlabeled: Unlabeled = "equal",
    unlabeled_per_class: int | None = None,
    seed: int = 0,
) -> Pools:
    """The pools with long tails; which images are kept, the seed chooses.

    Args:
        pools: of a dataset; where the classes of its unlabeled images are not known, those stay as they are.
        class_names: in the order of the labels; the first class keeps the most labeled images, as many as it can.
        ratio: labeled images of the first class over those of the last.
        unlabeled: how the unlabeled images fall off.
        unlabeled_per_class: unlabeled images of the class that has most of them; as many as there can be by default.
        seed: chooses the images.

    Raises:
        InputError: a class has too few images.
    """
    classes = len(class_names)
    labels = pools.labeled.labels.numpy()
    available = np.bincount(labels, minlength=classes).tolist()
    rows = of_each_class(labels, long_tail(_first(available, ratio, None, class_names), ratio, classes), "tail", seed)
    pools = replace(pools, labeled=pools.labeled.at(rows))
    hidden = pools.hidden_labels
    if pools.unlabeled is None or hidden is None:
        return pools
    falls = ratio if unlabeled != "uniform" else 1.0
    order = slice(None, None, -1 if unlabeled == "reversed" else 1)
    there = np.bincount(hidden, minlength=classes).tolist()[order]
    counts = long_tail(_first(there, falls, unlabeled_per_class, class_names[order]), falls, classes)[order]
    rows = of_each_class(hidden, counts, "unlabeled tail", seed)
    return replace(pools, unlabeled=pools.unlabeled.at(rows), hidden_labels=hidden[rows])


def _first(available: Sequence[int], ratio: float, wanted: int | None, class_names: Sequence[str]) -> int:
    """Images of the first class: as many as are wanted or, by default, as many as there can be."""
    empty = next((name for name, count in zip(class_names, available, strict=True) if not count), "")
    require(
        not empty, f"class {empty!r} has no image here, and every class of long-tailed data has one; add images of it"
    )
    most = _most(available, ratio)
    require(
        wanted is None or wanted <= most,
        f"data.unlabeled_per_class is {wanted}, but at most {most:,} images of class {class_names[0]!r} make a tail of "
        f"which every class has enough",
    )
    return most if wanted is None else wanted


def say_tails(pools: Pools, classes: int) -> None:
    """Images of every class, as far as their classes are known."""
    for kind, known in {"labeled": pools.labeled.labels.numpy(), "unlabeled": pools.hidden_labels}.items():
        if known is not None:
            counts = np.bincount(known, minlength=classes)
            say(f"data: {kind} images by class: {', '.join(f'{count:,}' for count in counts)}")
