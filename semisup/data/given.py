"""Pictures that a program has in its memory, or reads one after the other: arrays, lists, datasets of others.

semisup.Data(labeled=(images, labels), unlabeled=more, test=(x, y))
semisup.Data(labeled=torchvision.datasets.CIFAR10("data"), labels_per_class=4)
semisup.Data(labeled=datasets.load_dataset("mnist", split="train"), batch_size=32)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image
from torch import Tensor

from semisup.batch import UNLABELED
from semisup.data.files import named
from semisup.data.picture import How
from semisup.data.preprocessing import Picture, Preprocessing, find
from semisup.errors import InputError, require
from semisup.runtime.console import say

__all__ = ["Data"]

Label: TypeAlias = int | str  # UNLABELED for none
_AT_ONCE = 256  # pictures
# Pixels that pictures get where it is not said: where they have several sizes, at least, and at most.
_SIDE, _SMALLEST, _LARGEST = 96, 8, 224


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


@dataclass(frozen=True)
class Read:
    """Pictures made equal.

    Attributes:
        images: (N, C, H, W) uint8.
        labels: (N,) of each; None for none.
        names: (N,) their paths, or their numbers.
    """

    images: np.ndarray
    labels: list[Any]
    names: list[str]


def how(pools: Iterable[Source], size: int | None, channels: int | None, background: tuple[int, int, int]) -> How:
    """How pictures are made equal; what is not said of it is as these pictures are."""
    if size is None or channels is None:
        sides, grey = set(), True
        for pool in pools:
            if pool.array is not None:
                sides.add(min(pool.array.shape[1:3]))
                grey = grey and pool.array.shape[3] == 1
                continue
            for picture, _ in pool.pairs():
                side, its = _seen(picture)
                sides.add(side)
                grey = grey and its
        size = size or (max(_SMALLEST, min(*sides, _LARGEST)) if len(sides) == 1 else _SIDE)
        channels = channels or (1 if grey else 3)
    return How(size, channels, background)


def _seen(picture: Picture) -> tuple[int, bool]:
    """A picture's shorter side in pixels, and whether it is grey; 0 of what can't be read, which is said later."""
    if isinstance(picture, str | os.PathLike):
        try:
            with Image.open(Path(picture)) as file:
                return min(file.size), file.mode in ("1", "L", "LA") or file.mode.startswith("I")
        except Exception:  # whatever Pillow's readers stumble over
            return _SIDE, True
    if isinstance(picture, Image.Image):
        return min(picture.size), picture.mode in ("1", "L", "LA")
    shape = tuple(getattr(picture, "shape", (_SIDE, _SIDE)))
    if len(shape) == 3:
        channels = shape[0] if isinstance(picture, Tensor) else shape[2]
        return min(shape[1:] if isinstance(picture, Tensor) else shape[:2]), channels == 1
    return min(shape, default=_SIDE), True


def read(pool: Source, how: How) -> Read:
    """Reads the pictures; what can't be read is named and left out.

    Raises:
        InputError: something is no picture.
    """
    array, labels = pool.array, list[Any]()
    if array is not None and array.shape[1:] == how.shape and array.dtype == np.uint8:
        labels = [label for _, label in pool.pairs()]
        whole = np.ascontiguousarray(array.transpose(0, 3, 1, 2))
        return Read(whole, labels, [str(k) for k in range(len(array))])
    images, names, unreadable = list[np.ndarray](), list[str](), dict[str, str]()

    def pictures() -> Iterator[tuple[str, Picture]]:
        for k, (picture, label) in enumerate(pool.pairs()):
            labels.append(label)
            yield f"{k}\0{picture if isinstance(picture, str | os.PathLike) else k}", picture

    try:
        for batch, seen, reasons in Preprocessing(how).batches(pictures(), _AT_ONCE):
            images.append(batch.contiguous().numpy())
            names += seen
            unreadable |= reasons
    except InputError as error:
        raise InputError(f"{pool.what}: {error}") from error
    for reason in dict.fromkeys(unreadable.values()):
        these = [name.partition("\0")[2] for name, its in unreadable.items() if its == reason]
        of = f"{len(these):,} of {pool.count:,} files of {pool.what}"
        say(f"data: {of} are {reason}, and are left out: {named(these)}")
    rows = [int(name.partition("\0")[0]) for name in names]
    stacked = np.concatenate(images) if images else np.empty((0, how.channels, how.size, how.size), np.uint8)
    return Read(stacked, [labels[row] for row in rows], [name.partition("\0")[2] for name in names])


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
        found = {label for each in labels if (label := _label(pool.what, each)) != UNLABELED}
        kinds = {type(label) for label in found}
        require(len(kinds) < 2, f"{pool.what} has labels that are numbers and labels that are names; give one kind")
        known = names or pool.class_names
        self._said = bool(names)  # and so numbers are places among them, whatever a dataset's own names are
        values = sorted(found, key=lambda label: ("", label) if isinstance(label, str) else (label, ""))
        self._own = None if known else {label: k for k, label in enumerate(values)}
        self.names = tuple(str(name) for name in known or values)
        twice = next((name for name in self.names if self.names.count(name) > 1), None)
        require(twice is None, f"class_names has {twice!r} twice; give every class a name of its own")
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
