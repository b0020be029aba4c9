"""The experiment that measures `semisup label`: labels are hidden, both arms begin alike, and what is done is kept."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from datamodules.digits import Digits
from experiments import labeling
from semisup.batch import UNLABELED


def test_labels_are_hidden_until_they_are_asked_for() -> None:
    data = Digits(labels_per_class=None)
    known = np.array([3, 10, 11])
    pools = labeling.Revealed(data, known).pools
    every = data.pools.labeled
    assert pools.without_label is not None and pools.labeled_in_unlabeled == 3
    assert len(pools.without_label) == len(every) - 3 and set(pools.without_label.labels.tolist()) == {UNLABELED}
    assert [pools.labeled.name(row) for row in range(3)] == [every.name(int(row)) for row in known]
    assert pools.labeled.labels.tolist() == every.labels[known].tolist()


def test_both_arms_begin_alike_and_what_is_done_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "labeling.jsonl"
    words = ["labeling.py", "--seeds", "1", "--labels", "10", "14", "17", "--steps", "2", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", words)
    labeling.main()
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    done = {tuple(one["of"]): one for one in map(json.loads, out.read_text().splitlines())}
    assert [*done] == [
        (0, "both", 10),
        (0, labeling.OURS, 14),
        (0, labeling.OURS, 17),
        (0, labeling.RANDOM, 14),
        (0, labeling.RANDOM, 17),
    ]
    first = done[0, "both", 10]
    for arm in (labeling.OURS, labeling.RANDOM):
        asked = [*first[arm], *done[0, arm, 14][arm]]
        assert len(first[arm]) == 4 and len(set(asked)) == 7 and not done[0, arm, 17][arm]
        assert f"{100 * done[0, arm, 17]['accuracy']:.2f}" in table[-1]
    assert first[labeling.OURS] != first[labeling.RANDOM]
    monkeypatch.setattr(labeling, "asked", lambda *_: pytest.fail("it trains again"))
    labeling.main()
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")] == table
