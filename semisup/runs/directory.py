"""Run directories: `root/<data>/<strategy>/<time>-s<seed>/`, what lies in them, and how to find a checkpoint.

    config.yaml  environment.txt  metrics.csv  checkpoints/best.ckpt  checkpoints/last.ckpt  wandb/

Standard library only: the command line's light verbs use it without waiting for torch.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Literal

from semisup.errors import InputError, require
from semisup.escape import nearby, shell
from semisup.runs import run_files

Which = Literal["best", "last"]


class WriteError(InputError, OSError):
    """The disk does not take a file: it is full, or not to be written to. (An `OSError` as well, for who expects one.)

    To the user it is what any other mistake is: one line, and exit code 2.
    """


@contextmanager
def writing(path: Path, run: Path | None = None) -> Iterator[None]:
    """Makes one clear error of what the disk refuses meanwhile.

    Args:
        path: what is being written.
        run: the run directory that can go on from its last checkpoint, where it has one.

    Raises:
        WriteError: in place of an `OSError`.
    """
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        advice = "make room on that disk" if full else "let that folder be written to, or give another one"
        if run and any(run.glob("checkpoints/*.ckpt")):
            advice += f", and go on with --resume {shell(nearby(run))}"
        raise WriteError(f"{path} can't be written ({error.strerror or error}); {advice}") from error


def new_run_dir(root: Path, data: str, strategy: str, seed: int) -> Path:
    """Creates a directory that no other run has, `root/<data>/<strategy>/<YYYYmmdd-HHMMSS>-s<seed>`.

    A second run in the same second, or after the clock went back, gets `-2`, `-3`, ... at the end.

    Raises:
        WriteError: no directory can be made there.
    """
    parent = Path(root) / data / strategy
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}-s{seed}"
    with writing(parent):
        parent.mkdir(parents=True, exist_ok=True)
        for number in count(1):
            path = parent / (stem if number == 1 else f"{stem}-{number}")
            try:
                path.mkdir()  # fails where the directory exists, so that of two processes only one gets it
            except FileExistsError:
                continue
            return path
    raise AssertionError("unreachable")


def current_run_dir(root: Path, data: str, strategy: str, seed: int) -> Path:
    """The directory of this run, an absolute path: rank 0 makes a new one, and the other ranks ask rank 0.

    Raises:
        InputError: this process is another rank, and rank 0 can't be asked; or a rank does not see what rank 0 made.
    """
    from semisup.runtime.launch import from_rank_zero, on_every_rank

    path = Path(from_rank_zero(lambda: str(new_run_dir(root, data, strategy, seed).absolute())))
    if not on_every_rank(path.is_dir()):
        with suppress(OSError):
            path.rmdir()
        raise InputError(
            f"rank 0 made {path}, and not every machine sees it; type --trainer.default_root_dir with a folder that "
            f"all of them share"
        )
    return path


def place(path: str) -> str:
    """Where a path that was typed leads from here, absolute; an address (`s3://...`) is what it is everywhere."""
    return path if "://" in path else os.path.abspath(os.path.expanduser(path))


def is_run(path: Path) -> bool:
    """Whether a folder is a run directory: it holds `environment.txt` or `checkpoints/`."""
    return (path / "environment.txt").is_file() or (path / "checkpoints").is_dir()


def run_of(path: Path) -> Path | None:
    """The run directory that a run's path, or the path of a checkpoint or another file in it, belongs to."""
    path = Path(path).absolute()
    return next((folder for folder in (path, *path.parents[:2]) if is_run(folder)), None)


def find_runs(paths: Iterable[Path]) -> dict[Path, bool]:
    """Run directories (absolute), and whether each was given by itself rather than found in a folder.

    Args:
        paths: run directories, files in them, and folders that hold some at any depth.

    Raises:
        InputError: a path doesn't exist, or is of no run and holds none.
    """
    runs: dict[Path, bool] = {}
    for path in paths:
        require(
            path.exists(), f"{path} does not exist; type the path of a run directory, or of a folder that holds some"
        )
        if (run := run_of(path)) and _has_options(run):
            runs[run] = True
            continue
        inside = list(_below(path.absolute()))
        require(
            bool(inside), f"{path} is no run directory and holds none; type the path of one, or of a folder with some"
        )
        for run in inside:
            runs.setdefault(run, False)
    return runs


def _below(folder: Path) -> Iterator[Path]:
    for where, folders, _ in os.walk(folder):
        folders.sort()
        if _has_options(Path(where)):
            folders.clear()
            yield Path(where)


def _has_options(folder: Path) -> bool:
    """Whether a folder is a run that can be looked at: `checkpoints/` alone may be any program's, beside real runs."""
    return is_run(folder) and any((folder / name).is_file() for name in ("environment.txt", "config.yaml"))


def find_checkpoint(path: Path, which: Which = "best") -> Path:
    """The checkpoint that a path means.

    Args:
        path: a checkpoint, or a run directory.
        which: of a run directory, `"best"` takes `checkpoints/best.ckpt`, or `last.ckpt` where there is none (nothing
            was validated yet); `"last"` takes `checkpoints/last.ckpt` and nothing else.

    Raises:
        InputError: there is no such checkpoint.
    """
    path = Path(path)
    if path.suffix == ".ckpt" and run_files.is_there(path):
        return path
    names = ("best.ckpt", "last.ckpt") if which == "best" else ("last.ckpt",)
    expected = " or ".join(f"checkpoints/{name}" for name in names)
    if not path.exists():
        raise InputError(f"{path} does not exist; type the path of a run directory or of a checkpoint (*.ckpt)")
    if path.is_file():
        raise InputError(f"{path} is not a checkpoint; type the path of a *.ckpt file or of a run with {expected}")
    folder = path if path.name == "checkpoints" else path / "checkpoints"
    for name in names:
        if run_files.is_there(folder / name):
            return folder / name
    raise InputError(f"{path} holds no {expected}; {_advice(path, folder)}")


def _advice(path: Path, folder: Path) -> str:
    """What was found where a checkpoint was expected, and what to type instead."""
    runs = sorted(
        (run for depth in ("*", "*/*", "*/*/*") for run in path.glob(depth) if is_run(run)), key=lambda run: run.name
    )
    if runs and not is_run(path):
        return f"found {len(runs)} run(s) in it; name one of them, the newest is {shell(runs[-1])}"
    if checkpoints := sorted(folder.glob("*.ckpt")):
        names = ", ".join(one.name for one in checkpoints)
        return f"found {names}; type the path of one, such as {shell(checkpoints[0])}"
    entries = ", ".join(sorted(child.name for child in path.iterdir())) or "nothing"
    return f"found {entries}; type the path of a run that has saved one, or of a *.ckpt file"


def write_atomically(path: Path, text: str) -> None:
    """Writes a UTF-8 text file: a reader sees the old text or the new, never a half.

    Raises:
        WriteError: the disk does not take it.
    """
    with writing(path), replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write a file that is moved to `path` when it is complete, and removed where it isn't."""
    path = Path(path)
    require(path.is_file() or not path.exists(), f"{path} is not a plain file, and is not replaced by one")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
