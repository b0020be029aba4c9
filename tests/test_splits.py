"""Splits: stratified, disjoint, repeatable, and nested where a smaller label budget is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from semisup.data.splits import holdout, pick
from semisup.errors import InputError

LABELS = np.repeat([0, 1, 2], [50, 30, 20])[np.random.default_rng(0).permutation(100)]
NAMES = ("cat", "dog", "owl")


def test_holdout_takes_every_class_in_proportion() -> None:
    kept, held = holdout(LABELS, 20, "val")
    assert sorted([*kept, *held]) == list(range(100))
    assert np.bincount(LABELS[held]).tolist() == [10, 6, 4]
    assert (np.diff(kept) > 0).all() and (np.diff(held) > 0).all()


def test_holdout_depends_on_its_parts_alone() -> None:
    assert (holdout(LABELS, 20, "val")[1] == holdout(LABELS, 20, "val")[1]).all()
    assert set(holdout(LABELS, 20, "val")[1]) != set(holdout(LABELS, 20, "test")[1])


def test_pick_is_balanced_and_nested() -> None:
    few, many = pick(LABELS, 4, NAMES, 7), pick(LABELS, 20, NAMES, 7)
    assert np.bincount(LABELS[few]).tolist() == [4, 4, 4]
    assert np.bincount(LABELS[many]).tolist() == [20, 20, 20]
    assert set(few) < set(many)
    assert set(few) != set(pick(LABELS, 4, NAMES, 8))


def test_pick_gives_all_of_a_class_that_has_fewer_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    rows = pick(LABELS, 25, NAMES, 7)
    assert np.bincount(LABELS[rows]).tolist() == [25, 25, 20] and {*pick(LABELS, 4, NAMES, 7)} < {*rows}
    told = "data: fewer labels than --data.labels_per_class 25 asks for: owl 20; all are given\n"
    assert capsys.readouterr().out == told
    with pytest.raises(InputError, match="there is no labeled image of class newt; add some"):
        pick(LABELS, 1, (*NAMES, "newt"), 0)
