"""Prints the table of all faults, or of those that are named."""

from __future__ import annotations

import argparse
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from semisup.runtime.signals import STOPPING

from . import __doc__ as description
from . import data, disks, flags, locks, outputs, processes, strangers, streams, tracking, training
from .outcome import Outcome, variables
from .runs import Skipped, fit

SUBJECTS = (training, flags, streams, disks, locks, processes, tracking, strangers, data, outputs)
# Those that tests/test_faults.py runs; what the others show is tested elsewhere, by part.
IN_SUITE = ("infinite_loss", "checkpoint_cut_short", "clock_goes_back")
_WIDTH = 300  # of a cell, in letters


def main() -> int:
    """Prints the table; 1 where a fault did not behave."""
    torch.set_num_threads(1)  # of one number of threads results are the same to the bit; and forked threads are lost
    for number in STOPPING:  # in the background some are ignored, here and by the runs
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    names = {fault.__name__: fault for subject in SUBJECTS for fault in subject.FAULTS}
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faults", nargs="*", metavar="fault", choices=[[], *names], help="; ".join(names))
    asked = parser.parse_args().faults or list(names)
    bad = 0
    with tempfile.TemporaryDirectory() as place:
        whole = Path(place, "whole")
        ended = fit(whole)
        assert ended.code == 0, ended.said
        print(
            "| fault | how it was injected | what happened | what was left | took |\n|---|---|---|---|---|", flush=True
        )
        for name in asked:
            folder = Path(place, name)
            folder.mkdir()
            with variables(XDG_CACHE_HOME=str(folder / "cache"), WANDB_CACHE_DIR=str(folder / "cache")):
                bad += not row(name, names[name], folder, whole)
    print(f"\n{time.strftime('%Y-%m-%d')}, torch {torch.__version__}: {bad or 'none'} of {len(asked)} misbehaved")
    return 1 if bad else 0


def row(name: str, fault: Any, folder: Path, whole: Path) -> bool:
    """Injects a fault and prints its row; whether it behaved, or was skipped."""
    since = time.monotonic()
    try:
        outcome = fault(folder, whole)
    except Skipped as reason:
        outcome = Outcome("skipped", str(reason), {})
    except Exception as error:  # a run that left something else than was expected
        outcome = Outcome(f"{type(error).__name__}: {error}", "", {"leaves what was expected": False})
    failed = [expectation for expectation, met in outcome.met.items() if not met]
    happened = outcome.happened if len(outcome.happened) < _WIDTH else f"{outcome.happened[:_WIDTH]} ..."
    happened += f"; **misbehaved: {', '.join(failed)}**" if failed else ""
    cells = [
        name.replace("_", " "),
        " ".join((fault.__doc__ or "").split()),
        happened,
        outcome.left,
        f"{time.monotonic() - since:.0f} s",
    ]
    print(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |", flush=True)
    return not failed


if __name__ == "__main__":
    raise SystemExit(main())
