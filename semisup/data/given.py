"""Pictures that a program has in its memory, or reads one after the other: arrays, lists, datasets of others.

semisup.Data(labeled=(images, labels), unlabeled=more, test=(x, y))
semisup.Data(labeled=torchvision.datasets.CIFAR10("data"), labels_per_class=4)
semisup.Data(labeled=datasets.load_dataset("mnist", split="train"), batch_size=32)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from semisup.data.preprocessing import Picture, find
from semisup.errors import InputError, require

__all__ = ["Data"]


class Data:
    """Pictures to train on, by what they may be used for, and options of `--data.*`.

    Pictures are arrays (N, H, W, C) or (N, H, W) of numpy, tensors (N, C, H, W) or (N, H, W) of torch, uint8 or in
    floating point from 0 to 1, or lists of such pictures, of Pillow's or of paths. With labels they are a pair
    `(pictures, labels)`, a dataset of torchvision's form (`dataset[k]` is a picture and its label) or a Hugging Face
    `Dataset`.
    Labels are whole numbers or names; -1 or None is none, and such a picture is an unlabeled one.

    Args:
        labeled: pictures with labels; those that `labels_per_class` leaves over are unlabeled.
        unlabeled: pictures, or a dataset whose labels are not looked at.
        val: pictures with labels to choose on; by default a fifth of the labeled ones, the same for every seed.
        test: pictures to report on, with labels or without.
        class_names: in the order of the labels; by default the dataset's, or the labels themselves, sorted.
        options: such as `image_size=64`, `labels_per_class=4`, `batch_size=32` (`semisup fit --help memory`).
    """

    def __init__(
        self,
        labeled: Any,
        unlabeled: Any = None,
        val: Any = None,
        test: Any = None,
        class_names: Sequence[str] | None = None,
        **options: Any,
    ) -> None:
        self.labeled, self.unlabeled, self.val, self.test = labeled, unlabeled, val, test
        self.class_names, self.options = class_names, options


@dataclass(frozen=True)
class Source:
    """Pictures with or without labels, in an order, that can be gone through more than once.

    Attributes:
        what: the pool, as errors name it.
        count: how many.
        pairs: goes through the pictures and their labels, None where they have none.
        class_names: of labels that are numbers, where they are known.
        array: the pictures, where they are one array.
    """

    what: str
    count: int
    pairs: Callable[[], Iterator[tuple[Picture, Any]]]
    class_names: Sequence[str] | None = None
    array: np.ndarray | None = None  # (N, H, W, C)


def source(what: str, given: Any) -> Source:
    """What was given, as one kind of thing.

    Raises:
        InputError: it is nothing of the kind.
    """
    if isinstance(given, tuple) and len(given) == 2:
        pictures, labels = source(what, given[0]), _listed(what, given[1])
        require(
            len(labels) == pictures.count,
            f"{what} has {pictures.count:,} pictures and {len(labels):,} labels; give one for each",
        )
        both = lambda: zip((picture for picture, _ in pictures.pairs()), labels, strict=True)  # noqa: E731
        return Source(what, pictures.count, both, None, pictures.array)
    if isinstance(given, np.ndarray | Tensor):
        return _array(what, given)
    if isinstance(given, str | os.PathLike):
        given = find([given])
    if type(given).__module__.partition(".")[0] == "datasets":
        return _hugging_face(what, given)
    if isinstance(given, Mapping) or not (hasattr(given, "__len__") and hasattr(given, "__getitem__")):
        splits = f", such as one of {', '.join(map(str, given))}" if isinstance(given, Mapping) else ""
        raise InputError(
            f"{what} is {type(given).__name__}; give pictures (an array, a tensor or a list), a pair (pictures, "
            f"labels), or a dataset with a length and an order{splits}"
        )
    return _map_style(what, given)


def _array(what: str, given: np.ndarray | Tensor) -> Source:
    axes = "(N, C, H, W)" if isinstance(given, Tensor) else "(N, H, W, C)"
    require(
        given.ndim in (3, 4),
        f"{what} is an array of shape {tuple(given.shape)}; give pictures of shape {axes} or (N, H, W)",
    )
    if isinstance(given, Tensor):
        tensor = given.detach().cpu()
        tensor = tensor.float() if tensor.is_floating_point() else tensor
        array = (tensor.permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor).numpy()
    else:
        array = given
    array = array[..., None] if array.ndim == 3 else array
    return Source(what, len(array), lambda: ((picture, None) for picture in array), None, array)


def _map_style(what: str, given: Any) -> Source:
    def pairs() -> Iterator[tuple[Picture, Any]]:
        for k in range(len(given)):
            item = given[k]
            picture, label, *_ = (*item, None) if isinstance(item, tuple) else (item, None)
            yield picture, label

    return Source(what, len(given), pairs, _class_names(given))


def _class_names(dataset: Any) -> Sequence[str] | None:
    """Those that torchvision's datasets know, also of a subset of one."""
    while dataset is not None:
        names = getattr(dataset, "classes", None)
        if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
            return names
        dataset = getattr(dataset, "dataset", None)
    return None


def _hugging_face(what: str, given: Any) -> Source:
    features = getattr(given, "features", None)
    if isinstance(given, Mapping) or features is None or not hasattr(given, "__len__"):
        some = f"; give one of its splits ({', '.join(map(str, given))})" if isinstance(given, Mapping) else ""
        raise InputError(f"{what} is a {type(given).__name__}, but must be a datasets.Dataset{some}")
    kinds = {name: type(feature).__name__ for name, feature in features.items()}
    pictures = [name for name in kinds if kinds[name] == "Image"] or [x for x in ("image", "img") if x in kinds]
    labels = [name for name in kinds if kinds[name] == "ClassLabel"] or [x for x in ("label", "labels") if x in kinds]
    for columns, kind in ((pictures, "pictures"), (labels, "labels")):
        require(
            len(columns) == 1 or (not columns and kind == "labels"),
            f"{what} has the columns {', '.join(kinds)}, and {', '.join(columns) or 'none'} could be the {kind}; keep "
            f"one of them with select_columns, or call it {'image' if kind == 'pictures' else 'label'}",
        )
    rows = given.select_columns([*pictures, *labels])
    names = getattr(features[labels[0]], "names", None) if labels else None

    def pairs() -> Iterator[tuple[Picture, Any]]:
        for row in rows:
            yield row[pictures[0]], row[labels[0]] if labels else None

    return Source(what, len(rows), pairs, names)


def _listed(what: str, labels: Any) -> list[Any]:
    if isinstance(labels, np.ndarray | Tensor):
        require(
            labels.ndim == 1,
            f"{what} has labels of shape {tuple(labels.shape)}, but must have one number or name for each picture",
        )
        return list(labels.tolist())
    try:
        return list(labels)
    except TypeError as error:
        raise InputError(f"{what} has labels of type {type(labels).__name__}, but must have a list of them") from error
