"""Killed anywhere and resumed, a run ends as if nothing had happened."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from helpers import Blobs, classifier, same, trainer, weights
from killed_runs import differences
from torch import Tensor

from semisup.errors import InputError
from semisup.tracking.record import ContinueRecord, MetricsCSV
from semisup.training import checkpoints
from semisup.training.checkpoints import Checkpoints, newest
from strategies.pseudolabel import PseudoLabel

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours catches it."""


def dies_at(number: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, until it is called for the given time, counted from 0: then the process ends before it acts."""
    calls = iter(range(number))

    def dying(*args: Any, **kwargs: Any) -> Any:
        if next(calls, None) is None:
            raise Killed
        return function(*args, **kwargs)

    return dying


# ---- in one process: three rounds of pseudo-labels in epochs of four steps


def fit(folder: Path, **options: Any) -> tuple[dict[str, Tensor], Any, str]:
    """Goes on in a folder: what it ends with in weights, pseudo-labels and choice of the best, and its record."""
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    data = Blobs()
    module = classifier(data, PseudoLabel(threshold=0.4, warmup_epochs=1, every_n_epochs=1), "pseudolabel")
    saving, point = Checkpoints(folder / "checkpoints"), newest(folder)
    if point is None:
        (folder / "metrics.csv").unlink(missing_ok=True)
    kept: dict[str, Any] = {"logger": MetricsCSV(folder), "enable_checkpointing": True, "log_every_n_steps": 1}
    fitting = trainer(3, callbacks=[ContinueRecord(), saving], **kept, **options)
    fitting.fit(module, data, ckpt_path=point, weights_only=True)
    found = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    best = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    state = weights(module) | {f"best {name}": x for name, x in best.items()} | found["callbacks"]["PseudoLabel"]
    return state, found["callbacks"]["Checkpoints"], (folder / "metrics.csv").read_text()


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint is due after every step."""
    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Tensor], Any, str]:
    """What a run ends with that nobody disturbs, and that saves at the end of epochs only."""
    return fit(tmp_path_factory.mktemp("whole"))


def test_what_a_killed_process_left_half_written_is_gone_when_the_run_goes_on(tmp_path: Path) -> None:
    """Also one of an earlier version, which gave it another name; what is not of ours stays."""
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for name in ("last.temporary", "last.aside", "best.aside", "notes.txt"):
        (folder / name).write_bytes(b"half")
    saving, data = Checkpoints(folder), Blobs()
    trainer(1, max_steps=4, callbacks=[saving], enable_checkpointing=True).fit(classifier(data), data)
    assert {path.name for path in folder.iterdir()} == {"best.ckpt", "last.ckpt", "notes.txt"}


