"""A trained network as one file for other programs: ONNX, TorchScript or safetensors.

    found = write(load(RUN, "cpu").classifier, "onnx", Path("model.onnx"), images)

It is the network that was scored, its input normalisation and, but for safetensors, the resizing included: it takes
`images`, uint8 (N, C, H, W) of any N, H and W, and gives `probabilities`, float32 (N, classes). Pictures of the size
that the network was trained at pass as they are. Of others the shorter side is resized with the bicubic filter of
`semisup predict`, and the middle is cut out: to the bit as Pillow does it, or a level or two of 255 beside it, since
Pillow itself changes the order of its two passes with the shape of a picture. What no file can do, and the caller must,
is in `PREPARATION`. A file is compared with ours before it is there.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from semisup.data.picture import reading
from semisup.data.preprocessing import Preprocessing
from semisup.errors import InputError, require
from semisup.models.adapt import merged
from semisup.models.modes import evaluation_mode
from semisup.runs.directory import replacing, writing

if TYPE_CHECKING:
    from semisup.classifier import Classifier

PREPARATION = (
    "turn a picture upright by its EXIF orientation, put it before the background where it is transparent, make it {"
    "colours} of 8 bits"
)
TOLERANCE = 1e-4  # of a probability, of pictures that the network's own size have: other kernels round otherwise
RESIZED_TOLERANCE = 0.1  # of pictures that the file resizes itself, where a pixel may be a level or two beside ours
_OPSET = 18  # of ONNX, the first one that resizes with antialiasing
_RESIZE = """
<ir_version: 8, opset_import: ["" : 18]>
fit (uint8[N, {channels}, H, W] images) => (float[N, {channels}, {size}, {size}] pixels)
{{
  fit_sides = Shape <start = 2, end = 4> (images)
  fit_shorter = ReduceMin <keepdims = 1> (fit_sides)
  fit_size = Constant <value_ints = [{size}]> ()
  fit_square = Constant <value_ints = [{size}, {size}]> ()
  fit_product = Mul (fit_sides, fit_size)
  fit_dividend = Cast <to = 11> (fit_product)
  fit_divisor = Cast <to = 11> (fit_shorter)
  fit_quotient = Div (fit_dividend, fit_divisor)
  fit_rounded = Round (fit_quotient)
  fit_target = Cast <to = 7> (fit_rounded)
  fit_resized = Resize <mode = "cubic", cubic_coeff_a = -0.5, antialias = 1, exclude_outside = 1,
    coordinate_transformation_mode = "half_pixel", axes = [2, 3]> (images, , , fit_target)
  fit_middle = CenterCropPad <axes = [2, 3]> (fit_resized, fit_square)
  fit_levels = Cast <to = 1> (fit_middle)
  fit_white = Constant <value_float = 255.0> ()
  pixels = Div (fit_levels, fit_white)
}}
"""


@dataclass(frozen=True)
class Checked:
    """How far the probabilities of a file are from ours, at most.

    Attributes:
        images: how many pictures were compared.
        difference: of pictures of the network's own size.
        resized: of the same ones in another size, which the file resizes itself; None where it doesn't.
    """

    images: int
    difference: float
    resized: float | None


class _Probabilities(nn.Module):
    """What a file holds: pixels (N, C, S, S) float32 in [0, 1] to probabilities (N, classes) float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        probabilities: Tensor = self.network(pixels).float().softmax(1)
        return probabilities


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
    make, opened = {"onnx": (_to_onnx, _onnx), "torchscript": (_to_torchscript, _torchscript)}.get(
        format, (_to_safetensors, _safetensors)
    )
    with evaluation_mode(classifier), writing(path), replacing(path) as aside:
        make(classifier, aside)
        found = _compare(opened(classifier, aside), classifier, images, resizes=format != "safetensors")
    return found


