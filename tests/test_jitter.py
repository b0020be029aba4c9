"""Colour jitter: torchvision's operations, with torchvision's ranges, in one order a batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torchvision.transforms.v2.functional as tv
from helpers import patches
from torch import Tensor

from semisup.augment import color
from semisup.augment.hsv import rgb_to_hsv
from semisup.augment.jitter import color_jitter, order, shift_hue
from semisup.errors import InputError
from semisup.randomness import Draw

STRENGTH = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
THEIRS = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue)
FACTORS = torch.linspace(0, 2, 12)


def draw(count: int, *, step: int = 0, stream: str = "labeled/test") -> Draw:
    return Draw(0, step, stream, torch.arange(count), count)


def by_torchvision(images: Tensor, function: Callable[..., Tensor], values: Tensor) -> Tensor:
    return torch.stack([function(image, float(value)) for image, value in zip(images, values, strict=True)])


@pytest.mark.parametrize("side", [96, 33])
@pytest.mark.parametrize(
    ("ours", "theirs", "values", "levels"),
    [
        (color.brightness, tv.adjust_brightness, FACTORS, 0),
        (color.contrast, tv.adjust_contrast, FACTORS, 1),
        (color.saturation, tv.adjust_saturation, FACTORS, 1),
        (shift_hue, tv.adjust_hue, torch.linspace(-0.5, 0.5, 12), 0),
    ],
)
def test_each_operation_is_torchvisions(
    ours: Callable[..., Tensor], theirs: Callable[..., Tensor], values: Tensor, levels: int, side: int
) -> None:
    """Of tensors, up to one level where the grey image's rounding matters; elsewhere one pixel in a thousand may differ
    by a level, since another build may round a product and a sum at once."""
    images = patches(side)
    error = (ours(images, values).int() - by_torchvision(images, theirs, values).int()).abs()
    assert error.max() <= 1
    if levels == 0:
        assert (error > 0).float().mean() < 1e-3


def test_all_four_together_are_torchvisions_in_the_drawn_order() -> None:
    """Within half a level on average, and 2 levels at 99 of 100 pixels: the roundings of four operations add up."""
    images = patches(48)
    for step in range(6):
        where = draw(12, step=step)
        unit = where.uniform("jitter", 4)
        expected = images
        for i in order(where):
            low, high = (-0.1, 0.1) if i == 3 else (0.6, 1.4)
            expected = by_torchvision(expected, THEIRS[i], low + (high - low) * unit[:, i])
        error = (color_jitter(images, where, **STRENGTH).int() - expected.int()).abs().float()
        assert error.mean() < 0.5 and (error > 2).float().mean() < 0.01


def measured(name: str, strength: float, count: int = 10_000) -> Tensor:
    """(B,) what an operation alone did to two pixels, read off them: the factor, or the turn of the hue."""
    dark, bright = (100, 100, 100), (140, 100, 100)
    pixels = {"contrast": [(100, 100, 100), (120, 120, 120)]}.get(name, [dark, bright])
    images = torch.tensor(pixels, dtype=torch.uint8).T[None, :, None].expand(count, 3, 1, 2)
    first, second = color_jitter(images, draw(count), **{name: strength})[:, :, 0].float().unbind(-1)  # (B, 3) each
    if name == "brightness":
        return first[:, 0] / 100
    if name == "contrast":
        return (second - first)[:, 0] / 20
    if name == "saturation":
        return (second[:, 0] - second[:, 1]) / 40
    hue = rgb_to_hsv(second[:, :, None, None] / 255)[:, 0, 0, 0]
    return torch.where(hue > 0.5, hue - 1, hue)


@pytest.mark.parametrize(
    ("name", "strength", "low", "high", "step"),
    [
        ("brightness", 0.4, 0.6, 1.4, 0.01),
        ("brightness", 1.5, 0.0, 2.5, 0.01),
        ("contrast", 0.4, 0.6, 1.4, 0.05),
        ("saturation", 0.4, 0.6, 1.4, 0.05),
        ("hue", 0.1, -0.1, 0.1, 0.01),
    ],
)
def test_ten_thousand_draws_fill_the_range(name: str, strength: float, low: float, high: float, step: float) -> None:
    """To within a level of the pixels it is read from."""
    found = measured(name, strength)
    assert found.min() == pytest.approx(low, abs=1.01 * step)
    assert found.max() == pytest.approx(high, abs=1.01 * step)
    assert found.mean() == pytest.approx((low + high) / 2, abs=0.02 * (high - low) + step / 2)


def test_samples_and_operations_draw_on_their_own() -> None:
    unit = torch.stack([measured(name, STRENGTH[name], 3000) for name in STRENGTH])
    assert (torch.corrcoef(unit) - torch.eye(4)).abs().max() < 0.1
    assert abs(torch.corrcoef(torch.stack([unit[0, 1:], unit[0, :-1]]))[0, 1]) < 0.1


def test_all_orders_are_drawn_alike_and_depend_on_step_and_stream_alone() -> None:
    found = Counter(order(draw(1, step=step)) for step in range(24_000))
    assert len(found) == 24 and all(sorted(each) == [0, 1, 2, 3] for each in found)
    assert all(abs(count - 1000) < 5 * (1000 * 23 / 24) ** 0.5 for count in found.values())
    other_rank = replace(draw(8), position=torch.arange(4, 8))
    assert order(other_rank) == order(draw(8))
    assert any(order(draw(1, step=i)) != order(draw(1, step=i, stream="unlabeled/test")) for i in range(9))


@pytest.mark.parametrize("side", [32, 33])
def test_a_batch_equals_its_samples_bit_for_bit(side: int) -> None:
    images, everyone = patches(side), draw(12)
    whole = color_jitter(images, everyone, **STRENGTH)
    for positions in (*torch.arange(12).split(1), *torch.arange(12).split(5)):
        assert torch.equal(
            color_jitter(images[positions], replace(everyone, position=positions), **STRENGTH), whole[positions]
        )


def test_without_strength_nothing_changes() -> None:
    assert torch.equal(color_jitter(patches(32), draw(12)), patches(32))


def test_grey_images_change_in_brightness_and_contrast_alone() -> None:
    grey = patches(32)[:, 1:2]
    assert torch.equal(color_jitter(grey, draw(12), saturation=0.9, hue=0.5), grey)
    both = color_jitter(grey, draw(12), brightness=0.4, contrast=0.4)
    assert torch.equal(color_jitter(grey, draw(12), **STRENGTH), both)
    assert not torch.equal(both, grey)


def test_no_images_give_no_images() -> None:
    assert color_jitter(patches(32)[:0], draw(0), **STRENGTH).shape == (0, 3, 32, 32)


@pytest.mark.parametrize("channels", [1, 3])
def test_nothing_reads_a_value(channels: int) -> None:
    """On the meta device reading one raises."""
    images = torch.empty(4, channels, 8, 8, dtype=torch.uint8, device="meta")
    found = color_jitter(images, replace(draw(4), position=torch.arange(4, device="meta")), **STRENGTH)
    assert found.shape == images.shape and found.dtype == torch.uint8


def test_strengths_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match=r"the strength of contrast is -1, but must be at least 0"):
        color_jitter(patches(8), draw(12), contrast=-1)
    with pytest.raises(InputError, match=r"the strength of hue is 0.6, but must be from 0 to 0.5"):
        color_jitter(patches(8), draw(12), hue=0.6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_colours_are_the_same_and_nothing_waits() -> None:
    images, where = patches(32).cuda(), replace(draw(12), position=torch.arange(12).cuda())
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = color_jitter(images, where, **STRENGTH)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    error = (found.cpu().int() - color_jitter(patches(32), draw(12), **STRENGTH).int()).abs()
    assert error.float().mean() < 0.01
