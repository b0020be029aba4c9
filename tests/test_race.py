"""The race: a clock that stands still while an arm is scored, arms that are not run twice, a table and a figure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_stl10 import write_stl10

from experiments import race


def test_the_clock_counts_steps_and_not_the_scoring(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(race.time, "monotonic", lambda: now[0])

    def score() -> float:
        now[0] += 1000  # seconds that are not counted
        return 0.5

    clock = race.Clock(2.5, score)
    now[0] = 50.0  # of preparing
    clock.begin()
    with pytest.raises(race.Over):
        for seconds in (40, 20, 70, 25, 9):
            now[0] += seconds
            clock.step()
    # Of three marks, at 50, 100 and 150 seconds, the steps that ended at 60, 130 and 155 were the first behind.
    assert [(one["minutes"], one["steps"]) for one in clock.seen] == [(1, 2), (130 / 60, 3), (155 / 60, 4)]

    clock = race.Clock(3, score)
    now[0] += 150
    clock.step()  # longer than two minutes, which it stands for
    assert [one["steps"] for one in clock.seen] == [1, 1]


@pytest.mark.slow
def test_our_arm_is_scored_and_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_stl10(tmp_path / "data", side=32)
    asked = ["--root", "data", "--minutes", "0.00001", "--labels", "10", "--out", "race", "--test", "7"]
    small = ["--", "--data.batch_size", "4", "--fixmatch.ratio", "1"]
    race.main([*asked, "--arm", "ours", "--seeds", "0", *small])
    written = Path("race/ours-10-s0.json").read_text()
    (seen,) = json.loads(written)["seen"]
    assert seen["steps"] == 1 and (7 * seen["accuracy"]) % 1 == pytest.approx(0, abs=1e-5)
    capsys.readouterr()
    monkeypatch.setattr(race.subprocess, "run", lambda *command, **options: pytest.fail("it is run again"))
    race.main([*asked, *small])
    assert f"10 labels, ours: {100 * seen['accuracy']:.1f} % after 1 steps" in capsys.readouterr().out
    assert Path("race/race.png").read_bytes().startswith(b"\x89PNG")