def description(classifier: Classifier) -> dict[str, str]:
    """What a file says of itself, as texts: its classes as JSON, what it takes and gives, and what it is of."""
    spec, how = classifier.spec, classifier.preprocessing.how
    colours = "RGB" if spec.channels == 3 else "grey"
    return {
        "classes": json.dumps(spec.class_names),
        "image_size": str(spec.image_size),
        "channels": str(spec.channels),
        "input": f"images, uint8 (N, {spec.channels}, H, W), {colours}; the shorter side is resized to "
        f"{spec.image_size} and the middle cut out",
        "output": f"probabilities, float32 (N, {len(spec.class_names)})",
        "preparation": PREPARATION.format(colours=colours),
        "background": json.dumps(how.background),
        "backbone": classifier.backbone_name,
        "normalization": classifier.options.normalization,
        "producer": "semisup",
    }


def _compare(file: Callable[[Tensor], Tensor], classifier: Classifier, images: Tensor, resizes: bool) -> Checked:
    """Compares a file with ours, picture by picture.

    Raises:
        InputError: they differ.
    """
    require(len(images) > 0, "there is no picture to check the file by; type --pictures with some")
    ours = classifier(images.float() / 255).float().softmax(1)
    # In two batches: the number of pictures in one is free.
    theirs = torch.cat([file(part) for part in (images[:1], images[1:]) if len(part)])
    difference = _largest(ours, theirs, TOLERANCE)
    resized = None
    if resizes:
        larger = [_enlarged(image) for image in images]
        seen = torch.cat([_seen(image, classifier.preprocessing) for image in larger])
        theirs = torch.cat([file(image) for image in larger])
        resized = _largest(classifier(seen.float() / 255).float().softmax(1), theirs, RESIZED_TOLERANCE)
    return Checked(len(images), difference, resized)


def _largest(ours: Tensor, theirs: Tensor, tolerance: float) -> float:
    difference = float((ours - theirs).abs().max())
    require(
        difference <= tolerance,  # not where it is no number
        f"the file that was made gives probabilities that differ by up to {difference:.2g} from the classifier's, and "
        f"at most {tolerance:g} is rounding: it is not kept; another --format may do",
    )
    return difference


