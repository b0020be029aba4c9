"""How long a grid still takes, by arm: closed forms, and what a grid says as its runs change state."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml
from comparable_runs import config, write_run

from semisup.compare import grid, train
from semisup.compare.time_left import RunState, expected, left, line
from semisup.runs.options import identity
from semisup.runtime.console import duration, time_line, time_told


def runs(text: str) -> list[RunState]:
    """`a finished 100, b running 60 20, a waiting`: arm, state, seconds, elapsed."""
    found = []
    for words in (part.split() for part in text.split(",")):
        arm, state, *numbers = words
        seconds = [None if number == "?" else float(number) for number in numbers]
        found.append(RunState(arm, state, *seconds))  # type: ignore[arg-type]
    return found


def test_a_run_takes_what_the_finished_ones_took_else_what_running_ones_say() -> None:
    assert expected(runs("a finished 100, a finished 200, a running 900 10"), "a") == 150
    assert expected(runs("a running 900 10, a running 700 10, b finished 3"), "a") == 800
    assert expected(runs("a running ? 10, a waiting, a failed 5"), "a") is None
    assert expected(runs("a finished ?, a running 7 1"), "a") == 7


@pytest.mark.parametrize(
    ("text", "at_once", "arms", "certain"),
    [
        ("a finished 100, a waiting, a waiting", 1, {"a": 200}, True),
        ("a finished 100, a waiting, a waiting", 2, {"a": 100}, True),
        ("a finished 100, a running ? 30, a waiting", 1, {"a": 170}, True),
        ("a finished 100, a running ? 130, a waiting", 1, {"a": 100}, True),  # longer than was thought
        ("a finished 100, b finished 10, a waiting, b waiting", 1, {"a": 100, "b": 110}, True),  # in their order
        ("a running 100 40, b running 30 10, a waiting, b waiting", 2, {"a": 120, "b": 90}, True),
        ("a running 100 40, b waiting, a waiting", 1, {"a": 160, "b": None}, False),
        ("a finished 5, a failed, b finished 6", 3, {"a": 0, "b": 0}, True),
        ("a waiting, b waiting", 2, {"a": None, "b": None}, False),
        # Three places: 50 and 80 s are still to go, the third is free; then 100, 150 and 180 s.
        (
            "a finished 100, a running ? 50, a running ? 20, a waiting, a waiting, a waiting",
            3,
            {"a": 180},
            True,
        ),
    ],
)
def test_runs_begin_in_their_order_as_places_become_free(
    text: str, at_once: int, arms: dict[str, float | None], certain: bool
) -> None:
    assert left(runs(text), at_once) == (arms, certain)


def test_an_arm_in_words() -> None:
    half = runs("a finished 100, a running ? 30, a failed, a waiting, b waiting, c finished 4")
    assert line(half, "a", 1) == (
        "a: 1 of 4 runs, 1 failed, at least 2 min 50 s left; all: 2 of 6 runs, 1 failed, at least 2 min 50 s left"
    )
    assert line(half, "b", 1).startswith("b: 0 of 1 runs, time left unknown; all: 2 of 6 runs, 1 failed, at least")
    assert line(half, "c", 1).startswith("c: 1 of 1 runs; all: ")
    assert line(runs("a waiting, b waiting"), "a", 1) == (
        "a: 0 of 1 runs, time left unknown; all: 0 of 2 runs, time left unknown"
    )
    assert (
        line(runs("a finished 5, a waiting"), "a", 1)
        == "a: 1 of 2 runs, about 5 s left; all: 1 of 2 runs, about 5 s left"
    )
    assert line(runs("a finished 5"), "a", 1) == "a: 1 of 1 runs; all: 1 of 1 runs"


@pytest.mark.parametrize("seconds", [0, 40, 59, 60, 200, 3599, 3600, 7500])
def test_the_time_that_a_training_tells_is_read_back(seconds: int) -> None:
    told = f"data: 40 labeled\n{time_line('', 3, 5)}\n{time_line('', seconds, 12_000)}\nepoch 1\n"
    assert time_told(told) == (seconds if seconds < 3600 else seconds // 60 * 60), duration(seconds)
    assert time_told(time_line("simclr: ", seconds, 7) + "\n") is None  # of a phase alone
    assert time_told("about 3 s for 4 steps\n") is None


def test_a_grid_says_a_line_of_an_arm_when_its_runs_change_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [1000.0]
    monkeypatch.setattr(train.time, "monotonic", lambda: now[0])
    tree = yaml.safe_load(config("--strategy", "supervised", "--data.labels_per_class", "4"))
    jobs = [grid.Job("supervised", 40, seed, [], identity({**tree, "seed": seed})) for seed in range(3)]
    log = tmp_path / "logs" / f"{jobs[0].slug}.log"
    log.parent.mkdir()
    log.write_text(time_line("", 999, 9) + "\n")  # of a process before

    def said() -> list[str]:
        return [re.sub(r"; [^;]*/20260101[^;]*$", "", row) for row in capsys.readouterr().out.splitlines()]

    with ExitStack() as locks:
        work = train._Work(jobs, tmp_path, [], 1, locks)
        assert work.line(jobs[0].arm).startswith("supervised, 40 labels: 0 of 3 runs, time left unknown")
        assert work.begin(0) is not None
        work.look()
        assert said() == []
        now[0] += 10
        with log.open("a") as file:
            file.write(time_line("", 50, 9)[:12])
            file.flush()
            work.look()
            file.write(time_line("", 50, 9)[12:] + "\n")
        for _ in range(2):  # it is told once
            work.look()
        assert said() == [  # 10 s are over and 50 to come, and so 60 of each of two more
            "supervised, 40 labels: 0 of 3 runs, about 2 min 50 s left; all: 0 of 3 runs, about 2 min 50 s left"
        ]
        write_run(tmp_path / "runs", "supervised", 0)
        now[0] += 30
        work.ended(0, 0, 40.0)
        assert said() == [
            "[1/3] supervised, 40 labels, seed 0: best 90.0 %, last 80.0 % on test; 40 s",
            "supervised, 40 labels: 1 of 3 runs, about 1 min 20 s left; all: 1 of 3 runs, about 1 min 20 s left",
        ]
        write_run(tmp_path / "runs", "supervised", 1)  # another process has made it, in 2.5 s
        work.ended(1, 0, None)
        assert said()[1].startswith("supervised, 40 labels: 2 of 3 runs, about 21 s left")
        assert work.begin(2) is not None
        log.with_name(f"{jobs[2].slug}.log").write_text("semisup: error: no\n")
        work.ended(2, 2, 3.0)
        assert said()[1] == "supervised, 40 labels: 2 of 3 runs, 1 failed; all: 2 of 3 runs, 1 failed"
