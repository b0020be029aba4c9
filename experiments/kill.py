"""Kills runs at random moments, lets them go on, and compares what they leave with what an undisturbed run leaves.

    python experiments/kill.py                                  # every strategy, 20 runs each
    python experiments/kill.py --runs 5 fixmatch exemplar

A run is killed by SIGKILL at a moment drawn over the time that the undisturbed one takes or, every other time, as soon
as a checkpoint is being written, and continued by the same command with `--resume auto`, killed again up to two times,
and then left to end. So that some seconds hold everything that there is to interrupt, runs are short and
write a checkpoint every few steps. What must be identical to the bit: the last and the best checkpoint with weights,
optimiser, pseudo-labels and the choice of the best, metrics.csv, and the predictions; all but seconds.

Every run is forked from this process, which has imported everything, and is thus as alone as one that was started.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import os
import random
import shutil
import tempfile
import time
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
_OFTEN = 0.1  # seconds from one checkpoint to the next
_LONG = 300.0  # seconds after which a run hangs


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
    start = time.monotonic()
    process = start_fit(strategy, folder / "whole")
    process.join(_LONG)
    assert process.exitcode == 0, f"the undisturbed run of {strategy} ends with exit code {process.exitcode}"
    seconds, expected = time.monotonic() - start, remains(folder / "whole")
    found: dict[str, Any] = {"identical": 0, "kills": 0, "writing": 0, "differences": []}
    for number in range(runs):
        draw, root = random.Random(f"{seed} {strategy} {number}"), folder / str(number)
        for kill in range(draw.randint(1, _KILLS)):
            if not killed(start_fit(strategy, root), draw, seconds, root, at_writing=kill % 2 != number % 2):
                break
            found["kills"] += 1
            found["writing"] += any(root.rglob("*.aside"))
        process = start_fit(strategy, root)
        process.join(_LONG)
        assert process.exitcode == 0, f"run {number} of {strategy} ends with exit code {process.exitcode}"
        differing = [name for name, same in compare(expected, remains(root)).items() if not same]
        found["identical"] += not differing
        if differing:
            found["differences"].append(f"run {number}: {', '.join(differing)}")
        shutil.rmtree(root)
    return found


def start_fit(strategy: str, root: Path) -> BaseProcess:
    """A fit in a process of its own, which goes on with the run under `root` where there is one."""

    def child() -> None:
        checkpoints.SECONDS = _OFTEN
        root.mkdir(parents=True, exist_ok=True)
        os.dup2(os.open(root.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
        os.dup2(1, 2)
        options = [*SHORT, *STRATEGIES[strategy], "--trainer.default_root_dir", str(root), "--resume", "auto"]
        os._exit(semisup(["fit", "--strategy", strategy, *options]))

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    return process


def killed(process: BaseProcess, draw: random.Random, seconds: float, root: Path, at_writing: bool) -> bool:
    """Kills a process at a moment drawn from its first `seconds`, or at the next checkpoint then.

    Returns:
        False where the process had ended before.
    """
    process.join(draw.uniform(0, seconds))
    until = time.monotonic() + _LONG
    while at_writing and process.is_alive() and not any(root.rglob("*.aside")):
        assert time.monotonic() < until, f"a run hangs; see {root.with_suffix('.log')}"
    if at_writing:
        time.sleep(draw.choice((0.0, 0.001, 0.003)))
    process.kill()
    process.join()
    return process.exitcode != 0


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
