"""Samples of surrogate classes: geometry against torchvision, colours pixel by pixel, and how far each goes."""

from __future__ import annotations

import colorsys
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as tv
from helpers import patches
from sklearn.decomposition import PCA
from torch import Tensor
from torchvision.transforms import InterpolationMode

from semisup.augment import geometry
from semisup.augment.surrogate import (
    COURSE,
    PAPER,
    ColorRanges,
    Components,
    Ranges,
    affine_crop,
    fit_components,
    scale_components,
    surrogate_crops,
)
from semisup.errors import InputError
from semisup.randomness import Draw

MANY = 10_000
STILL = Ranges(rotation=(0.0, 0.0), translation=(0.0, 0.0), scale=(1.0, 1.0))
SAME = ColorRanges(component=(1.0, 1.0), power=(1.0, 1.0), factor=(1.0, 1.0), offset=(0.0, 0.0), hue=(0.0, 0.0))
CHANNELS = Components(torch.zeros(3), torch.eye(3))  # components that are red, green and blue themselves


def draw(count: int, *, seed: int = 0, step: int = 0) -> Draw:
    return Draw(seed, step, "surrogate", torch.arange(count), count)


@pytest.fixture(scope="module")
def components() -> Components:
    return fit_components([patches()])


def centres(count: int, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(count, 2, generator=torch.Generator().manual_seed(0))


def by_torchvision(images: Tensor, middles: Tensor, moves: Tensor, size: int) -> Tensor:
    """`affine` of each image about the patch's centre, amid its mirror images, then a crop of whole pixels.

    What the centre lacks to the middle of whole pixels is part of the translation. `moves` (B, 4) are the angle, the
    translation right and down, and the scale.
    """
    results, margin = [], 60
    for image, middle, (angle, right, down, scale) in zip(
        images.float(), middles + margin, moves.tolist(), strict=True
    ):
        left, top = (middle - (size - 1) / 2).floor().int().tolist()
        dx, dy = (torch.tensor([left, top]) + (size - 1) / 2 - middle).tolist()
        padded = tv.pad(image, [margin], padding_mode="symmetric")
        moved = tv.affine(
            padded,
            angle,
            [right + dx, down + dy],
            scale,
            [0.0, 0.0],
            interpolation=InterpolationMode.BILINEAR,
            center=(middle + 0.5).tolist(),  # torchvision measures from the edge, where pixels have theirs at a half
        )
        results.append(tv.crop(moved, top, left, size, size))
    return torch.stack(results)


@pytest.mark.parametrize("size", [32, 33])
@pytest.mark.parametrize("low_high", [(40.0, 55.0), (0.0, 95.0)])  # in the middle, and over the edges
def test_a_crop_is_torchvisions_affine_then_crop(low_high: tuple[float, float], size: int) -> None:
    """Within 1e-2 of 0 to 255, at centres that are no whole pixels."""
    middles = centres(12, *low_high)
    unit = torch.rand(12, 4, generator=torch.Generator().manual_seed(1))
    moves = unit * torch.tensor([40.0, 12.0, 12.0, 0.7]) + torch.tensor([-20.0, -6.0, -6.0, 0.7])
    found = affine_crop(patches(), middles, geometry.affine_matrix(*moves.unbind(1)), size)
    assert found.shape == (12, 3, size, size)
    torch.testing.assert_close(found, by_torchvision(patches(), middles, moves, size), atol=1e-2, rtol=0)


def test_without_transformation_a_sample_is_the_patch_itself() -> None:
    middles = torch.tensor([[x + 15.5, 2 * x + 15.5] for x in range(12)])
    expected = torch.stack([tv.crop(image, 2 * x, x, 32, 32) for x, image in enumerate(patches())]) / 255
    torch.testing.assert_close(surrogate_crops(patches(), middles, draw(12), STILL), expected, atol=1e-5, rtol=0)


def moves_of(ranges: Ranges, size: int = 8) -> dict[str, Tensor]:
    """What happened to each of many patches, (B,) each, read off an image whose pixels hold their column and row."""
    axis = torch.arange(64, dtype=torch.uint8) * 4
    image = torch.stack([axis.expand(64, 64), axis[:, None].expand(64, 64)])
    middles = torch.tensor([31.5, 31.5]).expand(MANY, 2)
    found = surrogate_crops(image.expand(MANY, 2, 64, 64), middles, draw(MANY), replace(ranges, color=None), size=size)
    corners = (found[:, :, [0, 0, -1], [0, -1, 0]] * 63.75 - 31.5).double()  # (B, xy, 3): input pixels from the centre
    origin, right, down = corners.unbind(2)
    linear = torch.stack([right - origin, down - origin], 2) / (size - 1)  # (B, 2, 2), input by output
    shift = origin + linear.sum(2) * (size - 1) / 2
    determinant = torch.linalg.det(linear)
    sign = determinant.sign()
    back = -torch.linalg.solve(linear, shift[:, :, None])[:, :, 0] / size
    angle = torch.rad2deg(torch.atan2(sign * linear[:, 0, 1], sign * linear[:, 0, 0]))
    return {"angle": angle, "x": back[:, 0], "y": back[:, 1], "scale": determinant.abs() ** -0.5, "mirror": sign < 0}


def assert_fills(values: Tensor, low: float, high: float, slack: float = 1e-4) -> None:
    """Evenly from end to end: the extremes of many draws, and the four quarters between them."""
    width = high - low
    assert low - slack * width <= values.min() <= low + 0.002 * width
    assert high - 0.002 * width <= values.max() <= high + slack * width
    quarters = torch.histc(values.float(), 4, low - slack * width, high + slack * width)
    assert (quarters - len(values) / 4).abs().max() < 5 * (len(values) * 3 / 16) ** 0.5


@pytest.mark.parametrize(("ranges", "low", "high"), [(COURSE, 0.0, 0.1), (PAPER, -0.2, 0.2)])
def test_course_and_paper_move_patches_over_their_ranges(ranges: Ranges, low: float, high: float) -> None:
    did = moves_of(ranges)
    assert_fills(did["angle"], -20, 20)
    assert_fills(did["scale"], 0.7, 1.4)
    for axis in "xy":
        assert_fills(did[axis], low, high, slack=1e-3)
    assert not did["mirror"].any()
    parts = torch.stack([did[name] for name in ("angle", "x", "y", "scale")])
    assert (torch.corrcoef(parts) - torch.eye(4)).abs().max() < 0.05  # each is drawn on its own


def test_flip_mirrors_about_half() -> None:
    mirrored = moves_of(replace(COURSE, flip=True))["mirror"].sum()
    assert abs(mirrored - MANY / 2) < 5 * (MANY / 4) ** 0.5


def test_the_papers_colours() -> None:
    assert COURSE.color is None
    assert PAPER.color == ColorRanges((0.5, 2.0), (0.25, 4.0), (0.7, 1.4), (-0.1, 0.1), (-0.1, 0.1))


def colors_of(pixel: tuple[int, int, int], color: ColorRanges) -> Tensor:
    """(B, 3) float64, what many draws made of a plain image."""
    image = torch.tensor(pixel, dtype=torch.uint8).view(1, 3, 1, 1).expand(MANY, 3, 4, 4)
    still = replace(STILL, color=color)
    found = surrogate_crops(image, torch.full((MANY, 2), 1.5), draw(MANY), still, CHANNELS, size=1)
    return found.flatten(1).double()


def test_each_component_is_doubled_at_most_and_halved_at_least() -> None:
    found = colors_of((51, 102, 119), replace(SAME, component=(0.5, 2.0))) * 255 / torch.tensor([51, 102, 119])
    for factor in found.unbind(1):
        assert_fills(factor.log2(), -1, 1)
    assert (torch.corrcoef(found.T) - torch.eye(3)).abs().max() < 0.05


def saturation_and_value(found: Tensor) -> tuple[Tensor, Tensor]:
    return 1 - found.amin(1) / found.amax(1), found.amax(1)


def test_saturation_and_value_go_over_their_ranges_apart() -> None:
    """Read off an orange of saturation 0.6 and value 0.5 (0.502), which no change of theirs drives to a limit."""
    value = 128 / 255
    pixel, before = (128, 51, 51), (1 - 51 / 128, value)
    reads = {
        "power": lambda after, at: (after.log() / np.log(at)).log2() / 2,
        "factor": lambda after, at: (after / at).log(),
        "offset": lambda after, at: after - at,
    }
    limits = {"power": (0.25, 4.0), "factor": (0.7, 1.4), "offset": (-0.1, 0.1)}
    expected = {"power": (-1.0, 1.0), "factor": (np.log(0.7), np.log(1.4)), "offset": (-0.1, 0.1)}
    for name, read in reads.items():
        both = saturation_and_value(colors_of(pixel, replace(SAME, **{name: limits[name]})))
        found = [read(after, at) for after, at in zip(both, before, strict=True)]
        for each in found:
            assert_fills(each, *expected[name])
        assert abs(torch.corrcoef(torch.stack(found))[0, 1]) < 0.05


def test_hue_turns_a_tenth_either_way() -> None:
    red, green, blue = colors_of((200, 100, 100), replace(SAME, hue=(-0.1, 0.1))).unbind(1)
    assert_fills((green - blue) / (red - torch.minimum(green, blue)) / 6, -0.1, 0.1)


def test_a_papers_sample_is_the_naive_one_pixel_by_pixel(components: Components) -> None:
    """With all parameters at one value, which is not neutral: within 1e-4 (a power of 1/2 is steep near 0)."""
    fixed = ColorRanges(
        component=(1.3, 1.3), power=(0.5, 0.5), factor=(0.9, 0.9), offset=(0.05, 0.05), hue=(0.08, 0.08)
    )
    middles = centres(12, 30, 60)
    crops = surrogate_crops(patches(), middles, draw(12), replace(PAPER, color=None), size=16)
    found = surrogate_crops(patches(), middles, draw(12), replace(PAPER, color=fixed), components, size=16)
    mean, basis = (x.double().numpy() for x in components)
    for image, result in zip(crops.double(), found, strict=True):
        for pixel, changed in zip(image.flatten(1).T.numpy(), result.flatten(1).T.tolist(), strict=True):
            scaled = mean + sum(1.3 * (row @ (pixel - mean)) * row for row in basis)
            h, s, v = colorsys.rgb_to_hsv(*np.clip(scaled, 0, 1))
            s, v = (min(x**0.5 * 0.9 + 0.05, 1.0) for x in (s, v))
            assert changed == pytest.approx(colorsys.hsv_to_rgb((h + 0.08) % 1, s, v), abs=1e-4)


def test_components_are_scaled_each_by_its_own_factor(components: Components) -> None:
    """Against numpy, pixel by pixel, where nothing is clipped and where something is."""
    factors = 0.5 + 1.5 * torch.rand(12, 3, generator=torch.Generator().manual_seed(2))
    images = patches(16) / 255
    found = scale_components(images, factors, components).numpy()
    mean, basis = (x.double().numpy() for x in components)
    for image, factor, result in zip(images.double().numpy(), factors.double().numpy(), found, strict=True):
        coordinates = basis @ (image.reshape(3, -1) - mean[:, None])
        expected = (basis.T @ (factor[:, None] * coordinates) + mean[:, None]).clip(0, 1)
        np.testing.assert_allclose(result.reshape(3, -1), expected, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_components_are_scikit_learns(channels: int) -> None:
    images = patches()[:, :channels]
    found = fit_components(images.split(5))
    pca = PCA().fit(images.transpose(0, 1).flatten(1).T.double().numpy() / 255)
    np.testing.assert_allclose(found.mean.numpy(), pca.mean_, atol=1e-6)
    along = np.abs((found.basis.double().numpy() * pca.components_).sum(1))  # either sign is the same component
    np.testing.assert_allclose(along, 1, atol=1e-6)


@pytest.mark.parametrize("ranges", [COURSE, replace(PAPER, flip=True)])
@pytest.mark.parametrize("size", [32, 27])
def test_a_batch_equals_its_samples_bit_for_bit(ranges: Ranges, size: int, components: Components) -> None:
    everyone, middles = draw(12), centres(12, 0, 95)
    whole = surrogate_crops(patches(), middles, everyone, ranges, components, size)
    assert whole.dtype == torch.float32 and whole.min() >= 0 and 0.9 < whole.max() <= 1
    for positions in (*torch.arange(12).split(1), *torch.arange(12).split(5)):
        part = surrogate_crops(
            patches()[positions], middles[positions], replace(everyone, position=positions), ranges, components, size
        )
        assert torch.equal(part, whole[positions])


def test_a_sample_is_a_function_of_seed_and_step(components: Components) -> None:
    first, *others = (
        surrogate_crops(patches(), centres(12, 16, 80), draw(12, seed=seed, step=step), PAPER, components)
        for seed, step in ((0, 0), (0, 1), (1, 0))
    )
    assert not any(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("channels", [1, 3])
def test_nothing_reads_a_value(channels: int) -> None:
    """On the meta device reading one raises."""
    images = torch.empty(4, channels, 96, 96, dtype=torch.uint8, device="meta")
    where = replace(draw(4), position=torch.arange(4, device="meta"))
    components = Components(torch.empty(channels, device="meta"), torch.empty(channels, channels, device="meta"))
    ranges = replace(PAPER, flip=True)
    found = surrogate_crops(images, torch.empty(4, 2, device="meta"), where, ranges, components)
    assert found.shape == (4, channels, 32, 32)


def test_grey_images_become_darker_and_brighter() -> None:
    grey = patches()[:, 1:2]
    found = surrogate_crops(grey, centres(12, 30, 60), draw(12), PAPER, fit_components([grey]))
    plain = surrogate_crops(grey, centres(12, 30, 60), draw(12), replace(PAPER, color=None))
    brighter = (found.mean((1, 2, 3)) > plain.mean((1, 2, 3))).sum()
    assert found.shape == (12, 1, 32, 32) and 0 < brighter < 12


def test_what_is_missing_is_said() -> None:
    with pytest.raises(InputError, match=r"give components=fit_components\(images\)"):
        surrogate_crops(patches(), centres(12, 30, 60), draw(12), PAPER)
    with pytest.raises(InputError, match=r"principal components need images, and there are none"):
        fit_components([])
    with pytest.raises(TypeError, match=r"made of uint8 images, not torch\.float32"):
        surrogate_crops(patches() / 255, centres(12, 30, 60), draw(12), COURSE)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_samples_are_the_same_and_nothing_waits(components: Components) -> None:
    images, middles = patches().cuda(), centres(12, 0, 95).cuda()
    where, there = replace(draw(12), position=torch.arange(12).cuda()), Components(*(x.cuda() for x in components))
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = surrogate_crops(images, middles, where, PAPER, there)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    expected = surrogate_crops(patches(), centres(12, 0, 95), draw(12), PAPER, components)
    torch.testing.assert_close(found.cpu(), expected, atol=1e-2, rtol=0)  # a power of 1/4 is steep near 0
