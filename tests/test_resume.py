"""Killed anywhere and resumed, a run ends as if nothing had happened; and which run `--resume` means."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from forked import Forked
from helpers import Blobs, classifier, same, trainer, until, weights
from killed_runs import differences
from torch import Tensor

from semisup.__main__ import main as semisup
from semisup.classifier import Classifier
from semisup.cli import resume
from semisup.cli.config import Config, parse
from semisup.cli.front import main
from semisup.errors import InputError
from semisup.runs.reading import read_metrics
from semisup.tracking.record import ContinueRecord, MetricsCSV
from semisup.training import checkpoints
from semisup.training.checkpoints import Checkpoints, newest
from strategies.pseudolabel import PseudoLabel

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
BRIEF = [
    *(
        "--data",
        "digits",
        "--data.steps_per_epoch",
        "3",
        "--trainer.max_epochs",
        "2",
        "--trainer.log_every_n_steps",
        "1",
    ),
    *("--tracking.mode", "disabled", "--trainer.accelerator", "cpu", "--trainer.devices", "1"),
]


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


# ---- which run


def ended(*arguments: str) -> Path:
    """Runs `fit` in this process and returns the newest run directory."""
    assert main(["fit", *BRIEF, *arguments]) == 0
    return max(Path("runs").glob("*/*/*"), key=lambda path: (path / "config.yaml").stat().st_mtime)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has ended, to be copied."""
    folder = tmp_path_factory.mktemp("ended")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return folder / ended()


@pytest.fixture
def copied(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, in the working directory."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run.parents[2], "runs")
    return run.relative_to(run.parents[3])


def without_seconds(run: Path) -> list[dict[str, float]]:
    return [{name: x for name, x in row.items() if name != "seconds"} for row in read_metrics(run)]


def run_to_resume(config: Config) -> Path | None:
    """The run that `--resume` means, given free again."""
    with ExitStack() as held:
        folder = Path(config.trainer["default_root_dir"]) / config.data.name / config.strategy
        resumed = resume.run_to_resume(config.own.resume, folder, config.options, held)
        return resumed and resumed.run


def refuses(run: Path, *arguments: str) -> str:
    with pytest.raises(InputError) as caught:
        run_to_resume(parse("fit", ["--resume", str(run), *arguments]))
    return str(caught.value)


def test_a_run_that_has_ended_reports_again(run: Path, copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copied / "predictions.csv").unlink()
    assert main(["fit", "--resume", str(copied)]) == 0
    said = capsys.readouterr().out
    assert "from last.ckpt" in said and "best (epoch" in said and "epoch 1 of" not in said
    assert without_seconds(copied) == without_seconds(run)
    assert (copied / "predictions.csv").read_text() == (run / "predictions.csv").read_text()


def test_a_run_killed_before_its_first_checkpoint_begins_anew(
    run: Path, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(copied / "checkpoints")
    (copied / ".metrics.csv.1.tmp").touch()
    assert main(["fit", "--resume", str(copied)]) == 0
    assert "has saved nothing yet and begins anew" in capsys.readouterr().out
    assert without_seconds(copied) == without_seconds(run)
    assert not (copied / ".metrics.csv.1.tmp").exists()


def test_auto_finds_the_newest_run_with_these_options(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("20300101-000000-s0", "20300101-000000-s0-2"):
        shutil.copytree(copied, copied.with_name(name))
    other = copied.with_name("20310101-000000-s0")
    shutil.copytree(copied, other)
    text = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(text.replace("lr: 0.03", "lr: 0.04"))
    config = parse("fit", [*BRIEF, "--resume", "auto"])
    found = run_to_resume(config)
    assert found == copied.with_name("20300101-000000-s0-2").absolute()
    assert f"goes on with {copied.with_name('20300101-000000-s0-2')}, the newest run" in capsys.readouterr().out
    assert run_to_resume(parse("fit", [*BRIEF, "--resume", "auto", "--optimizer.lr", "0.04"])) == other.absolute()
    assert run_to_resume(parse("fit", [*BRIEF, "--resume", "auto", "--seed", "1"])) is None
    assert "begins anew, there is no run of supervised on digits with these options" in capsys.readouterr().out


def test_other_options_make_another_run(copied: Path) -> None:
    assert refuses(copied, "--optimizer.lr", "0.1") == (
        f"{copied} began with --optimizer.lr 0.03, not 0.1; a resumed run goes on as it began: leave --optimizer.lr "
        f"out, or leave --resume out to begin another run"
    )
    assert "began with --strategy supervised, not fixmatch; a resumed run" in refuses(copied, "--strategy", "fixmatch")
    assert "began with --trainer.max_epochs 2, not 9;" in refuses(copied, "--trainer.max_epochs", "9")
    assert "began with --trainer.precision null, not bf16-mixed;" in refuses(
        copied, "--trainer.precision", "bf16-mixed"
    )


def test_what_decides_where_and_not_what_may_change(copied: Path) -> None:
    other = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.callbacks", "LearningRateMonitor"]
    config = parse("fit", ["--resume", str(copied), *other, "--tracking.tensorboard", "true"])
    assert run_to_resume(config) == copied.absolute()
    assert int(config.trainer["devices"]) == 2 and config.trainer["max_epochs"] == 2


def test_a_constant_learning_rate_can_be_prolonged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    short = ended("--lr_scheduler", "constant")
    assert main(["fit", "--resume", str(short), "--trainer.max_epochs", "4"]) == 0
    whole = ended("--lr_scheduler", "constant", "--trainer.max_epochs", "4")
    assert whole != short and without_seconds(whole) == without_seconds(short)
    ours, theirs = (Classifier.from_checkpoint(path / "checkpoints" / "last.ckpt") for path in (short, whole))
    assert same(weights(ours), weights(theirs))


@pytest.mark.parametrize(
    ("path", "message"), [("nowhere", "nowhere does not exist"), (".", ". is not a run directory")]
)
def test_what_is_not_a_run(path: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = refuses(Path(path))
    assert said.startswith(f"--resume: {message}") and said.endswith("type the path of a run, or --resume auto")


# ---- for real


def test_a_run_belongs_to_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    waiting = ["--trainer.callbacks", "helpers.WaitAt", "--trainer.callbacks.step", "4"]
    command = ["semisup", "fit", *BRIEF, *waiting, "--trainer.callbacks.folder", str(tmp_path)]
    with Forked(semisup, command) as first:
        until((tmp_path / "waits").exists, lambda: first.poll() is None)
        (live,) = Path("runs").glob("*/*/*")
        before = {path: path.read_bytes() for path in live.rglob("*") if path.is_file()}
        assert main(["fit", "--resume", str(live), "--trainer.callbacks", "null"]) == 2
        who = f"process {first.pid} on "
        said = capsys.readouterr().err
        assert f"{live.name} belongs to {who}" in said and said.count("\n") == 1
        assert main(["fit", *BRIEF, "--resume", "auto"]) == 0
        said = capsys.readouterr().out
        assert f"--resume auto: {live} is left alone, it belongs to {who}" in said and "begins anew" in said
        assert before == {path: path.read_bytes() for path in live.rglob("*") if path.is_file()}
        (tmp_path / "go").touch()
        first.communicate()
        assert first.returncode == 0
    (other,) = (path for path in Path("runs").glob("*/*/*") if path != live)
    assert without_seconds(live) == without_seconds(other)
    assert main(["fit", "--resume", str(live), "--trainer.callbacks", "null"]) == 0


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
