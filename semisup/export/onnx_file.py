"""A network as ONNX: the resizing as ONNX's own operations, before what torch exports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from semisup.errors import InputError
from semisup.export.metadata import Probabilities, description

if TYPE_CHECKING:
    from semisup.classifier import Classifier

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


def write(classifier: Classifier, path: Path) -> None:
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
            Probabilities(classifier.scored).eval(),
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


def opened(classifier: Classifier, path: Path) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
