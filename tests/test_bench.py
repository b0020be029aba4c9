"""Every bench runs, at a size of seconds, and what the benches share measures what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import forked
import pytest
import torch
from helpers import patches
from test_randaugment import PILLOWS, to_pillow

from semisup.augment.randaugment import OPERATIONS
from semisup.runtime.openmp import SPINS

BENCH = Path(__file__).parents[1] / "experiments" / "bench"
TURN = ["--pairs", "0", "--threads", "1"]


@pytest.fixture
def common(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return bench_module("common", monkeypatch)


def bench_module(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCH)
    return __import__(name)


def run(script: str, *options: str) -> list[dict[str, Any]]:
    """The JSON lines that a bench prints."""
    done = forked.script(BENCH / script, *TURN, *options, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def measured_in_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a bench whose arms are processes of their own fork them, since what they come to matters to nobody here."""

    def arm(*arguments: str) -> dict[str, float]:
        done = forked.script(Path(sys.argv[0]), *arguments)
        assert done.returncode == 0, done.stderr
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found

    monkeypatch.setattr(bench_module("common", monkeypatch), "in_new_process", arm)


def check(found: dict[str, Any], bench: str, arms: set[str], units: set[str]) -> None:
    """One run of every arm, each with a positive figure in every unit."""
    assert found["bench"] == bench and found["torch"] == torch.__version__
    assert found["threads"] == 1 and found["device"] == "cpu"
    assert set(found["runs"]) == arms
    for arm in found["runs"].values():
        assert set(arm) == units
        assert all(len(values) == 1 and values[0] > 0 for values in arm.values())
    for name, by_unit in found["ratios"].items():
        over, under = name.split("/")
        for unit, (ratio,) in by_unit.items():
            assert ratio == found["runs"][over][unit][0] / found["runs"][under][unit][0]


