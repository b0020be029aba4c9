"""Climbs the course's ladder: every rung adds one thing to those below it, over seeds on the same splits.

    python experiments/ladder/climb.py --seeds 3
    python experiments/ladder/climb.py --seeds 3 -- --data.root data/photographs48 --trainer.precision bf16-mixed

A rung is a file in this folder that begins with its number, and a run gets the files of its own and of all lower rungs.
What follows `--` goes to `semisup fit`, but options of a strategy only to the rungs that have it. The same command
again keeps the runs that are finished and goes on with the rest, several at once where the machine has the cores. Runs
lie in OUT/runs, what they say in OUT/logs.

Prints accuracies in percent of the checkpoint that is best on validation (the last one where nothing is held out): mean
and standard deviation over seeds, and the difference to the rung before on test with its paired t interval of 95 %.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from semisup.cli.config import parse
from semisup.compare.grid import Job, arguments_of, find, wanted
from semisup.compare.train import train
from semisup.errors import InputError
from semisup.runs.run import Run
from semisup.runs.statistics import over_seeds, paired

RUNGS = sorted(Path(__file__).parent.glob("[0-9]-*.yaml"))
REPORTED = {"1-baseline": 72, "2-smaller-network": 77, "4-augmentation": 77, "5-kmeans": 86, "6-pseudolabels": 87}


def main() -> None:
    """Makes the runs that are missing, and prints the table and a JSON line."""
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = range(1, len(RUNGS) + 1)
    parser.add_argument("--rungs", nargs="+", type=int, choices=numbers, default=[*numbers], help="all by default")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, metavar="N", help="runs at once (default: as `semisup compare`)")
    parser.add_argument("--out", type=Path, default=Path("runs/ladder"))
    arguments = parser.parse_args(sys.argv[1:split])
    extra, out = sys.argv[split + 1 :], arguments.out
    rungs = sorted({*arguments.rungs})
    jobs = [job(RUNGS[rung - 1].stem, options(rung), seed, extra) for seed in range(arguments.seeds) for rung in rungs]
    failures = train(jobs, out, arguments.jobs)
    runs: dict[str, dict[int, Run]] = {RUNGS[rung - 1].stem: {} for rung in rungs}
    for each in jobs:
        directory, finished = find(each, out / "runs")
        if directory and finished:
            runs[each.strategy][each.seed] = Run(directory)
    print("\n".join(table(runs)))
    scores = {rung: {seed: run.scores for seed, run in found.items()} for rung, found in runs.items()}
    print(json.dumps({"date": time.strftime("%Y-%m-%d"), "fit": extra, "scores": scores}))
    if failures:
        sys.exit(1)


def options(rung: int) -> list[str]:
    """The options of a rung, counted from 1: its file behind those of the rungs below it."""
    return [argument for path in RUNGS[:rung] for argument in ("--config", str(path))]


def job(name: str, own: list[str], seed: int, extra: list[str]) -> Job:
    """A run of the grid, under a name, with its own options and those extra ones that concern its strategy."""
    strategy = parse("fit", own).strategy
    concern = arguments_of(strategy, extra, [parse("fit", options(len(RUNGS))).strategy])
    arguments = [*own, *concern, "--seed", str(seed)]
    return Job(name, None, seed, arguments, wanted(parse("fit", arguments).options, seed))


def table(runs: dict[str, dict[int, Run]]) -> list[str]:
    """A line for each rung, over the seeds that are finished; a difference is over those that both rungs have.

    Args:
        runs: rung -> seed -> the finished run, from the bottom.
    """
    lines = ["| rung | val | test | difference to the one before | last, test | reported, val | minutes a run |"]
    lines.append("|---" * 7 + "|")
    below: dict[int, float] = {}
    for rung, found in runs.items():
        columns = {
            name: {seed: 100 * run.scores[name] for seed, run in found.items() if name in run.scores}
            for name in ("best/val_accuracy", "best/test_accuracy", "last/test_accuracy")
        }
        val, best, last = columns.values()
        test = best or last
        difference, said = paired(test, below), "-"
        if difference:
            said = f"{difference.mean:+.2f}"
            if difference.t.low is not None:
                said += f" [{difference.t.low:+.2f}, {difference.t.high:+.2f}]"
        minutes = over_seeds([run.seconds / 60 for run in found.values() if run.seconds is not None], ".0f")
        cells = [over_seeds([*val.values()]), over_seeds([*test.values()]), said, over_seeds([*last.values()])]
        lines.append(f"| {' | '.join([rung, *cells, str(REPORTED.get(rung, '-')), minutes])} |")
        below = test
    return lines


def script(main: Callable[[], None]) -> None:
    """Runs a script of the ladder: a mistake is one line, and what Ctrl-C leaves `train` has said."""
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    script(main)
