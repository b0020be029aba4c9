"""`semisup sweep`: varies options of a strategy, or any that are named, as a W&B sweep or a plain list of commands.

python -m semisup sweep --strategy pseudolabel --data digits
python -m semisup sweep --strategy pseudolabel --over threshold,weight --grid > commands.sh
"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter

from semisup.cli import add_output
from semisup.errors import require
from semisup.escape import nearby, shell

_MAX_COMMANDS = 200  # commands of a grid: more were hardly meant
_EPILOG = """\
examples:
  semisup sweep --strategy fixmatch --data cifar10                 # writes sweep-fixmatch.yaml, for `wandb sweep`
  semisup sweep --strategy fixmatch --over threshold,weight --grid # prints nine commands, one a line
  semisup sweep --strategy fixmatch --over optimizer.lr,data.batch_size,threshold
  semisup sweep --strategy fixmatch --over threshold=.8/.9/.95 --grid # these values

Every number but 0 is varied around its default, every switch and every choice through all its values; of any other
option the values are to be named. With --method random or bayes W&B draws numbers from that range. All other options
are those of `semisup fit`, and are given to every run.
`semisup compare RUNS` compares what the runs came to."""


def add_options(parser: ArgumentParser) -> None:
    """The verb's options; what isn't one of them is one of `semisup fit`."""
    add = parser.add_argument
    add("--strategy", required=True, metavar="NAME", help="the strategy, or a composition, NAME+NAME")
    add(
        "--over",
        metavar="OPTION,OPTION",
        help="only these, as threshold or optimizer.lr, or threshold=.8/.95 for these values (default: all of the "
        "strategy)",
    )
    add("--grid", action="store_true", help="print the command of every combination, and write no file")
    add("--method", choices=("grid", "random", "bayes"), default="bayes", help="W&B's (default: %(default)s)")
    add_output(parser, "FILE", "where to write the sweep (default: sweep-STRATEGY.yaml)")
    parser.formatter_class, parser.epilog = RawDescriptionHelpFormatter, _EPILOG


def run(request: Namespace, rest: list[str]) -> None:
    """Writes the sweep and says how to start it, or prints the commands of the grid.

    Args:
        request: the verb's own options.
        rest: those of `semisup fit`.

    Raises:
        InputError: an option is wrong, there is nothing to vary, or a grid has too many commands.
    """
    from semisup.cli import expand
    from semisup.cli.config import parse
    from semisup.dashboard import sweep
    from semisup.runs.directory import write_atomically
    from semisup.runs.options import flat
    from semisup.runs.paths import output_file
    from semisup.runtime.console import say, typed

    path = output_file(request.out or f"sweep-{request.strategy}.yaml", request.force or request.grid, _is_sweep)
    fixed = ["--strategy", request.strategy, *expand(rest)]
    run_options = parse("fit", fixed).options
    takes = sweep.taker(run_options)
    over = [name.strip().removeprefix("--") for name in (request.over or "").split(",") if name.strip()]
    options = sweep.options(request.strategy, fixed, takes, over, flat(run_options))
    if request.grid:
        size = sweep.size(options)
        narrower = f"type --over with some of {','.join(options)}"
        require(size <= _MAX_COMMANDS, f"the grid has {size:,} commands, and may have {_MAX_COMMANDS:,}; {narrower}")
        commands = [typed("fit", *words) for words in sweep.grid(options, fixed, takes)]
        print("\n".join(commands))
        return
    options = sweep.compatible(options, takes)
    write_atomically(path, sweep.wandb_sweep(request.strategy, options, fixed, request.method))
    say(f"{os.path.relpath(path)}: {request.method} over {', '.join(options)}")
    say(f"start it: wandb sweep {shell(nearby(path))}, then wandb agent with the id that it names")


def _is_sweep(head: bytes) -> bool:
    return head.startswith(b"name: ") and b"\nmethod: " in head and b"\n- semisup\n" in head
