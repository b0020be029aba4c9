"""What is read from runs to compare, and the tables and the file that say what was found."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from comparable_runs import CLASSES, compared, write_run
from helpers import HANG

from semisup.cli.front import main
from semisup.compare.collect import _balance, candidate
from semisup.compare.comparable import conditions, differences
from semisup.compare.record import BALANCE, FILE, Comparison
from semisup.compare.table import Column, Entry, Table
from semisup.compare.tables import tables
from semisup.errors import InputError
from semisup.runs.directory import find_runs
from semisup.runs.run import Run

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
        (["digits", "--seeds", "3"], "--seeds is an option of runs to be trained"),
        (["digits", "--jobs", "2"], "--jobs is an option of runs to be trained"),
        (["--strategies", "supervised", "--data", "digits", "--labels", ""], "--labels is '', but must be whole"),
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
