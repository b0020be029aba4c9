"""What a checkpoint file must hold, how it is read without running code that may be in it, and its seal.

The seal is a digest of all the rest. It is what a training is restored by: Lightning takes each part of a checkpoint as
it comes, and one that was changed after it was written would fail far away, or go on as another run without a word.
Damage to the bytes is noticed without it, by the checksums of the file's format. To predict, no seal is asked for.
"""

from __future__ import annotations

import hashlib
import os
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from semisup.errors import InputError, require
from semisup.runs import pickle_check, run_files

_MAX_BYTES = 1 << 36  # bytes of a file
_MAX_ENTRIES = 100_000  # tensors of a file, and a few files beside them
_MANY_TIMES = 4  # that a value may be there on average: tied weights, the same list in two states, ...
# Of what a checkpoint says of the model; raised when an older reader would misread it. In 1 the course's networks were
# others (semisup/models/backbones/course.py), which their weights tell by a number of their own.
FORMAT = 2
_SEAL = "digest"


def read(path: Path) -> dict[str, Any]:
    """A checkpoint's content, which says at least of what network it is.

    What it would take is looked at first, so that no file makes its reader wait for ever or fills the memory. The
    tensors are mapped from the file, which is never written to again.

    Raises:
        InputError: the file is not a checkpoint that semisup wrote, or is cut short.
    """
    try:
        with run_files.opened(path, _MAX_BYTES) as file:
            size = os.fstat(file.fileno()).st_size
            instructions = _check_archive(file, size)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        _check_content(checkpoint, size, _MANY_TIMES * instructions)
    except Exception as error:  # the readers raise whatever a damaged file makes them stumble over
        if isinstance(error, InputError) and str(path) in str(error):
            raise
        first = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(f"{path} is not a checkpoint, or is cut short ({first}); give a run directory") from error
    known = checkpoint.get("semisup") if isinstance(checkpoint, dict) else None
    form = known.get("format") if isinstance(known, dict) else None
    if type(form) is not int or not 1 <= form <= FORMAT:
        raise InputError(f"{path} was not written by this version of semisup; give a run directory of semisup fit")
    if not _complete(checkpoint):
        raise InputError(f"{path} does not say all that semisup writes into a checkpoint; give a run directory")
    return dict(checkpoint)


def _check_archive(file: BinaryIO, size: int) -> int:
    """Refuses an archive that would unpack to more than it has bytes, or that is damaged.

    Returns:
        How many instructions its pickle has.

    Args:
        file: what torch has written: a zip archive without compression.
        size: in bytes.

    Raises:
        InputError, zipfile.BadZipFile: as said.
    """
    end = zipfile._EndRecData(file)  # type: ignore[attr-defined]  # all that is read of them before they are counted
    count = end[zipfile._ECD_ENTRIES_TOTAL] if end else 0  # type: ignore[attr-defined]
    require(count <= _MAX_ENTRIES, f"it holds {count:,} files, and no checkpoint has as many tensors")
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        require(not archive.comment, "there is something behind its end")  # two readers could find two archives in it
        packed = [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
        require(not packed, f"{''.join(packed[:1])} in it is compressed, which torch never does")
        held = sum(entry.file_size for entry in entries)
        require(held <= size, f"its entries claim {held:,} bytes, and the file has {size:,}")
        names = {entry.filename.casefold() for entry in entries}  # as torch's reader looks for them
        require(len(names) == len(entries), "two files in it have one name")
        damaged = archive.testzip()
        require(damaged is None, f"{damaged} in it is damaged")
        pickles = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
        require(len(pickles) == 1, f"it holds {len(pickles)} files data.pkl")
        return pickle_check.check(archive.read(pickles[0]))


def _check_content(content: Any, size: int, max_values: int) -> None:
    """Refuses what is larger than the file once it is walked through: values that are there many times, or too deep.

    Args:
        content: of a checkpoint.
        size: of its file, in bytes.
        max_values: values in it, those that are there many times counted as often.

    Raises:
        InputError: as said.
    """
    waiting, values, held = [(content, 0)], 0, 0
    while waiting:
        value, depth = waiting.pop()
        values += 1
        if values > max_values or depth > pickle_check.MAX_DEPTH:
            raise InputError("it holds the same values in one another or many times, far more than were written")
        if isinstance(value, Tensor):
            whole = value.layout == torch.strided and value.nbytes <= value.untyped_storage().nbytes()
            require(whole, f"a tensor of shape {tuple(value.shape)} claims more values than the file holds")
            held += value.nbytes
            require(held <= _MANY_TIMES * size, "the tensors in it are there many times")
        elif isinstance(value, Mapping):
            waiting += [(inner, depth + 1) for pair in value.items() for inner in pair]
        elif isinstance(value, list | tuple | set):
            waiting += [(inner, depth + 1) for inner in value]


def read_sealed(path: Path) -> dict[str, Any]:
    """A checkpoint's content, to the bit as it was written, so that a training can be restored from it.

    Raises:
        InputError: as `read`, or the content was changed.
    """
    checkpoint = read(path)
    try:
        sealed = checkpoint.pop(_SEAL, None) == digest(checkpoint)
    except (TypeError, ValueError, RuntimeError):  # of what no training writes
        sealed = False
    if not sealed:
        raise InputError(
            f"{path} was changed after it was written, and a resumed run must go on as it began; restore the file, or "
            f"remove it, and the run goes on from an earlier one if it has one"
        )
    return checkpoint


def seal(checkpoint: dict[str, Any]) -> None:
    """Adds the digest to a checkpoint that is complete."""
    checkpoint[_SEAL] = digest({name: part for name, part in checkpoint.items() if name != _SEAL})


def digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of plain values, containers and tensors that changes with any of them, their types and their order."""
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, Tensor):
            values = value.detach().cpu().contiguous().flatten()
            digest.update(f"tensor {value.dtype} {tuple(value.shape)};".encode())
            digest.update(values.view(torch.uint8).numpy().data)
        elif isinstance(value, Mapping):
            digest.update(f"mapping {len(value)};".encode())
            for pair in value.items():
                add(pair)
        elif isinstance(value, list | tuple):
            digest.update(f"{type(value).__name__} {len(value)};".encode())
            for each in value:
                add(each)
        else:
            digest.update(f"{value!r};".encode("utf-8", "surrogatepass"))

    add(content)
    return digest.hexdigest()


def _complete(checkpoint: dict[str, Any]) -> bool:
    """Whether a checkpoint says what `Classifier.from_checkpoint` needs, in the right types."""
    try:
        known = checkpoint["semisup"]
        spec, names = known["spec"], [*known["spec"]["class_names"], known["model"]["backbone"], known["strategy"]]
        phase = known.get("phase", {"index": 0, "first_epoch": 0, "first_step": 0})
        counts = (checkpoint["epoch"], phase["index"], phase["first_epoch"], phase["first_step"])
        numbers = (spec["channels"], spec["image_size"], *counts)
        weights = sum(x.numel() for x in checkpoint["state_dict"].values())
        # No network has fewer weights than its images have channels; one of a damaged size could fill the memory.
        whole = all(type(x) is int for x in numbers) and min(numbers[:2]) > 0 and max(numbers[:2]) <= weights
        return whole and min(counts) >= 0 and all(isinstance(x, str) for x in names)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError):  # a tensor can be anything
        return False
