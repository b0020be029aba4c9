"""Paths that are typed: what one may be, and what is never written over. Standard library only.

Every option that names a file or a folder goes through `local`, and every output through `output_file` or
`output_folder`, before any work is done. A link, a device, a pipe or a socket is never written to. A file that is there
already is replaced if semisup wrote it: a folder of outputs remembers what was written to it, by name and SHA-256, and
a file alone is known by how it begins. Anything else is replaced only with `--force`, and a run's own record never.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from semisup.errors import InputError, require
from semisup.escape import shell
from semisup.runs.directory import run_of, write_atomically
from semisup.runs.run_files import state_of

WRITTEN = ".semisup-outputs"  # in a folder of outputs: its files as `sha256sum` lists them, and checks them with -c
_HEAD = 4096  # bytes that a file is known by
_NAME, _PATH = 255, 4096  # bytes that a name and a path have at most (NAME_MAX and PATH_MAX of Linux)
_RECORD = ("config.yaml", "environment.txt", "metrics.csv", "predictions.csv", "confusion.csv")


def local(path: str | Path) -> Path:
    """A path on this machine, a home (`~`) written out.

    Raises:
        InputError: it is an address, such as `s3://bucket/folder`, or no file can be called so.
    """
    text = str(path)
    names = text.encode("utf-8", "replace").split(b"/")
    require(
        "\0" not in text and max(map(len, names)) <= _NAME and sum(map(len, names)) + len(names) <= _PATH,
        f"{text[:60]}... is no path: a name in one has at most {_NAME} bytes, and all of it {_PATH:,}",
    )
    require(
        not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text),
        f"{text} is an address, and only files and folders of this machine are read and written; type a path, such as "
        f"where that is mounted",
    )
    expanded = Path(os.path.expanduser(text))
    if str(expanded)[0] in "-~":  # ./~x, which whoever expands it again would not find
        return expanded.absolute()
    return expanded


def output_file(path: str | Path, force: bool = False, ours: Callable[[bytes], bool] = lambda head: False) -> Path:
    """Where one file may be written.

    Args:
        path: as typed.
        force: whether a file that is there may be replaced, whatever it is.
        ours: whether a file that begins like this was written by the same verb, and may be replaced in any case.

    Raises:
        InputError: it may not.
    """
    file_path = local(path)
    require(file_path.name != "-", "--out - would be the standard output, which no file is written to; type a name")
    require(
        not file_path.is_dir() or file_path.is_symlink(), f"{file_path} is a folder; type --out with the name of a file"
    )
    _refuse_special(file_path)
    require(file_path.parent.exists(), f"the folder {file_path.parent} of --out does not exist; make it first")
    _refuse_parent(file_path.parent)
    advice = "which nothing else is written over; type --out with another name"
    require(not _is_record(file_path), f"{file_path} is {_what(file_path)}, {advice}")
    if file_path.exists() and not force:
        with file_path.open("rb") as file:
            head = file.read(_HEAD)
        require(
            not head or ours(head),
            f"{file_path} is {_what(file_path)}; type --out with another name, or --force to replace it",
        )
    return file_path


@contextmanager
def output_folder(path: str | Path, names: Sequence[str], force: bool = False, asked: bool = True) -> Iterator[Path]:
    """A folder to write files into, which is made with the first of them; what was written is remembered at the end.

    Args:
        path: as typed, or the one that is the verb's own.
        names: patterns of all that may be written, relative to it, such as `report.tex` and `figures/*.png`.
        force: whether files that are there may be replaced, whatever they are.
        asked: whether the folder was typed; the verb's own is known to hold outputs alone.

    Raises:
        InputError: it is no folder, or holds what may not be replaced.
    """
    folder = local(path)
    _refuse_special(folder)
    require(not folder.exists() or folder.is_dir(), f"{folder} is a file; type --out with the name of a folder")
    _refuse_parent(folder)
    before = {file: state_of(file) for file in _found(folder, names)}
    written = _written(folder)
    for file in before:
        _refuse_special(file)
        if asked and not force and written.get(_name(file, folder)) != _digest(file):
            advice = "type --out with another folder, or --force to replace what is there"
            raise InputError(f"{folder} holds {file.name}, {_what(file)}; {advice}")
    try:
        yield folder
    finally:
        if asked and folder.is_dir():
            new = {
                _name(file, folder): _digest(file)
                for file in _found(folder, names)
                if before.get(file) != state_of(file)
            }
            if new:
                lines = [f"{digest}  {name}\n" for name, digest in sorted((written | new).items())]
                write_atomically(folder / WRITTEN, "".join(lines))


def _refuse_special(path: Path) -> None:
    """Refuses what is neither a file nor a folder."""
    if path.is_symlink():
        raise InputError(f"{path} is a link, and nothing is written through one; type where it leads: {_target(path)}")
    tests = {"a pipe": path.is_fifo, "a socket": path.is_socket, "a device": lambda: _is_device(path)}
    kind = next((kind for kind, test in tests.items() if test()), "")
    require(not kind, f"{path} is {kind}, and only files are written; type --out with another name")


def _is_device(path: Path) -> bool:
    return path.is_block_device() or path.is_char_device()


def _target(link: Path) -> str:
    return shell(Path(os.path.realpath(link)))


def _refuse_parent(folder: Path) -> None:
    """Refuses a folder that can't be made, or not be written to."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists() or parent.is_symlink())
    require(there.is_dir(), f"{there} is no folder, and so nothing can be written below it; type another path")
    require(os.access(there, os.W_OK | os.X_OK), f"{there} may not be written to; let it, or type another path")


def _is_record(path: Path) -> bool:
    """Whether a file is what a run knows of itself."""
    run = run_of(path.absolute().parent)
    own = run is not None and path.absolute().parent.samefile(run) and path.name in _RECORD
    return path.exists() and (own or (run is not None and path.suffix == ".ckpt"))


def _what(path: Path) -> str:
    """What an existing file is, in words."""
    run = run_of(path.absolute().parent)
    if path.suffix == ".ckpt":
        return "a checkpoint"
    return f"a file of the run {run}" if run else "a file that semisup didn't write, or that was changed since"


def _found(folder: Path, names: Sequence[str]) -> list[Path]:
    return sorted({file for name in names for file in folder.glob(name)}) if folder.is_dir() else []


def _name(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix()


def _digest(file: Path) -> str:
    if not file.is_file():
        return ""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _written(folder: Path) -> dict[str, str]:
    """Name -> SHA-256 of what was written to a folder before."""
    path = folder / WRITTEN
    if path.is_symlink() or not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return {name: digest for digest, gap, name in (line.partition("  ") for line in lines) if gap}
