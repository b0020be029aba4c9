"""The fingerprint of a dataset's pools: which images a run was trained with, so that other data is noticed.

For every image its name, its class as far as a strategy or a score may know it, and a key of what it shows
(semisup/data/keys.py). A checkpoint carries it whole, some 20 bytes an image and its name, so that a run that finds
other data can say which image it is that changed, and find the images that it knows by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from semisup.batch import UNLABELED
from semisup.data.pictures import Pictures, encoded, short_digest
from semisup.data.pools import Pools
from semisup.errors import InputError

POOLS = ("labeled", "unlabeled", "val", "test")


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """The pools of a dataset, by name, those that have an image; `unlabeled` without the labeled ones among them."""

    pools: Mapping[str, Pictures]

    @classmethod
    def of(cls, pools: Pools) -> Fingerprint:
        """The fingerprint of pools; every array of images is read once, and large files only once for all runs."""
        parts = {"labeled": pools.labeled, "unlabeled": pools.without_label, "val": pools.val, "test": pools.test}
        keys: dict[int, np.ndarray] = {}
        return cls({name: pool.pictures(keys) for name, pool in parts.items() if pool})

    def __eq__(self, other: object) -> bool:
        """Whether these are the same images, with the same names and labels, in the same order."""
        return isinstance(other, Fingerprint) and self._parts == other._parts

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def _parts(self) -> dict[str, Any]:
        return {name: (len(pool), pool.digests) for name, pool in self.pools.items()}

    @cached_property
    def digest(self) -> str:
        """Two digests with a space between, of the images that are scored, with their labels, and of those trained on.

        All runs on one dataset share them, whichever images the seed gave labels. Names are not in them: the same
        images in another place are the same dataset.
        """
        held = {name: pool for name, pool in self.pools.items() if name in ("val", "test")}
        scored = [(name, pool.digests["labels"], pool.digests["content"]) for name, pool in sorted(held.items())]
        train = np.sort(np.concatenate([pool.keys for name, pool in self.pools.items() if name not in held]))
        return f"{short_digest(repr(scored).encode())} {short_digest(train.astype('<u8').tobytes())}"

    def saved(self) -> dict[str, dict[str, torch.Tensor]]:
        """As it is in a checkpoint, in types that `weights_only` loading accepts."""
        return {
            name: {
                "names": torch.from_numpy(encoded(pool.names).copy()),
                "labels": torch.from_numpy(pool.labels),
                "keys": torch.from_numpy(pool.keys.view(np.int64)),
            }
            for name, pool in self.pools.items()
        }

    @classmethod
    def restored(cls, saved: Any, classes: int) -> Fingerprint | None:
        """What `saved` wrote of data with so many classes; None where a checkpoint has none, as of earlier versions.

        Raises:
            InputError: it is something else.
        """
        if saved is None:
            return None
        try:
            names = [name for name in POOLS if name in ("labeled", *saved)]  # which there always is
            return cls({name: _restored(saved[name], classes) for name in names})
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise InputError(f"its fingerprint of the data is damaged ({repr(error)[:100]})") from error


def _restored(saved: Mapping[str, torch.Tensor], classes: int) -> Pictures:
    text = saved["names"].numpy().tobytes().decode("utf-8", "surrogatepass")
    names, labels, keys = tuple(text.split("\0")), saved["labels"].numpy(), saved["keys"].numpy()
    if not (labels.dtype == keys.dtype == np.int64 and labels.shape == keys.shape == (len(names),)):
        raise ValueError("names, labels and keys are not as many")
    if labels.min() < UNLABELED or labels.max() >= classes:
        raise ValueError("a label is of no class")
    return Pictures(names, labels, keys.view(np.uint64))
