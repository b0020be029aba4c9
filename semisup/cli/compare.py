"""`semisup compare`: strategies over seeds and numbers of labels, trained first where they must be.

python -m semisup compare --strategies supervised,pseudolabel --seeds 5 --labels 40,100 --data digits --jobs 2
python -m semisup compare runs/digits
"""

from __future__ import annotations

import os
import sys
from argparse import Namespace, RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semisup.cli import add_may_differ, add_output
from semisup.cli.verbs import Parser
from semisup.errors import InputError, require
from semisup.escape import nearby, printable, shell
from semisup.runs.redaction import redacted

if TYPE_CHECKING:
    from semisup.cli.build import DataOptions
    from semisup.compare.choose import CompareRequest
    from semisup.compare.grid import Job
    from semisup.compare.record import Comparison, Failure

_OUT = Path("runs/compare")
_TABLES = ("accuracy", "differences", "label_efficiency", "cost", "runs")
_GRID_ONLY = ("seeds", "labels", "oracle", "jobs", "dry_run")
_SEEDS = 5
_EPILOG = """\
examples:
  semisup compare --strategies supervised,fixmatch --seeds 5 --labels 40,250,1000 --data digits
  semisup compare runs/digits                    # compares the runs that are there, and trains nothing

All other options are those of `semisup fit`, and are given to every run; `--pseudolabel.threshold 0.9` and the like to
those of that strategy. The same command again keeps what is finished and goes on with the rest; while the first is at
work, the two share what is left. --dry_run prints the commands, one a line, for a shell or a cluster; the same command
without it collects what they left."""


def add_options(parser: Parser) -> None:
    """The verb's options. Where runs are trained, what isn't an option here is one of `semisup fit`."""
    if not any(argument.partition("=")[0] == "--strategies" for argument in parser.given):
        parser.add_argument("runs", nargs="*", metavar="RUN", help="run directories, or folders that hold some")
    add = parser.add_argument
    add("--strategies", metavar="NAME,NAME", help="train these first, each with every seed and number of labels")
    add("--seeds", type=int, metavar="N", help=f"0 to N - 1 (default: {_SEEDS})")
    add("--labels", metavar="N,N", help="numbers of labels in all (default: what the data gives)")
    add("--oracle", action="store_true", help="train the supervised arm with all labels as well")
    add("--jobs", type=int, metavar="N", help="runs at once (default: 1; without a GPU, 1 for each core and free 4 GB)")
    add("--dry_run", action="store_true", help="print the commands, and train nothing")
    add_output(parser, "DIR", f"where to write (default: {_OUT}/DATA; {_OUT}/collected, of given runs)")
    add_may_differ(parser)
    parser.formatter_class, parser.epilog = RawDescriptionHelpFormatter, _EPILOG


def run(request: Namespace, rest: list[str]) -> None:
    """Trains the runs of a grid, where one is given, and compares; prints every table and writes it.

    Args:
        request: the verb's own options.
        rest: those of `semisup fit`.

    Raises:
        InputError: an option is wrong, or runs can't be compared.
        SystemExit: with exit code 1, where runs of the grid failed.
    """
    if request.strategies is None:
        _collect(request, rest)
    else:
        _grid(request, rest)


def _collect(request: Namespace, rest: list[str]) -> None:
    """Compares the runs that are there."""
    given = [*rest, *(f"--{name}" for name in _GRID_ONLY if getattr(request, name) not in (None, False))]
    require(not given, f"{' '.join(given[:1])} is an option of runs to be trained; type --strategies NAME,NAME with it")
    require(bool(request.runs), "type the RUNs to compare, or --strategies NAME,NAME to train some first")

    from semisup.runs.directory import find_runs
    from semisup.runs.paths import local

    with _output(request, _OUT / "collected") as out:
        _compare(find_runs([local(path) for path in request.runs]), _request(request, out))


def _grid(request: Namespace, rest: list[str]) -> None:
    """Trains what is missing, and compares."""
    request.seeds = _SEEDS if request.seeds is None else request.seeds
    require(request.seeds >= 1, f"--seeds is {request.seeds}, but must be at least 1")
    require(request.jobs is None or request.jobs >= 1, f"--jobs is {request.jobs}, but must be at least 1")

    from semisup.compare.grid import find, fit_command
    from semisup.compare.train import train
    from semisup.runs.paths import local
    from semisup.runtime.console import typed

    data, jobs = _jobs(request, rest)
    if request.dry_run:
        out = local(request.out or _OUT / data)
        states = [(job, *find(job, out / "runs")) for job in jobs]
        commands = [fit_command(job, out / "runs", run) for job, run, finished in states if not finished]
        print("\n".join(typed(*words) for words in commands), end="\n" if commands else "")
        print(f"{len(commands)} of {len(jobs)} runs are to be made; the others are finished", file=sys.stderr)
        return
    with _output(request, _OUT / data) as out:
        failures = train(jobs, out, request.jobs)
        finished = {run: False for job in jobs for run, done in [find(job, out / "runs")] if run and done}
        if finished:
            _compare(finished, _request(request, out, [job.strategy for job in jobs], failures))
    for failure in failures:
        print(f"FAILED {failure.name} (exit code {failure.exit_code}): {printable(failure.last_line)}", file=sys.stderr)
        print(f"       all that it said: {shell(nearby(out / failure.log))}", file=sys.stderr)
    if failures:
        raise SystemExit(1)


