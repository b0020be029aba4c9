"""What the benches share: arms that take turns, medians and ratios, and what is printed in the end.

An arm is a function without arguments that does its share of work once and returns a `Run`. The arms are run in turn,
once to warm up and then `pairs` times, so that whatever else the machine does meets them alike; ratios are taken within
a turn. A bench is then

    parser = bench_parser(__doc__)
    parser.add_argument("--side", type=int, default=32)
    arguments = parse(parser)
    runs = alternate({"semisup": ours, "peer": theirs}, arguments.pairs)
    report("name", arguments, runs)

which prints a table, and one line of JSON with every single run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from semisup.runtime.openmp import restart_bounded


class Run(NamedTuple):
    """What an arm did in one turn.

    Attributes:
        work: how many images, steps or whatever the bench counts it went through; the same in every arm.
        figures: what was measured, by unit, such as `{"images/s": 812.0}`; the same units in every arm.
    """

    work: int
    figures: dict[str, float]


def bench_parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser with the options that every bench has, and the script's docstring for help."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5, help="turns after one to warm up, or 0 (%(default)s)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch (%(default)s)")
    return parser


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments, with torch's number of threads set to what they say, here and in processes that are started.

    OpenMP's spinning is bounded as the command line bounds it: where it isn't, the script begins once more.
    """
    restart_bounded()
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    return arguments


def alternate(arms: Mapping[str, Callable[[], Run]], pairs: int) -> dict[str, list[Run]]:
    """Runs every arm in turn, `pairs` times after a turn that is not counted; with 0 pairs that turn alone is.

    Returns:
        Each arm's runs, in order: the n-th runs of two arms are neighbours in time.

    Raises:
        ValueError: the arms of a turn did not go through the same number of things.
    """
    turns = []
    for number in range(pairs + 1):
        turn = {name: arm() for name, arm in arms.items()}
        work = {name: run.work for name, run in turn.items()}
        if len(set(work.values())) != 1:
            raise ValueError(f"the arms did not do the same work: {work}")
        if number or not pairs:
            turns.append(turn)
            print(f"turn {number} of {pairs}", file=sys.stderr, flush=True)
    return {name: [turn[name] for turn in turns] for name in arms}


def report(
    bench: str,
    arguments: argparse.Namespace,
    runs: dict[str, list[Run]],
    ratios: Sequence[tuple[str, str]] | None = None,
    **facts: Any,
) -> None:
    """Prints a table of medians, the ratios, and one line of JSON.

    Args:
        bench: the script's name.
        arguments: what it was called with.
        runs: what `alternate` returned.
        ratios: pairs of arms, each a numerator and a denominator; the first arm over each other one by default.
        facts: more to write into the JSON.
    """
    first, *others = runs
    units = list(runs[first][0].figures)
    print(f"{'':>30}" + "".join(f"{unit:>18}" for unit in units))
    for name, own in runs.items():
        print(f"{name:>30}" + "".join(f"{median(own, unit):18.4g}" for unit in units))
    quotients = {
        f"{over}/{under}": {
            unit: [a.figures[unit] / b.figures[unit] for a, b in zip(runs[over], runs[under], strict=True)]
            for unit in units
        }
        for over, under in (ratios or [(first, other) for other in others])
    }
    for name, by_unit in quotients.items():
        print(f"{name:>30}" + "".join(f"{statistics.median(found):18.3g}" for found in by_unit.values()))
        print(f"{'from, to':>30}" + "".join(f"{min(x):9.3g}{max(x):9.3g}" for x in by_unit.values()))
    arms = {name: {unit: [run.figures[unit] for run in own] for unit in units} for name, own in runs.items()}
    medians = {name: {unit: median(own, unit) for unit in units} for name, own in runs.items()}
    content = {"work": runs[first][0].work, "medians": medians, "ratios": quotients, "runs": arms}
    given = {name: value for name, value in vars(arguments).items() if value is not None}
    print(json.dumps({"bench": bench, **given, **machine(), **facts, **content}))


def median(runs: list[Run], unit: str) -> float:
    """The median of a figure over an arm's runs."""
    return statistics.median(run.figures[unit] for run in runs)


def machine() -> dict[str, Any]:
    """Where and when a figure was measured."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "device": device().type,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def synchronize() -> None:
    """Waits until the GPU, where there is one, has done what it was given, so that a clock can be read."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def in_new_process(*arguments: str) -> dict[str, float]:
    """Runs the same script in a process of its own and returns the JSON of its last line."""
    command = [sys.executable, sys.argv[0], *arguments]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, float] = json.loads(output.splitlines()[-1])
    return found


def private_memory() -> dict[str, float]:
    """This process's memory in MB: what it alone holds (USS), and the part of it that doesn't come from a file.

    Pages of a mapped file that no other process has mapped count as this one's, although the system takes them back
    whenever it needs them; the second figure leaves them out. Only Linux tells.
    """
    kilobytes = {}
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]:
        name, value, _ = line.split()
        kilobytes[name.rstrip(":")] = int(value)
    uss = kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]
    return {"USS MB": uss * 1024e-6, "own MB": kilobytes["Anonymous"] * 1024e-6}
