"""The verbs as a user types them: what a run leaves behind, and that its figures are those of its predictions."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import forked
import numpy as np
import pytest
import torch
import yaml
from helpers import Blobs, alone_with_wandb, install, run_python
from PIL import Image
from short_fits import SHORT, fit, rows

from datamodules.digits import Digits
from semisup import plugins
from semisup.classifier import Classifier
from semisup.cli.front import main
from semisup.data.pools import DataSpec
from semisup.predict import predict
from semisup.runs.reading import read_metrics
from semisup.runtime.console import command

TESTS = Path(__file__).parent


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, to be read only."""
    folder = tmp_path_factory.mktemp("user")
    with alone_with_wandb(folder):
        return folder / fit("--tracking.mode", "offline")


def test_a_run_directory_holds_what_it_should(run: Path) -> None:
    assert re.fullmatch(r"runs/digits/pseudolabel/\d{8}-\d{6}-s0", str(run.relative_to(run.parents[3])))
    names = {path.name for path in run.iterdir()}
    expected = {
        "config.yaml",
        "checkpoints",
        "metrics.csv",
        "environment.txt",
        "predictions.csv",
        "confusion.csv",
        "wandb",
    }
    assert expected < names
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert yaml.safe_load((run / "config.yaml").read_text())["pseudolabel"]["threshold"] == 0.5


def test_progress_is_said_of_epochs_that_were_validated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = fit("--trainer.max_epochs", "4", "--trainer.check_val_every_n_epoch", "2")
    said = dict(re.findall(r"^epoch (\d) of 4: validation accuracy (\S+) %", capsys.readouterr().out, re.M))
    found = [row["val/accuracy"] for row in rows(run / "metrics.csv") if row["val/accuracy"]]
    assert said == {"2": f"{100 * float(found[0]):.1f}", "4": f"{100 * float(found[1]):.1f}"}


def test_predictions_are_the_best_checkpoints_and_give_the_reported_accuracy(run: Path) -> None:
    data, written = Digits(), rows(run / "predictions.csv")
    assert data.pools.test is not None
    module = Classifier.from_checkpoint(run / "checkpoints" / "best.ckpt")
    p = torch.cat([p for _, p in predict(module, data.pools.test, 256)])
    assert [line["class"] for line in written] == [str(k) for k in p.argmax(1).tolist()]
    assert [line["id"] for line in written] == [str(row) for row in data.pools.test.rows]
    assert np.allclose([float(line["confidence"]) for line in written], p.max(1).values, atol=1e-5)
    right = np.mean([int(line["class"]) == k for line, k in zip(written, data.pools.test.labels, strict=True)])
    assert read_metrics(run)[-1]["best/test_accuracy"] == pytest.approx(right)
    for k, line in enumerate(rows(run / "confusion.csv")):
        predicted = [row["class"] for row, label in zip(written, data.pools.test.labels, strict=True) if label == k]
        assert line == {"true class": str(k)} | {str(c): str(predicted.count(str(c))) for c in range(10)}


def test_best_is_chosen_on_validation_and_last_is_reported_beside_it(run: Path) -> None:
    metrics = read_metrics(run)
    validation = [row["val/accuracy"] for row in metrics if "val/accuracy" in row]
    assert len(validation) == 3
    assert metrics[-1]["best/val_accuracy"] == pytest.approx(max(validation))
    assert metrics[-1]["last/val_accuracy"] == pytest.approx(validation[-1])
    best = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["epoch"] == int(np.argmax(validation))


