"""The compiler's own code for a view: the same bytes as one operation after the other, and kept for the next process.

    python experiments/bench/compiled.py
    python experiments/bench/compiled.py --view weak --side 16

Two processes after each other compile the view for the GPU, or for this CPU where there is none, into a folder that was
empty; each compares what it gives for `--steps` draws and two sizes of a batch with the bytes of `find_view`, and says
how long the first call took and how often the compiler found its graph in the folder. Ends with an error where a byte
differs or the second process compiles again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from common import bench_parser, device, machine, parse
from torch._dynamo.utils import counters

from semisup.augment.compiled import compiled_view
from semisup.augment.views import VIEWS, find_view
from semisup.randomness import Draw
from semisup.runtime.compiling import keep_compiled


def once(name: str, side: int, batch: int, steps: int) -> dict[str, float]:
    """Compiles a view and compares; seconds of the first call, values that differ, and the cache's hits and misses."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8, generator=generator).to(device())
    # Half of them of few levels, as drawings are, with flat channels among them.
    images[::2] = images[::2] // 64 * 64
    images[::4, 0] = 7
    view, compiled, first, differing = find_view(name), compiled_view(name), 0.0, 0
    for step in range(steps):
        for count in (batch, batch // 2 + 1):
            draw = Draw(0, step, "unlabeled/strong", torch.arange(count, device=device()), batch)
            start = time.perf_counter()
            found = compiled(images[:count], draw)
            first = first or time.perf_counter() - start
            differing += int((found != view(images[:count], draw)).sum())
    found_graphs = {which: counters["inductor"][f"fxgraph_cache_{which}"] for which in ("hit", "miss")}
    return {"first call s": first, "differing": differing, **found_graphs}


def main() -> None:
    """Runs both processes and prints what each came to."""
    parser = bench_parser(__doc__)
    parser.add_argument("--view", choices=sorted(VIEWS), default="strong")
    parser.add_argument("--side", type=int, default=32, help="pixels")
    parser.add_argument("--batch", type=int, default=56, help="images")
    parser.add_argument("--steps", type=int, default=20, help="draws that are compared")
    parser.add_argument("--in", dest="folder", help="of the compiler's cache: be one of the two processes")
    arguments = parse(parser)
    if arguments.folder:
        print(json.dumps(once(arguments.view, arguments.side, arguments.batch, arguments.steps)))
        return
    runs: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ.pop("TORCHINDUCTOR_CACHE_DIR", None)
        keep_compiled(Path(folder))
        for process in ("first", "second"):
            command = [sys.executable, sys.argv[0], *sys.argv[1:], "--in", folder]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            runs[process] = json.loads(output.splitlines()[-1])
            print(f"{process} process: {runs[process]}", flush=True)
    print(json.dumps({"bench": "compiled", **vars(arguments), **machine(), "runs": runs}))
    assert not any(run["differing"] for run in runs.values()), "bytes differ"
    assert runs["second"]["hit"] > 0 == runs["second"]["miss"], "the second process compiled again"


if __name__ == "__main__":
    main()
