"""What a training is told to take, beside what it then takes: memory and time, on pictures of three sizes.

    python experiments/bench/forecast.py
    python experiments/bench/forecast.py --steps 30 --threads 2

FixMatch and supervised training on random pictures laid out as STL-10's, each a process of its own. Memory is the most
that the process held, and time what the training itself took, validation included, as the run says at its end.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

CASES = [  # pixels, network, strategy, labeled images in a batch
    (32, "wrn-28-2", "fixmatch", 16),
    (48, "solution", "supervised", 128),
    (96, "solution", "fixmatch", 16),
]


def main() -> None:
    """Prints a line for every size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    print(f"{'pixels':>6}  {'training':<32}{'memory told':>12}{'taken':>10}{'time told':>12}{'taken':>10}")
    for side, network, strategy, batch in CASES:
        with tempfile.TemporaryDirectory() as folder:
            layout(Path(folder) / "stl10_binary", side)
            words = ["--strategy", strategy, "--data", "stl10", "--data.root", folder, "--model.backbone", network]
            words += ["--data.batch_size", str(batch), "--data.steps_per_epoch", str(arguments.steps)]
            words += ["--trainer.max_epochs", "1", "--trainer.default_root_dir", f"{folder}/runs", "--yes"]
            words += ["--tracking.mode", "disabled", "--trainer.accelerator", "cpu"]
            memory, said = fit(words, arguments.threads)
        told, time = (
            re.search(r"^memory: about ([\d.]+) GB", said, re.M),
            re.search(r"^time: about (.*) for", said, re.M),
        )
        took = re.search(r"^([\d.]+) s of training", said, re.M)
        assert told and time and took, said
        cells = (f"{told[1]} GB", f"{memory / 2**30:.1f} GB", time[1], f"{took[1]} s")
        title = f"{strategy}, {network}, batch {batch}"
        print(f"{side:>6}  {title:<32}{cells[0]:>12}{cells[1]:>10}{cells[2]:>12}{cells[3]:>10}", flush=True)


def layout(folder: Path, side: int) -> None:
    """Random pictures as STL-10's files: 500 labeled ones, 200 to test and 2,000 without labels."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, count in {"train": 500, "test": 200, "unlabeled": 2000}.items():
        rng.integers(0, 256, (count, 3, side, side), dtype=np.uint8).tofile(folder / f"{name}_X.bin")
    for name, count in {"train": 500, "test": 200}.items():
        (np.arange(count) % 10 + 1).astype(np.uint8).tofile(folder / f"{name}_y.bin")
    (folder / "class_names.txt").write_text("\n".join(f"class{k}" for k in range(10)))
    (folder / "fold_indices.txt").write_text("\n".join(" ".join(map(str, range(50))) for _ in range(10)))


def fit(words: list[str], threads: int) -> tuple[int, str]:
    """The most bytes that `semisup fit` held, and what it said."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "semisup", "fit", *words]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(said)
    return 1024 * usage.ru_maxrss, said


if __name__ == "__main__":
    main()
