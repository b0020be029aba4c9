"""A fault ends a run with one line that says what to do, and takes no checkpoint that was good before it.

Runs that are killed and checkpoints cut short are in test_resume.py, W&B out of reach or broken in test_tracking.py,
two runs of one second in test_runs.py, two processes at one cache in test_folder.py, ranks that die in test_launch.py.
"""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from helpers import Blobs, classifier, in_two_processes, same, trainer

from semisup.batch import Batch, Samples
from semisup.classifier import Classifier
from semisup.cli.config import parse
from semisup.cli.front import main
from semisup.errors import InputError
from semisup.runs.directory import WriteError, new_run_dir, write_atomically
from semisup.runs.reading import read_metrics
from semisup.runtime.finite import Diverged, StopOnNonFinite
from semisup.runtime.sync_batchnorm import CPUSync
from semisup.strategy import Loss, LossStrategy
from semisup.tracking.record import MetricsCSV
from semisup.training import checkpoints
from semisup.training.checkpoints import Checkpoints

# ---- a loss that is not finite


class Breaks(LossStrategy):
    """Supervised training whose loss, or whose gradient alone, is broken in one step.

    Args:
        step: which one.
        value: what a part of the loss is then; None breaks the gradient of a loss that stays finite.
        rank: whose loss.
    """

    def __init__(self, step: int, value: float | None, rank: int = 0) -> None:
        self.step, self.value, self.rank = step, value, rank

    def loss(self, module: Classifier, batch: Batch) -> Loss:
        supervised = module.labeled_loss(module(batch.labeled.views["weak"]), batch.labeled.target)
        part = supervised.new_zeros(())
        if (batch.step, module.global_rank) == (self.step, self.rank):
            # The square root of 0 has an infinite slope, and infinity times 0 is not a number.
            part = part + self.value if self.value is not None else (0 * module.network.head.weight.sum()).sqrt()
        return supervised + part, {"supervised": supervised, "part": part}


def train(folder: Path, breaking: LossStrategy, **options: Any) -> Classifier:
    """Three epochs of four steps, from the start."""
    data = Blobs()
    module = classifier(data, breaking)
    keeping = {"logger": MetricsCSV(folder), "enable_checkpointing": True, "log_every_n_steps": 1}
    saving = Checkpoints(folder / "checkpoints")
    trainer(3, callbacks=[saving], **{**keeping, **options}).fit(module, data)
    return module


def good(folder: Path) -> dict[str, Any]:
    """The last checkpoint, in which all weights are finite and beside which nothing was left half written."""
    assert not list(folder.rglob("*.temporary"))
    checkpoint: dict[str, Any] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert all(bool(x.isfinite().all()) for x in checkpoint["state_dict"].values())
    return checkpoint


def rows_of(step: int) -> list[int]:
    """The labeled images of a step of Blobs."""
    data = Blobs()
    loader = data.train_dataloader()
    loader.set_epoch(step // 4)
    return list(loader)[step % 4].labeled.index.tolist()


@pytest.mark.parametrize(("value", "said"), [(float("nan"), "nan"), (float("-inf"), "-inf")])
@pytest.mark.parametrize(("every", "seen"), [(1, [0, 1, 2, 3, 4]), (50, [])])
def test_it_names_the_step_the_part_and_the_images(
    value: float, said: str, every: int, seen: list[int], tmp_path: Path
) -> None:
    with pytest.raises(Diverged) as caught:
        train(tmp_path, Breaks(5, value), log_every_n_steps=every)
    message = str(caught.value)
    assert message.startswith(f"the loss is {said} at step 5 of epoch 1, both counted from 0 as in metrics.csv (")
    assert f", part {said}); no checkpoint holds it; begin another run with a smaller learning rate" in message
    assert message.endswith(f"by rows of the pools: labeled images {', '.join(map(str, rows_of(5)))}")
    assert [row["step"] for row in read_metrics(tmp_path) if "train/loss" in row] == seen
    assert good(tmp_path)["global_step"] == 4


def test_weights_that_a_finite_loss_broke_are_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = r"after the last step weights are not finite \(network\.head\.weight\); no checkpoint holds it"
    with pytest.raises(Diverged, match=broken):  # in the last step of an epoch: no other loss shows it
        train(tmp_path / "a", Breaks(7, None))
    assert good(tmp_path / "a")["global_step"] == 4
    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)
    with pytest.raises(Diverged, match=broken):  # in the middle of one, with a checkpoint after every step
        train(tmp_path / "b", Breaks(5, None))
    assert good(tmp_path / "b")["global_step"] == 5


