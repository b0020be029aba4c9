"""The networks of Exemplar-CNN: their layers counted by hand, and their answers against a slow version."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from semisup.errors import InputError
from semisup.models.backbones.exemplar import ExemplarCNN, ExemplarLarge, ExemplarSmall, Sliding

BOTH = [(ExemplarSmall, (64, 64), 128), (ExemplarLarge, (92, 256, 512), 1024)]


def on_meta(cls: type[ExemplarCNN], size: int = 96, channels: int = 3) -> ExemplarCNN:
    with torch.device("meta"):
        return cls(channels, size)  # type: ignore[call-arg]


@pytest.mark.parametrize(("cls", "widths", "units"), BOTH)
def test_parameters_by_hand(cls: type[ExemplarCNN], widths: tuple[int, ...], units: int) -> None:
    total, before = 0, 3
    for width in widths:
        total, before = total + 5 * 5 * before * width + width, width
    total += 8 * 8 * before * units + units + units * 10 + 10
    backbone = on_meta(cls)
    assert sum(p.numel() for p in backbone.parameters()) + units * 10 + 10 == total
    assert f"{total:,}" in (cls.__doc__ or "")
    assert backbone.num_features == units


@pytest.mark.parametrize(("cls", "widths", "units"), BOTH)
@pytest.mark.parametrize(("size", "sides"), [(32, (32, 16, 8, 1)), (96, (96, 48, 24, 17)), (8, (8, 4, 2, 1))])
def test_the_size_of_every_layers_maps(
    cls: type[ExemplarCNN], widths: tuple[int, ...], units: int, size: int, sides: tuple[int, ...]
) -> None:
    backbone, shapes = on_meta(cls, size), []
    for module in backbone.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(lambda module, args, output: shapes.append(tuple(output.shape[1:])))
    assert backbone(torch.empty(2, 3, size, size, device="meta")).shape == (2, units)
    layers = (*widths, units)
    expected = [(width, side, side) for width, side in zip(layers[:-1], sides[:3], strict=False)]
    assert shapes == [*expected, (units, sides[3], sides[3])]


@pytest.mark.parametrize("size", [8, 30, 32, 37])
def test_the_answer_is_the_largest_of_the_fully_connected_layer_at_all_places(size: int) -> None:
    torch.manual_seed(0)
    backbone = ExemplarSmall(1, size).double().eval()
    first, second = (m for m in backbone.modules() if isinstance(m, nn.Conv2d))
    (dense,) = (m for m in backbone.modules() if isinstance(m, Sliding))
    nn.init.normal_(dense.bias)
    x = torch.rand(2, 1, size, size, dtype=torch.float64)
    maps = x
    for layer in (first, second):
        maps = F.max_pool2d(F.relu(F.conv2d(maps, layer.weight, layer.bias, padding=2)), 2)
    side = min(size, 32) // 4
    places = range(maps.shape[2] - side + 1)
    windows = [maps[:, :, y : y + side, x : x + side].flatten(1) for y in places for x in places]
    expected = torch.stack([F.relu(window @ dense.weight.T + dense.bias) for window in windows]).amax(0)
    assert len(windows) == (4 if size == 37 else 1)
    torch.testing.assert_close(backbone(x), expected)


def test_dropout_is_of_the_features() -> None:
    torch.manual_seed(0)
    backbone, x = ExemplarSmall(1, 8), torch.rand(64, 1, 8, 8)
    trained, plain = backbone(x), backbone.eval()(x)
    kept, positive = trained != 0, plain > 0
    assert torch.equal(trained[kept], 2 * plain[kept])
    assert 0.45 < kept.sum() / positive.sum() < 0.55


@pytest.mark.parametrize("cls", [ExemplarSmall, ExemplarLarge])
def test_initialisation(cls: type[ExemplarCNN]) -> None:
    torch.manual_seed(0)
    layers = [m for m in cls(3, 16).modules() if isinstance(m, nn.Conv2d | nn.Linear)]  # type: ignore[call-arg]
    assert len(layers) == (3 if cls is ExemplarSmall else 4)
    for layer in layers:
        inputs = layer.weight[0].numel()
        deviations = 5 / math.sqrt(2 * layer.weight.numel())  # five standard errors of a standard deviation
        assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / inputs), rel=deviations)
        assert layer.bias is not None and not layer.bias.any()


def test_every_parameter_gets_a_gradient_on_images_larger_than_a_crop() -> None:
    backbone = ExemplarSmall(3, 48)
    backbone(torch.rand(2, 3, 48, 48)).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in backbone.parameters())


def test_images_that_are_too_small_are_refused() -> None:
    with pytest.raises(InputError, match="take images of 4 pixels or more, these have 3"):
        ExemplarSmall(1, 3)
