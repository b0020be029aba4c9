"""Outputs onto what must not be written to, places that are none, and names that are more than text."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from .data import pictures
from .outcome import Outcome, variables
from .runs import command, finished, fit, run_under, step_of, stopped


def _out(folder: Path, whole: Path, out: Path, word: str) -> Outcome:
    """Predictions are written to a place that must stay as it was."""
    run = run_under(folder / "runs") if (folder / "runs").exists() else finished(folder, whole)
    before = (os.lstat(out), out.read_bytes() if out.is_file() else b"")
    ended = command(folder, "predict", "--ckpt_path", str(run), "--out", str(out))
    after = (os.lstat(out), out.read_bytes() if out.is_file() else b"")
    same = (before[0].st_mode, before[0].st_ino, before[1]) == (after[0].st_mode, after[0].st_ino, after[1])
    met = ended.told(2, word) | {"it is what it was": same}
    return Outcome(f"exit code {ended.code}: {ended.line(word)}", "what was there", met)


def out_is_a_pipe(folder: Path, whole: Path) -> Outcome:
    """`predict --out` names a pipe that nobody reads."""
    os.mkfifo(folder / "pipe")
    return _out(folder, whole, folder / "pipe", "is a pipe")


def out_is_a_link_to_a_device(folder: Path, whole: Path) -> Outcome:
    """`predict --out` names a link to /dev/null."""
    (folder / "link").symlink_to("/dev/null")
    return _out(folder, whole, folder / "link", "is a link")


def out_is_a_checkpoint(folder: Path, whole: Path) -> Outcome:
    """`predict --out` names the run's best checkpoint."""
    return _out(folder, whole, finished(folder, whole) / "checkpoints" / "best.ckpt", "is a checkpoint")


def address(folder: Path, whole: Path) -> Outcome:
    """A fit's data and its runs, and predictions, are to lie at s3://bucket/x."""
    run, met, said = finished(folder, whole), {}, ""
    for words in (
        ["fit", "--data", "folder", "--data.root", "s3://bucket/x"],
        ["fit", "--data", "digits", "--trainer.default_root_dir", "s3://bucket/x"],
        ["predict", "--ckpt_path", str(run), "--out", "s3://bucket/x"],
    ):
        ended = command(folder, *words)
        met |= {f"{words}: {right}": value for right, value in ended.told(2, "s3://bucket/x is an address").items()}
        said = said or ended.line("an address")
    met["no folder s3:"] = not (folder / "s3:").exists()
    return Outcome(f"exit code 2: {said}", "nothing", met)


def home(folder: Path, whole: Path) -> Outcome:
    """Pictures and runs lie under `~`, and the run goes on after the home has another name."""
    pictures(folder / "home" / "pictures")
    given = ["--data", "folder", "--data.root", "~/pictures", "--data.image_size", "32"]
    given += ["--trainer.default_root_dir", "~/runs"]
    with variables(HOME=str(folder / "home")):
        ended = stopped(folder / "log", *given)
    met = ended.told(143, "go on with: ") | {"under the home": (folder / "home" / "runs").is_dir()}
    with variables(HOME=str(folder / "elsewhere")):
        going = command(folder, "fit", "--resume", str(run_under(folder / "home")))
    met |= going.told(0) | {"all steps": step_of(folder) == 6, "no folder ~": not any(folder.rglob("~"))}
    return Outcome(f"exit codes {ended.code} and {going.code}", "a whole run under the home of then", met)


def names_that_are_formulas(folder: Path, whole: Path) -> Outcome:
    """Classes are called =1+1, +a, -b and @c."""
    root = pictures(folder / "pictures", classes=("=1+1", "+a", "-b", "@c"))
    fit(folder / "runs", "--data", "folder", "--data.root", str(root), "--data.image_size", "32")
    run, table = run_under(folder / "runs"), folder / "x.csv"
    ended = command(folder, "predict", "--ckpt_path", str(run), "--on", "val", "--out", str(table))
    cells = [cell for path in (table, *run.glob("*.csv")) for row in csv.reader(path.open(newline="")) for cell in row]
    predicted = [row["class"] for row in csv.DictReader(table.open(newline=""))]
    formulas = [cell for cell in cells if cell.startswith(("=", "+", "-", "@")) and not _is_number(cell)]
    met = ended.told(0) | {"no formula": not formulas, "the names": set(predicted) <= _CLASSES}
    return Outcome(f"exit code {ended.code}; {len(formulas)} of {len(cells)} cells are formulas", "tables", met)


def names_that_turn_text_round(folder: Path, whole: Path) -> Outcome:
    """A class has controls of the direction of text in its name, and a run of it is reported and compared in HTML."""
    root = pictures(folder / "pictures", classes=("a\u202eb", "c\u2066d", "e"))
    fit(folder / "runs", "--data", "folder", "--data.root", str(root), "--data.image_size", "32")
    run = run_under(folder / "runs")
    met = command(folder, "report", str(run)).told(0) | command(folder, "compare", str(run)).told(0)
    pages = [path.read_text() for path in folder.rglob("*.html")]
    controls = [control for page in pages for control in _CONTROLS if control in page]
    met |= {"pages": len(pages) >= 2, "no controls": not controls, "the name": any("a\\u202eb" in x for x in pages)}
    return Outcome(f"{len(controls)} controls in {len(pages)} pages", "pages", met)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


_CLASSES = {"'=1+1", "'+a", "'-b", "'@c"}  # as no spreadsheet takes them for formulas
_CONTROLS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
FAULTS = [
    out_is_a_pipe,
    out_is_a_link_to_a_device,
    out_is_a_checkpoint,
    address,
    home,
    names_that_are_formulas,
    names_that_turn_text_round,
]