def test_a_loss_is_not_waited_for_until_somebody_reads(tmp_path: Path) -> None:
    """Tensors on the device `meta` have no values: whoever reads one fails."""
    watch, data = StopOnNonFinite(), Blobs()
    module = classifier(data)
    fitter = trainer(1)
    batch = Batch(0, Samples(*(torch.arange(2) for _ in range(4))))
    for _ in range(3):
        watch.keep(fitter, batch, {"loss": torch.empty((), device="meta")})
    with pytest.raises((NotImplementedError, RuntimeError)):
        watch.check(module)


def rank(number: int, folder: str, port: int) -> None:
    os.environ |= {"LOCAL_RANK": str(number), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    two = {"devices": 2, "strategy": "ddp", "plugins": [CPUSync()]}
    try:
        train(Path(folder), Breaks(5, float("inf"), rank=1), **two)
    except Diverged as error:
        Path(folder, f"{number}.txt").write_text(str(error))


@pytest.mark.slow
def test_all_ranks_say_the_same_of_a_loss_that_one_has_seen(tmp_path: Path) -> None:
    in_two_processes(rank, tmp_path)
    first, second = ((tmp_path / f"{number}.txt").read_text() for number in range(2))
    assert first == second and first.startswith("the loss is inf at step 5 of epoch 1,")
    assert first.endswith(f"labeled images {', '.join(map(str, rows_of(5)))}")  # those of both
    assert good(tmp_path)["global_step"] == 4


# ---- a disk that is full, or not to be written to


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """No file can grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Fills(pl.Callback):
    """Lets no file grow beyond some bytes from an epoch on.

    Args:
        epoch: which one.
        size: so many bytes.
    """

    def __init__(self, epoch: int, size: int) -> None:
        self.epoch, self.size = epoch, size

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == self.epoch:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@pytest.mark.parametrize(("size", "what"), [(300_000, "checkpoints"), (700, "metrics.csv")])
def test_a_full_disk_is_one_line_and_the_run_goes_on_from_its_last_checkpoint(
    size: int, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    six_steps = ["--data", "digits", "--data.steps_per_epoch", "3", "--trainer.max_epochs", "2"]
    six_steps += ["--trainer.log_every_n_steps", "1", "--tracking.mode", "disabled"]
    six_steps += ["--trainer.accelerator", "cpu", "--trainer.devices", "1"]
    full = ["--trainer.callbacks+=test_faults.Fills", "--trainer.callbacks.epoch=1", f"--trainer.callbacks.size={size}"]
    with files_up_to(2**40):
        assert main(["fit", *six_steps, *full]) == 2
    (run,) = Path("runs").glob("*/*/*")
    assert capsys.readouterr().err == (
        f"semisup: error: {run.absolute() / what} can't be written (File too large); make room on that disk, and go on "
        f"with --resume {run}\n"
    )
    assert good(run)["global_step"] == 3
    assert main(["fit", "--resume", str(run), "--trainer.callbacks", "null"]) == 0
    assert main(["fit", *six_steps, "--trainer.default_root_dir", "whole"]) == 0
    (whole,) = Path("whole").glob("*/*/*")
    assert same(good(run)["state_dict"], good(whole)["state_dict"])
    losses = [
        [(row["step"], row["train/loss"]) for row in read_metrics(x) if "train/loss" in row] for x in (run, whole)
    ]
    assert [step for step, _ in losses[0]] == [0, 1, 2, 3, 4, 5] and losses[0] == losses[1]


def test_a_row_for_which_there_is_no_room_is_an_error(tmp_path: Path) -> None:
    logger = MetricsCSV(tmp_path)
    logger.log_metrics({"loss": 1.0}, 0)
    logger.path.unlink()
    logger.path.symlink_to("/dev/full")
    with pytest.raises(WriteError, match=r"metrics\.csv can't be written \(No space left on device\); make room") as e:
        logger.log_metrics({"loss": 0.5}, 1)
    assert isinstance(e.value.__cause__, OSError) and e.value.__cause__.errno == errno.ENOSPC


def test_a_run_directory_that_can_not_be_made_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").touch()  # so that not even the superuser can make a folder there
    assert main(["fit", "--data", "digits", "--tracking.mode", "disabled"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("semisup: error: runs/digits/supervised can't be written (Not a directory); let that")
    assert error.count("\n") == 1 and Path("runs").read_text() == ""


def test_a_folder_that_is_read_only_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        if os.access(tmp_path, os.W_OK):
            pytest.skip("this user may write everywhere")
        for write in (lambda: new_run_dir(tmp_path, "a", "b", 0), lambda: write_atomically(tmp_path / "c.txt", "c")):
            with pytest.raises(WriteError, match=r"can't be written \(Permission denied\); let that folder be written"):
                write()
    finally:
        tmp_path.chmod(0o755)


# ---- the script


@pytest.mark.slow
def test_the_script_tells_faults_that_behaved_from_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1])
    from experiments.faults import training
    from experiments.faults.__main__ import IN_SUITE, SUBJECTS, row
    from experiments.faults.runs import Ended, fit

    named = {fault.__name__: fault for subject in SUBJECTS for fault in subject.FAULTS}
    assert fit(tmp_path / "whole").code == 0
    for name in IN_SUITE:
        (tmp_path / name).mkdir()
        assert row(name, named[name], tmp_path / name, tmp_path / "whole"), capsys.readouterr().out
    assert capsys.readouterr().out.startswith(
        "| infinite loss | Biases become 3e38 and -3e38 before step 4. | exit code 2: the loss is inf at step 4 of"
    )
    monkeypatch.setattr(training, "fit", lambda *_, **__: Ended(0, "as if nothing were wrong", 1.0))
    assert not row("nan_loss", named["nan_loss"], tmp_path / "deaf", tmp_path / "whole")
    assert "**misbehaved: exit code 2, says 'the loss is nan at step 4 of epoch 1', says" in capsys.readouterr().out


# ---- a class of the user's that refuses what it is given


class Refuses(pl.Callback):
    """Refuses in a way of its own."""

    def __init__(self, way: str) -> None:
        raise {"key": KeyError(way), "memory": MemoryError(), "input": InputError("give another way")}[way]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "pytorch_lightning.callbacks.EarlyStopping --monitor=val/accuracy --mode=up",
            "EarlyStopping refuses what it is given: `mode` can be min, max, got up; look at its init_args",
        ),
        (
            "pytorch_lightning.callbacks.ModelCheckpoint --save_top_k=3",
            "ModelCheckpoint refuses what it is given: ModelCheckpoint(save_top_k=3, monitor=None) is not a valid",
        ),
        ("test_faults.Refuses --way=key", "Refuses refuses what it is given: 'key'; look at"),
        ("test_faults.Refuses --way=memory", "Refuses refuses what it is given: MemoryError; look at"),
        ("test_faults.Refuses --way=input", "Refuses refuses what it is given: give another way; look at"),
    ],
)
def test_a_class_that_refuses_its_options_is_one_line(given: str, message: str) -> None:
    name, *options = given.split()
    arguments = [option.replace("--", "--trainer.callbacks.") for option in options]
    with pytest.raises(InputError) as caught:
        parse("fit", [f"--trainer.callbacks+={name}", *arguments])
    assert str(caught.value).startswith(message)