def _enlarged(image: Tensor) -> Tensor:
    """A picture (C, S, S) uint8 as one of another shape, (1, C, H, W) uint8."""
    pixels = image.permute(1, 2, 0).numpy()
    size = len(pixels)
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    large = np.array(picture.resize((2 * size + 1, size + size // 2), Image.Resampling.BICUBIC))
    return torch.from_numpy(large.reshape(*large.shape[:2], -1)).permute(2, 0, 1)[None].contiguous()


def _seen(image: Tensor, preprocessing: Preprocessing) -> Tensor:
    with reading(preprocessing.how):
        pixels = preprocessing.image(image[0]).pixels
    assert pixels is not None
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]


# ---- ONNX


def _to_onnx(classifier: Classifier, path: Path) -> None:
    try:
        import onnx
        import onnxruntime  # noqa: F401 that the file will be checked by
        import onnxscript  # noqa: F401 that torch's exporter is written in
    except ImportError as error:
        raise InputError(f"ONNX takes packages ({error.name} is missing): type pip install 'semisup[onnx]'") from error
    size, channels = classifier.spec.image_size, classifier.spec.channels
    pixels = torch.zeros(2, channels, size, size)
    try:
        program = torch.onnx.export(
            _Probabilities(classifier.scored).eval(),
            (pixels,),
            input_names=["pixels"],
            output_names=["probabilities"],
            dynamic_shapes={"pixels": {0: torch.export.Dim("N")}},
            opset_version=_OPSET,
            dynamo=True,
            verbose=False,
        )
    except torch.onnx.errors.OnnxExporterError as error:
        raise InputError(
            f"torch can't write {classifier.backbone_name} as ONNX ({str(error).strip().splitlines()[0][:200]}); type "
            f"--format torchscript"
        ) from error
    assert program is not None
    network = program.model_proto
    resize = onnx.parser.parse_model(_RESIZE.format(size=size, channels=channels))
    resize.ir_version = network.ir_version
    model = onnx.compose.merge_models(resize, network, io_map=[("pixels", "pixels")])
    onnx.helper.set_model_props(model, description(classifier))
    model.producer_name, model.doc_string = "semisup", ""
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def _onnx(classifier: Classifier, path: Path) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


# ---- TorchScript


def fit(images: Tensor, size: int) -> Tensor:
    """Pictures (N, C, H, W) uint8 of any size as a network takes them, (N, C, size, size) float32 in [0, 1].

    TorchScript compiles it. The sides are rounded half to even, as Pillow's are here.
    """
    height, width = images.shape[-2], images.shape[-1]
    shorter = min(height, width)
    if height != size or width != size:
        sides = [height * size, width * size]
        for k in range(2):
            rounded = (2 * sides[k] + shorter) // (2 * shorter)
            half = (2 * sides[k] + shorter) % (2 * shorter) == 0
            sides[k] = rounded - 1 if half and rounded % 2 == 1 else rounded
        if images.device.type == "cpu":  # where bytes are resized as Pillow does it, rounded between the passes
            images = F.interpolate(images, sides, mode="bicubic", antialias=True)
        else:
            images = F.interpolate(images.float(), sides, mode="bicubic", antialias=True).round().clamp(0, 255)
        top, left = (sides[0] - size) // 2, (sides[1] - size) // 2
        images = images[:, :, top : top + size, left : left + size]
    return images.float() / 255


class _Whole(nn.Module):
    """The resizing, which depends on a picture's shape and is compiled, before the network, which is traced."""

    def __init__(self, traced: nn.Module, size: int) -> None:
        super().__init__()
        self.network, self.size = traced, size

    def forward(self, images: Tensor) -> Tensor:
        probabilities: Tensor = self.network(fit(images, self.size))
        return probabilities


def _to_torchscript(classifier: Classifier, path: Path) -> None:
    size, channels = classifier.spec.image_size, classifier.spec.channels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions of torch advise torch.export, whose files need Python
        traced = torch.jit.trace(_Probabilities(classifier.scored).eval(), torch.zeros(2, channels, size, size))
        whole = torch.jit.script(_Whole(traced, size).eval())
        torch.jit.save(whole, str(path), _extra_files={"semisup.json": json.dumps(description(classifier))})


def _torchscript(classifier: Classifier, path: Path) -> Callable[[Tensor], Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded: Callable[[Tensor], Tensor] = torch.jit.load(str(path), map_location="cpu")
    return loaded


# ---- safetensors


def _to_safetensors(classifier: Classifier, path: Path) -> None:
    save_file = _safetensors_package().save_file
    of_it = description(classifier)
    of_it["input"] = (
        f"of the network {classifier.backbone_name} with its head: images, float32 in [0, 1], (N, "
        f"{classifier.spec.channels}, {classifier.spec.image_size}, {classifier.spec.image_size})"
    )
    of_it["output"] = f"logits, float32 (N, {len(classifier.spec.class_names)})"
    save_file({name: x.contiguous() for name, x in merged(classifier.scored.state_dict()).items()}, path, of_it)


def _safetensors(classifier: Classifier, path: Path) -> Callable[[Tensor], Tensor]:
    model = replace(classifier.options, backbone=classifier.backbone_name, adapt="full", freeze=0)
    network = type(classifier)(classifier.spec, model=model, restored=True).eval().network
    try:
        network.load_state_dict(_safetensors_package().load_file(path))
    except RuntimeError as error:  # of weights of an earlier definition, which no name in the file could tell
        raise InputError(f"the weights are of an earlier {classifier.backbone_name}; type --format onnx") from error
    return lambda images: network(images.float() / 255).float().softmax(1)


def _safetensors_package():  # type: ignore[no-untyped-def]
    try:
        from safetensors import torch as safetensors
    except ImportError as error:
        raise InputError("safetensors takes a package: type pip install safetensors") from error
    return safetensors
