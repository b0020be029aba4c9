"""What a training takes is told before it, and one that needs more memory than there is does not begin."""

from __future__ import annotations

import re
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Blobs, classifier, trainer

from semisup.cli.front import main
from semisup.runtime import memory
from semisup.runtime.console import duration
from semisup.training import forecast
from semisup.training.forecast import Forecast, TooLittleMemory, _Line

CPU = torch.device("cpu")
MEGABYTE = 2**20


def fit(callback: Forecast, batch_size: int = 60, **options: Any) -> None:
    data = Blobs(batch_size=batch_size)
    trainer(1, callbacks=[callback], **options).fit(classifier(data), data)


# ---- memory


def test_the_peak_counts_what_was_freed_again() -> None:
    memory.forget_peak(CPU)
    before = memory.peak(CPU)
    big = torch.ones(200 * MEGABYTE // 4)
    del big
    after = memory.peak(CPU)
    assert 195 < (after - before) / MEGABYTE < 230
    memory.forget_peak(CPU)
    assert memory.peak(CPU) < after - 150 * MEGABYTE


def test_what_is_free_is_less_than_what_there_is() -> None:
    there = re.search(r"MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    assert there and 0 < memory.available(CPU) <= 1024 * int(there[1])


def test_the_limits_of_a_job_count_but_not_the_files_that_it_has_read(tmp_path: Path) -> None:
    """A job within a container: 800 MB of which 500 are used, 200 of these for files, within 1000 of which 900 are."""
    job = tmp_path / "container" / "job"
    job.mkdir(parents=True)
    for folder, limit, used, files in ((job, 800, 500, 200), (job.parent, 1000, 900, 0), (tmp_path, "max", 0, 0)):
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text(f"{used}\n")
        (folder / "memory.stat").write_text(f"anon 7\nfile {files}\nfile_mapped 3\n")
    membership = tmp_path / "cgroup"
    membership.write_text("0::/container/job\n")
    assert memory._left_in_groups(tmp_path, membership) == [500, 100]
    membership.write_text("1:memory:/elsewhere\n")
    assert memory._left_in_groups(tmp_path, membership) == []


def test_bytes_lie_on_the_line_through_both_points() -> None:
    line = _Line((10, 20), (1300, 1500), 0.1)
    assert line.bytes_of(80) == 2700 and line.bytes_of(10) == 1300
    assert line.images_in(2700) == 80 and line.images_in(100) == 0
    assert _Line((10, 20), (500, 500), 0.1).bytes_of(80) == 500


def test_what_else_the_process_takes_meanwhile_refuses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once there are 40 MB more than 15 images need, of which a step of 60 would be held to need 225 further."""
    monkeypatch.setattr(forecast, "available", lambda device: 1)
    monkeypatch.setattr(forecast, "peak", lambda device: 500)
    monkeypatch.setattr(torch.nn.Parameter, "numel", lambda self: 0)
    lines = iter([_Line((7, 15), (100, 100 + extra * MEGABYTE), 0.1) for extra in (40, 0, 0, 0)])
    monkeypatch.setattr(forecast, "_measure", lambda *arguments: next(lines))
    fit(Forecast())
    assert next(lines, None) is None


@pytest.mark.slow
def test_what_is_told_is_what_the_training_then_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a network whose activations take 150 MB for a batch, and 20 MB for an eighth of it."""
    said: list[str] = []
    monkeypatch.setattr(forecast, "say", said.append)
    monkeypatch.setattr(forecast, "_gigabytes", lambda count: f"{int(count)}")

    class Large(torch.nn.Module):
        num_features = 4

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1, 4, 1, 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            tall = x.repeat(1, 1, 64, 64) * self.weight  # (B, 4, 512, 512): 4 MB an image
            return tall.sin().cos().sin().mean((2, 3))

    data = Blobs(batch_size=24)
    module = classifier(data)
    module.network.backbone = Large()
    module.network.head = torch.nn.Linear(4, 3)
    measured: list[int] = []

    class Measure(Forecast):
        def on_train_batch_start(self, *arguments: Any) -> None:
            super().on_train_batch_start(*arguments)
            memory.forget_peak(CPU)

        def on_train_batch_end(self, *arguments: Any) -> None:
            measured.append(memory.peak(CPU))

    trainer(1, callbacks=[Measure()], limit_train_batches=2, limit_val_batches=0).fit(module, data)
    told = int(said[0].split()[2])
    base = memory.peak(CPU)
    assert measured[0] > 300 * MEGABYTE
    assert told == pytest.approx(max(measured), rel=0.25), base


# ---- too little of it


def test_more_than_there_is_is_refused_with_a_batch_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "available", lambda device: 1)
    lines = cycle([_Line((7, 15), (100, 180), 0.1), _Line((7, 15), (100, 100), 0.1)])
    monkeypatch.setattr(forecast, "_measure", lambda *arguments: next(lines))
    monkeypatch.setattr(forecast, "peak", lambda device: 500)
    monkeypatch.setattr(forecast, "_gigabytes", lambda count: f"{count:.0f} bytes")
    monkeypatch.setattr(torch.nn.Parameter, "numel", lambda self: 0)
    # 180 bytes for 15 images and 10 for each further one are 630 for 60; 450, nine tenths of what there is, are 42.
    with pytest.raises(TooLittleMemory) as error:
        fit(Forecast())
    assert str(error.value) == (
        "this training needs about 630 bytes of 501 bytes of memory that there are; type --data.batch_size 42, or "
        "--trainer.precision bf16-mixed, or --yes to go on"
    )


def test_yes_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And what was refused leaves no run behind; the answer is no part of a run's options."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(forecast, "available", lambda device: 1)
    words = ["fit", "--data", "digits", "--data.batch_size", "60", "--trainer.max_steps", "3"]
    words += ["--trainer.max_epochs", "1", "--tracking.mode", "disabled", "--trainer.accelerator", "cpu"]
    assert main(words) == 2
    assert "or --yes to go on" in capsys.readouterr().err
    assert not list(tmp_path.glob("runs/*/*/*"))
    assert main([*words, "--yes"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^memory: about [\d.]+ GB of [\d.]+ GB$", said, re.MULTILINE)
    assert re.search(r"^time: about .* for 1 steps$", said, re.MULTILINE)
    (config,) = tmp_path.glob("runs/*/*/*/config.yaml")
    assert "yes" not in config.read_text()


def test_a_batch_too_small_to_be_measured_in_part_just_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "_measure", lambda *arguments: pytest.fail("nothing to measure"))
    fit(Forecast(), batch_size=2)


def test_a_loss_that_takes_whole_batches_alone_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    data, steps = Blobs(batch_size=60), []
    module = classifier(data)
    loss = module.strategy.loss

    def whole(module: Any, batch: Any) -> Any:
        if len(batch.labeled) != 60:
            raise RuntimeError("60 images, please")
        steps.append(batch.step)
        return loss(module, batch)

    monkeypatch.setattr(module.strategy, "loss", whole)
    trainer(1, callbacks=[Forecast()]).fit(module, data)
    assert steps == [0, 1, 2, 3]


@pytest.mark.parametrize(("seconds", "words"), [(40, "40 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (0.4, "0 s")])
def test_seconds_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words
