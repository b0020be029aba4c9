"""Images that a dataset holds twice where that matters: in two pools, or under two classes. Found by what they show."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from semisup.batch import UNLABELED
from semisup.data.files import named
from semisup.data.fingerprint import POOLS, Fingerprint

_NAMED = 3  # pairs that are called by name


class _Place(NamedTuple):
    pool: str
    name: str
    label: int


def doubles(fingerprint: Fingerprint, class_names: Sequence[str]) -> Iterator[str]:
    """A line of words for every two pools that share images, and one of images that are there under two classes.

    Args:
        fingerprint: of the pools.
        class_names: in the order of the labels.
    """
    groups = _groups(fingerprint)
    for one, other in combinations([name for name in POOLS if name in fingerprint.pools], 2):
        pairs = []
        for group in groups:
            firsts, others = ([place.name for place in group if place.pool == pool] for pool in (one, other))
            pairs += [f"{name} is {others[0]}" for name in firsts if others]
        if pairs:
            trained = other == "unlabeled"
            leak = "" if trained else "; a score on them says little, leave them out of one"
            warning = "" if trained else "warning: "
            yield f"data: {warning}{len(pairs):,} {one} images are {other} images too ({named(pairs, _NAMED)}){leak}"
    torn = []
    for group in groups:
        known = {place.label: place.name for place in reversed(group) if place.label != UNLABELED}
        if len(known) > 1:
            torn.append(" and ".join(f"{name} of {class_names[label]}" for label, name in sorted(known.items())))
    if torn:
        these = named(torn, _NAMED)
        yield f"data: warning: {len(torn):,} images are there under two classes ({these}); one of them is wrong"


def _groups(fingerprint: Fingerprint) -> list[list[_Place]]:
    """The places of every image that has more than one, in the order of the pools."""
    keys = np.concatenate([pictures.keys for pictures in fingerprint.pools.values()])
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    groups: defaultdict[int, list[_Place]] = defaultdict(list)
    start = 0
    for pool, pictures in fingerprint.pools.items():
        its = inverse[start : start + len(pictures)]
        for row in np.flatnonzero(counts[its] > 1).tolist():
            groups[int(its[row])].append(_Place(pool, pictures.names[row], int(pictures.labels[row])))
        start += len(pictures)
    return list(groups.values())
