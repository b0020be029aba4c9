"""A trained network as one file for other programs: ONNX, TorchScript or safetensors.

    checked = write(load(RUN, "cpu").classifier, "onnx", Path("model.onnx"), images)

It is the network that was scored, its input normalisation and, but for safetensors, the resizing included: it takes
`images`, uint8 (N, C, H, W) of any N, H and W, and gives `probabilities`, float32 (N, classes). Pictures of the size
that the network was trained at pass as they are. Of others the shorter side is resized with the bicubic filter of
`semisup predict`, and the middle is cut out: to the bit as Pillow does it, or a level or two of 255 beside it, since
Pillow itself changes the order of its two passes with the shape of a picture. What no file can do, and the caller must,
is in `PREPARATION`. A file is compared with ours before it is there.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from semisup.export import onnx_file, safetensors_file, torchscript_file
from semisup.export.checking import RESIZED_TOLERANCE, TOLERANCE, Checked, compare
from semisup.export.metadata import PREPARATION, description
from semisup.models.modes import evaluation_mode
from semisup.runs.directory import replacing, writing

if TYPE_CHECKING:
    from semisup.classifier import Classifier

__all__ = ["PREPARATION", "RESIZED_TOLERANCE", "TOLERANCE", "Checked", "description", "write"]


def write(classifier: Classifier, format: str, path: Path, images: Tensor) -> Checked:
    """Writes the file, which is there when it is complete and was found to say what the classifier says.

    Args:
        classifier: restored from a checkpoint, on the CPU.
        format: `onnx`, `torchscript` or `safetensors`.
        path: of the file.
        images: (N, C, S, S) uint8, real pictures to compare by.

    Raises:
        InputError: a package is missing, the network can't be written so, or the file says something else.
    """
    file = {"onnx": onnx_file, "torchscript": torchscript_file}.get(format, safetensors_file)
    with evaluation_mode(classifier), writing(path), replacing(path) as temporary:
        file.write(classifier, temporary)
        checked = compare(file.opened(classifier, temporary), classifier, images, resizes=format != "safetensors")
    return checked
