"""Ranks that torchrun or SLURM starts, on one node and on two, end with what one process does, or with an error."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from helpers import HANG, spins, unbounded

from semisup.cli.front import main
from semisup.errors import InputError
from semisup.runs.reading import read_metrics
from semisup.runtime import launch
from semisup.runtime.launch import check, check_program
from semisup.runtime.openmp import SPINS

# Double precision, in which rounding can't tip a choice; batch normalisation over all ranks.
SIX_STEPS = [
    *("--data", "digits", "--data.steps_per_epoch", "3", "--trainer.max_epochs", "2"),
    *("--strategy", "pseudolabel", "--pseudolabel.warmup_epochs", "1", "--pseudolabel.rule", "top_k_overall"),
    *("--pseudolabel.top_k", "300", "--trainer.precision", "64-true", "--trainer.sync_batchnorm", "true"),
    *("--trainer.log_every_n_steps", "1", "--tracking.mode", "disabled", "--trainer.accelerator", "cpu"),
]
CLOCK = ("seconds", "images_per_second")  # what no two runs have in common


class Dies(pl.Callback):
    """Kills the process of a rank before a step, the first time that it is started.

    Args:
        rank: which one.
        step: steps that were done before it.
    """

    def __init__(self, rank: int, step: int) -> None:
        self.rank, self.step = rank, step

    def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        first = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
        if first and (trainer.global_rank, trainer.global_step) == (self.rank, self.step):
            os.kill(os.getpid(), signal.SIGKILL)


def together(folder: Path, *processes: tuple[list[str], dict[str, str]]) -> list[tuple[int, str]]:
    """Starts Python processes at once, each with arguments and variables, and waits: exit codes, and what they said."""
    folder.mkdir(exist_ok=True)
    environment = {name: x for name, x in unbounded().items() if not name.startswith(("SLURM_", "MASTER_"))}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=folder,
            env=environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for arguments, variables in processes
    ]
    try:
        said = [process.communicate(timeout=HANG)[0] for process in started]
        return [(process.returncode, text) for process, text in zip(started, said, strict=True)]
    finally:
        for process in started:
            process.kill()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def result(folder: Path) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """The last checkpoint and the record of the only run under a folder."""
    (path,) = folder.glob("runs/*/*/*/checkpoints/last.ckpt")
    rows = [{name: x for name, x in row.items() if name not in CLOCK} for row in read_metrics(path.parents[1])]
    return torch.load(path, weights_only=True), rows


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """What one process ends with."""
    folder = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["fit", *SIX_STEPS, "--trainer.devices", "1"]) == 0
    return result(folder)


def is_the_same(folder: Path, alone: tuple[dict[str, Any], list[dict[str, float]]]) -> None:
    """Asserts that two ranks have left one run, and in it what one process leaves."""
    (one, rows), (two, ours) = alone, result(folder)
    rounds = [checkpoint["callbacks"]["PseudoLabel"] for checkpoint in (one, two)]
    assert len(rounds[0]["rows"]) == 300
    assert all(torch.equal(x, rounds[1][name]) for name, x in rounds[0].items())
    for name, x in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][name], x, rtol=1e-9, atol=1e-12, msg=name)
    for row, expected in zip(ours, rows, strict=True):
        assert row == pytest.approx(expected, rel=1e-6)


TORCHRUN = ["torch.distributed.run", "--rdzv_backend", "c10d", "--rdzv_endpoint"]


@pytest.mark.slow
def test_torchrun_on_one_node(alone: Any, tmp_path: Path) -> None:
    here = [*TORCHRUN, "127.0.0.1:0", "--nproc_per_node", "2", "-m", "semisup", "fit", *SIX_STEPS]
    ((code, said),) = together(tmp_path, (here, {}))
    assert code == 0, said
    assert str(SPINS) in spins(said)  # and what torchrun's own process says
    assert "training: 2 devices (cpu), 64-true, batch 24 labeled and 24 unlabeled in all, 12 and 12 on each" in said
    is_the_same(tmp_path, alone)


PROGRAM = """
import semisup
from semisup.errors import InputError

