"""Which images are labeled: stratified splits that depend on a seed alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from semisup import randomness
from semisup.data.files import named
from semisup.errors import require
from semisup.runtime.console import say

__all__ = ["holdout", "pick"]


def _by_class(labels: np.ndarray, *parts: int | str) -> list[np.ndarray]:
    """Rows of every class, each class in a random order that depends on `parts`."""
    rows = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        rows.append(members[randomness.permutation(len(members), "split", int(label), *parts).numpy()])
    return rows


def holdout(labels: np.ndarray, count: int, *parts: int | str) -> tuple[np.ndarray, np.ndarray]:
    """Splits rows into (kept, held out), both sorted, every class held out in proportion.

    Args:
        labels: (N,) classes.
        count: rows to hold out in all.
        parts: what the split depends on besides the labels, such as a seed and a name.
    """
    shuffled = _by_class(labels, *parts)
    # A row's rank within its class, as a fraction, interleaves the classes in proportion to their sizes.
    rows = np.concatenate(shuffled)
    fraction = np.concatenate([(np.arange(len(members)) + 0.5) / len(members) for members in shuffled])
    ranked = rows[np.argsort(fraction, kind="stable")]
    return np.sort(ranked[count:]), np.sort(ranked[:count])


def pick(labels: np.ndarray, per_class: int, class_names: tuple[str, ...], *parts: int | str) -> np.ndarray:
    """Up to `per_class` rows of every class, sorted; all of a class that has fewer, which is said.

    A larger `per_class` under the same `parts` contains the rows of a smaller one.

    Raises:
        InputError: a class has no image.
    """
    counts = np.bincount(labels, minlength=len(class_names)).tolist()
    none = [name for name, count in zip(class_names, counts, strict=True) if not count]
    require(
        not none,
        f"data.labels_per_class is {per_class}, and there is no labeled image of class {named(none)}; add some of it",
    )
    if fewer := [f"{name} {count}" for name, count in zip(class_names, counts, strict=True) if count < per_class]:
        say(f"data: fewer labels than --data.labels_per_class {per_class} asks for: {named(fewer)}; all are given")
    return of_each_class(labels, [per_class] * len(class_names), *parts)


def of_each_class(labels: np.ndarray, counts: Sequence[int], *parts: int | str) -> np.ndarray:
    """So many rows of each class, sorted; which, depends on `parts` alone, and more of a class contain fewer of it."""
    rows = [members[: counts[labels[members[0]]]] for members in _by_class(labels, *parts)]
    return np.sort(np.concatenate(rows))
