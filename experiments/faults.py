"""Injects faults into small runs, each in processes of its own, and prints what happened as a table.

    python experiments/faults.py                        # all of them, some minutes
    python experiments/faults.py full_disk nan_loss     # some

Runs are of two epochs of three steps on the digits. A fault behaved where the run ended with the expected exit code and
words, no checkpoint holds bad weights, nothing half-written lies about, and, where the run can go on, it went on to the
weights and losses, to the bit, of a run that nothing happened to. The exit code is 1 where one did not behave. Faults
that need a small or a read-only disk mount one, and are skipped where this user may not. Runs that are killed at random
moments are in experiments/kill.py.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from fault_runs import (
    ALONE,
    SIX_STEPS,
    Ended,
    Skipped,
    WandbServer,
    disk,
    fit,
    half_written,
    left,
    mount,
    run_under,
    same_end,
    shell,
    start,
    step_of,
    wait,
)
from PIL import Image

from semisup.tracking import guarded_wandb
from semisup.training import checkpoints

_KEY = "0123456789abcdef0123456789abcdef01234567"  # as long as W&B wants one
_WIDTH = 300  # of a cell, in letters


@dataclass
class Outcome:
    """What became of a fault: in words, what was left, and which expectations were met."""

    happened: str
    left: str
    met: dict[str, bool]


def ended_well(ended: Ended, word: str, root: Path, met: dict[str, bool], whole: Path | None = None) -> Outcome:
    """The outcome of a run, told by the line that holds a word; given `whole`, it goes on, and must end as that did."""
    met = met | {"nothing half-written": not half_written(root), "good weights": step_of(root) >= 0}
    happened, remains = f"exit code {ended.code}: {ended.line(word)}", left(root)
    if whole:
        going = fit(root, "--resume", "auto")
        met |= {"goes on": going.code == 0, "same end": going.code == 0 and same_end(root, whole)}
        remains += "; goes on" if met["goes on"] else "; does not go on"
    remains += "; ends as if nothing had happened" if met.get("same end") else ""
    return Outcome(happened, remains, met)


# ---- the faults: the table has their names from the functions, and how they are injected from the docstrings


def nan_loss(folder: Path, whole: Path) -> Outcome:
    """A weight becomes nan before step 4."""
    return _bad_weight(folder, float("nan"), "the loss is nan at step 4 of epoch 1")


def infinite_loss(folder: Path, whole: Path) -> Outcome:
    """Biases become 3e38 and -3e38 before step 4."""
    return _bad_weight(folder, 3e38, "the loss is inf at step 4 of epoch 1")


def _bad_weight(folder: Path, value: float, words: str) -> Outcome:
    def poison(trainer: pl.Trainer, module: Any) -> None:
        module.network.head.bias.data[:2] = torch.tensor([value, -value])

    ended = fit(folder / "runs", act=poison)
    met = ended.told(2, words, "by rows of the pools: labeled images ") | {"saved": step_of(folder) == 3}
    return ended_well(ended, "the loss is", folder, met)


def nan_gradient(folder: Path, whole: Path) -> Outcome:
    """A gradient is nan in the very last step, whose loss is finite."""

    def poison(trainer: pl.Trainer, module: Any) -> None:
        module.network.head.weight.register_hook(lambda gradient: gradient * float("nan"))

    ended = fit(folder / "runs", act=poison, step=5)
    met = ended.told(2, "weights are not finite (network.head.weight") | {"saved": step_of(folder) == 3}
    return ended_well(ended, "weights", folder, met)


def full_disk(folder: Path, whole: Path) -> Outcome:
    """The runs lie on a disk of 1.9 MB, too small for the second epoch's checkpoints; later it is larger."""
    with disk(folder / "runs", 1900) as runs:
        ended = fit(runs / "runs")
        met = ended.told(2, "No space left on device", "--resume") | {"saved": step_of(runs) == 3}
        mount("-o", "remount,size=20m", str(runs))
        return ended_well(ended, "No space", runs / "runs", met, whole)


def file_size_limit(folder: Path, whole: Path) -> Outcome:
    """From step 4 on no file may grow beyond 300 kB, as by `ulimit -f`."""

    def limit(*_: Any) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    ended = fit(folder / "runs", act=limit)
    met = ended.told(2, "File too large", "--resume") | {"saved": step_of(folder) == 3}
    return ended_well(ended, "File too large", folder / "runs", met, whole)


