"""Kills runs at random moments, lets them go on, and compares what they leave with what an undisturbed run leaves.

    python experiments/kill.py                                  # every strategy, 20 runs each
    python experiments/kill.py --runs 5 fixmatch exemplar

A run is killed by SIGKILL before something that it does to its files: opening, renaming or removing one, or writing the
second half of a checkpoint. The undisturbed run counts these moments, one of them is drawn, and the run waits there to
be killed, so that how fast the machine is makes no difference. It is continued by the same command with `--resume
auto`, killed again up to two times, and then left to end. So that few steps hold everything that there is to interrupt,
runs are short and write a checkpoint after every step. What must be identical to the bit: the last and the best
checkpoint with weights, optimiser, pseudo-labels and the choice of the best, metrics.csv, and the predictions; all but
seconds.

Every run is forked from this process, which has imported everything, and is thus as alone as one that was started.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from itertools import count
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from semisup.cli import fit
from semisup.cli.front import main as semisup
from semisup.training import checkpoints

_PSEUDO = ["--pseudolabel.warmup_epochs", "1", "--pseudolabel.every_n_epochs", "1", "--pseudolabel.threshold", "0.5"]
_EXEMPLAR = ["--exemplar.images", "40", "--exemplar.samples_per_class", "16", "--exemplar.epochs", "4"]
STRATEGIES = {
    "supervised": [],
    "pseudolabel": _PSEUDO,
    "fixmatch": ["--fixmatch.threshold", "0.5", "--fixmatch.ratio", "2", "--fixmatch.ema_decay", "0.9"],
    "kmeans": ["--kmeans.images", "200"],
    "exemplar": [*_EXEMPLAR, "--exemplar.batch_size", "32"],
    "combined": [*_PSEUDO, "--kmeans.images", "200"],
}
SHORT = [
    *("--data", "digits", "--data.steps_per_epoch", "12", "--trainer.max_epochs", "4"),
    *("--trainer.log_every_n_steps", "3", "--trainer.accelerator", "cpu", "--trainer.devices", "1"),
    *("--tracking.mode", "disabled", "--trainer.enable_progress_bar", "false"),
]
_KILLS = 3  # of a run, at most
_DOES = ("open", "os.rename", "os.remove", "os.mkdir")  # to files, as Python's audit events name it
_HERE, _ENDED = b"h", b"e"


def main() -> None:
    """Prints a table of how many runs ended as the undisturbed one did, and a JSON line."""
    torch.set_num_threads(1)  # of one number of threads results are the same to the bit; and forked threads are lost
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("strategies", nargs="*", default=list(STRATEGIES))
    parser.add_argument("--runs", type=int, default=20, help="of each strategy (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: %(default)s)")
    request = parser.parse_args()
    results = {}
    print("| strategy | identical | kills | of them while a checkpoint was written |\n|---|---|---|---|", flush=True)
    for strategy in request.strategies:
        with tempfile.TemporaryDirectory() as folder:
            results[strategy] = found = trial(strategy, request.runs, request.seed, Path(folder))
        cells = [f"{found['identical']}/{request.runs}", str(found["kills"]), str(found["writing"])]
        print(f"| {' | '.join([strategy, *cells])} |", flush=True)
        for difference in found["differences"]:
            print(difference, flush=True)
    facts = {"torch": torch.__version__, "threads": torch.get_num_threads(), "runs": request.runs, "seed": request.seed}
    print(json.dumps({"date": time.strftime("%Y-%m-%d"), **facts, "results": results}))


def trial(strategy: str, runs: int, seed: int, folder: Path) -> dict[str, Any]:
    """Runs a strategy undisturbed, then `runs` times killed and resumed.

    Returns:
        `identical`: how many of them left what the undisturbed one did; `differences`: of the others; `kills` of all
        of them together; and how many of those found a checkpoint half `writing`.
    """
    process, pipe = start_fit(strategy, folder / "whole")
    moments, expected = ended(process, pipe, f"the undisturbed run of {strategy}"), remains(folder / "whole")
    found: dict[str, Any] = {"identical": 0, "kills": 0, "writing": 0, "differences": []}
    for number in range(runs):
        draw, root = random.Random(f"{seed} {strategy} {number}"), folder / str(number)
        left = moments  # at most; a run that goes on has fewer before it
        for _ in range(draw.randint(1, _KILLS)):
            moment = draw.randrange(left)
            if not killed(*start_fit(strategy, root, moment)):
                break
            left = max(1, left - moment)
            found["kills"] += 1
            found["writing"] += any(root.rglob("*.aside"))
        ended(*start_fit(strategy, root), f"run {number} of {strategy}")
        differing = [name for name, same in compare(expected, remains(root)).items() if not same]
        found["identical"] += not differing
        if differing:
            found["differences"].append(f"run {number}: {', '.join(differing)}")
        shutil.rmtree(root)
    return found


def start_fit(strategy: str, root: Path, moment: int | None = None) -> tuple[BaseProcess, int]:
    """A fit in a process of its own, which goes on with the run under `root` where there is one.

    Args:
        strategy: by name.
        root: where its runs lie.
        moment: where it waits to be killed, counted from 0; None for nowhere.

    Returns:
        The process, and a pipe that tells when it waits, or how many moments there were when it ends.
    """
    reading, writing = os.pipe()
    place, seen = str(root), count()

    def does(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _DOES and str(arguments[0]).startswith(place):
            waits_if_there()

    def waits_if_there() -> None:
        if next(seen) == moment:
            os.write(writing, _HERE)
            while True:
                signal.pause()

    def save_in_halves(checkpoint: Any, file: Any) -> None:
        if isinstance(file, str | Path):  # no checkpoint
            save(checkpoint, file)
            return
        whole = io.BytesIO()
        save(checkpoint, whole)
        half = whole.tell() // 2
        file.write(whole.getbuffer()[:half])
        file.flush()
        waits_if_there()
        file.write(whole.getbuffer()[half:])

    def child() -> None:
        os.close(reading)
        checkpoints.SECONDS = 0.0
        root.mkdir(parents=True, exist_ok=True)
        os.dup2(os.open(root.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
        os.dup2(1, 2)
        torch.save = save_in_halves
        sys.addaudithook(does)
        options = [*SHORT, *STRATEGIES[strategy], "--trainer.default_root_dir", place, "--resume", "auto"]
        code = semisup(["fit", "--strategy", strategy, *options])
        os.write(writing, _ENDED + str(next(seen)).encode())
        os._exit(code)

    save = torch.save
    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    os.close(writing)
    return process, reading


def killed(process: BaseProcess, pipe: int) -> bool:
    """Kills a process where it waits for that; False where it ended before."""
    told = os.read(pipe, 100)
    process.kill()
    process.join()
    os.close(pipe)
    return told == _HERE


def ended(process: BaseProcess, pipe: int, name: str) -> int:
    """Waits for a process that nobody kills; how many moments there were to kill it at."""
    told = os.read(pipe, 100)
    process.join()
    os.close(pipe)
    if process.exitcode:
        raise RuntimeError(f"{name} ends with exit code {process.exitcode}")
    return int(told.removeprefix(_ENDED))


def remains(root: Path) -> dict[str, Any]:
    """What the run under `root` left, without seconds."""
    (run,) = (path.parent for path in root.rglob("config.yaml"))
    with (run / "metrics.csv").open(newline="") as file:
        metrics = [{name: cell for name, cell in row.items() if name != "seconds"} for row in csv.DictReader(file)]
    names = sorted(str(path.relative_to(run)) for path in run.rglob("*"))
    texts = {name: (run / name).read_text() for name in ("predictions.csv", "confusion.csv")}
    saved = {name: torch.load(run / "checkpoints" / name, weights_only=True) for name in ("last.ckpt", "best.ckpt")}
    for checkpoint in saved.values():
        del checkpoint["callbacks"][fit.Progress.__qualname__]["seconds"], checkpoint["digest"]  # which is of all parts
    return {"files": names, "metrics.csv": metrics, **texts, **saved}


def compare(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, bool]:
    """Of everything that two runs left, whether it is the same to the bit."""
    return {name: _same(ours[name], theirs[name]) for name in ours}


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and bool(one == other)


if __name__ == "__main__":
    main()
