"""Outputs onto what must not be written to."""

from __future__ import annotations

import os
from pathlib import Path

from .outcome import Outcome
from .runs import command, finished


def _out(folder: Path, whole: Path, out: Path, word: str) -> Outcome:
    """Predictions are written to a place that must stay as it was."""
    run = (
        finished(folder, whole)
        if not (folder / "runs").exists()
        else next((folder / "runs/digits/supervised").iterdir())
    )
    before = (os.lstat(out), out.read_bytes() if out.is_file() else b"")
    ended = command(folder, "predict", "--ckpt_path", str(run), "--out", str(out))
    after = (os.lstat(out), out.read_bytes() if out.is_file() else b"")
    same = (before[0].st_mode, before[0].st_ino, before[1]) == (after[0].st_mode, after[0].st_ino, after[1])
    met = ended.told(2, word) | {"it is what it was": same}
    return Outcome(f"exit code {ended.code}: {ended.line(word)}", "what was there", met)


def out_is_a_pipe(folder: Path, whole: Path) -> Outcome:
    """`predict --out` names a pipe that nobody reads."""
    os.mkfifo(folder / "pipe")
    return _out(folder, whole, folder / "pipe", "is a pipe")


def out_is_a_link_to_a_device(folder: Path, whole: Path) -> Outcome:
    """`predict --out` names a link to /dev/null."""
    (folder / "link").symlink_to("/dev/null")
    return _out(folder, whole, folder / "link", "is a link")


def out_is_a_checkpoint(folder: Path, whole: Path) -> Outcome:
    """`predict --out` names the run's best checkpoint."""
    return _out(folder, whole, finished(folder, whole) / "checkpoints" / "best.ckpt", "is a checkpoint")


FAULTS = [out_is_a_pipe, out_is_a_link_to_a_device, out_is_a_checkpoint]
