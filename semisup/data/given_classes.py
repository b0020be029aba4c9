"""The classes of pictures that were given in Python, and which label means which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

from semisup.batch import UNLABELED
from semisup.data.files import named
from semisup.data.given import Source
from semisup.data.spelling import check_spelling, tell_alikes
from semisup.errors import require

Label: TypeAlias = int | str  # UNLABELED for none


class Classes:
    """The classes, and which label means which.

    Args:
        pool: the labeled pictures.
        labels: theirs.
        names: of the classes; None for the dataset's own, or the labels themselves.

    Raises:
        InputError: a label is neither a whole number nor a name, or there are fewer than two classes.
    """

    def __init__(self, pool: Source, labels: Sequence[Any], names: Sequence[str] | None) -> None:
        distinct = {label for each in labels if (label := _label(pool.what, each)) != UNLABELED}
        kinds = {type(label) for label in distinct}
        require(len(kinds) < 2, f"{pool.what} has labels that are numbers and labels that are names; give one kind")
        known = names or pool.class_names
        self._said = bool(names)  # and so numbers are places among them, whatever a dataset's own names are
        values = sorted(distinct, key=lambda label: ("", label) if isinstance(label, str) else (label, ""))
        self._own = None if known else {label: k for k, label in enumerate(values)}
        self.names = tuple(str(name) for name in known or values)
        twice = next((name for name in self.names if self.names.count(name) > 1), None)
        require(twice is None, f"class_names has {twice!r} twice; give every class a name of its own")
        check_spelling(self.names, pool.what)
        tell_alikes(self.names)
        require(
            len(self.names) > 1,
            f"{pool.what} has {len(self.names)} classes ({named([*self.names]) or 'none'}), but "
            f"two or more are needed; give pictures of each, with their labels",
        )

    def of(self, pool: Source, labels: Sequence[Any]) -> np.ndarray:
        """(N,) int64: the classes of labels; `UNLABELED` for none.

        Raises:
            InputError: one is of no class.
        """
        return np.array([self._of(pool, _label(pool.what, label)) for label in labels], dtype=np.int64)

    def _of(self, pool: Source, label: Label) -> int:
        if label == UNLABELED:
            return UNLABELED
        own = None if self._said else pool.class_names
        if isinstance(label, int) and own is not None and label < len(own):
            label = own[label]
        if isinstance(label, str) and label in self.names:
            return self.names.index(label)
        if self._own is not None and label in self._own:
            return self._own[label]
        in_range = isinstance(label, int) and self._own is None and own is None
        require(
            in_range and int(label) < len(self.names),
            f"{pool.what} has the label {label!r}, and the classes are {named([*self.names])}"
            f"{'' if self._own is not None else f' (0 to {len(self.names) - 1})'}",
        )
        return int(label)


def _label(what: str, label: Any) -> Label:
    if isinstance(label, np.generic) or (isinstance(label, Tensor) and label.ndim == 0):
        label = label.item()
    if label is None:
        return UNLABELED
    right = isinstance(label, str) or (isinstance(label, int) and label >= UNLABELED)
    require(
        right,
        f"{what} has the label {str(label)[:80]!r} ({type(label).__name__}), but a label is a whole number from 0 or a "
        f"name, and -1 or None where there is none",
    )
    return label if isinstance(label, str) else int(label)
