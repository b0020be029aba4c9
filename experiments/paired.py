"""Runs strategies over seeds on the same splits, and prints their test accuracies and paired differences.

    python experiments/paired.py --seeds 5 supervised pseudolabel -- --data digits
    python experiments/paired.py --seeds 3 supervised pseudolabel -- --config experiments/photographs32.yaml

What follows `--` goes to `semisup fit` as it is. The first strategy is the one that the others are compared with. A
seed chooses the labeled images, the initial weights and every draw, for all strategies alike, so that differences are
paired. Accuracy is the best-by-validation checkpoint's on test, in percent; the last checkpoint's is printed beside it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from semisup.runs.reading import read_metrics


def main() -> None:
    """Runs the grid, one run after the other, and prints the table and a JSON line."""
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("strategies", nargs="+")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/paired"))
    arguments = parser.parse_args(sys.argv[1:split])
    scores = {
        strategy: [
            fit(strategy, seed, arguments.out, ["--strategy", strategy, *sys.argv[split + 1 :]])
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
    (run,) = root.glob("*/*/*")
    final = read_metrics(run)[-1]
    print(f"{name} seed {seed}: {100 * final['best/test_accuracy']:.2f}  {run}", file=sys.stderr, flush=True)
    return final


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
        pairs = [ours - theirs for ours, theirs in zip(best, reference, strict=True)]
        error = statistics.stdev(pairs) / len(pairs) ** 0.5 if len(pairs) > 1 else float("nan")
        difference = "-" if strategy == first else f"{statistics.mean(pairs):+.2f} (SE {error:.2f})"
        cells = [f"{statistics.mean(x):.2f} ± {statistics.stdev(x) if len(x) > 1 else 0:.2f}" for x in (best, last)]
        seconds = statistics.mean(run["seconds"] for run in runs)
        lines.append(f"| {strategy} | {cells[0]} | {cells[1]} | {difference} | {seconds:.0f} |")
    return lines


if __name__ == "__main__":
    main()