def full_disk_for_metrics(folder: Path, whole: Path) -> Outcome:
    """Before step 4 metrics.csv becomes a link to /dev/full; later it is what it was."""

    def fill(*_: Any) -> None:
        path = run_under(folder) / "metrics.csv"
        path.rename(path.with_name("kept"))
        path.symlink_to("/dev/full")

    ended = fit(folder / "runs", act=fill)
    met = ended.told(2, "metrics.csv can't be written (No space left on device)", "--resume")
    run = run_under(folder)
    (run / "kept").rename(run / "metrics.csv")
    return ended_well(ended, "No space", folder / "runs", met, whole)


def read_only_disk(folder: Path, whole: Path) -> Outcome:
    """The runs lie on a disk that is mounted read-only."""
    with disk(folder / "disk", 1000) as place:
        mount("-o", "remount,ro", str(place))
        ended = fit(folder / "log", "--trainer.default_root_dir", str(place / "runs"))
        return ended_well(ended, "Read-only", place, ended.told(2, "Read-only file system"))


def run_becomes_read_only(folder: Path, whole: Path) -> Outcome:
    """The disk of the run is mounted read-only before step 4; later it can be written to again."""
    with disk(folder / "disk", 20_000) as place:
        ended = fit(
            folder / "log",
            *("--trainer.default_root_dir", str(place / "runs")),
            act=lambda *_: mount("-o", "remount,ro", str(place)),
        )
        met = ended.told(2, "Read-only file system", "--resume") | {"saved": step_of(place) == 3}
        mount("-o", "remount,rw", str(place))
        return ended_well(ended, "Read-only", place / "runs", met, whole)


def no_folder_for_runs(folder: Path, whole: Path) -> Outcome:
    """A file has the name of the folder for runs."""
    (folder / "runs").touch()
    ended = fit(folder / "runs")
    return ended_well(ended, "Not a dir", folder, ended.told(2, "runs/digits/supervised can't be written (Not a dir"))


