"""Runs the studies of the course on MNIST, each arm differing from base.yaml in one thing, and draws their curves.

    python experiments/mnist/studies.py --epochs 3
    python experiments/mnist/studies.py --epochs 30 --studies baseline depth -- --data.root data --seed 1

What follows `--` goes to `semisup fit` as it is. Runs lie in OUT/<arm>; one that has as many epochs is not run again.
Writes OUT/tables.md, accuracies in percent, and OUT/<study>.png and .pdf. Test accuracies are read at every epoch, as
the course read them (base.yaml), so none of them may be called chosen on validation.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from matplotlib.figure import Figure

from semisup.figures.curves import series
from semisup.figures.style import PALETTE, PERCENT, figure, save, styled
from semisup.runs.directory import write_atomically
from semisup.runs.run import Run

HERE = Path(__file__).parent
STUDIES = {  # study -> file of an arm -> what it is called
    "baseline": {"base": "baseline"},
    "normalization": {"base": "window of 7", "normalization-15": "window of 15", "normalization-none": "none"},
    "activation": {"base": "tanh", "activation-relu": "ReLU"},
    "loss": {"base": "NLL", "loss-multi_margin": "multi-margin", "loss-mse": "MSE"},
    "depth": {"base": "two stages", "depth-3": "three stages"},
}
CURVES = {"train/accuracy": "training accuracy", "val/accuracy": "test accuracy, read at every epoch"}
SHOWN = (1, 2, 3, 5, 10, 15, 20, 25, 30)  # epochs with a column in the tables, and the last
Accuracies = dict[str, list[float]]  # "train/accuracy" and "val/accuracy" -> a value for every epoch


def main() -> None:
    """Runs what has not been run, and writes tables and figures."""
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", nargs="+", choices=[*STUDIES], default=[*STUDIES], help="all by default")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/mnist-studies"))
    arguments = parser.parse_args(sys.argv[1:split])
    found: dict[str, Accuracies] = {}
    tables = []
    for study in arguments.studies:
        for arm in STUDIES[study]:
            found[arm] = found.get(arm) or run(arm, arguments.epochs, arguments.out / arm, sys.argv[split + 1 :])
        runs = {name: found[arm] for arm, name in STUDIES[study].items()}
        tables += [f"## {study}", "", *table(runs), ""]
        save(curves(runs), arguments.out, study)
    write_atomically(arguments.out / "tables.md", "\n".join(tables))
    print("\n".join(tables))


def options(arm: str) -> list[str]:
    """The options of an arm: its file behind the one of the base."""
    files = [HERE / "base.yaml", *([HERE / f"{arm}.yaml"] if arm != "base" else [])]
    callback = ["--trust"]  # base.yaml names one of semisup's own
    return [*callback, *(argument for path in files for argument in ("--config", str(path)))]


def run(arm: str, epochs: int, root: Path, extra: list[str]) -> Accuracies:
    """The accuracies of an arm's first epochs, from a run that has as many, or from a new one."""
    finished = [found for path in root.glob("*/*/*") if len((found := accuracies(path))["val/accuracy"]) >= epochs]
    if not finished:
        print(f"{arm}: {epochs} epochs", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "semisup", "fit", *options(arm), "--trainer.max_epochs", str(epochs), *extra]
        subprocess.run([*command, "--trainer.default_root_dir", str(root)], check=True, stdout=subprocess.DEVNULL)
        finished = [accuracies(max(root.glob("*/*/*")))]
    return {name: values[:epochs] for name, values in finished[-1].items()}


def accuracies(path: Path) -> Accuracies:
    """What a run logged after every epoch."""
    metrics = Run(path).metrics
    return {name: series(metrics, name)[1].tolist() for name in CURVES}


def table(runs: dict[str, Accuracies]) -> list[str]:
    """A line per arm: training and test accuracy after some of the epochs."""
    count = len(next(iter(runs.values()))["val/accuracy"])
    epochs = [epoch for epoch in SHOWN if epoch < count] + [count]
    lines = [f"| train / test after epoch | {' | '.join(map(str, epochs))} |", "|---" * (len(epochs) + 1) + "|"]
    for name, found in runs.items():
        pairs = zip(*found.values(), strict=True)
        cells = [f"{100 * train:.2f} / {100 * test:.2f}" for train, test in pairs]
        lines.append(f"| {name} | {' | '.join(cells[epoch - 1] for epoch in epochs)} |")
    return lines


@styled()
def curves(runs: dict[str, Accuracies]) -> Figure:
    """Training and test accuracy by epoch, an arm a line."""
    drawn = figure(2.9)
    for axes, (name, title) in zip(drawn.subplots(1, 2), CURVES.items(), strict=True):
        for color, (label, found) in zip(PALETTE, runs.items(), strict=False):
            epochs = range(1, len(found[name]) + 1)
            axes.plot(epochs, found[name], ".-", color=color, label=label if name == "val/accuracy" else None)
        axes.set(xlabel="epoch", title=title)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.yaxis.set_major_formatter(PERCENT)
        axes.grid(axis="y", linewidth=0.4, alpha=0.5)
    drawn.legend(loc="outside lower center", ncols=3)
    return drawn


if __name__ == "__main__":
    main()
