"""The precision where none is asked for: what decides, and that a run keeps it wherever it goes on or is scored."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor, nn

from semisup.cli.front import main
from semisup.compare import grid
from semisup.compare.comparable import conditions
from semisup.models import precision
from semisup.models.network import Network
from semisup.models.normalization import Normalization
from semisup.runs.run import Run

# A network that is large enough, on pictures that are quickly read.
LARGE = ("--data", "digits", "--data.labels_per_class", "2", "--model.backbone", "small", "--model.input_size", "32")
BRIEF = ("--data.steps_per_epoch", "1", "--trainer.limit_val_batches", "1", "--tracking.mode", "disabled")


class Convolution(nn.Module):
    """A layer without a bias, and the mean over places."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(channels, width, 3, padding=1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.layer(images).mean((2, 3))
        return features


def network(channels: int, width: int) -> Network:
    return Network(Normalization("none", channels), Convolution(channels, width), nn.Linear(width, 10))


@pytest.fixture
def cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lets this CPU have the flags that are given."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)

    def has(flags: str) -> None:
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: fpu {flags} sse2\n")
        monkeypatch.setattr(precision, "CPUINFO", tmp_path / "cpuinfo")

    return has


def fitted(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[Path, str, str | None]:
    """A fit's directory, the precision that it says it trains in, and that of its config.yaml."""
    assert main(["fit", *BRIEF, *options]) == 0
    said = capsys.readouterr().out
    run = re.search(r"^run: ([^,\n]+)", said, re.MULTILINE)
    trained = re.search(r"^training: 1 device \(cpu\), ([^,]+),", said, re.MULTILINE)
    assert run and trained
    config = yaml.safe_load(Path(run[1], "config.yaml").read_text())
    return Path(run[1]), trained[1], config["trainer"]["precision"]


@pytest.mark.parametrize(("channels", "width", "side"), [(1, 4, 8), (3, 7, 16)])
def test_operations_are_those_of_the_layers(channels: int, width: int, side: int) -> None:
    found = network(channels, width).train()
    assert precision.operations(found, channels, side) == 2 * (9 * channels * width * side**2 + 10 * width)
    assert found.training and found.backbone.training


def test_a_cpu_says_what_it_multiplies(cpu: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    for flags, multiplies in (("amx_bf16", True), ("avx512_bf16", False), ("avx2", False), ("no_amx_bf16x", False)):
        cpu(flags)
        assert precision.multiplies_bf16() is multiplies
    monkeypatch.setattr(precision, "CPUINFO", Path("not there"))
    assert precision.multiplies_bf16() is False
    known = getattr(torch.cpu, "get_capabilities", dict)()
    if "amx_bf16" in known and Path("/proc/cpuinfo").exists():
        monkeypatch.setattr(precision, "CPUINFO", Path("/proc/cpuinfo"))
        assert precision.multiplies_bf16() is known["amx_bf16"]


def test_bf16_takes_a_large_network_one_thread_and_a_cpu_for_it(
    cpu: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    large, small = network(3, 100), network(3, 7)
    for flags, threads, chosen in (
        ("amx_bf16", 1, "bf16-mixed"),
        ("amx_bf16", 2, "32-true"),
        ("avx512_bf16", 1, "32-true"),
    ):
        cpu(flags)
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert precision.by_default(large, 3, 64) == chosen
        assert precision.by_default(small, 3, 64) is None  # 3 million operations


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)


@pytest.mark.usefixtures("one_thread")
def test_a_run_says_its_precision_keeps_it_and_is_found_by_it(
    cpu: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    cpu("amx_bf16")
    one_epoch = (*LARGE, "--trainer.max_epochs", "1")
    run, *seen = fitted(capsys, *one_epoch)
    assert seen == ["bf16-mixed", "bf16-mixed"]
    score = Run(run).scores["best/test_accuracy"]

    # The one that goes on and those that look for it ask for none, on a machine that would choose another.
    cpu("avx2")
    again, *seen = fitted(capsys, *one_epoch, "--resume", "auto")
    assert (again, *seen) == (run, "bf16-mixed", "bf16-mixed")
    again, *seen = fitted(capsys, "--resume", str(run))
    assert (again, *seen) == (run, "bf16-mixed", "bf16-mixed")
    config = yaml.safe_load((run / "config.yaml").read_text())
    asks_for_none = {**config, "trainer": {**config["trainer"], "precision": None}}
    job = grid.Job("supervised", None, 0, [], grid.wanted(asks_for_none, 0))
    assert grid.find(job, Path("runs")) == (run.absolute(), True)
    assert conditions(Run(run))["trainer.precision"] == "bf16-mixed"

    cpu("amx_bf16")
    assert main(["test", str(run)]) == 0
    assert f"{100 * score:6.2f} %" in capsys.readouterr().out


@pytest.mark.usefixtures("one_thread")
def test_what_was_asked_for_or_began_without_stays(
    cpu: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    cpu("amx_bf16")
    one_epoch = ("--trainer.max_epochs", "1")
    assert fitted(capsys, *LARGE, *one_epoch, "--trainer.precision", "32-true")[1:] == ("32-true", "32-true")
    tiny, *seen = fitted(capsys, *LARGE[:6], *one_epoch)  # at 8 px
    assert seen == ["32-true", None]
    assert fitted(capsys, "--resume", str(tiny))[1:] == ("32-true", None)

    cpu("avx2")
    run, *seen = fitted(capsys, *LARGE, *one_epoch, "--seed", "1")
    assert seen == ["32-true", "32-true"]
    # A run of before says nothing, and was in float32.
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("precision: 32-true", "precision: null"))
    cpu("amx_bf16")
    assert fitted(capsys, *LARGE, *one_epoch, "--seed", "1", "--resume", "auto")[1:] == ("32-true", None)