def test_test_and_validate_say_what_the_run_said(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for verb, stage in (("validate", "val"), ("test", "test")):
        assert main([verb, "--ckpt_path", str(run), "--trainer.accelerator", "cpu"]) == 0
        said = re.search(rf"{stage}/accuracy +([\d.]+) %", capsys.readouterr().out)
        assert said and float(said[1]) == pytest.approx(100 * read_metrics(run)[-1][f"best/{stage}_accuracy"], abs=0.01)


def test_predict_writes_where_it_is_told(run: Path, tmp_path: Path) -> None:
    last = str(run / "checkpoints" / "last.ckpt")
    out = tmp_path / "hand-in.csv"
    options = ["--out", str(out), "--format", "kaggle", "--on", "unlabeled"]
    assert main(["predict", "--ckpt_path", last, "--trainer.accelerator", "cpu", *options]) == 0
    written = rows(out)
    assert list(written[0]) == ["id", "class"] and len(written) == 1217


def test_the_first_and_the_last_line_say_which_data_and_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [argument for argument in SHORT if argument not in ("--data", "digits")]
    assert main(["fit", *arguments, "--trainer.max_epochs", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for line in (lines[0], lines[-1]):
        assert "digits" in line and "no STL-10 in ./data" in line


@pytest.mark.parametrize(
    ("called", "advice"),
    [
        (["/usr/bin/semisup"], "semisup"),
        (["/x/semisup/__main__.py"], "venv/bin/python -m semisup"),
    ],
)
def test_advice_is_typed_as_the_program_was_called(
    called: list[str], advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", called)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "bin" / "python"))
    assert command() == advice
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    assert command() == advice.replace("venv/bin/python", "python3")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pseudolabel.rule", "top_k_overall", "--pseudolabel.top_k", "9999"], "the unlabeled pool has 1,217 images"),
        (["--pseudolabel.top_k", "-3"], "pseudolabel.top_k is -3"),
        (["--data.batch_size", "0"], "data.batch_size is 0"),
        (["--data.labels_seed", "-1"], "data.labels_seed is -1"),
        (["--optimizer.lr", "-1"], "lr"),
        (["--model.backbone", "solution"], "solution"),
        (["--resume", "nowhere"], "nowhere does not exist"),
        (["--trainer.devices", "0"], "devices='0'"),
        (["--trainer.accelerator", "tpu"], "torch_xla"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["fit", *SHORT, *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("semisup: error: ") and message in error
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_of_other_classes_is_refused_by_both_names(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.ckpt"
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    checkpoint["semisup"]["spec"]["class_names"][9] = "nine"
    torch.save(checkpoint, path)
    assert main(["test", "--ckpt_path", str(path), "--data", "digits"]) == 2
    error = capsys.readouterr().err
    assert "8, nine" in error and "8, 9" in error and "Traceback" not in error


@pytest.mark.slow
def test_a_third_party_package_loads_as_a_built_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "package"
    (package / "stranger").mkdir(parents=True)
    (package / "stranger" / "__init__.py").touch()
    shutil.copy(TESTS / "stranger_strategy.py", package / "stranger" / "entropy.py")
    (package / "pyproject.toml").write_text(
        "[build-system]\nrequires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'\n"
        "[project]\nname = 'stranger'\nversion = '1'\n"
        "[project.entry-points.'semisup.strategies']\nentropy = 'stranger.entropy:Entropy'\n"
        "[tool.setuptools]\npackages = ['stranger']\n"
    )
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(site), str(package)], check=True, capture_output=True)
    monkeypatch.setenv("PYTHONPATH", str(site))
    listed = run_python("-m", "semisup", "list", "strategies", cwd=tmp_path)
    assert re.search(r"entropy +2005 +not measured +Cross-entropy, and confident", listed.stdout), (
        listed.stdout + listed.stderr
    )
    arguments = ["--strategy", "entropy", "--entropy.weight", "0.25", "--data.steps_per_epoch", "5"]
    monkeypatch.syspath_prepend(site)
    done = forked.semisup("fit", *arguments, "--trainer.max_epochs", "2", "--tracking.mode", "disabled", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (run,) = tmp_path.glob("runs/digits/entropy/*")
    assert yaml.safe_load((run / "config.yaml").read_text())["entropy"]["weight"] == 0.25
    assert any("train/entropy" in row for row in read_metrics(run))


@pytest.mark.parametrize("verb", ["test", "predict"])
def test_a_foreign_checkpoint_is_one_line(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": torch.nn.Linear(2, 2).state_dict()}, "foreign.ckpt")
    assert main([verb, "--data", "digits", "--ckpt_path", "foreign.ckpt"]) == 2
    (error,) = capsys.readouterr().err.strip().splitlines()
    assert error.startswith("semisup: error: foreign.ckpt was not written by this version of semisup")
    assert [path.name for path in tmp_path.iterdir()] == ["foreign.ckpt"]


def test_pictures_without_labels_are_predicted_and_not_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for folder in ("train/cat", "train/dog", "test"):
        Path("pictures", folder).mkdir(parents=True)
        for number in range(10):
            pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(f"pictures/{folder}/{number}.png")
    data = ["--data", "folder", "--data.root", "pictures", "--data.image_size", "16", "--data.batch_size", "4"]
    local = ["--data.steps_per_epoch", "2", "--tracking.mode", "disabled", "--trainer.accelerator", "cpu"]
    assert main(["fit", *data, *local, "--trainer.max_epochs", "1"]) == 0
    (run,) = Path("runs").glob("folder/supervised/*")
    assert [row["id"] for row in rows(run / "predictions.csv")] == [f"test/{number}.png" for number in range(10)]
    assert "last/val_accuracy" in read_metrics(run)[-1] and "last/test_accuracy" not in read_metrics(run)[-1]
    assert not (run / "confusion.csv").exists()
    assert main(["test", "--ckpt_path", str(run)]) == 2
    assert "have no labels to score; type semisup predict --on test" in capsys.readouterr().err


def test_a_logger_of_the_users_is_added_to_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    theirs = ["--trainer.logger", "pytorch_lightning.loggers.CSVLogger", "--trainer.logger.save_dir", "theirs"]
    run = fit(*theirs)
    (path,) = Path("theirs").rglob("metrics.csv")
    said = {float(row["val/accuracy"]) for row in rows(path) if row["val/accuracy"]}
    assert said == {row["val/accuracy"] for row in read_metrics(run) if "val/accuracy" in row}


class OddlyNamed(Blobs):
    """Whose classes are called as nobody expects."""

    @property
    def spec(self) -> DataSpec:
        return DataSpec("blobs", ("two\nlines", "a  b", "a b"), channels=1, image_size=8)


def test_every_score_is_one_line_whatever_its_class_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, odd=(plugins.DATAMODULES, "test_fit:OddlyNamed"))
    monkeypatch.chdir(tmp_path)
    options = ["--trainer.accelerator", "cpu", "--trainer.devices", "1"]
    assert main(["fit", "--data", "odd", "--tracking.mode", "disabled", "--trainer.max_epochs", "1", *options]) == 0
    (run,) = Path("runs").glob("*/*/*")
    capsys.readouterr()
    assert main(["validate", str(run), *options]) == 0
    said = re.findall(r"(?m)^val/accuracy/(.*?) +[\d.]+ %$", capsys.readouterr().out)
    assert said == ["two lines", "a b", "a b"]