WHERE: dict[str, tuple[Any, str]] = {
    "before a checkpoint": (pl.Trainer, "save_checkpoint"),
    "before it is flushed": (checkpoints, "_flush"),
    "before it is in place": (checkpoints.os, "replace"),
    "before a row is written": (MetricsCSV, "log_metrics"),
    "in a round of pseudo-labels": (PseudoLabel, "_report"),
}


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize(
    ("where", "number"), [(where, n) for where in WHERE for n in ((0, 4, 11) if "round" not in where else (0, 2))]
)
def test_a_run_that_dies_in_the_worst_moment(
    where: str, number: int, whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name = WHERE[where]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, dies_at(number, getattr(owner, name)))
        with pytest.raises(Killed):
            fit(tmp_path)
    state, choice, record = fit(tmp_path)
    assert same(state, whole[0]) and choice == whole[1]
    assert record == whole[2]
    left = sorted(path.name for path in tmp_path.rglob("*.*"))
    assert left == ["best.ckpt", "last.ckpt", "metrics.csv"]


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize(
    "options",
    [{"accumulate_grad_batches": 2}, {"val_check_interval": 0.5}, {"max_steps": 10}, {"check_val_every_n_epoch": 2}],
    ids=lambda options: next(iter(options)),
)
def test_it_goes_on_with_other_ways_to_count(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = fit(tmp_path / "whole", **options)
    with monkeypatch.context() as patch:
        patch.setattr(MetricsCSV, "log_metrics", dies_at(5, MetricsCSV.log_metrics))
        with pytest.raises(Killed):
            fit(tmp_path / "cut", **options)
    found = fit(tmp_path / "cut", **options)
    assert same(found[0], expected[0]) and found[1:] == expected[1:]


# ---- which checkpoint


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that died in its third epoch, to be copied."""
    folder = tmp_path_factory.mktemp("interrupted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PseudoLabel, "_report", dies_at(1, PseudoLabel._report))
        patch.setattr(checkpoints, "SECONDS", 0.0)
        with pytest.raises(Killed):
            fit(folder)
    return folder


@pytest.mark.parametrize("fault", ["cut short", "empty", "absent", "changed"])
def test_a_checkpoint_cut_short_is_passed_over(
    fault: str, interrupted: Path, whole: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(interrupted, tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    step = torch.load(last, weights_only=True)["global_step"]
    content = last.read_bytes()
    last.write_bytes(content[: len(content) // 2] if fault == "cut short" else b"")
    if fault == "absent":
        last.unlink()
    elif fault == "changed":
        torch.save({**torch.load(io.BytesIO(content), weights_only=True), "optimizer_states": []}, last)
    point = newest(tmp_path / "run")
    assert point is not None and point.name == "previous.ckpt"
    assert torch.load(point, weights_only=True)["global_step"] == step - 1
    said = capsys.readouterr().out
    reasons = {"absent": "", "changed": f"{last} was changed after it was written"}
    assert reasons.get(fault, f"{last} is not a checkpoint, or is cut short") in said
    assert (said == "") is (fault == "absent")
    assert fault == "absent" or "goes on from previous.ckpt instead" in said
    state, choice, record = fit(tmp_path / "run")
    assert same(state, whole[0]) and (choice, record) == whole[1:]


def test_without_any_checkpoint_to_read_it_is_an_error(interrupted: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(interrupted, run)
    for path in (run / "checkpoints").iterdir():
        path.write_bytes(b"")
    with pytest.raises(
        InputError, match=r"no checkpoint of .*run can be restored: .*last\.ckpt.*previous\.ckpt.*best\.ckpt"
    ):
        newest(run)
    shutil.rmtree(run / "checkpoints")
    assert newest(run) is None


def test_a_run_that_was_moved_keeps_its_best(interrupted: Path, whole: Any, tmp_path: Path) -> None:
    shutil.copytree(interrupted, tmp_path / "elsewhere")
    state, choice, _ = fit(tmp_path / "elsewhere")
    assert choice == whole[1] and same(state, whole[0])


# ---- for real


@pytest.fixture
def kill(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(EXPERIMENTS)
    import kill

    return kill


@pytest.mark.slow
@pytest.mark.parametrize(
    "strategy", ["supervised", "pseudolabel", "fixmatch", "kmeans", "exemplar", "kmeans+pseudolabel"]
)
def test_a_run_of_every_strategy_is_killed_and_goes_on(strategy: str, kill: ModuleType) -> None:
    found = kill.trial(strategy, "nothing", 1)
    assert found["kills"] >= 1  # the first moment is one that the run reaches
    assert (found["refused"], found["differences"]) == ("", [])


def test_a_difference_of_one_bit_is_seen() -> None:
    one = {"last.ckpt": {"weights": [torch.zeros(2)]}, "metrics.csv": [{"a": "1"}]}
    other = {"last.ckpt": {"weights": [torch.tensor([0.0, 1e-45])]}, "metrics.csv": [{"a": "1"}]}
    assert list(differences(one, other)) == ["/last.ckpt/weights/0"]
    assert list(differences(one, one)) == []
