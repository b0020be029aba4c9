"""How long one waits for the command line: whole processes, from their start.

    python experiments/bench/startup.py

`--help`, `list` and `fit --help` from start to end; `fit` on the digits for one step, else with the defaults, from
start to the end of its first training step, so with every import, with reading the data, building the network, W&B
offline, a validation to check that it works, and the step itself. What the run does after that step isn't counted. The
floor is a process that imports Lightning and ends.
"""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial

from callbacks import fit
from common import Run, alternate, bench_parser, parse, report

HELP = {"--help": ["--help"], "list": ["list"], "fit --help": ["fit", "--help"]}
FIT, FLOOR = "fit to step 1", "import lightning"
ONE_STEP = ("--data.steps_per_epoch", "1", "--trainer.max_epochs", "1")


def whole(*arguments: str) -> Run:
    """A Python process from start to end."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return Run(1, {"s": time.perf_counter() - start})


def first_step(*options: str) -> Run:
    """`semisup fit` from start to the end of its first step."""
    start, (seen, *_) = fit("FirstStep", *ONE_STEP, "--tracking.mode", "offline", *options)
    return Run(1, {"s": seen["time"] - start})


def main() -> None:
    """Runs the arms and prints what was measured."""
    parser = bench_parser(__doc__)
    parser.add_argument("--data", default="digits", help="what `fit` trains on")
    arguments = parse(parser)
    arms = {name: partial(whole, "-m", "semisup", *verb) for name, verb in HELP.items()}
    arms[FIT] = partial(first_step, "--data", arguments.data)
    arms[FLOOR] = partial(whole, "-c", "import pytorch_lightning")
    ratios = [(name, FLOOR) for name in arms if name != FLOOR]
    report("startup", arguments, alternate(arms, arguments.pairs), ratios)


if __name__ == "__main__":
    main()
