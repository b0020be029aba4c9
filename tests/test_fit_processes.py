"""A fit that is killed goes on, and in two processes it selects what it selects in one."""

from __future__ import annotations

import signal
from pathlib import Path

import forked
import pytest
import torch
from helpers import run_python, spins, unbounded
from short_fits import SHORT

from semisup.cli.front import main
from semisup.runs.reading import read_metrics
from semisup.runtime.openmp import SPINS

TESTS = Path(__file__).parent


@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    arguments = [*SHORT, "--trainer.max_epochs", "4"]
    dies = ["--trainer.callbacks", "helpers.KillAfter", "--trainer.callbacks.epochs", "2"]
    killed = forked.semisup("fit", *arguments, *dies)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (cut,) = Path("runs").glob("*/*/*")
    cut = cut.rename("cut")
    assert main(["fit", *arguments]) == 0
    (whole,) = Path("runs").glob("*/*/*")
    assert main(["fit", "--resume", str(cut), "--trainer.callbacks", "null"]) == 0  # its own config, but the killer
    ours, theirs = (torch.load(p / "checkpoints" / "last.ckpt", weights_only=True) for p in (cut, whole))
    assert ours["state_dict"].keys() == theirs["state_dict"].keys()
    assert all(torch.equal(x, theirs["state_dict"][name]) for name, x in ours["state_dict"].items())
    for name in ("predictions.csv", "config.yaml"):
        assert (cut / name).read_text() == (whole / name).read_text()
    first, second = (read_metrics(p) for p in (cut, whole))
    for row in (first[-1], second[-1]):
        del row["seconds"]
    assert first == second


@pytest.mark.slow
def test_two_processes_select_what_one_selects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one starts the other. In double precision rounding can't tip a choice; batch norm is over both."""
    rule = ["--pseudolabel.rule", "top_k_overall", "--pseudolabel.top_k", "300", "--trainer.precision", "64-true"]
    arguments = ["fit", *SHORT, *rule, "--trainer.max_epochs", "4"]
    two = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.sync_batchnorm", "true"]
    done = run_python("-m", "semisup", *arguments, *two, cwd=tmp_path, env=unbounded())
    assert done.returncode == 0, done.stderr
    assert spins(done.stderr) == {str(SPINS)}
    (tmp_path / "alone").mkdir()
    monkeypatch.chdir(tmp_path / "alone")
    assert main(arguments) == 0
    (one, scores), (other, other_scores) = (
        (torch.load(path, weights_only=True), read_metrics(path.parents[1])[-1])
        for folder in (Path(), tmp_path)
        for path in folder.glob("runs/*/*/*/checkpoints/last.ckpt")
    )
    ours, theirs = (checkpoint["callbacks"]["PseudoLabel"] for checkpoint in (one, other))
    assert len(ours["rows"]) == 300
    assert torch.equal(ours["rows"], theirs["rows"]) and torch.equal(ours["targets"], theirs["targets"])
    for name, x in one["state_dict"].items():
        torch.testing.assert_close(other["state_dict"][name], x, rtol=1e-9, atol=1e-12)
    assert scores["last/test_accuracy"] == other_scores["last/test_accuracy"]
