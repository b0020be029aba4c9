"""Ctrl-C and other signals: the step is finished, saved, and the command that is printed goes on."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from helpers import HANG, same

from semisup.cli.front import main
from semisup.runs.reading import read_metrics
from semisup.runtime.signals import STOPPING, Signals, Stopped, requeue

SIX_STEPS = [
    *("--data", "digits", "--data.steps_per_epoch", "3", "--trainer.max_epochs", "2"),
    *("--trainer.log_every_n_steps", "1", "--tracking.mode", "disabled"),
    *("--trainer.accelerator", "cpu", "--trainer.devices", "1"),
]
CLOCK = ("seconds", "images_per_second")  # what no two runs have in common


class Send(pl.Callback):
    """Sends this process signals in the middle of a step, one after the other.

    Args:
        step: steps that were done before it.
        numbers: of the signals.
        ends: whether the step ever ends after them.
    """

    def __init__(self, step: int, numbers: list[int], ends: bool = True) -> None:
        self.step, self.numbers, self.ends = step, numbers, ends

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: torch.Tensor) -> None:
        if trainer.global_step == self.step:
            for number in self.numbers:
                os.kill(os.getpid(), number)
            while not self.ends:
                signal.pause()


def sent(step: int, numbers: list[int], ends: bool = True) -> list[str]:
    """The options that send the signals."""
    sending = [f"--trainer.callbacks.{name}={value}" for name, value in (("step", step), ("ends", str(ends).lower()))]
    return ["--trainer.callbacks+=test_signals.Send", *sending, f"--trainer.callbacks.numbers={[*map(int, numbers)]}"]


def left() -> tuple[Path, dict[str, Any]]:
    """The only run there is, and its last checkpoint."""
    (run,) = Path("runs").glob("*/*/*")
    return run, torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


def record(run: Path) -> list[dict[str, float]]:
    return [{name: x for name, x in row.items() if name not in CLOCK} for row in read_metrics(run)]


@pytest.fixture(autouse=True)
def nothing_is_ignored() -> Iterator[None]:
    """Signals mean something here even where the tests run in the background, or by nohup, which ignores some."""
    usual = {number: signal.SIG_DFL for number in STOPPING} | {signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """The last checkpoint and the record of a run that no signal reaches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("undisturbed"))
        assert main(["fit", *SIX_STEPS]) == 0
        run, checkpoint = left()
        return checkpoint, record(run)


def goes_on(arguments: list[str], undisturbed: tuple[dict[str, Any], list[dict[str, float]]]) -> None:
    """Asserts that a command ends the run that was stopped as it would have ended."""
    assert main(arguments) == 0
    run, checkpoint = left()
    assert checkpoint["global_step"] == 6
    assert same(checkpoint["state_dict"], undisturbed[0]["state_dict"])
    assert record(run) == undisturbed[1]


@pytest.mark.parametrize(
    ("number", "name", "step"),
    [
        (signal.SIGTERM, "SIGTERM", 1),
        (signal.SIGINT, "Ctrl-C", 3),
        (signal.SIGTERM, "SIGTERM", 2),  # in the last step of an epoch
        (signal.SIGHUP, "SIGHUP", 1),
    ],
)
def test_the_step_is_finished_and_the_printed_command_goes_on(
    number: int,
    name: str,
    step: int,
    undisturbed: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as stopped:
        main(["fit", *SIX_STEPS, *sent(step, [number])])
    assert stopped.value.code == 128 + number
    assert signal.getsignal(number) == before
    run, checkpoint = left()
    assert checkpoint["global_step"] == step + 1
    assert [row["step"] for row in record(run) if "train/loss" in row] == list(range(step + 1))
    said = capfd.readouterr()
    assert f"{name}: finishing the step, and saving; a second Ctrl-C leaves at once" in said.err
    (command,) = [line for line in said.out.splitlines() if line.startswith(f"stopped by {name}; go on with: ")]
    goes_on(command.partition(" -m semisup ")[2].split(), undisturbed)


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGXCPU, signal.SIGUSR1, signal.SIGUSR2])
def test_whatever_asks_for_the_end_is_saved_for(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Stopped) as stopped:
        main(["fit", *SIX_STEPS, *sent(1, [number, number])])
    assert stopped.value.code == 128 + number
    assert left()[1]["global_step"] == 2 and signal.getsignal(number) == signal.SIG_DFL


def test_what_is_ignored_stays_ignored() -> None:
    """As nohup asks for."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals().handled():
            os.kill(os.getpid(), signal.SIGHUP)
            with pytest.raises(Stopped):
                os.kill(os.getpid(), signal.SIGUSR2)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def job(folder: Path, monkeypatch: pytest.MonkeyPatch, scontrol: str) -> None:
    """Makes this process the only task of a SLURM job whose `scontrol` is a shell script, in a folder of its own."""
    monkeypatch.chdir(folder)
    (folder / "bin").mkdir()
    (folder / "bin" / "scontrol").write_text(f"#!/bin/sh\n{scontrol}\n")
    (folder / "bin" / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder / "bin"), prepend=os.pathsep)
    one_task = {"NTASKS": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0", "JOB_NAME": "job", "JOB_ID": "41"}
    for name, value in one_task.items():
        monkeypatch.setenv(f"SLURM_{name}", value)


def test_slurm_queues_the_job_again_and_its_script_goes_on(
    undisturbed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    job(tmp_path, monkeypatch, 'echo "$@" > asked')
    script = ["fit", *SIX_STEPS, "--resume", "auto"]
    with pytest.raises(Stopped) as stopped:
        main([*script, *sent(1, [signal.SIGUSR1, signal.SIGTERM])])  # a preempted job gets both
    assert stopped.value.code == 128 + signal.SIGUSR1
    assert left()[1]["global_step"] == 2
    assert Path("asked").read_text() == "requeue 41\n"
    assert "SLURM queues job 41 again; with --resume auto in its script it goes on" in capfd.readouterr().out
    goes_on(script, undisturbed)
    assert "goes on with runs/digits/supervised/" in capfd.readouterr().out


def test_a_sigterm_alone_is_no_wish_to_be_queued_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job(tmp_path, monkeypatch, 'echo "$@" > asked')
    with pytest.raises(Stopped):
        main(["fit", *SIX_STEPS, *sent(1, [signal.SIGTERM])])
    assert left()[1]["global_step"] == 2 and not Path("asked").exists()


def test_a_slurm_that_does_not_queue_again_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job(tmp_path, monkeypatch, "echo 'Requested operation is presently disabled' >&2; exit 1")
    assert requeue() == "SLURM does not queue job 41 again (Requested operation is presently disabled )"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "40")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert requeue().startswith("SLURM does not queue job 40_3 again ([Errno 2] No such file or directory: 'scontrol'")


def test_a_second_ctrl_c_leaves_in_the_middle_of_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def child() -> None:
        os._exit(main(["fit", *SIX_STEPS, *sent(4, [signal.SIGINT, signal.SIGINT], ends=False)]))

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(HANG)
    process.kill()
    assert process.exitcode == -signal.SIGINT
    run, checkpoint = left()
    assert checkpoint["global_step"] == 3 and not list(run.glob("checkpoints/*.temporary"))
