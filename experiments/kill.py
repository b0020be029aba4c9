"""Kills runs at random moments, lets them go on, and compares what they leave with what an undisturbed run leaves.

    python experiments/kill.py                                  # every strategy, 20 runs each
    python experiments/kill.py --runs 5 fixmatch exemplar
    python experiments/kill.py --flags "SWA" "64-true"           # of two sets of flags alone
    nice python experiments/kill.py --record kills.jsonl        # some hours; the same command again goes on

Each run of a strategy has another set of flags, drawn from those of `tests/killed_runs.py` (`nothing` is one of them);
where the command line refuses one, another is drawn. Refusals and differences are printed to stderr as they are found.

A run is killed by SIGKILL before something that it does to its files: opening, renaming or removing one, or writing the
second half of a checkpoint. The undisturbed run counts these moments, one of them is drawn, and the run waits there to
be killed, so that how fast the machine is makes no difference. It is continued by the same command with `--resume
auto`, killed again up to two times, and then left to end. So that few steps hold everything that there is to interrupt,
runs are short and write a checkpoint after every step. What must be identical to the bit: every checkpoint with
weights, optimiser, pseudo-labels and the choice of the best, metrics.csv, and the predictions; all but seconds.

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
import shlex
import signal
import sys
import tempfile
from itertools import count
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import methods
from killed_runs import FLAGS, differences

from semisup.cli.front import main as semisup
from semisup.training import checkpoints

STRATEGIES = [*methods.NAMES, "kmeans+pseudolabel"]
SHORT = [
    *("--data", "digits", "--data.steps_per_epoch", "4", "--data.eval_batch_size", "64", "--trainer.max_epochs", "3"),
    *("--trainer.log_every_n_steps", "1", "--trainer.accelerator", "cpu", "--trainer.devices", "1"),
    *("--tracking.mode", "disabled", "--trainer.enable_progress_bar", "false"),
]
_KILLS = 3  # of a run, at most
_DOES = ("open", "os.rename", "os.remove", "os.mkdir")  # to files, as Python's audit events name it
_HERE, _ENDED = b"h", b"e"


class Refused(Exception):
    """The command line refuses a strategy with some flags, and in which words."""


def main() -> None:
    """Prints a table of how many runs ended as the undisturbed one did, and exits with 1 where not all did."""
    torch.set_num_threads(1)  # of one number of threads results are the same to the bit; and forked threads are lost
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("strategies", nargs="*", default=STRATEGIES)
    parser.add_argument("--runs", type=int, default=20, help="of each strategy (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of flags and moments (default: %(default)s)")
    parser.add_argument("--flags", nargs="+", default=list(FLAGS), metavar="NAME", help="to draw from (default: all)")
    parser.add_argument("--record", type=Path, help="a line for each run; what is in it is not run again")
    request = parser.parse_args()
    before = request.record.read_text() if request.record and request.record.exists() else ""
    lines_before = map(json.loads, before.splitlines())
    known = {(line["strategy"], line["flags"]): line for line in lines_before if line["seed"] == request.seed}
    queues = {
        name: random.Random(f"{request.seed} {name}").sample(request.flags, len(request.flags))
        for name in request.strategies
    }
    found: dict[str, list[dict[str, Any]]] = {strategy: [] for strategy in request.strategies}
    for _ in range(request.runs):
        for strategy, lines in found.items():
            while queues[strategy]:  # until one is not refused
                flags = queues[strategy].pop(0)
                line = known.get((strategy, flags)) or trial(strategy, flags, request.seed)
                lines.append(line)
                if (strategy, flags) not in known and request.record:
                    with request.record.open("a") as file:
                        file.write(f"{json.dumps(line)}\n")
                if not line["refused"]:
                    break
    print("| strategy | identical | kills | of them while a checkpoint was written |\n|---|---|---|---|")
    for strategy, lines in found.items():
        ran = [line for line in lines if not line["refused"]]
        same = sum(not line["differences"] for line in ran)
        print(f"| {strategy} | {same}/{len(ran)} | {_sum(ran, 'kills')} | {_sum(ran, 'writing')} |")
    raise SystemExit(any(line["differences"] for lines in found.values() for line in lines))


def _sum(lines: list[dict[str, Any]], name: str) -> int:
    return sum(int(line[name]) for line in lines)


def trial(strategy: str, flags: str, seed: int) -> dict[str, Any]:
    """Runs a strategy with a set of flags: undisturbed, and killed and resumed.

    Returns:
        `differences`: where the killed one left something else than the undisturbed one did; its `kills`, and how many
        of those found a checkpoint half `writing`; and in which words the command line `refused` the flags.
    """
    found: dict[str, Any] = {"strategy": strategy, "flags": flags, "seed": seed, "kills": 0, "writing": 0}
    found |= {"differences": [], "refused": ""}
    words, draw = [*methods.typed(strategy), *shlex.split(FLAGS[flags])], random.Random(f"{seed} {strategy} {flags}")
    with tempfile.TemporaryDirectory() as folder:
        try:
            found["differences"] = killed_run(words, draw, Path(folder), found)
        except Refused as refused:
            found["refused"] = str(refused)
        except RuntimeError as error:
            found["differences"] = [str(error)]
    if found["refused"] or found["differences"]:
        said = found["refused"] or "; ".join(found["differences"][:5])
        print(f"{strategy} with {flags}: {said}", file=sys.stderr, flush=True)
    return found


def killed_run(words: list[str], draw: random.Random, folder: Path, found: dict[str, Any]) -> list[str]:
    """Where a run that is killed and goes on differs from the undisturbed one; counts its kills in `found`."""
    whole, root = folder / "whole", folder / "killed"
    left = ended(*start_fit(words, whole), whole)  # moments, at most; a run that goes on has fewer before it
    for _ in range(draw.randint(1, _KILLS)):
        moment = draw.randrange(left)
        if not killed(*start_fit(words, root, moment)):
            break
        left = max(1, left - moment)
        found["kills"] += 1
        found["writing"] += any(root.rglob("*.temporary"))
    ended(*start_fit(words, root), root)
    return list(differences(remains(whole), remains(root)))


def start_fit(words: list[str], root: Path, moment: int | None = None) -> tuple[BaseProcess, int]:
    """A fit in a process of its own, which goes on with the run under `root` where there is one.

    Args:
        words: strategy and flags, as they are typed.
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
        code = semisup(["fit", *SHORT, *words, "--trainer.default_root_dir", place, "--resume", "auto"])
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


