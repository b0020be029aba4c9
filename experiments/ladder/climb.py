"""Climbs the course's ladder: every rung adds one thing to those below it, over seeds on the same splits.

    python experiments/ladder/climb.py --seeds 3
    python experiments/ladder/climb.py --second small -- --data.root data/photographs32 --trainer.max_epochs 30

A rung is a file in this folder, and a run gets the files of its own and of all lower rungs. What follows `--` goes to
`semisup fit` as it is. Prints accuracies as experiments/paired.py does, each rung's difference being to the one below.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from paired import fit, table  # noqa: E402  (beside this folder, and not a package)

RUNGS = sorted(HERE.glob("[0-9]-*.yaml"))


def options(rung: int, second: str | None = None) -> list[str]:
    """The options of a rung, counted from 1: its file behind those of the rungs below it.

    Args:
        rung: its number.
        second: another backbone from the second rung on; `solution` takes no pictures smaller than 48 pixels.
    """
    files = [argument for path in RUNGS[:rung] for argument in ("--config", str(path))]
    return files + (["--model.backbone", second] if second and rung > 1 else [])


def main() -> None:
    """Runs every rung with every seed and prints the table and a JSON line."""
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = range(1, len(RUNGS) + 1)
    parser.add_argument("--rungs", nargs="+", type=int, choices=numbers, default=[*numbers], help="all by default")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--second", metavar="BACKBONE", help="for rung 2 and up, in place of solution (from 48 pixels)")
    parser.add_argument("--out", type=Path, default=Path("runs/ladder"))
    arguments = parser.parse_args(sys.argv[1:split])
    extra = sys.argv[split + 1 :]
    scores: dict[str, list[dict[str, float]]] = {}
    for rung in arguments.rungs:
        name, flags = RUNGS[rung - 1].stem, [*options(rung, arguments.second), *extra]
        scores[name] = [fit(name, seed, arguments.out, flags) for seed in range(arguments.seeds)]
    print("\n".join(table(scores, below=True)))
    print(json.dumps({"date": time.strftime("%Y-%m-%d"), "fit": extra, "scores": scores}))


if __name__ == "__main__":
    main()
