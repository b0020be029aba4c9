"""`semisup predict RUN PICTURE...`, and runs that are named without --ckpt_path."""

from __future__ import annotations

import csv
import io
import os
import shutil
from pathlib import Path

import pytest
import torch
from picture_folders import picture
from pyarrow import parquet

import semisup
from semisup.cli.front import main

RUN = str(Path(__file__).parent / "old_run")  # of the digits, 8x8 pixels in grey


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with pictures of two names, in two folders, and a text."""
    monkeypatch.chdir(tmp_path)
    for name in ("a/one.png", "a/two.png", "b/one.png", "b/deep/three.jpg"):
        picture(Path("new", name), 12, 9)
    Path("new/a/notes.txt").write_text("no picture")
    return tmp_path


def rows(path: str) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_file_says_what_the_library_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", RUN, "new", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "4 predictions: " in said and "1 files are not readable pictures, and are left out" in said
    told = semisup.load(RUN, "cpu").predict("new")
    found = rows("predictions.csv")
    names = ["new/a/one.png", "new/a/two.png", "new/b/one.png", "new/b/deep/three.jpg"]
    assert [row["picture"] for row in found] == names == told.names
    assert [row["class"] for row in found] == told.classes
    for row, probabilities in zip(found, told.probabilities, strict=True):
        assert list(row) == ["picture", "class", "confidence", *(f"p({digit})" for digit in range(10))]
        assert [row[f"p({digit})"] for digit in range(10)] == [f"{p:.6f}" for p in probabilities.tolist()]
        assert float(row["confidence"]) == max(float(row[f"p({digit})"]) for digit in range(10))


def test_the_least_sure_comes_first_and_parquet_holds_the_same() -> None:
    assert main(["predict", RUN, "new", "--least_sure_first", "--out", "sorted.csv"]) == 0
    assert main(["predict", RUN, "new", "--least_sure_first", "--out", "sorted.parquet"]) == 0
    found = rows("sorted.csv")
    confidence = [float(row["confidence"]) for row in found]
    assert confidence == sorted(confidence) and len(set(confidence)) > 1
    table = parquet.read_table("sorted.parquet").to_pydict()
    assert list(table) == list(found[0]) and table["picture"] == [row["picture"] for row in found]
    for name in ("confidence", "p(3)"):
        assert table[name] == pytest.approx([float(row[name]) for row in found], abs=1e-6)
    assert main(["predict", RUN, "new", "--out", "sorted.parquet"]) == 0  # its own are replaced
    assert not list(Path().glob(".predictions-*"))


def test_paths_come_on_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("new/b/one.png\n\nnew/a/one.png\n"))
    assert main(["predict", RUN, "new/a/two.png", "-"]) == 0
    assert [row["picture"] for row in rows("predictions.csv")] == ["new/a/two.png", "new/b/one.png", "new/a/one.png"]


@pytest.mark.parametrize("ending", ["", ".parquet"])
def test_names_that_are_no_unicode_are_predicted_escaped_and_copied_as_they_are(
    ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = b"new/caf\xe9.png"
    shutil.copy("new/a/one.png", odd)
    listed = io.TextIOWrapper(io.BytesIO(odd + b"\r\nnew/a/two.png\r\n"), encoding="utf-8")
    monkeypatch.setattr("sys.stdin", listed)
    out = f"predictions{ending or '.csv'}"
    assert main(["predict", RUN, "-", "--out", out, "--copy_to", "by-class"]) == 0
    names = parquet.read_table(out).to_pydict()["picture"] if ending else [row["picture"] for row in rows(out)]
    assert names == ["new/caf\\udce9.png", "new/a/two.png"]
    assert {os.fsencode(path.name) for path in Path("by-class").rglob("*.png")} == {b"caf\xe9.png", b"two.png"}


def test_a_path_with_a_carriage_return_is_told_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", RUN, "no\rwhere.png"]) == 2
    assert (
        capsys.readouterr().err
        == "semisup: error: no where.png is not there; give pictures, or folders that hold some\n"
    )


def test_pictures_are_copied_by_class() -> None:
    same = [shutil.copy("new/a/one.png", f"new/{folder}/same.png") for folder in ("a", "b")]
    assert main(["predict", RUN, *same, "new/a/two.png", "--copy_to", "by-class"]) == 0
    (first, second, other) = (row["class"] for row in rows("predictions.csv"))
    copies = {str(path) for path in Path("by-class").rglob("*.png")}
    assert first == second and copies == {
        f"by-class/{first}/same.png",
        f"by-class/{first}/same-2.png",
        f"by-class/{other}/two.png",
    }
    assert Path(f"by-class/{other}/two.png").read_bytes() == Path("new/a/two.png").read_bytes()
    assert not list(Path().glob(".copies-*"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("new --copy_to new", "holds something; type --copy_to with the name of a new folder"),
        ("new --copy_to x/y", "of --copy_to does not exist"),
        ("missing", "missing is not there"),
        ("new --out notes.txt", "type --out with another name, or --force"),
        ("new --batch_size 0", "batch_size is 0"),
        ("new --on test", "unrecognized arguments: --on test"),
        ("new --device nonsense", "nothing can be computed on the device 'nonsense'"),
        ("new --device meta", "nothing can be computed on the device 'meta'"),
        (f"new --device cuda:{torch.cuda.device_count()}", "nothing can be computed on the device 'cuda"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    words: str, message: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("notes.txt").write_text("mine")
    before = sorted(here.rglob("*"))
    assert main(["predict", RUN, *words.split()]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert sorted(here.rglob("*")) == before and Path("notes.txt").read_text() == "mine"


def test_a_runs_own_predictions_are_not_replaced(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(RUN, "run"))
    before = (run / "predictions.csv").read_bytes()
    for pictures in (["new"], ["--on", "unlabeled"]):
        for force in ([], ["--force"]):
            assert main(["predict", "run", *pictures, "--out", "run/predictions.csv", *force]) == 2
            said = capsys.readouterr().err
            assert "which nothing else is written over; type --out" in said
    assert main(["predict", "run", "--on", "val"]) == 0
    assert (run / "predictions.csv").read_bytes() == before and Path("predictions.csv").is_file()


def test_no_class_name_leads_out_of_the_folder(capsys: pytest.CaptureFixture[str]) -> None:
    run = Path(shutil.copytree(RUN, "run"))
    path = next(run.glob("checkpoints/*.ckpt"))
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["semisup"]["spec"]["class_names"][:] = [f"../{number}" for number in range(10)]
    for other in run.glob("checkpoints/*.ckpt"):
        other.unlink()
    torch.save(checkpoint, path)
    assert main(["predict", "run", "new", "--copy_to", "by-class"]) == 2
    assert "a folder can't be called as the class" in capsys.readouterr().err
    assert not Path("by-class").exists() and not Path("0").exists()


def test_a_run_needs_no_option_to_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(RUN, "run")
    assert main(["test", "run", "--data.eval_batch_size", "100"]) == 0
    short = capsys.readouterr().out
    assert main(["test", "--ckpt_path", "run", "--data.eval_batch_size", "100"]) == 0
    assert short == capsys.readouterr().out and "test/accuracy" in short
    assert main(["test", "run", "another"]) == 2
    assert "type one RUN to test" in capsys.readouterr().err
    assert main(["predict", "run", "--out", "again.csv"]) == 0
    assert [row["class"] for row in rows("again.csv")] == [row["class"] for row in rows("run/predictions.csv")]
    assert main(["validate"]) == 2
    assert "type semisup validate RUN" in capsys.readouterr().err


def test_where_no_picture_can_be_read_nothing_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", RUN, "new/a/notes.txt", "--device", "cpu"]) == 2
    assert "no picture could be read" in capsys.readouterr().err
    assert not Path("predictions.csv").exists()
