"""What is read from runs, which of them are compared, and the tables and the file that say what was found."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from comparable_runs import CLASSES, write_run
from helpers import HANG

from semisup.cli.front import main
from semisup.compare.assemble import compare
from semisup.compare.choose import CompareRequest
from semisup.compare.collect import _balance, candidate
from semisup.compare.comparable import conditions, differences
from semisup.compare.record import BALANCE, FILE, Comparison
from semisup.compare.table import Column, Entry, Table
from semisup.compare.tables import tables
from semisup.errors import InputError
from semisup.runs.directory import find_runs
from semisup.runs.run import Run
from semisup.runs.statistics import Interval

SEEDS = {0: 0.70, 1: 0.74, 2: 0.72}


def compared(root: Path, given: dict[Path, bool] | None = None, **options: Any) -> Comparison:
    """The comparison of runs in a folder, or of those given, whose data all has 1,257 labels and no checkpoint."""
    request = CompareRequest("semisup compare", root / "out", **options)
    return compare(given or find_runs([root]), request, lambda run: 1257, lambda run: None)


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """Three seeds of two strategies with 40 and 160 labels; one with all labels."""
    for seed, base in SEEDS.items():
        write_run(tmp_path, "supervised", seed, 4, base, base - 0.01)
        write_run(tmp_path, "supervised", seed, 16, base + 0.2, base + 0.19)
        write_run(tmp_path, "pseudolabel", seed, 4, base + 0.1 + 0.01 * seed, base)
    write_run(tmp_path, "supervised", 0, None, 0.97, 0.96)
    return tmp_path


# ---- reading


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    directory = write_run(tmp_path, "pseudolabel", 3, 4, 0.75, 0.5)
    found = candidate(Run(directory))
    run = found.record
    assert (run.strategy, run.seed, run.all_labels, found.run.labels_per_class) == ("pseudolabel", 3, False, 4)
    expected = {
        "best/val_accuracy": 0.75,
        "best/test_accuracy": 0.75,
        "last/val_accuracy": 0.5,
        "last/test_accuracy": 0.5,
    }
    assert run.scores == expected
    assert (run.steps, run.images, run.seconds) == (100, 6400, 2.5)
    assert run.epochs == {"best": 1, "last": 2}
    assert run.calibration == {"best/val": 0.1, "last/val": 0.2}
    assert run.class_accuracy["best/val"] == dict.fromkeys(CLASSES, 0.75)
    assert run.class_accuracy["last/val"] == dict.fromkeys(CLASSES, 0.5)
    assert run.class_accuracy["best/test"] == {name: 1.0 if name == "0" else 0.75 for name in CLASSES}
    assert run.curves == {
        "epoch": [1, 2],
        "step": [50, 100],
        "train/loss": [0.75, 0.25],
        "val/accuracy": [0.75, 0.5],
        "val/ece": [0.1, 0.2],
    }
    assert [one.epoch for one in run.rounds] == [1, 2]
    second = run.rounds[1]
    assert second.images == dict.fromkeys(CLASSES, 11) and second.precision == 0.75
    assert second.class_precision == {"0": 0.5} and second.confidence == [0.1] * 10
    assert run.options["pseudolabel.threshold"] == 0.95 and set(map(type, run.options)) == {str}
    assert found.splits["steps trained"] == 100 and found.splits["test images"].startswith("360 (")


def test_scores_of_rare_classes_are_read_where_there_are_some(tmp_path: Path) -> None:
    final = {f"best/test_{name}": 0.1 * k for k, name in enumerate(BALANCE)}
    final |= {"last/test_balanced_accuracy": 0.5, "last/test_geometric_mean": 0.4}  # no class has few labels
    assert _balance(final) == {"best/test": {name: 0.1 * k for k, name in enumerate(BALANCE)}}
    assert candidate(Run(write_run(tmp_path))).record.balance == {}


def test_the_format_is_the_one_that_fit_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rounds = ("--pseudolabel.warmup_epochs", "1", "--pseudolabel.every_n_epochs", "1", "--pseudolabel.threshold", "0")
    brief = ("--trainer.max_epochs", "2", "--data.steps_per_epoch", "10", "--trainer.accelerator", "cpu")
    typed = ["fit", "--strategy", "pseudolabel", "--data", "digits", "--tracking.mode", "disabled", *rounds, *brief]
    monkeypatch.setattr("sys.argv", ["semisup", *typed])
    assert main(typed) == 0
    (directory,) = find_runs([tmp_path])
    real = candidate(Run(directory))
    ours = candidate(Run(write_run(tmp_path / "ours", "pseudolabel", options=(*rounds, *brief))))
    assert differences(conditions(real.run), conditions(ours.run)) == []
    assert real.record.options == ours.record.options and real.run.class_names == ours.run.class_names
    for name in ("scores", "epochs", "class_accuracy", "calibration", "environment"):
        assert getattr(real.record, name).keys() == getattr(ours.record, name).keys(), name
    assert ours.record.curves.keys() <= real.record.curves.keys()
    assert real.record.command.split() == ["semisup", *typed]
    assert real.record.images == 10 * 24 + 10 * 2 * 24  # labeled ones, and after the first round as many others
    assert (real.record.curves["epoch"], real.record.curves["step"], real.record.steps) == ([1, 2], [10, 20], 20)
    assert [one.epoch for one in real.record.rounds] == [1, 2]
    for one in real.record.rounds:
        assert one.images.keys() == set(CLASSES) and sum(one.confidence) == pytest.approx(1)
        truly = sum(one.class_precision[name] * count for name, count in one.images.items() if count)
        assert one.precision == pytest.approx(truly / sum(one.images.values()), abs=1e-5)


def test_runs_are_found_in_folders_and_by_themselves(grid: Path) -> None:
    inside = find_runs([grid])
    assert len(inside) == 10 and not any(inside.values())
    one = next(iter(inside))
    assert find_runs([one / "checkpoints", grid])[one] is True
    (grid / "empty").mkdir()
    for path, message in ((grid / "nowhere", "does not exist"), (grid / "empty", "is no run directory and holds none")):
        with pytest.raises(InputError, match=message):
            find_runs([path])


# ---- comparing


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


# ---- the file and the tables


def test_the_file_gives_back_what_was_written(grid: Path) -> None:
    comparison = compared(grid)
    (grid / "out").mkdir()
    path = comparison.write(grid / "out")
    assert path.name == FILE and Comparison.read(path) == comparison
    for run in comparison.runs:
        assert (path.parent / run.path / "config.yaml").is_file()
    tree = json.loads(path.read_text())
    for broken, message in (
        ({**tree, "format": 99}, "has format 99"),
        ({**tree, "runs": [{"path": 1}]}, "can't be read as a comparison"),
        ({**tree, "unknown": 1}, "can't be read as a comparison"),
        ([], "has format None"),
    ):
        path.write_text(json.dumps(broken))
        with pytest.raises(InputError, match=message):
            Comparison.read(path)


def test_tables_hold_the_figures(grid: Path) -> None:
    made = {table.name: table for table in tables(compared(grid))}
    text = made["accuracy"].text().splitlines()
    assert text[0] == "accuracy on test in %, mean ± standard deviation over 3 seeds unless said otherwise, digits"
    assert text[2].split() == ["strategy", "checkpoint", "40", "labels", "160", "labels", "1,257", "labels"]
    assert text[3].split()[2:] == ["72.00", "±", "2.00", "92.00", "±", "2.00", "97.00", "(n=1)[a]"]
    assert text[-1] == "[a] one seed has no standard deviation"
    rows = list(csv.DictReader(made["differences"].csv().splitlines()))
    best = next(row for row in rows if row["checkpoint"] == "best")
    assert float(best["difference"]) == pytest.approx(11) and best["labels"] == "40"
    assert float(best["t low"]) == pytest.approx(11 - 4.302653 / 3**0.5) and best["bootstrap low"] == ""
    latex = made["differences"].latex()
    assert r"pseudolabel & 40 & best & 3 & $+$11.00 & [$+$8.52, $+$13.48] & --$^{a}$ \\" in latex
    assert r"\par{\footnotesize $^{a}$ the bootstrap needs 10 seeds or more, and there are 3}" in latex
    assert r"72.00 $\pm$ 2.00" in made["accuracy"].latex()
    worth = made["label_efficiency"].text()
    assert re.search(r"pseudolabel +40 +best +83\.00 +86 +2\.14", worth)
    cost = list(csv.DictReader(made["cost"].csv().splitlines()))
    assert cost[0] == {
        "strategy": "supervised",
        "labels": "40",
        "steps": "100",
        "images seen": "6400",
        "seconds": "2.5",
    }
    assert len(made["runs"].rows) == 10


def test_an_accuracy_beyond_the_reference_is_said_to_be_beyond(tmp_path: Path) -> None:
    for per_class, score in ((4, 0.5), (16, 0.6)):
        write_run(tmp_path, "supervised", 0, per_class, score)
        write_run(tmp_path, "fixmatch", 0, per_class, score + 0.2)
    worth = {table.name: table for table in tables(compared(tmp_path))}["label_efficiency"]
    assert re.search(r"fixmatch +40 +best +70\.00 +> 160 +> 4\.00", worth.text())
    assert "$>$ 160 & $>$ 4.00" in worth.latex()
    assert "fixmatch,40,best,70.0,>,160.0,4.0" in worth.csv()


def test_special_characters_survive_latex() -> None:
    columns = [Column("a_b & 50 %", left=True), Column("n")]
    made = Table("t", "title", columns, [[Entry("x_y #1 {z}", ("x",)), Entry("-1.5", (-1.5,))]], ["100 % sure"])
    latex = made.latex()
    assert r"a\_b \& 50 \% & n \\" in latex and r"x\_y \#1 \{z\} & $-$1.5 \\" in latex
    assert r"\par{\footnotesize 100 \% sure}" in latex


# ---- the verb


def test_the_verb_writes_everything(
    grid: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(grid)
    assert main(["compare", "digits"]) == 0
    out = grid / "runs" / "compare" / "collected"
    names = ("accuracy", "differences", "label_efficiency", "cost", "runs")
    expected = {FILE, "tables.txt", *(f"{name}.{kind}" for name in names for kind in ("csv", "tex"))}
    assert expected <= {path.name for path in out.iterdir()}
    comparison = Comparison.read(out / FILE)
    assert comparison.labels == [40, 160, 1257] and comparison.network is None  # opened; and no checkpoint is there
    printed = capsys.readouterr().out
    assert (out / "tables.txt").read_text() in printed + "\n"


def test_help_imports_nothing_heavy() -> None:
    code = "import sys\nfrom semisup.cli.front import main\ntry: main(['compare', '--help'])\nexcept SystemExit: pass\n"
    code += "print({'torch', 'numpy', 'scipy', 'yaml', 'pytorch_lightning'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG)
    assert "--may_differ OPTION" in done.stdout and done.stdout.endswith("set()\n"), done.stderr


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "type the RUNs to compare, or --strategies"),
        (["nowhere"], "nowhere does not exist"),
        (["digits", "--trainer.max_epochs", "3"], "--trainer.max_epochs is an option of runs to be trained"),
        (["digits", "--labels", "40"], "--labels is an option of runs to be trained"),
        (["digits/fixmatch"], "these runs can't be compared"),
    ],
)
def test_mistakes(
    argv: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path, "supervised", 0)
    odd = write_run(tmp_path, "fixmatch", 0, options=("--trainer.max_epochs", "60"))
    argv = [str(odd) if argument == "digits/fixmatch" else argument for argument in argv]
    given = [*argv, "digits/supervised"] if str(odd) in argv else argv
    assert main(["compare", *given]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_number_that_is_not_finite_in_a_config_is_named(tmp_path: Path) -> None:
    """JSON has no word for it, so the comparison could not be written."""
    run = write_run(tmp_path)
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("batch_size: 24", "batch_size: .inf", 1))
    with pytest.raises(InputError, match=r"config\.yaml holds a number that is not finite"):
        candidate(Run(run))