def _jobs(request: Namespace, rest: list[str]) -> tuple[str, list[Job]]:
    """The dataset's name and all runs of the grid, seed by seed, so that those that are there can soon be compared.

    Every arm's options are parsed, and the data is opened, before anything is trained.
    """
    from semisup.cli import expand
    from semisup.cli.build import build_data
    from semisup.cli.config import parse
    from semisup.compare import grid
    from semisup.composition import Composition

    names = grid.strategies(request.strategies)
    counts = grid.numbers(request.labels, "--labels") if request.labels is not None else []
    options = expand(rest)
    both = any(argument.partition("=")[0] == "--data.labels_per_class" for argument in options)
    require(not (both and counts), "--labels and --data.labels_per_class both say how many labels; type one of them")

    def parsed(strategy: str, *more: str) -> tuple[DataOptions, dict[str, Any], list[str]]:
        arguments = ["--strategy", strategy, *grid.arguments_of(strategy, options, [*names, "supervised"]), *more]
        config = parse("fit", arguments)
        Composition(config.plugins)  # refuses strategies that can't train together
        return config.data, config.options, arguments

    first, *_ = parsed(names[0])
    spec = first.datamodule().spec
    each = {n: ["--data.labels_per_class", str(grid.labels_per_class(n, spec.class_names, spec.name))] for n in counts}
    usual = first.arguments.get("labels_per_class")
    levels: list[tuple[int | None, list[str]]] = [*each.items()]
    levels = levels or [(usual and usual * len(spec.class_names), [])]
    arms = [(name, labels, *parsed(name, *more)) for labels, more in levels for name in names]
    opened = build_data(arms[-1][2])  # that of the most labels
    if counts:
        there = opened.pools.labeled.labels.bincount(minlength=len(spec.class_names)).tolist()
        least = min(zip(there, spec.class_names, strict=True))
        require(
            opened.imbalance > 1 or least[0] * len(there) == counts[-1],
            f"--labels {counts[-1]} are {counts[-1] // len(there)} of each class, and {spec.name} has {least[0]} of "
            f"{least[1]!r} to train on; type --labels {least[0] * len(there)} at most",
        )
    if request.oracle:
        arms.append(("supervised", None, *parsed("supervised", "--data.labels_per_class", "null")))

    @cache
    def digest(arm: int) -> str:
        return build_data(arms[arm][2]).fingerprint.digest

    jobs = [
        grid.Job(
            *(strategy, labels, seed, [*words, "--seed", str(seed)]),
            *(grid.wanted(tree, seed), grid.named_classes(tree), partial(digest, arm)),
        )
        for seed in range(request.seeds)
        for arm, (strategy, labels, _, tree, words) in enumerate(arms)
    ]
    return first.name, jobs


def _output(request: Namespace, usual: Path) -> AbstractContextManager[Path]:
    """The folder to write to, looked at before any work."""
    from semisup.runs.paths import output_folder

    names = [f"{name}.{kind}" for name in _TABLES for kind in ("csv", "tex")]
    names += ["page.html", "comparison.json", "tables.txt"]
    return output_folder(request.out or usual, names, request.force, asked=bool(request.out))


def _request(
    request: Namespace, out: Path, order: Sequence[str] = (), failures: Sequence[Failure] = ()
) -> CompareRequest:
    from semisup.compare.choose import CompareRequest

    words = shell(*redacted(["semisup", *sys.argv[1:]]))
    return CompareRequest(words, out, list(dict.fromkeys(order)), request.may_differ, failures)


def _compare(directories: Mapping[Path, bool], request: CompareRequest) -> Comparison:
    """Compares runs, prints the tables and what else must be said, and writes all of it."""
    from semisup.compare import assemble, page, table, tables
    from semisup.compare.network import look_at
    from semisup.runtime.console import say

    comparison = assemble.compare(directories, request, _count_labels, look_at)
    made = tables.tables(comparison)
    request.out.mkdir(parents=True, exist_ok=True)
    comparison.write(request.out)
    table.write(made, request.out)
    page.write(comparison, request.out)
    say("\n" + "\n\n".join(one.text() for one in made) + "\n")
    for note in comparison.notes:
        say(note)
    for left in comparison.left_out:
        say(f"left out {os.path.relpath(request.out / left.path)}: {left.reason}")
    names = ", ".join(one.name for one in made)
    files = f"{page.FILE}, comparison.json, {table.ALL}, and as .csv and .tex: {names}"
    say(f"written to {os.path.relpath(request.out)}: {files}")
    return comparison


def _count_labels(directory: Path) -> int | None:
    """The labeled images of a run's data; None where it isn't there."""
    from semisup.cli.figures import open_data

    try:
        return len(open_data(directory, None).pools.labeled)
    except InputError:
        return None
