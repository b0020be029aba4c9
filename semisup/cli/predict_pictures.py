"""`semisup predict RUN PICTURE...`: the classes of new pictures, from the checkpoint alone.

    semisup predict runs/folder/fixmatch/20260101-120000-s0 new-pictures/ holiday.jpg --least_sure_first
    find . -name '*.png' | semisup predict RUN - --out answers.parquet --copy_to sorted

The file has a row for each picture: its path, the most probable class, that class's probability, and the probability of
every class.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from semisup.cli import add_output
from semisup.errors import InputError, require
from semisup.escape import csv_cell
from semisup.runs.directory import write_atomically, writing
from semisup.runs.paths import local, output_file

if TYPE_CHECKING:
    from semisup.model import Predictions

_HEAD = ["picture", "class", "confidence"]
_PARQUET = ".parquet"


def add_options(parser: ArgumentParser) -> None:
    """The verb's options where pictures are named."""
    add = parser.add_argument
    add("run", metavar="RUN", help="a run directory or a checkpoint")
    add("pictures", nargs="+", metavar="PICTURE", help="files, or folders, at any depth; - reads paths, one a line")
    add_output(parser, "FILE", "where to write, as CSV or, where it ends so, as .parquet (default: predictions.csv)")
    add("--least_sure_first", action="store_true", help="by confidence, instead of in the order of the pictures")
    add("--copy_to", metavar="DIR", help="copy each picture into DIR/CLASS as well; a new folder")
    add("--batch_size", type=int, default=256, help="pictures at once (default: %(default)s)")
    add("--device", help="such as cpu or cuda:1 (default: a GPU where there is one)")


def run(request: Namespace) -> None:
    """Predicts and writes.

    Raises:
        InputError: the checkpoint or a picture is not there, or what is asked for may not be written.
    """
    head = ",".join(_HEAD).encode()
    out = output_file(request.out or "predictions.csv", request.force, lambda there: there.startswith((head, b"PAR1")))
    folder = _new_folder(request.copy_to) if request.copy_to else None
    paths = [line for name in request.pictures for line in (_from_input() if name == "-" else [local(name)])]

    from semisup.model import load
    from semisup.runtime.console import say

    told = load(local(request.run), request.device).predict(paths, request.batch_size)
    require(len(told) > 0, "no picture could be read, and nothing is written; the lines above say why")
    order = told.confidence.argsort(stable=True).tolist() if request.least_sure_first else [*range(len(told))]
    if out.suffix == _PARQUET:
        _write_parquet(out, told, order)
    else:
        write_atomically(out, _csv(told, order))
    say(f"{len(told):,} predictions: {out}")
    if folder:
        _copy(told, folder)
        say(f"{len(told):,} pictures by class: {folder}")


def _from_input() -> list[Path]:
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # as Python has names of files that are no UTF-8
    return [local(line.rstrip("\r\n")) for line in sys.stdin if line.strip()]


def _unicode(name: str) -> str:
    """A file's name as text that can be saved: bytes that are no UTF-8 as escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def _csv(told: Predictions, order: list[int]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_HEAD, *(csv_cell(f"p({name})") for name in told.class_names)])
    classes, confidence = told.classes, told.confidence.tolist()
    for row in order:
        each = (f"{p:.6f}" for p in told.probabilities[row].tolist())
        writer.writerow([csv_cell(_unicode(told.names[row])), csv_cell(classes[row]), f"{confidence[row]:.6f}", *each])
    return text.getvalue()


def _write_parquet(path: Path, told: Predictions, order: list[int]) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise InputError("Parquet takes a package to write: type pip install pyarrow, or --out with .csv") from error
    columns = dict(zip(_HEAD, ([*map(_unicode, told.names)], told.classes, told.confidence.numpy()), strict=True))
    columns |= {f"p({name})": told.probabilities[:, k].numpy() for k, name in enumerate(told.class_names)}
    with writing(path), tempfile.TemporaryDirectory(prefix=".predictions-", dir=path.parent) as temporary:
        parquet.write_table(pyarrow.table(columns).take(order), Path(temporary, path.name))
        os.replace(Path(temporary, path.name), path)


def _new_folder(name: str) -> Path:
    folder = local(name)
    require(
        not os.path.lexists(folder) or (folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir())),
        f"{folder} is there already, and holds something; type --copy_to with the name of a new folder",
    )
    require(folder.parent.is_dir(), f"the folder {folder.parent} of --copy_to does not exist; make it first")
    return folder


def _copy(told: Predictions, folder: Path) -> None:
    """Copies every picture into the folder of its class; the folder appears when it is complete.

    Pictures of one name that lie in several folders are told apart by a number.
    """
    bad = [name for name in told.class_names if not name.isprintable() or "/" in name or name in ("", ".", "..")]
    require(not bad, f"a folder can't be called as the class {bad[:1]} is; leave --copy_to out")
    with writing(folder):
        temporary = Path(tempfile.mkdtemp(prefix=".copies-", dir=folder.parent))
        try:
            for name, label in zip(told.names, told.classes, strict=True):
                source, target = Path(name), temporary / label / Path(name).name
                number = 1
                while target.exists():
                    number += 1
                    target = temporary / label / f"{source.stem}-{number}{source.suffix}"
                target.parent.mkdir(exist_ok=True)
                shutil.copy(source, target)
            temporary.chmod(0o755)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