def checkpoint_cut_short(folder: Path, whole: Path) -> Outcome:
    """A run that saves after every step is killed before step 5, and the second half of last.ckpt is lost."""
    before, checkpoints.SECONDS = checkpoints.SECONDS, 0.0  # as the fork will have it
    killed = fit(folder / "runs", act=lambda *_: os.kill(os.getpid(), signal.SIGKILL), step=5)
    checkpoints.SECONDS = before
    path, steps = run_under(folder) / "checkpoints" / "last.ckpt", step_of(folder)
    os.truncate(path, path.stat().st_size // 2)
    ended = fit(folder / "runs", "--resume", "auto")
    met = ended.told(0, "goes on from previous.ckpt instead", "from previous.ckpt")
    met |= {"was killed": killed.code == -signal.SIGKILL, "had saved": steps == 4, "same end": same_end(folder, whole)}
    return ended_well(ended, "instead", folder, met)


def sigterm(folder: Path, whole: Path) -> Outcome:
    """SIGTERM in step 4."""
    return _signalled(folder, whole, signal.SIGTERM, "stopped by SIGTERM; go on with")


def ctrl_c(folder: Path, whole: Path) -> Outcome:
    """SIGINT in step 4."""
    return _signalled(folder, whole, signal.SIGINT, "stopped by Ctrl-C; go on with")


def slurm_preemption(folder: Path, whole: Path) -> Outcome:
    """SIGUSR1 in step 4 of a run with SLURM's variables, and a `scontrol` that says what it is asked."""
    (folder / "scontrol").write_text(f'#!/bin/sh\necho "$@" > {folder}/asked\n')
    (folder / "scontrol").chmod(0o755)
    task = {"NTASKS": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0", "JOB_NAME": "job", "JOB_ID": "41"}
    slurm = {f"SLURM_{name}": value for name, value in task.items()}
    with variables(PATH=f"{folder}:{os.environ['PATH']}", **slurm):
        outcome = _signalled(folder, whole, signal.SIGUSR1, "SLURM queues job 41 again")
    outcome.met["scontrol requeue 41"] = (folder / "asked").read_text() == "requeue 41\n"
    return outcome


def _signalled(folder: Path, whole: Path, number: int, words: str) -> Outcome:
    ended = fit(folder / "runs", act=lambda *_: os.kill(os.getpid(), number))
    met = ended.told(128 + number, words) | {"finished the step, and saved": step_of(folder) == 5}
    return ended_well(ended, words, folder / "runs", met, whole)


# ---- several processes


class Dies(pl.Callback):
    """Kills a rank before step 4, as the kernel does where memory is short."""

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if (trainer.global_rank, trainer.global_step) == (self.rank, 4):
            os.kill(os.getpid(), signal.SIGKILL)


def rank_1_dies(folder: Path, whole: Path) -> Outcome:
    """Of two ranks on one machine, the one that the other started is killed before step 4."""
    return _rank_dies(folder, 1, "semisup", "fit", "--trainer.devices", "2")


def rank_0_dies(folder: Path, whole: Path) -> Outcome:
    """Of two ranks on one machine, the one that started the other is killed before step 4."""
    return _rank_dies(folder, 0, "semisup", "fit", "--trainer.devices", "2")


def rank_under_torchrun_dies(folder: Path, whole: Path) -> Outcome:
    """Of two ranks that torchrun started, the second is killed before step 4."""
    meeting = ["--rdzv_backend", "c10d", "--rdzv_endpoint", "127.0.0.1:0", "--nproc_per_node", "2"]
    return _rank_dies(folder, 1, "torch.distributed.run", *meeting, "-m", "semisup", "fit")


def _rank_dies(folder: Path, rank: int, *command: str) -> Outcome:
    dying = ["--trainer.callbacks+=faults.Dies", f"--trainer.callbacks.rank={rank}", "--tracking.mode", "disabled"]
    place = ["--data", "digits", "--trainer.default_root_dir", str(folder / "runs")]
    ended, alive = shell(*command, *dying, *place, *SIX_STEPS)
    met = {"an error": ended.code != 0, "nobody is left": alive == 0, "saved": step_of(folder) == 3}
    happened = (
        f"exit code {ended.code}, {ended.seconds:.0f} s after the start; {alive} processes lived on; of the other"
    )
    happened += f" rank: {ended.line('Error: ')[:120]} ..."
    return Outcome(happened, left(folder), met)


def two_at_one_cache(folder: Path, whole: Path) -> Outcome:
    """Two runs that begin at once resize the same pictures into the same cache."""
    noise = np.random.default_rng(0)
    for number in range(60):
        path = folder / f"pictures/train/{'abc'[number % 3]}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 256, (300, 300, 3)).astype(np.uint8)).save(path)
    pictures = ["--data", "folder", "--data.root", str(folder / "pictures"), "--data.image_size", "32"]
    since, roots = time.monotonic(), [folder / "one", folder / "two"]
    both = [wait(process, root, since) for process, root in [(start(root, *pictures), root) for root in roots]]
    caches = list(folder.rglob("*.pixels"))
    met = {"both end": [ended.code for ended in both] == [0, 0], "one cache": len(caches) == 1}
    met |= {"nothing half-written": not half_written(folder), "same end": same_end(*roots)}
    made = sum("data: resized 60 files" in ended.said for ended in both)
    return Outcome(f"exit codes {both[0].code} and {both[1].code}; {made} of them wrote it", "one cache", met)


def clock_goes_back(folder: Path, whole: Path) -> Outcome:
    """After a run the clock goes back an hour and stands still; two more runs follow."""
    stopped = time.localtime(time.time() - 3600)
    real = time.strftime

    def back(*_: Any) -> None:
        time.strftime = lambda form, *given: real(form, *(given or (stopped,)))  # type: ignore[assignment]

    first = fit(folder / "runs")
    before = {path: path.read_bytes() for path in folder.rglob("runs/**/*") if path.is_file()}
    codes = [first.code, *(fit(folder / "runs", act=back, step=-1).code for _ in range(2))]
    names = sorted(path.parent.name for path in folder.rglob("environment.txt"))
    met = {"all end": codes == [0, 0, 0], "three directories": len(names) == 3, "-2": names[1] == f"{names[0]}-2"}
    met["the first run is as it was"] = all(path.read_bytes() == content for path, content in before.items())
    return Outcome(f"exit codes {codes}", f"the runs {', '.join(names)}", met)


# ---- W&B


def wandb_unreachable(folder: Path, whole: Path) -> Outcome:
    """W&B is asked for, and nothing listens at its address."""
    with variables(WANDB_BASE_URL="http://127.0.0.1:9", WANDB_API_KEY=_KEY):
        ended = fit(folder / "runs", "--tracking.mode", "online")
    return _without_wandb(folder, whole, ended, "can't be reached, going on offline; later: wandb sync")


def wandb_lost(folder: Path, whole: Path) -> Outcome:
    """Before step 4 W&B's server ends, which a run is online with; W&B is waited for 5 s instead of 60."""
    with ThreadingHTTPServer(("127.0.0.1", 0), WandbServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        before, guarded_wandb.FINISH_SECONDS = guarded_wandb.FINISH_SECONDS, 5.0  # as the fork will have it
        gone = folder / "gone"
        WandbServer.lost = staticmethod(gone.exists)
        with variables(WANDB_BASE_URL=f"http://127.0.0.1:{server.server_port}", WANDB_API_KEY=_KEY):
            ended = fit(folder / "runs", "--tracking.mode", "online", act=lambda *_: gone.touch())
        guarded_wandb.FINISH_SECONDS = before
        server.shutdown()
    return _without_wandb(folder, whole, ended, "W&B failed (TimeoutError")


class KillsWandb(pl.Callback):
    """Kills the process that writes W&B's files before step 4."""

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
            if trainer.global_step == 4 and b"wandb-core" in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(int(child), signal.SIGKILL)


def wandb_killed(folder: Path, whole: Path) -> Outcome:
    """Before step 4 the process that writes W&B's files is killed."""
    place = ["--trainer.default_root_dir", str(folder / "runs"), "--trainer.callbacks+=faults.KillsWandb"]
    ended, _ = shell("semisup", "fit", *ALONE, *SIX_STEPS, *place, "--tracking.mode", "offline")
    return _without_wandb(folder, whole, ended, "W&B failed (")


def full_disk_for_wandb(folder: Path, whole: Path) -> Outcome:
    """W&B's folder alone lies on a disk of 8 kB."""
    with disk(folder / "small", 8) as small:
        run = folder / "runs" / "digits" / "supervised" / "20260101-000000-s0"
        (run / "checkpoints").mkdir(parents=True)
        (run / "wandb").symlink_to(small)
        ended = fit(folder / "runs", "--tracking.mode", "offline", "--resume", str(run))
        return _without_wandb(folder, whole, ended, "W&B failed (OSError: [Errno 28]")


def _without_wandb(folder: Path, whole: Path, ended: Ended, words: str) -> Outcome:
    """The outcome of a run that W&B must not disturb, whatever its own log and exit handlers print besides."""
    met = {"exit code 0": ended.code == 0, f"says {words!r}": words in ended.said, "same end": same_end(folder, whole)}
    outcome, traces = ended_well(ended, words, folder, met), ended.said.count("Traceback")
    outcome.left += f"; tracebacks on the console, of W&B's own: {traces}" if traces else ""
    return outcome


# ---- the table

FAULTS = [
    *(nan_loss, infinite_loss, nan_gradient, full_disk, file_size_limit, full_disk_for_metrics),
    *(read_only_disk, run_becomes_read_only, no_folder_for_runs, checkpoint_cut_short),
    *(sigterm, ctrl_c, slurm_preemption, rank_1_dies, rank_0_dies, rank_under_torchrun_dies),
    *(two_at_one_cache, clock_goes_back, wandb_unreachable, wandb_lost, wandb_killed, full_disk_for_wandb),
]


@contextmanager
def variables(**values: str) -> Iterator[None]:
    """Environment variables, while it lasts."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def main() -> int:
    """Prints the table; 1 where a fault did not behave."""
    torch.set_num_threads(1)  # of one number of threads results are the same to the bit; and forked threads are lost
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored, here and by the runs
    names = {fault.__name__: fault for fault in FAULTS}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faults", nargs="*", metavar="fault", choices=[[], *names], help="; ".join(names))
    asked = parser.parse_args().faults or list(names)
    bad = 0
    with tempfile.TemporaryDirectory() as place:
        whole = Path(place, "whole")
        ended = fit(whole)
        assert ended.code == 0, ended.said
        print("| fault | how it was injected | what happened | what was left |\n|---|---|---|---|", flush=True)
        for name in asked:
            folder = Path(place, name)
            folder.mkdir()
            with variables(XDG_CACHE_HOME=str(folder / "cache"), WANDB_CACHE_DIR=str(folder / "cache")):
                bad += not row(name, names[name], folder, whole)
    print(f"\n{time.strftime('%Y-%m-%d')}, torch {torch.__version__}: {bad or 'none'} of {len(asked)} misbehaved")
    return 1 if bad else 0


def row(name: str, fault: Any, folder: Path, whole: Path) -> bool:
    """Injects a fault and prints its row; whether it behaved, or was skipped."""
    try:
        outcome = fault(folder, whole)
    except Skipped as reason:
        outcome = Outcome("skipped", str(reason), {})
    except Exception as error:  # a run that left something else than was expected
        outcome = Outcome(f"{type(error).__name__}: {error}", "", {"leaves what was expected": False})
    failed = [expectation for expectation, met in outcome.met.items() if not met]
    happened = outcome.happened if len(outcome.happened) < _WIDTH else f"{outcome.happened[:_WIDTH]} ..."
    happened += f"; **misbehaved: {', '.join(failed)}**" if failed else ""
    cells = [name.replace("_", " "), " ".join((fault.__doc__ or "").split()), happened, outcome.left]
    print(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |", flush=True)
    return not failed


if __name__ == "__main__":
    raise SystemExit(main())
