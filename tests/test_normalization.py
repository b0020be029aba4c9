"""Normalisation against per-pixel loops and torchvision."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import v2

from semisup.errors import InputError
from semisup.models.normalization import Kind, Normalization, local_contrast, rgb_to_yuv, subtract_local_mean


def pictures(count: int = 5, channels: int = 3, height: int = 9, width: int = 11) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, height, width), dtype=torch.uint8, generator=generator)


def naive_yuv(image: NDArray[np.float64]) -> NDArray[np.float64]:
    out = np.zeros_like(image)
    for i in range(image.shape[1]):
        for j in range(image.shape[2]):
            r, g, b = image[:, i, j]
            out[0, i, j] = 0.299 * r + 0.587 * g + 0.114 * b
            out[1, i, j] = -0.14713 * r - 0.28886 * g + 0.436 * b
            out[2, i, j] = 0.615 * r - 0.51499 * g - 0.10001 * b
    return out


def naive_contrast(y: NDArray[np.float64], size: int = 7, threshold: float = 1e-4) -> NDArray[np.float64]:
    """Torch7's SpatialContrastiveNormalization(1, gaussian1D(size)), pixel for pixel over the two-dimensional window.

    gaussian1D has its centre at size / 2 + .5, counted from 1, and a standard deviation of .25 * size.
    """
    height, width = y.shape
    kernel = np.array([math.exp(-(((i - (size / 2 + 0.5)) / (0.25 * size)) ** 2) / 2) for i in range(1, size + 1)])
    kernel /= kernel.sum()

    def estimate(values: NDArray[np.float64], i: int, j: int) -> float:
        total = 0.0
        for a in range(size):
            for b in range(size):
                row, column = i + a - size // 2, j + b - size // 2
                if 0 <= row < height and 0 <= column < width:
                    total += kernel[a] * kernel[b] * values[row, column]
        return total

    ones = np.ones_like(y)
    centered, out = np.zeros_like(y), np.zeros_like(y)
    for i in range(height):
        for j in range(width):
            centered[i, j] = y[i, j] - estimate(y, i, j) / estimate(ones, i, j)
    for i in range(height):
        for j in range(width):
            deviation = math.sqrt(estimate(centered**2, i, j)) / estimate(ones, i, j)
            out[i, j] = centered[i, j] / (deviation if deviation > threshold else threshold)
    return out


@pytest.mark.parametrize(("height", "width"), [(9, 11), (3, 4), (16, 8)])
def test_local_contrast_against_loops(height: int, width: int) -> None:
    y = pictures(2, 1, height, width).double() / 255
    expected = np.stack([naive_contrast(image[0].numpy()) for image in y])
    np.testing.assert_allclose(local_contrast(y)[:, 0].numpy(), expected, rtol=1e-10, atol=1e-10)


def test_local_contrast_below_the_threshold() -> None:
    y = 0.5 + 1e-5 * pictures(1, 1).double() / 255  # every local standard deviation is below 1e-4
    expected = naive_contrast(y[0, 0].numpy())
    assert 0 < np.abs(expected).max() < 0.2
    np.testing.assert_allclose(local_contrast(y)[0, 0].numpy(), expected, rtol=1e-7)


def test_local_contrast_of_a_flat_image_is_flat_with_a_finite_gradient() -> None:
    y = torch.full((1, 1, 12, 12), 0.7, requires_grad=True)
    out = local_contrast(y)
    assert out.abs().max() < 0.01  # rounding over the threshold, not over itself
    out.square().sum().backward()
    assert y.grad is not None and y.grad.isfinite().all()


def test_local_contrast_has_the_right_gradient() -> None:
    y = pictures(1, 1, 5, 6).double().div(255).requires_grad_()
    assert torch.autograd.gradcheck(local_contrast, (y,))


def test_rgb_to_yuv_against_loops() -> None:
    x = pictures().double() / 255
    expected = np.stack([naive_yuv(image.numpy()) for image in x])
    np.testing.assert_allclose(rgb_to_yuv(x).numpy(), expected, rtol=1e-12, atol=1e-12)


def test_yuv_against_loops() -> None:
    images = pictures()
    yuv = np.stack([naive_yuv(image.numpy() / 255) for image in images])
    expected = np.empty_like(yuv)
    expected[:, 0] = np.stack([naive_contrast(image[0]) for image in yuv])
    for channel in (1, 2):
        expected[:, channel] = (yuv[:, channel] - yuv[:, channel].mean()) / yuv[:, channel].std()
    layer = Normalization("yuv", 3)
    layer.fit([images])
    np.testing.assert_allclose(layer(images.float() / 255).numpy(), expected, atol=1e-4)


def test_channel_against_torchvision() -> None:
    images = pictures()
    layer = Normalization("channel", 3)
    layer.fit([images])
    flat = images.numpy().astype(np.float64).transpose(1, 0, 2, 3).reshape(3, -1) / 255
    np.testing.assert_allclose(layer.mean.numpy(), flat.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(layer.std.numpy(), flat.std(axis=1), rtol=1e-6)
    x = images.float() / 255
    torch.testing.assert_close(layer(x), v2.Normalize(flat.mean(axis=1).tolist(), flat.std(axis=1).tolist())(x))


@pytest.mark.parametrize("kind", ["channel", "yuv"])
def test_batches_do_not_matter(kind: str) -> None:
    images = pictures(600, 3, 4, 4)
    whole, parts = Normalization(kind, 3), Normalization(kind, 3)  # type: ignore[arg-type]
    whole.fit([images])
    parts.fit(batch for batch in torch.split(images, [1, 9, 300, 290]))
    torch.testing.assert_close(whole.mean, parts.mean, rtol=1e-6, atol=0)
    torch.testing.assert_close(whole.std, parts.std, rtol=1e-6, atol=0)


def test_little_variance_is_not_lost() -> None:
    images = torch.full((100, 1, 100, 100), 254, dtype=torch.uint8)
    images[0, 0, 0, 0] = 255  # one pixel in a million
    layer = Normalization("channel", 1)
    layer.fit([images])
    assert layer.std.item() == pytest.approx(math.sqrt(1e-6 * (1 - 1e-6)) / 255, rel=1e-4)


@pytest.mark.parametrize("level", [0, 77, 255])
def test_a_constant_channel_becomes_zero(level: int) -> None:
    images = torch.full((3, 1, 5, 5), level, dtype=torch.uint8)
    layer = Normalization("channel", 1)
    layer.fit([images])
    assert layer.std.tolist() == [1]
    assert layer(images.float() / 255).abs().max() < 1e-6


@pytest.mark.parametrize(("kind", "most"), [("none", 1), ("bytes", 255)])
def test_none_and_bytes_are_the_raw_pixels_and_read_no_image(kind: Kind, most: int) -> None:
    def unread() -> Iterator[Tensor]:
        raise AssertionError("read")
        yield

    layer = Normalization(kind, 3)
    layer.fit(unread())
    images = pictures()
    torch.testing.assert_close(layer(images.float() / 255) * (255 / most), images.float(), rtol=1e-6, atol=0)
    assert layer.state_dict() == {}


def test_an_eps_of_a_thousandth_holds_back_pixels_between_0_and_1_and_not_bytes() -> None:
    """Behind a batch normalisation as the course's networks have it, of a picture whose contrast is one of eight bits.

    The standard deviation that comes out is s / sqrt(s^2 + eps) in closed form.
    """
    image = torch.full((1, 1, 16, 16), 120, dtype=torch.uint8)
    image[..., ::2] = 124  # a standard deviation of 2 of 255
    norm = torch.nn.BatchNorm2d(1, eps=1e-3)
    for kind, deviation in (("none", 2 / 255), ("bytes", 2.0)):
        out = norm(Normalization(kind, 1)(image.float() / 255))  # type: ignore[arg-type]
        assert out.std(correction=0).item() == pytest.approx(deviation / (deviation**2 + 1e-3) ** 0.5, rel=1e-4)


@pytest.mark.parametrize("kind", ["channel", "yuv"])
def test_what_was_learned_is_saved(kind: str) -> None:
    images = pictures()
    learned, loaded = Normalization(kind, 3), Normalization(kind, 3)  # type: ignore[arg-type]
    learned.fit([images])
    x = images.float() / 255
    assert not torch.equal(loaded(x), learned(x))
    loaded.load_state_dict(learned.state_dict())
    assert torch.equal(loaded(x), learned(x))
    assert sorted(learned.state_dict()) == ["mean", "std"]


@pytest.mark.parametrize("kind", ["none", "channel", "yuv", "bytes"])
def test_dtype_is_kept_and_yuv_computed_in_float32(kind: str) -> None:
    images = pictures()
    layer = Normalization(kind, 3)  # type: ignore[arg-type]
    layer.fit([images])
    half = (images.float() / 255).bfloat16()
    assert layer(half).dtype == torch.bfloat16
    if kind == "yuv":
        assert torch.equal(layer(half), layer(half.float()).bfloat16())


def test_refusals() -> None:
    with pytest.raises(InputError, match=r"needs 3 channels \(RGB\), these images have 1"):
        Normalization("yuv", 1)
    with pytest.raises(InputError, match="no normalization 'yvu'; there are: none, channel, yuv"):
        Normalization("yvu", 3)  # type: ignore[arg-type]
    layer = Normalization("channel", 3)
    for images, found in [
        ([], "there are none"),
        ([pictures(channels=1)], r"torch.uint8 of \(5, 1, 9, 11\)"),
        ([pictures().float()], r"torch.float32"),
    ]:
        with pytest.raises(InputError, match=found):
            layer.fit(images)


@pytest.mark.parametrize(("kind", "size"), [("local7", 7), ("local15", 15)])
def test_local_kinds_against_loops(kind: Kind, size: int) -> None:
    images = pictures(count=2, channels=2)
    layer = Normalization(kind, 2)
    layer.fit(iter([]))  # reads no image
    found = layer(images.float() / 255)
    for image, result in zip(images.double().numpy() / 255, found.double().numpy(), strict=True):
        for channel in range(2):
            np.testing.assert_allclose(result[channel], naive_contrast(image[channel], size), atol=2e-5)
    assert not layer.state_dict() and layer(images.double() / 255).dtype == torch.float64


@pytest.mark.parametrize("size", [3, 7])
def test_subtract_local_mean_against_loops(size: int) -> None:
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    reach, found = size // 2, subtract_local_mean(x, size)
    for i in range(4):
        for j in range(5):
            total, mass = torch.zeros(2, dtype=torch.float64), 0.0
            for row in range(max(0, i - reach), min(4, i + reach + 1)):
                for column in range(max(0, j - reach), min(5, j + reach + 1)):
                    weight = math.exp(-((row - i) ** 2 + (column - j) ** 2) / (2 * (size / 4) ** 2))
                    total, mass = total + weight * x[:, :, row, column].mean(dim=1), mass + weight
            expected = x[:, :, i, j] - (total / mass)[:, None]
            np.testing.assert_allclose(found[:, :, i, j], expected, atol=1e-12)
    constant = torch.full((1, 2, 5, 5), 3.0)
    assert subtract_local_mean(constant, size).abs().max() < 1e-6  # at the edges too
