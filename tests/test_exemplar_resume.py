"""A pretraining on surrogate classes stops and goes on, is logged, and is the same in two processes."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from exemplar_runs import FAST, fitted, recorded, state
from helpers import Blobs, SaveAt, classifier, in_two_processes, install_blobs, same, trainer, weights

from semisup.cli.front import main
from semisup.errors import InputError
from semisup.runs.reading import read_metrics
from semisup.runtime.sync_batchnorm import CPUSync
from semisup.training import checkpoints
from strategies.exemplar import Exemplar

# ---- stopping and going on


@pytest.mark.parametrize("step", [5, 10, 11])
def test_a_run_that_dies_goes_on_to_the_bit(step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the pretraining, where it ends, and after it; with a checkpoint after every step."""
    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)
    options = {**FAST, "epochs": 1, "svm": True}
    whole = recorded(tmp_path / "whole", ours := Exemplar(**options))
    with pytest.raises(RuntimeError, match="dies"):
        recorded(tmp_path / "cut", Exemplar(**options), dies=step)
    module = recorded(tmp_path / "cut", theirs := Exemplar(**options), ckpt=tmp_path / "cut" / "last.ckpt")
    assert same(weights(module), weights(whole)) and same(state(theirs), state(ours))
    assert read_metrics(tmp_path / "cut") == read_metrics(tmp_path / "whole")
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == ["best.ckpt", "last.ckpt", "metrics.csv"]


@pytest.mark.parametrize("step", [33, 34])
def test_a_run_of_an_earlier_version_goes_on(step: int, tmp_path: Path) -> None:
    """Whose loop began after the pretraining, which is not begun again."""
    data, strategy = Blobs(), Exemplar(**FAST)
    whole = classifier(data, strategy)
    trainer(2, callbacks=[SaveAt(step, tmp_path / "a.ckpt")], enable_checkpointing=True).fit(whole, data)
    saved = torch.load(tmp_path / "a.ckpt", weights_only=True)
    del saved["semisup"]["phase"]
    state_then = saved["callbacks"]["Exemplar"]
    saved["callbacks"]["Exemplar"] = {name: x for name, x in state_then.items() if name != "passed"} | {
        "pretraining": None
    }
    # In that loop nothing was counted before the training.
    loops = saved["loops"]["fit_loop"]
    for counts in (loops["epoch_progress"]["total"], loops["epoch_progress"]["current"]):
        counts |= {name: count - 3 for name, count in counts.items()}
    steps = loops["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]["total"]
    steps |= {name: count - 30 for name, count in steps.items()}
    saved["epoch"] -= 3
    loops["state_dict"]["combined_loader"][0]["epoch"] -= 3
    torch.save(saved, tmp_path / "old.ckpt")
    resumed, other = Blobs(), Exemplar(**FAST)
    module = classifier(resumed, other)
    trainer(2).fit(module, resumed, ckpt_path=tmp_path / "old.ckpt", weights_only=True)
    assert module.trainer.global_step == 8
    assert same(weights(module), weights(whole)) and same(state(other), state(strategy))


def test_a_run_that_an_earlier_version_left_in_its_pretraining_is_refused() -> None:
    with pytest.raises(InputError, match="in the middle of a pretraining by an earlier version"):
        Exemplar().load_state_dict({"rows": torch.arange(2), "pretraining": {"step": 3}})


# ---- what is logged


def test_pretraining_is_logged_before_step_zero(tmp_path: Path) -> None:
    recorded(tmp_path, strategy := Exemplar(**{**FAST, "svm": True}))
    rows = read_metrics(tmp_path)
    steps = [row["step"] for row in rows if "pretrain/loss" in row]
    assert steps == [-27, -23, -19, -15, -11, -7, -3]  # every fourth of 30
    passes = [row for row in rows if "pretrain/class_accuracy_median" in row]
    assert [row["step"] for row in passes] == [-21, -11, -1]  # ten steps a pass
    for row in passes:
        low, middle, high = (row[f"pretrain/class_accuracy_{name}"] for name in ("min", "median", "max"))
        assert 0 <= low <= middle <= high <= 1
        assert sum(row[f"pretrain/class_accuracy/0.{i}"] for i in range(10)) == pytest.approx(1)
    (svm,) = (row for row in rows if "exemplar/svm_val_accuracy" in row)
    assert svm["step"] == -1 and svm["exemplar/svm_val_accuracy"] == strategy.svm_["val_accuracy"]
    assert rows[-1]["exemplar/svm_test_accuracy"] == strategy.svm_["test_accuracy"]


# ---- two processes


def rank(number: int, folder: str, port: int) -> None:
    os.environ |= {"LOCAL_RANK": str(number), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    two: dict[str, Any] = {"devices": 2, "strategy": "ddp", "precision": "64-true", "plugins": [CPUSync()]}
    with pytest.raises(InputError, match=re.escape("type --exemplar.batch_size 8")):
        fitted(Exemplar(**{**FAST, "batch_size": 7}), **two)
    results = {}
    for freeze in (False, True):
        strategy = Exemplar(**{**FAST, "svm": True}, freeze=freeze)
        module = recorded(Path(folder) / str(freeze), strategy, **two)
        results |= {f"{freeze}/{name}": x for name, x in (state(strategy) | weights(module.network)).items()}
    torch.save(results, f"{folder}/{number}.pt")


def without_train(row: dict[str, float]) -> dict[str, float]:
    return {name: x for name, x in row.items() if not name.startswith("train/")}  # of rank 0 alone


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    in_two_processes(rank, tmp_path)
    one, other = (torch.load(tmp_path / f"{number}.pt", weights_only=True) for number in range(2))
    assert same(one, other)
    for freeze in (False, True):
        strategy = Exemplar(**{**FAST, "svm": True}, freeze=freeze)
        module = recorded(tmp_path / f"alone {freeze}", strategy, precision="64-true")
        for name, x in (state(strategy) | weights(module.network)).items():
            torch.testing.assert_close(one[f"{freeze}/{name}"], x, rtol=1e-9, atol=1e-12)
        together, alone = read_metrics(tmp_path / str(freeze)), read_metrics(tmp_path / f"alone {freeze}")
        for row, expected in zip(together, alone, strict=True):
            assert without_train(row) == pytest.approx(without_train(expected), rel=1e-5)


def test_a_run_of_an_earlier_version_may_have_an_option_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    install_blobs(monkeypatch)
    options = [x for name, value in FAST.items() for x in (f"--exemplar.{name}", str(value))]
    local = "--data blobs --tracking.mode disabled --trainer.accelerator cpu --trainer.devices 1 --trainer.max_epochs 1"
    assert main(["fit", "--strategy", "exemplar", *options, *local.split()]) == 0
    (run,) = tmp_path.glob("runs/*/*/*")
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("exemplar:\n", "exemplar:\n  save_every: 1000\n"))
    for verb in (["fit", "--resume", str(run)], ["test", "--ckpt_path", str(run)]):
        assert main(verb) == 0
    assert main(["fit", "--strategy", "exemplar", "--exemplar.save_every", "5"]) == 2
    assert "no option exemplar.save_every" in capsys.readouterr().err.replace("--", "")
