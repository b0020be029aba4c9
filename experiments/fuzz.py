"""Feeds damaged files and senseless options to everything that reads them, and prints what became of each case.

    python experiments/fuzz.py --cases 10000 --seed 0
    python experiments/fuzz.py --cases 500 "checkpoints" "YAML"

A case is right, or it is refused by one clear error: anything else (a traceback, a wrong result, an error that doesn't
say what is wrong, a file left behind, or a minute without an end) is a failure, is printed with its case, and ends the
script with exit code 1. The properties are those of `tests/test_fuzz.py`; 10,000 cases take some minutes on one
core. A property's cases are drawn by the seeds from the given one on, a thousand cases by each.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from fuzzing import PROPERTIES
from fuzzing.trying import Found, shares, tried

from semisup.runtime.openmp import restart_bounded

_HEADER = (
    "property",
    "cases",
    "accepted",
    "clear errors",
    "tracebacks",
    "wrong",
    "hangs",
    "leftovers",
    "slowest",
    "seeds",
)


def main() -> None:
    """Prints a row as each property is done, the sums, and every kind of failure."""
    restart_bounded()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("properties", nargs="*", help="by name (default: all)")
    parser.add_argument("--cases", type=int, default=10_000, help="of all properties together (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="the first one (default: %(default)s)")
    request = parser.parse_args()
    known = {prop.name: prop for prop in PROPERTIES}
    if unknown := [name for name in request.properties if name not in known]:
        parser.error(f"there is no property {unknown[0]!r}; there are: {', '.join(known)}")
    wanted = [known[name] for name in request.properties or known]
    logging.disable()
    warnings.simplefilter("ignore")
    start, everything = time.monotonic(), Found()
    print(f"| {' | '.join(_HEADER)} |\n|{'---|' * len(_HEADER)}", flush=True)
    for prop in wanted:
        found = tried(prop, shares(wanted, request.cases)[prop.name], request.seed)
        print(row(prop.name, found, f"{request.seed} to {found.last_seed}"), flush=True)
        everything.outcomes += found.outcomes
        everything.failures += found.failures
    print(row("all", everything, f"from {request.seed}"))
    print(f"\n{time.monotonic() - start:.0f} s, {len(everything.failures)} failures")
    for failure in everything.failures[:20]:
        print(f"\n{failure}")
    raise SystemExit(bool(everything.failures))


def row(name: str, found: Found, seeds: str) -> str:
    """A line of the table."""
    counts = [found.count(kind) for kind in ("accepted", "refused", "traceback", "wrong", "hang")]
    left = sum(bool(outcome.left) for outcome in found.outcomes)
    slowest = max(outcome.seconds for outcome in found.outcomes)
    cells = (name, f"{len(found.outcomes):,}", *(f"{n:,}" for n in counts), left, f"{slowest:.2f} s", seeds)
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    main()