def ended(process: BaseProcess, pipe: int, root: Path) -> int:
    """Waits for a process that nobody kills; how many moments there were to kill it at."""
    told = os.read(pipe, 100)
    process.join()
    os.close(pipe)
    if process.exitcode:
        last = root.with_suffix(".log").read_text().strip().rpartition("\n")[2]
        refused = process.exitcode == 2 and not any(root.rglob("last.ckpt"))
        raise (Refused if refused else RuntimeError)(f"exit code {process.exitcode} of the {root.name} run: {last}")
    return int(told.removeprefix(_ENDED))


def remains(root: Path) -> dict[str, Any]:
    """What the run under `root` left, without seconds."""
    (run,) = (path.parent for path in root.rglob("config.yaml"))
    with (run / "metrics.csv").open(newline="") as file:
        metrics = [{name: cell for name, cell in row.items() if name != "seconds"} for row in csv.DictReader(file)]
    names = sorted(str(path.relative_to(run)) for path in run.rglob("*"))
    texts = {name: (run / name).read_text() for name in ("predictions.csv", "confusion.csv")}
    saved = {path.name: torch.load(path, weights_only=True) for path in run.glob("checkpoints/*.ckpt")}
    saved.pop("previous.ckpt", None)  # of a step that depends on when it was killed
    return {"files": names, "metrics.csv": metrics, **texts, "checkpoints": _without(saved, str(run.absolute()))}


def _without(value: Any, place: str) -> Any:
    """Nested values whose texts and keys name no place, which differs from run to run."""
    if isinstance(value, dict):
        return {_without(key, place): _without(inner, place) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without(inner, place) for inner in value]
    return value.replace(place, "") if isinstance(value, str) else value


if __name__ == "__main__":
    main()