def test_a_bench_bounds_openmps_spinning(common: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody has, it begins once more, bounded, before it measures."""
    began: list[list[str]] = []
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "execv", lambda program, argv: began.append(argv))
    for _ in range(2):
        common.parse(common.bench_parser(""), TURN)
        assert began == [[sys.executable, *sys.orig_argv[1:]]]
        assert os.environ["GOMP_SPINCOUNT"] == str(SPINS)


def test_step() -> None:
    (found,) = run("step.py", "--backbone", "small", "--side", "16", "--batch", "4", "--steps", "3")
    check(found, "step", {"semisup", "bare loop"}, {"ms a step"})
    assert found["work"] == 3


@pytest.mark.parametrize(("views", "peers"), [("fixmatch", {"usb", "torchvision"}), ("course", {"torchvision"})])
def test_views(views: str, peers: set[str]) -> None:
    (found,) = run("views.py", "--side", "32", "--batch", "8", "--batches", "3", "--images", "40", "--views", views)
    check(found, "views", {"semisup", *peers}, {"images/s"})
    assert found["work"] == 3 * 8


def test_precision() -> None:
    (found,) = run("precision.py", "--networks", "small:16:4", "--seconds", "0.001")
    check(found, "precision", {"32-true, 1", "bf16-mixed, 1"}, {"ms a step"})
    assert found["work"] == 3 and found["network"] == "small:16:4"


def test_pool_pass() -> None:
    (found,) = run("pool_pass.py", "--backbone", "small", "--side", "16", "--images", "50", "--batch", "16")
    check(found, "pool_pass", {"semisup", "forward"}, {"images/s"})
    assert found["work"] == 50


@pytest.mark.slow
def test_memory() -> None:
    """Opening maps the files, where torchvision's holds all of their bytes."""
    (found,) = run("memory.py", "--images", "1000")
    assert found["work"] == 1000 + 50 + 80
    ours, theirs = (found["medians"][arm] for arm in ("semisup", "torchvision"))
    size = found["work"] * 96 * 96 * 3 / 1e6
    for unit in ("load USS MB", "load own MB"):
        assert theirs[unit] > 0.9 * size and ours[unit] < 0.3 * size
    assert min(arm[unit] for arm in (ours, theirs) for unit in ("load s", "pass s")) > 0


@pytest.mark.slow
def test_growth(monkeypatch: pytest.MonkeyPatch) -> None:
    measured_in_forks(monkeypatch)
    (found,) = run("growth.py", "--sizes", "2000", "1000", "--steps", "3")
    check(found, "growth", {"2,000 images", "1,000 images"}, {"first ms", "ms a step", "us an image", "own MB"})
    assert found["work"] == 3


@pytest.mark.slow
def test_spinning(monkeypatch: pytest.MonkeyPatch) -> None:
    measured_in_forks(monkeypatch)
    (found,) = run("spinning.py", "--seconds", "0.1", "--bounds", "10000", "--neighbours", "1")
    check(found, "spinning", {"idle, 10,000", "busy, 10,000"}, {"small images/s", "large images/s"})


@pytest.mark.slow
def test_startup() -> None:
    (found,) = run("startup.py")
    helps = {"--help", "list", "fit --help"}
    check(found, "startup", {*helps, "fit to step 1", "import lightning"}, {"s"})


@pytest.mark.slow
def test_gpu_without_a_gpu() -> None:
    views, step, pool, accuracy = run("gpu.py", "--small", "--targets", "0.2", "0.1", "1.1")
    check(views, "gpu views", {"device", "CPU"}, {"images/s"})
    assert views["work"] == 8  # one batch, of a labeled image and seven unlabeled ones
    check(step, "gpu step", {"step", "operations", "traffic"}, {"ms a step"})
    # WRN-28-2 multiplies and adds 214 million times an image, and twice as often in the backward pass.
    assert step["operations"] == pytest.approx(3 * 15 * 2 * 214.4e6, rel=0.01)
    assert step["bytes"] > 15 * 3 * 32 * 32 * 4
    check(pool, "gpu pool", {"semisup", "forward"}, {"images/s"})
    assert pool["work"] == 64
    first, second, never = (accuracy["reached"][target] for target in ("0.1", "0.2", "1.1"))
    assert 0 < second["training s"] < second["process s"] and first["training s"] <= second["training s"]
    assert first["step"] <= second["step"] and {first["step"], second["step"]} <= {30, 60, 90} and never is None


def test_arms_take_turns(common: ModuleType) -> None:
    calls: list[str] = []

    def arm(name: str) -> Any:
        return lambda: calls.append(name) or common.Run(7, {"s": float(len(calls))})

    runs = common.alternate({"a": arm("a"), "b": arm("b")}, 2)
    assert calls == ["a", "b"] * 3
    assert [run.figures["s"] for run in runs["a"]] == [3, 5]  # the first turn isn't counted
    assert [run.figures["s"] for run in runs["b"]] == [4, 6]


def test_arms_that_differ_in_work_are_refused(common: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"same work: .*'a': 1, 'b': 2"):
        common.alternate({"a": lambda: common.Run(1, {"s": 1}), "b": lambda: common.Run(2, {"s": 1})}, 1)


def test_ratios_are_taken_within_a_turn(common: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    runs = {"a": [common.Run(1, {"s": s}) for s in (1, 4, 9)], "b": [common.Run(1, {"s": s}) for s in (2, 2, 3)]}
    common.report("x", common.parse(common.bench_parser(""), TURN), runs)
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["ratios"] == {"a/b": {"s": [0.5, 2, 3]}}
    assert found["medians"] == {"a": {"s": 4}, "b": {"s": 2}}


def test_private_memory_counts_what_is_written() -> None:
    """In a process of its own: another's might have room for it among what it holds already."""
    program = (
        "import common, numpy\nbefore = common.private_memory()\nheld = numpy.ones(50_000_000, dtype=numpy.uint8)\n"
        "print(*(value - before[unit] for unit, value in common.private_memory().items()))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=BENCH, capture_output=True, text=True, check=True)
    assert [float(word) for word in done.stdout.split()] == pytest.approx([50.0, 50.0], rel=0.1)


def test_usbs_operations_are_those_that_ours_are_tested_against(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same fourteen, with the same ranges, so that both arms do the same work."""
    peers = bench_module("peers", monkeypatch)
    image = to_pillow(patches(32)[0])
    assert {each.name: (each.low, each.high) for each in OPERATIONS} == {n: x[1:] for n, x in peers.OPERATIONS.items()}
    for name, (theirs, low, high) in peers.OPERATIONS.items():
        for value in (low, low + 0.7 * (high - low), high):
            assert theirs(image, value) == PILLOWS[name](image, value), name
