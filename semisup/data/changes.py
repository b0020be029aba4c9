"""What is different between the data that a run was trained with and the data that is there now."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from semisup.batch import UNLABELED
from semisup.data.fingerprint import Fingerprint

_NAMED = 3  # images that are called by name


class Image(NamedTuple):
    """An image of a dataset."""

    pool: str
    name: str
    label: int
    key: int


# How an image is found again: by what it shows, wherever it is and whatever it is called, and else by its name.
_FOUND_BY: tuple[Callable[[Image], Hashable], ...] = (
    lambda image: (image.pool, image.name, image.key),
    lambda image: (image.name, image.key),
    lambda image: (image.pool, image.label, image.key),
    lambda image: image.key,
    lambda image: (image.pool, image.name),
    lambda image: (image.pool == "test", image.name),  # whose files may be numbered as those of train
)


@dataclass(frozen=True)
class Changes:
    """What became of the images of a dataset.

    Attributes:
        before: those that were there, pool by pool.
        after: those that are there.
        pairs: place in `before` -> place in `after` of every image that is still there.
    """

    before: list[Image]
    after: list[Image]
    pairs: dict[int, int]

    @classmethod
    def between(cls, then: Fingerprint, now: Fingerprint) -> Changes:
        """Finds every image of then again."""
        before, after = _images(then), _images(now)
        pairs: dict[int, int] = {}
        lost, new = list(range(len(before))), list(range(len(after)))
        for found_by in _FOUND_BY:
            places: defaultdict[Hashable, deque[int]] = defaultdict(deque)
            for place in new:
                places[found_by(after[place])].append(place)
            for place in lost:
                if candidates := places.get(found_by(before[place])):
                    pairs[place] = candidates.popleft()
            taken = set(pairs.values())
            lost, new = [p for p in lost if p not in pairs], [p for p in new if p not in taken]
        return cls(before, after, pairs)

    @property
    def _matched(self) -> list[tuple[Image, Image]]:
        return [(self.before[then], self.after[now]) for then, now in sorted(self.pairs.items())]

    def said(self, class_names: Sequence[str]) -> str:
        """The changes in words, such as `20 added (unlabeled/a.png, ...), 1 edited (train/cat/3.png)`."""
        kept, taken = self._matched, set(self.pairs.values())
        added = [image.name for place, image in enumerate(self.after) if place not in taken]
        removed = [image.name for place, image in enumerate(self.before) if place not in self.pairs]
        edited = [now.name for then, now in kept if then.key != now.key]
        renamed = [f"{then.name} is now {now.name}" for then, now in kept if then.name != now.name]
        relabeled = [
            f"{now.name}: {class_names[then.label]}, now {class_names[now.label]}"
            for then, now in kept
            if UNLABELED not in (then.label, now.label) and then.label != now.label
        ]
        moved = [f"{now.name}: {then.pool}, now {now.pool}" for then, now in kept if then.pool != now.pool]
        parts = {"added": added, "removed": removed, "edited": edited, "renamed": renamed}
        parts |= {"of another class": relabeled, "in another pool": moved}
        told = [f"{len(names):,} {what} ({_listed(names)})" for what, names in parts.items() if names]
        return ", ".join(told) or "the images are in another order"

    def swapped(self) -> dict[int, int]:
        """Class -> the class that most of its images have now, of those where that is another one."""
        counts: defaultdict[int, Counter[int]] = defaultdict(Counter)
        for then, now in self._matched:
            if then.key == now.key and UNLABELED not in (then.label, now.label):
                counts[then.label][now.label] += 1
        most = {label: counter.most_common(1)[0] for label, counter in sorted(counts.items())}
        return {
            label: now
            for label, (now, count) in most.items()
            if now != label and count > 1 and 2 * count > counts[label].total()
        }

    def places(self) -> np.ndarray:
        """Row of the unlabeled pool as it was -> its row now, -1 where the image is gone: (n,) int64.

        The labeled images follow the others in both, as where they are served among the unlabeled ones.
        """
        then, now = ({place: row for row, place in enumerate(_served(images))} for images in (self.before, self.after))
        return np.array([now.get(self.pairs.get(place, -1), -1) for place in then], dtype=np.int64)


def _images(fingerprint: Fingerprint) -> list[Image]:
    return [
        Image(name, *image)
        for name, pool in fingerprint.pools.items()
        for image in zip(pool.names, pool.labels.tolist(), pool.keys.tolist(), strict=True)
    ]


def _served(images: list[Image]) -> list[int]:
    """Places of the unlabeled images, and then of the labeled ones."""
    return [place for pool in ("unlabeled", "labeled") for place, image in enumerate(images) if image.pool == pool]


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else "")
