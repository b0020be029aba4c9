"""Which runs are compared: what must not differ, what may, and what is noted or left out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from comparable_runs import compared, write_run

from semisup.errors import InputError
from semisup.runs.directory import find_runs
from semisup.runs.statistics import Interval


def test_statistics_of_a_grid(grid: Path) -> None:
    comparison = compared(grid)
    assert comparison.reference == "supervised" and [arm.name for arm in comparison.arms] == [
        "supervised",
        "pseudolabel",
    ]
    assert comparison.labels == [40, 160, 1257] and comparison.score == "test_accuracy"
    cell = comparison.cell("pseudolabel", 40, "best")
    assert cell is not None and cell.difference is not None and cell.efficiency is not None
    assert cell.mean == pytest.approx(0.83) and cell.sd == pytest.approx(0.0264575)
    assert cell.difference.seeds == [0, 1, 2]
    assert cell.difference.values == pytest.approx([0.10, 0.11, 0.12])
    # Mean .11, standard deviation .01, three pairs.
    assert cell.difference.t.low == pytest.approx(0.11 - 4.302653 * 0.01 / 3**0.5)
    assert cell.difference.bootstrap == Interval(None, None, "the bootstrap needs 10 seeds or more, and there are 3")
    # .83 lies 11/20 of the way from .72 at 40 labels to .92 at 160.
    assert cell.efficiency.factor == pytest.approx(4 ** (11 / 20))
    last = comparison.cell("pseudolabel", 40, "last")
    assert last is not None and last.difference is not None and last.difference.mean == pytest.approx(0.01)
    oracle = comparison.cell("supervised", 1257, "best")
    assert oracle is not None and (oracle.mean, oracle.sd, oracle.difference) == (0.97, None, None)
    assert comparison.options["trainer.max_epochs"] == 30 and "seed" not in comparison.options


def test_pairs_are_of_the_same_seed(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        write_run(tmp_path, "supervised", seed, best=0.3 + 0.1 * seed)
    for seed in (2, 1, 5):
        write_run(tmp_path, "pseudolabel", seed, best=0.4 + 0.1 * seed)
    cell = compared(tmp_path).cell("pseudolabel", 40, "best")
    assert cell is not None and cell.seeds == [1, 2, 5] and cell.difference is not None
    assert cell.difference.seeds == [1, 2] and cell.difference.values == pytest.approx([0.1, 0.1])
    assert "all differences are equal" in cell.difference.t.reason


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--trainer.max_epochs", "60"), "fixmatch seed 3 has trainer.max_epochs 60, the others 30"),
        (("--model.backbone", "wrn-28-2"), "model.backbone wrn-28-2, the others auto"),
        (("--data.augmentation", "none"), "data.augmentation none, the others auto"),
        (("--data.batch_size", "32"), "data.batch_size 32, the others 24"),
        (("--trainer.precision", "bf16-mixed"), "trainer.precision bf16-mixed, the others 32-true"),
        (
            ("--trainer.devices", "2"),
            "trainer.devices 2 without trainer.sync_batchnorm, the others 1, or several as one",
        ),
    ],
)
def test_what_must_not_differ(options: tuple[str, ...], said: str, grid: Path) -> None:
    write_run(grid, "fixmatch", 1)
    odd = write_run(grid, "fixmatch", 3, options=options)
    comparison = compared(grid)
    (left,) = comparison.left_out
    assert (grid / "out" / left.path).resolve() == odd and said in left.reason
    assert left.differences[0].option == options[0].removeprefix("--")
    assert [run.seed for run in comparison.runs if run.strategy == "fixmatch"] == [1]
    with pytest.raises(InputError, match=re.escape(said)):  # as it was named
        compared(grid, find_runs([odd, grid]))
    allowed = compared(grid, may_differ=[options[0].removeprefix("--")])
    assert allowed.left_out == [] and len([run for run in allowed.runs if run.strategy == "fixmatch"]) == 2


def test_an_option_that_may_differ_must_be_one(grid: Path) -> None:
    with pytest.raises(InputError, match=re.escape("no option trainer.max_epoch; did you mean trainer.max_epochs?")):
        compared(grid, may_differ=["trainer.max_epoch"])
    assert compared(grid, may_differ=["pseudolabel.threshold", "steps trained", "data.labels_per_class"]).left_out == []


def test_what_may_differ(grid: Path) -> None:
    places = (
        "--trainer.default_root_dir",
        "elsewhere",
        "--data.eval_batch_size",
        "32",
        "--trainer.precision",
        "32-true",
    )
    hardware = ("--trainer.devices", "2", "--trainer.sync_batchnorm", "true", "--trainer.accelerator", "cpu")
    own = ("--fixmatch.threshold", "0.5", "--tracking.project", "another", "--trainer.log_every_n_steps", "5")
    write_run(grid, "fixmatch", 7, options=(*places, *hardware, *own))
    assert compared(grid).left_out == []


def placed(run: Path, root: str, digest: str) -> Path:
    """A run on data in a place, with a digest; none for a run of before."""
    config, environment = run / "config.yaml", run / "environment.txt"
    config.write_text(config.read_text().replace("  name: digits\n", f"  name: digits\n  root: {root}\n"))
    facts = [line for line in environment.read_text().splitlines(keepends=True) if not line.startswith("data: ")]
    environment.write_text("".join([*facts, f"data: {digest}\n" if digest else ""]))
    return run


@pytest.mark.parametrize(
    ("two", "three", "left"),
    [
        (("/b", "1 2"), ("/a", ""), None),  # moved, and a run of before in the former place
        (("/b", "1 2"), ("/b", ""), None),  # or in the later one
        (("/b", ""), ("/a", "1 2"), "data.root /b, the others /a"),  # nobody knows
        (("/b", "1 3"), ("/a", "1 2"), "data.root /b, the others /a"),  # other images to train on
        (("/a", "3 2"), ("/a", "1 2"), "data.root /a with the images 3, the others /a with the images 1"),  # changed
        (("a", ""), ("/a", "1 2"), None),  # as it was typed, and absolute
    ],
)
def test_data_that_has_moved_is_the_same_data(
    two: Any, three: Any, left: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    runs = [placed(write_run(tmp_path, seed=seed), "/a", "1 2") for seed in (0, 1)]
    runs += [placed(write_run(tmp_path, seed=seed), *where) for seed, where in enumerate((two, three), start=2)]
    comparison = compared(tmp_path)
    if left is None:
        assert comparison.left_out == [] and len(comparison.runs) == len(runs)
    else:
        (found,) = comparison.left_out
        assert left in found.reason and "seed 2" in found.reason


def test_runs_of_before_labeled_images_were_among_the_unlabeled_ones(grid: Path) -> None:
    old = write_run(grid, "fixmatch", 1)
    text = (old / "config.yaml").read_text()
    (old / "config.yaml").write_text(text.replace("  labeled_in_unlabeled: true\n", ""))
    (left,) = compared(grid).left_out
    assert "seed 1 has data.labeled_in_unlabeled False, the others True" in left.reason
    (old / "config.yaml").write_text(text.replace("labeled_in_unlabeled: true", "labeled_in_unlabeled: false"))
    (again,) = compared(grid).left_out
    assert again == left


def test_other_test_images_and_fewer_steps_are_not_comparable(grid: Path) -> None:
    other, brief = write_run(grid, "fixmatch", 1), write_run(grid, "fixmatch", 2)
    text = (other / "predictions.csv").read_text()
    (other / "predictions.csv").write_text(text.replace("\n0,0", "\n999,0"))
    metrics = brief / "metrics.csv"
    metrics.write_text(metrics.read_text().replace("\n,100,", "\n,99,"))
    said = sorted(left.reason for left in compared(grid).left_out)
    assert re.search(r"seed 1 has test images 360 \(\w{8}\), the others 360 \(", said[0])
    assert "seed 2 has steps trained 99, the others 100" in said[1]


def test_unfinished_runs_and_runs_made_twice(grid: Path) -> None:
    again = write_run(grid, "supervised", 0, 4, 0.1, 0.1)
    stopped = write_run(grid, "supervised", 9, finished=False)
    write_run(grid, "supervised", 0, 4, finished=False)  # what a finished one stands for
    comparison = compared(grid)
    reasons = {left.path: left.reason for left in comparison.left_out}
    assert len(reasons) == 2 and reasons[f"../{stopped.relative_to(grid)}"] == "it has not finished"
    assert sum(reason.endswith("is the same run again, and newer") for reason in reasons.values()) == 1
    cell = comparison.cell("supervised", 40, "best")
    assert cell is not None and cell.values == pytest.approx([0.1, 0.74, 0.72])
    assert f"../{again.relative_to(grid)}" in [run.path for run in comparison.runs]


def test_arms_are_named_by_the_options_in_which_they_differ(grid: Path) -> None:
    write_run(grid, "pseudolabel", 0, options=("--pseudolabel.threshold", "0.5"))
    names = [arm.name for arm in compared(grid).arms]
    assert names == ["supervised", "pseudolabel (threshold 0.5)", "pseudolabel (threshold 0.95)"]


def test_what_a_reader_must_know_is_noted(tmp_path: Path) -> None:
    write_run(tmp_path, "fixmatch", 0)
    (note,) = compared(tmp_path).notes
    assert note.startswith("There is no supervised arm")
    for directory in (write_run(tmp_path, "supervised", 0), write_run(tmp_path, "supervised", 1)):
        text = (directory / "metrics.csv").read_text()
        (directory / "metrics.csv").write_text(re.sub(r"(last|best)/test_accuracy", r"\1/unknown", text))
    environment = directory / "environment.txt"
    environment.write_text(re.sub(r"torch: .*", "torch: 1.7.1", environment.read_text(), count=1))
    comparison = compared(tmp_path)
    assert comparison.score == "val_accuracy" and len(comparison.notes) == 3
    assert "on which the best checkpoint was chosen" in comparison.notes[0]
    assert comparison.notes[1].startswith("fixmatch scored exactly as supervised in every run")
    assert re.search(r"differ in torch: .*; 1\.7\.1\.", comparison.notes[2])
