"""Whether a dataset is what `DataModule` promises, whoever wrote it: one line names it and what is wrong."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from semisup.batch import UNLABELED
from semisup.data.pool import BrokenPool, Pool
from semisup.data.pools import DataSpec, Pools
from semisup.errors import InputError


class Contract:
    """What one dataset is held to.

    Args:
        dataset: its class.
    """

    def __init__(self, dataset: type) -> None:
        self._class = dataset
        self._name = f"{dataset.__module__}:{dataset.__qualname__}"

    def _require(self, condition: bool, problem: str) -> None:
        if not condition:
            raise InputError(f"the dataset {self._name} {problem}")

    def made(self, **arguments: Any) -> Any:
        """An object of the class, with the files not yet opened.

        Raises:
            InputError: it can't be made with these arguments, which include the options of every dataset, or is not
                what the base class made.
        """
        missing = sorted(getattr(self._class, "__abstractmethods__", ()))
        self._require(not missing, f"lacks {' and '.join(missing)}, which every dataset must have")
        try:
            inspect.signature(self._class).bind(**arguments)
        except TypeError as error:
            raise InputError(
                f"the dataset {self._name} can't be made ({error}); its __init__ must take **kwargs, and hand them on "
                f"to super().__init__"
            ) from error
        made = self._class(**arguments)
        self._require(
            "_pools" in vars(made), "has an __init__ without super().__init__(**kwargs), which every dataset needs"
        )
        return made

    def spec(self, spec: Any) -> DataSpec:
        """Checks what a dataset says of itself.

        Raises:
            InputError: its name, classes, channels or image size are not what they must be.
        """
        self._require(
            isinstance(spec, DataSpec), f"gives a {type(spec).__name__} as its spec, which must be a DataSpec"
        )
        self._require(isinstance(spec.name, str) and spec.name != "", f"names itself {spec.name!r}, which is no name")
        names = spec.class_names
        self._require(
            isinstance(names, tuple) and bool(names) and all(isinstance(name, str) for name in names),
            f"gives {_shown(names)} as class_names, which must be a tuple of texts, one for each class",
        )
        doubles = sorted({name for name in names if names.count(name) > 1})
        self._require(not doubles, f"gives a class name twice: {_shown(doubles)}")
        for name, value in {"channels": spec.channels, "image_size": spec.image_size}.items():
            count = isinstance(value, int) and not isinstance(value, bool) and value >= 1
            self._require(count, f"gives {value!r} as {name}, which must be a whole number of 1 or more")
        return spec

    def read(self, data: Any) -> Pools:
        """Reads a dataset's pools, and checks them.

        Raises:
            InputError: a pool, its images or labels are not what they must be; or what `read` itself raises.
        """
        spec = self.spec(data.spec)
        try:
            pools: Any = data.read()
        except BrokenPool as error:
            raise InputError(f"the dataset {self._name} {error}") from error
        self._require(isinstance(pools, Pools), f"gives a {type(pools).__name__}, but `read` must give Pools")
        for name in ("labeled", "unlabeled", "val", "test"):
            self._pool(name, getattr(pools, name), spec)
        self._require(bool(pools.labeled), "has no labeled images")
        size = pools.train_size
        self._require(
            bool(isinstance(size, int | np.integer) and size >= 1),
            f"gives {size!r} as train_size, which must be a whole number of 1 or more",
        )
        if pools.hidden_labels is not None:
            self._hidden(pools, len(spec.class_names))
        return pools

    def _pool(self, name: str, pool: Any, spec: DataSpec) -> None:
        if pool is None and name != "labeled":
            return
        self._require(isinstance(pool, Pool), f"gives a {type(pool).__name__} as {name}, which must be a Pool")
        shape = (spec.channels, spec.image_size, spec.image_size)
        self._require(
            pool.shape == shape,
            f"has {name} images of {pool.shape}, but its spec says {shape}: (channels, height, width)",
        )
        if name == "unlabeled":
            self._require(
                bool((pool.labels == UNLABELED).all()),
                "gives labels to its unlabeled images, where a loss would see them; give them as Pools.hidden_labels, "
                "which are only measured with",
            )
        elif name != "test":  # whose labels nobody reads before the test
            self._range(f"{name} labels", pool.labels.numpy(), 0, len(spec.class_names))

    def test_labels(self, pool: Pool, classes: int) -> None:
        """Checks the labels of the test images, which may lack them; called when these are scored.

        Raises:
            InputError: one is no class.
        """
        self._range("test labels", pool.labels.numpy(), UNLABELED, classes)

    def _hidden(self, pools: Pools, classes: int) -> None:
        hidden: Any = pools.hidden_labels
        count = len(pools.unlabeled) if pools.unlabeled else 0
        self._require(
            isinstance(hidden, np.ndarray) and hidden.dtype.kind in "iu" and hidden.shape == (count,),
            f"gives {_shown(hidden)} as hidden_labels, which must be an array of integers ({count:,},), one for each "
            f"unlabeled image",
        )
        self._range("hidden labels", hidden, 0, classes)

    def _range(self, what: str, labels: np.ndarray, least: int, classes: int) -> None:
        if len(labels):
            bounds = (int(labels.min()), int(labels.max()))
            self._require(
                bounds[0] >= least and bounds[1] < classes,
                f"has {what} from {bounds[0]} to {bounds[1]}, but its {classes} class names are of the labels {least} "
                f"to {classes - 1}",
            )


def _shown(value: Any) -> str:
    """A value, or of one with a shape that and its type."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    text = f"{type(value).__name__} of {dtype} {tuple(shape)}" if shape is not None else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