options = OPTIONS
options |= {"trainer.devices": 2, "trainer.strategy": "ddp"}
model = semisup.fit(**options)
print("scored", len(model.scores))
print("one device:", len(semisup.fit(**options | {"trainer.devices": 1, "trainer.default_root_dir": "one"}).scores))
try:
    semisup.fit(**options)
except InputError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_program_that_trains_on_two_devices(alone: Any, tmp_path: Path) -> None:
    """Two processes train, and one goes on."""
    options = {name.removeprefix("--"): x for name, x in zip(SIX_STEPS[::2], SIX_STEPS[1::2], strict=True)}
    (tmp_path / "program.py").write_text(PROGRAM.replace("OPTIONS", repr(options)))
    ((code, said),) = together(tmp_path, (["program"], {"PYTHONPATH": str(tmp_path)}))
    assert code == 0, said
    is_the_same(tmp_path, alone)
    assert said.count("scored") == said.count("one device:") == 1
    again = "a training on 2 devices starts this program again for each device, and it has trained before; put this"
    assert again in said.splitlines()[-1]


def test_a_program_that_is_no_file_can_not_be_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_trainings", count())
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))  # as in `python -c`
    with pytest.raises(InputError, match="it is no file; put it into one, or type semisup fit with these options"):
        check_program(2)
    check_program(1)


@pytest.mark.slow
def test_torchrun_on_two_nodes(alone: Any, tmp_path: Path) -> None:
    node = [*TORCHRUN, f"127.0.0.1:{free_port()}", "--nnodes", "2", "--nproc_per_node", "1", "-m", "semisup", "fit"]
    for code, said in together(tmp_path, *[([*node, *SIX_STEPS], {}) for _ in range(2)]):
        assert code == 0, said
    is_the_same(tmp_path, alone)


def tasks(*arguments: str, nodes: int) -> list[tuple[list[str], dict[str, str]]]:
    """The two tasks that `srun` would start."""
    common = {"NTASKS": "2", "NTASKS_PER_NODE": str(2 // nodes), "NNODES": str(nodes)}
    common |= {"JOB_ID": "41", "JOB_NAME": "job", "NODELIST": "127.0.0.1"}
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    places = [{"PROCID": str(k), "LOCALID": str(k % (2 // nodes)), "NODEID": str(k * nodes // 2)} for k in range(2)]
    return [
        (["semisup", "fit", *SIX_STEPS, *arguments], meeting | {f"SLURM_{n}": x for n, x in (common | place).items()})
        for place in places
    ]


@pytest.mark.slow
def test_slurm_on_two_nodes(alone: Any, tmp_path: Path) -> None:
    for code, said in together(tmp_path, *tasks(nodes=2)):
        assert code == 0, said
        assert spins(said) == {str(SPINS)}
    is_the_same(tmp_path, alone)


DYING = ["--trainer.callbacks+=test_launch.Dies", "--trainer.callbacks.rank=1", "--trainer.callbacks.step=4"]


@pytest.mark.slow
def test_a_rank_that_dies_ends_the_other_by_itself(tmp_path: Path) -> None:
    """Nobody stands by here who would end it, as srun and torchrun do; what it says is one line."""
    (first, said), (second, _) = together(tmp_path, *tasks(*DYING, nodes=1))
    assert second == -signal.SIGKILL
    assert first == 2, said
    (run,) = tmp_path.glob("runs/*/*/*")
    expected = "semisup: error: rank 0 ends because another rank of this run did, whose own message says why"
    assert said.splitlines()[-1] == f"{expected}; go on with --resume {run.relative_to(tmp_path)}"
    assert "Traceback" not in said
    checkpoint, rows = result(tmp_path)
    assert checkpoint["global_step"] == 3
    assert [row["step"] for row in rows if "train/loss" in row] == [0, 1, 2, 3]


def test_more_ranks_than_were_launched_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"num_nodes is 2, and no launcher.*torchrun --nnodes 2 or srun --nodes 2"):
        check(1, 2)
    ((_, task), _) = tasks(nodes=1)
    for name, value in task.items():
        monkeypatch.setenv(name, value)
    check(2, 1)
    with pytest.raises(InputError, match=r"SLURM started 2 processes, 2 of them on this node, and .* ask for 4;"):
        check(4, 1)
