"""Which run `--resume` means, and that a run belongs to one process at a time."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest
from forked import Forked
from helpers import same, until, weights

from semisup.__main__ import main as semisup
from semisup.classifier import Classifier
from semisup.cli import resume
from semisup.cli.config import Config, parse
from semisup.cli.front import main
from semisup.errors import InputError
from semisup.runs.reading import read_metrics

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
