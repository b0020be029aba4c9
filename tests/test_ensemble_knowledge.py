"""Which runs an ensemble may ask, by what they were trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ensemble_runs import fit, run
from helpers import Blobs

from semisup.data.pools import DataSpec, Pools
from semisup.errors import InputError
from strategies.ensemble import Ensemble


class Other(Blobs):
    """Blobs of which some are in another pool, or have another class.

    Args:
        change: unlabeled (one of them has a label as well), test (one of them is unlabeled), val (one of them is a test
            image), label (one has another one), fewer (labels), names (of classes).
    """

    def __init__(self, change: str, **options: Any) -> None:
        super().__init__(**options)
        self.change = change

    @property
    def spec(self) -> DataSpec:
        names = ("left", "right", "middle") if self.change == "names" else super().spec.class_names
        return replace(super().spec, class_names=names)

    def read(self) -> Pools:
        pools = super().read()
        rows = {name: getattr(pools, name).rows for name in ("labeled", "unlabeled", "val", "test")}
        truth = np.arange(162) % 3
        match self.change:
            case "unlabeled":
                rows["labeled"] = np.append(rows["labeled"], 12)
                rows["unlabeled"] = rows["unlabeled"][1:]
            case "test":
                rows["unlabeled"], rows["test"] = np.append(rows["unlabeled"], 161), rows["test"][:-1]
            case "val":
                rows["val"], rows["test"] = np.append(rows["val"], 161), rows["test"][:-1]
            case "label":
                truth[3] = 1
            case "fewer":
                rows["labeled"], rows["unlabeled"] = rows["labeled"][:9], np.append(rows["unlabeled"], [9, 10, 11])
        images = pools.labeled._images
        for name, its in rows.items():
            setattr(pools, name, type(pools.labeled)(images, None if name == "unlabeled" else truth[its], its))
        return replace(pools, hidden_labels=None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("unlabeled", "has learned from 1 labels that are not given here, and would give them away"),
        ("label", "has learned from 1 labels that are not given here"),
        ("test", "has learned from 1 validation or test images"),
        ("val", "has learned from 1 test images \\(it was validated on them\\)"),
        ("names", "knows the classes left, right, middle, and blobs has left, middle, right, in that order"),
    ],
)
def test_a_run_that_knows_more_than_is_given_is_refused(change: str, message: str, tmp_path: Path) -> None:
    path = run(tmp_path / "0.ckpt", Other(change))
    with pytest.raises(InputError, match=message) as error:
        fit(Ensemble([path]))
    assert str(tmp_path) in str(error.value) and "give runs that were trained on the same data" in str(error.value)


def test_a_run_that_knows_less_may_be_asked(tmp_path: Path) -> None:
    fit(strategy := Ensemble([run(tmp_path / "0.ckpt", Other("fewer"))]))
    assert len(strategy.targets_) == 90
