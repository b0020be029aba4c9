"""Runs strategies over seeds on the same splits, and prints their test accuracies and paired differences.

    python experiments/paired.py --seeds 5 supervised pseudolabel -- --data digits
    python experiments/paired.py --seeds 3 supervised pseudolabel -- --config experiments/photographs32.yaml
    python experiments/paired.py --seeds 3 "fixmatch --trainer.max_epochs 13" "simclr+fixmatch --trainer.max_epochs 10 \
        --simclr.epochs 20" -- --data stl10 --data.labels_per_class 25

What follows `--` goes to `semisup fit` as it is, and what stands behind a strategy in quotes to its runs alone: so
strategies of which one costs more a step get the same time in all (`s a run` says what it came to). The first strategy
is the one that the others are compared with. A seed chooses the labeled images, the initial weights and every draw, for
all strategies alike, so that differences are paired. Accuracy is the best-by-validation checkpoint's on test, in
percent; the last checkpoint's is printed beside it.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from semisup.runs.run import Run
from semisup.runs.statistics import mean, over_seeds, paired


def main() -> None:
    """Runs the grid, one run after the other, and prints the table and a JSON line."""
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("strategies", nargs="+", help="each with options of its own, where it is in quotes")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/paired"))
    arguments = parser.parse_args(sys.argv[1:split])
    scores = {
        strategy: [
            fit(strategy, seed, arguments.out, [*sys.argv[split + 1 :], "--strategy", *shlex.split(strategy)])
            for seed in range(arguments.seeds)
        ]
        for strategy in arguments.strategies
    }
    print("\n".join(table(scores)))
    print(json.dumps({"date": time.strftime("%Y-%m-%d"), "fit": sys.argv[split + 1 :], "scores": scores}))


def fit(name: str, seed: int, out: Path, options: list[str]) -> dict[str, float]:
    """Trains once, says under `name` how well, and returns the run's final scores."""
    root = out / f"{time.time_ns()}"
    command = [sys.executable, "-m", "semisup", "fit", "--seed", str(seed), *options]
    subprocess.run([*command, "--trainer.default_root_dir", str(root)], check=True, stdout=subprocess.DEVNULL)
    (run,) = map(Run, root.glob("*/*/*"))
    print(f"{name} seed {seed}: {run.accuracy('best', 'test'):.2f}  {run.directory}", file=sys.stderr, flush=True)
    return run.final


def table(scores: dict[str, list[dict[str, float]]]) -> list[str]:
    """A line per strategy: mean, standard deviation, and the paired difference to the first with its standard error.

    Args:
        scores: the final scores of each strategy, by seed.
    """
    lines = ["| strategy | best, test | last, test | difference to the first | s a run |", "|---|---|---|---|---|"]
    first = next(iter(scores))
    for strategy, runs in scores.items():
        best, last = ([100 * run[f"{which}/test_accuracy"] for run in runs] for which in ("best", "last"))
        reference = [100 * run["best/test_accuracy"] for run in scores[first]]
        difference = "-" if strategy == first else with_error(best, reference)
        seconds = mean(run["seconds"] for run in runs)
        lines.append(f"| {strategy} | {over_seeds(best)} | {over_seeds(last)} | {difference} | {seconds:.0f} |")
    return lines


def with_error(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """The mean of paired differences, and its standard error where there are several: `+1.25 (SE 0.31)`."""
    found = paired(dict(enumerate(ours)), dict(enumerate(theirs)))
    assert found
    return f"{found.mean:+.2f}" + ("" if found.error is None else f" (SE {found.error:.2f})")


if __name__ == "__main__":
    main()
