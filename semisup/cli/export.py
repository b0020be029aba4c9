"""`semisup export RUN --format onnx`: the trained network as one file for other programs, checked before it is there.

semisup export runs/folder/fixmatch/20260101-120000-s0 --format onnx
semisup export RUN --format torchscript --out model.pt --pictures new-pictures/
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from semisup.cli import add_output
from semisup.errors import require
from semisup.runs.directory import run_of
from semisup.runs.paths import local, output_file

if TYPE_CHECKING:
    from torch import Tensor

    from semisup.classifier import Classifier

SUFFIXES = {"onnx": ".onnx", "torchscript": ".pt", "safetensors": ".safetensors"}
_CHECKED_BY = 32  # pictures


def add_options(parser: ArgumentParser) -> None:
    """The verb's options."""
    add = parser.add_argument
    add("run", metavar="RUN", help="a run directory or a checkpoint")
    add("--format", choices=[*SUFFIXES], default="onnx", help="of the file (default: %(default)s)")
    add_output(parser, "FILE", "where to write (default: model.onnx, model.pt or model.safetensors)")
    add(
        "--pictures",
        nargs="+",
        metavar="PICTURE",
        type=local,
        help="files or folders to check the file by (default: pictures of the run's data)",
    )
    add("--data.root", dest="root", type=local, metavar="DIR", help="where the data is, if it has moved")


def run(request: Namespace) -> None:
    """Writes the file, and says how far it is from the classifier.

    Raises:
        InputError: the checkpoint or the pictures are not there, the file may not be written, or it says something
            else than the classifier.
    """
    out = output_file(request.out or f"model{SUFFIXES[request.format]}", request.force)
    path = local(request.run)

    from semisup import export
    from semisup.model import load
    from semisup.runtime.console import say

    classifier = load(path, "cpu").classifier
    images = _of_files(classifier, request.pictures) if request.pictures else _of_data(path, request.root)
    checked = export.write(classifier, request.format, out, images)
    its = export.description(classifier)
    resized = "" if checked.resized is None else f"; {checked.resized:.1g} where the file resizes them itself"
    say(f"checked by {checked.images} pictures: probabilities differ by at most {checked.difference:.1g}{resized}")
    if request.format == "safetensors":
        say(f"it holds the weights of {its['backbone']} and its head alone; what they were trained on is said in it")
    else:
        say(f"takes {its['input']}; gives {its['output']}; before that, {its['preparation']}")
    say(f"{request.format}, {out.stat().st_size / 1e6:,.1f} MB: {out}")


def _of_files(classifier: Classifier, paths: list[Path]) -> Tensor:
    from semisup.data.preprocessing import find

    named = [(str(path), path) for path in islice(find(paths), _CHECKED_BY)]
    images, _, unreadable = next(classifier.preprocessing.batches(named, _CHECKED_BY))
    require(len(images) > 0, f"none of --pictures can be read: {', '.join(unreadable)}")
    return images


def _of_data(path: Path, root: Path | None) -> Tensor:
    """Pictures that the run was tested on, or else trained on."""
    import torch

    from semisup.cli.figures import open_data

    advice = "type --pictures with some to check the file by"
    require(
        run_of(path) is not None, f"{path} is in no run directory, whose config.yaml says which data it is of; {advice}"
    )
    pools = open_data(path, root).pools
    pool = pools.test or pools.val or pools.labeled
    rows = torch.linspace(0, len(pool) - 1, min(len(pool), _CHECKED_BY)).long()
    return pool.gather(rows).contiguous()
