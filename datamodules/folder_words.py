"""What a person is told of the pictures in a folder, once, before anything is trained on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from datamodules.folder_cache import Loaded
from semisup.batch import UNLABELED
from semisup.data.deep import FLOATS, INTEGERS
from semisup.data.files import named
from semisup.data.picture import REASONS, How
from semisup.runtime.console import say

_KINDS = {INTEGERS: "integers of more than 8 bits or with a sign", FLOATS: "numbers in floating point"}


def tell(
    names: list[str], parts: Sequence[str], labels: np.ndarray, classes: Sequence[str], loaded: Loaded, how: How
) -> None:
    """Says what was left out and why, how pictures of more than 8 bits are seen, and where nothing is to be seen.

    Args:
        names: (N,) of the files.
        parts: (N,) what each is for.
        labels: (N,) classes.
        classes: their names.
        loaded: what came of reading the files.
        how: how they were to be read.
    """
    records = loaded.records
    for reason in dict.fromkeys(record.reason for record in records if record.reason):
        these = [name for name, record in zip(names, records, strict=True) if record.reason == reason]
        why = REASONS.get(reason, reason).format(how=how)
        say(f"data: {len(these):,} of {len(names):,} files are {why}, and are left out: {named(these)}")
    if several := [name for name, record in zip(names, records, strict=True) if record.several and not record.reason]:
        say(
            f"data: {len(several):,} of {len(names):,} files hold several pages or frames, of which the first is used: "
            f"{named(several)}"
        )
    for kind, (black, white) in loaded.ranges.items():
        these = [name for name, record in zip(names, records, strict=True) if record.kind == kind and not record.reason]
        say(
            f"data: {len(these):,} of {len(names):,} files hold {_KINDS[kind]}, seen from {black:g} (black) to "
            f"{white:g} (white); --data.black and --data.white choose otherwise"
        )
        lost = [
            name
            for name, record in zip(names, records, strict=True)
            if record.kind == kind and record.flat and record.measured[0] < record.measured[1]
        ]
        if lost:
            say(f"data: warning: in {len(lost):,} of them nothing is to be seen like that: {named(lost)}")
    groups: dict[tuple[str, int], list[int]] = {}
    for position, (part, label) in enumerate(zip(parts, labels, strict=True)):
        if not records[position].reason:
            groups.setdefault((part, int(label)), []).append(position)
    for (part, label), here in groups.items():
        if all(records[position].flat for position in here):
            of = part if label == UNLABELED else f"{part}/{classes[label]}"
            say(
                f"data: warning: every picture of {of} is of one colour, so that nothing can be learned from them: "
                f"{named([names[position] for position in here])}"
            )
