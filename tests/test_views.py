"""Views: what each does against torchvision, how far each goes, and that a split batch sees the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
import torchvision.transforms.v2.functional as tv
from drawn_views import draw, measured
from helpers import patches
from torch import Tensor
from torchvision.transforms import InterpolationMode

from semisup.augment import views
from semisup.augment.jitter import color_jitter
from semisup.augment.randaugment import rand_augment
from semisup.errors import InputError

RANDOM = sorted(set(views.VIEWS) - {"none", "scale_up", "scale_down"})
BILINEAR = InterpolationMode.BILINEAR


@pytest.fixture(scope="module")
def photographs() -> Tensor:
    """(8, 3, 96, 96) uint8, patches of two photographs."""
    return patches(columns=(30, 400))


def by_torchvision(images: Tensor, did: dict[str, Tensor]) -> Tensor:
    results = []
    for i, image in enumerate(images / 255):
        angle, x, y, scale = (float(did[name][i]) for name in ("angle", "x", "y", "scale"))
        image = tv.horizontal_flip(image) if did["mirror"][i] else image
        results.append(tv.affine(image, angle, [x, y], scale, [0.0, 0.0], interpolation=BILINEAR))
    return torch.stack(results)


def assert_fills(values: Tensor, low: float, high: float) -> None:
    """Many values reach within a hundredth of both ends of the range, evenly, and never exceed it."""
    width, slack = high - low, 1e-3 * (high - low)
    assert low - slack <= values.min() <= low + 0.01 * width
    assert high - 0.01 * width <= values.max() <= high + slack
    assert abs(values.mean() - (low + high) / 2) < 0.05 * width


@pytest.mark.parametrize("name", sorted(views.VIEWS))
def test_every_view_gives_floats_between_0_and_1(name: str, photographs: Tensor) -> None:
    before = photographs.clone()
    found = views.find_view(name)(photographs, draw(8))
    assert found.shape == photographs.shape and found.dtype == torch.float32
    assert found.min() >= 0 and 0.5 < found.max() <= 1
    assert torch.equal(photographs, before)
    white = torch.full(
        (64, 1, 33, 33), 255, dtype=torch.uint8
    )  # of this size some bilinear weights add up to 1 + 2^-23
    assert views.find_view(name)(white, draw(64)).max() == 1


@pytest.mark.parametrize("name", sorted(views.VIEWS))
@pytest.mark.parametrize("size", [96, 33])
def test_a_batch_equals_its_parts_bit_for_bit(name: str, size: int, photographs: Tensor) -> None:
    images, view, everyone = photographs[..., :size, :size], views.find_view(name), draw(8)
    whole = view(images, everyone)
    for parts in (torch.arange(8).split(1), torch.arange(8).split(4), torch.arange(8).split(3)):
        pieces = [view(images[positions], replace(everyone, position=positions)) for positions in parts]
        assert torch.equal(torch.cat(pieces), whole)


@pytest.mark.parametrize("name", sorted(views.VIEWS))
def test_no_images_give_no_images(name: str, photographs: Tensor) -> None:
    """As on a rank whose share of the last batch is empty."""
    found = views.find_view(name)(photographs[:0], replace(draw(8), position=torch.arange(0)))
    assert found.shape == (0, 3, 96, 96) and found.dtype == torch.float32


@pytest.mark.parametrize("name", RANDOM)
def test_a_view_is_a_function_of_seed_and_step(name: str, photographs: Tensor) -> None:
    view = views.find_view(name)
    first = view(photographs, draw(8))
    assert torch.equal(first, view(photographs, draw(8)))
    assert not torch.equal(first, view(photographs, draw(8, step=1)))
    assert not torch.equal(first, view(photographs, draw(8, seed=1)))


def test_none_is_the_image(photographs: Tensor) -> None:
    assert torch.equal(views.none(photographs, draw(8)), photographs / 255)


def candidates(image: Tensor, padding: int, mirrored: tuple[bool, ...]) -> Iterator[Tensor]:
    size = image.shape[-1]
    for mirror in mirrored:
        padded = tv.pad(tv.horizontal_flip(image) if mirror else image, [padding], padding_mode="reflect")
        for y in range(2 * padding + 1):
            for x in range(2 * padding + 1):
                yield tv.crop(padded, y, x, size, size) / 255


@pytest.mark.parametrize(("name", "mirrored"), [("weak", (False, True)), ("shift", (False,))])
def test_weak_and_shift_are_reflected_crops(name: str, mirrored: tuple[bool, ...], photographs: Tensor) -> None:
    """Each result is one of torchvision's crops with 16 // 8 = 2 pixels of padding, bit for bit; all come up."""
    image, count = photographs[0, :, :16, :16], 600
    found = views.find_view(name)(image.expand(count, 3, 16, 16), draw(count))
    hits = torch.stack([(found == each).flatten(1).all(1) for each in candidates(image, 2, mirrored)])  # (crops, B)
    assert torch.equal(hits.sum(0), torch.ones(count, dtype=torch.int64))
    assert hits.any(1).all()


def test_weak_mirrors_half_of_the_images_independently() -> None:
    count = 10_000
    images = torch.tensor([[0, 255], [0, 255]], dtype=torch.uint8).expand(count, 1, 2, 2)  # too small to be shifted
    mirrored = views.weak(images, draw(count))[:, 0, 0, 0]
    assert abs(mirrored.sum() - count / 2) < 5 * (count / 4) ** 0.5
    both = (mirrored[1:] * mirrored[:-1]).sum()
    assert abs(both - count / 4) < 5 * (count * 3 / 16) ** 0.5
    assert mirrored.sum() != count // 2  # unlike `flip_half`


@pytest.mark.parametrize(("name", "count"), [("strong", 3), ("medium", 1)])
@pytest.mark.parametrize(("suffix", "light"), [("", "weak"), ("_shift", "shift")])
@pytest.mark.parametrize("channels", [1, 3])
def test_strong_and_medium_are_the_light_view_then_randaugment(
    name: str, count: int, suffix: str, light: str, channels: int, photographs: Tensor
) -> None:
    images, where = photographs[:, :channels], draw(8)
    cropped = (views.find_view(light)(images, where) * 255).round().to(torch.uint8)
    assert torch.equal(views.find_view(name + suffix)(images, where), rand_augment(cropped, where, count) / 255)


def test_jitter_is_the_weak_view_then_color_jitter(photographs: Tensor) -> None:
    weak = (views.weak(photographs, draw(8)) * 255).round().to(torch.uint8)
    expected = color_jitter(weak, draw(8), brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
    assert torch.equal(views.jitter(photographs, draw(8)), expected / 255)


def test_strong_mirrors_half_of_the_images_and_strong_shift_none() -> None:
    """Of a dark left and a bright right half, told by their means where RandAugment leaves them apart."""
    image = torch.tensor([60] * 16 + [190] * 16, dtype=torch.uint8).expand(3, 32, 32)

    def mirrored(view: views.View) -> float:
        left, right = view(image.expand(2000, 3, 32, 32), draw(2000)).chunk(2, -1)
        return float((left.mean((1, 2, 3)) > right.mean((1, 2, 3))).float().mean())

    assert abs(mirrored(views.strong) - 0.5) < 0.05
    assert mirrored(views.strong_shift) < 0.25  # solarizing and moving may turn the two round


@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_flip_half_mirrors_exactly_half(count: int, photographs: Tensor) -> None:
    images = photographs[:1].expand(count, 3, 96, 96)
    for step in range(3):
        found = views.flip_half(images, draw(count, step=step))
        mirrored = (found == tv.horizontal_flip(images[0]) / 255).flatten(1).all(1)
        same = (found == images / 255).flatten(1).all(1)
        assert int(mirrored.sum()) == count // 2
        assert int(same.sum()) == count - count // 2


def test_translate_goes_a_tenth_of_the_size_each_way() -> None:
    did = measured(views.translate, draw(600))
    assert_fills(did["x"], -9.6, 9.6)
    assert_fills(did["y"], -9.6, 9.6)
    assert abs(torch.corrcoef(torch.stack([did["x"], did["y"]]))[0, 1]) < 0.2
    assert did["angle"].abs().max() < 1e-3 and (did["scale"] - 1).abs().max() < 1e-4 and not did["mirror"].any()


def test_rotate_goes_twenty_degrees_each_way() -> None:
    did = measured(views.rotate, draw(600))
    assert_fills(did["angle"], -20, 20)
    assert did["x"].abs().max() < 1e-3 and did["y"].abs().max() < 1e-3
    assert (did["scale"] - 1).abs().max() < 1e-4 and not did["mirror"].any()


def test_translate_and_rotate_are_torchvisions(photographs: Tensor) -> None:
    """Within 2e-4 on [0, 1], the error of measuring the parameters included."""
    where = draw(8)
    translated = measured(views.translate, where)
    torch.testing.assert_close(
        views.translate(photographs, where), by_torchvision(photographs, translated), atol=2e-4, rtol=0
    )
    angles = measured(views.rotate, where)["angle"]
    expected = [  # torchvision's `rotate` turns the other way than its `affine`
        tv.rotate(image, -float(angle), interpolation=BILINEAR)
        for image, angle in zip(photographs / 255, angles, strict=True)
    ]
    torch.testing.assert_close(views.rotate(photographs, where), torch.stack(expected), atol=2e-4, rtol=0)


def test_scale_up_is_a_resized_crop(photographs: Tensor) -> None:
    """Of the central 58x58 of 64x64 pixels, which is 87/96: within 1e-4, but for the outermost pixels, where a crop no
    longer knows its neighbours. At 96x96 that crop would begin at half a pixel; there the scale is measured."""
    images = photographs[..., :64, :64]
    expected = tv.resized_crop(images / 255, 3, 3, 58, 58, [64, 64], antialias=False)
    found = views.scale_up(images, draw(8))
    torch.testing.assert_close(found[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], atol=1e-4, rtol=0)
    did = measured(views.scale_up, draw(1))
    assert did["scale"].item() == pytest.approx(96 / 87, abs=1e-4)
    assert did["x"].abs() < 1e-3 and did["y"].abs() < 1e-3


def test_scale_down_is_a_resize_and_a_border_of_zeros(photographs: Tensor) -> None:
    small = tv.resize(photographs / 255, [86, 86], antialias=False)
    found = views.scale_down(photographs, draw(8))
    torch.testing.assert_close(found, tv.pad(small, [5]), atol=1e-4, rtol=0)
    assert found[..., :5, :].max() == 0 and found[..., -5:].max() == 0


def test_course_draws_all_parts_within_their_ranges() -> None:
    did = measured(views.course, draw(601))
    assert_fills(did["x"], -9.6, 9.6)
    assert_fills(did["y"], -9.6, 9.6)
    assert_fills(did["angle"], -20, 20)
    assert_fills(did["scale"], 86 / 96, 96 / 87)
    assert int(did["mirror"].sum()) == 300
    parts = torch.stack([value.double() for value in did.values()])
    assert (torch.corrcoef(parts) - torch.eye(5)).abs().max() < 0.2  # each part is drawn on its own


def test_course_is_torchvisions_flip_then_affine(photographs: Tensor) -> None:
    where = draw(8)
    expected = by_torchvision(photographs, measured(views.course, where))
    torch.testing.assert_close(views.course(photographs, where), expected, atol=2e-4, rtol=0)


def test_course_copies_are_the_original_or_one_part_each_and_half_are_mirrored() -> None:
    """Image for image what that part makes of `flip_half`'s image, to the bit of an original; a fifth of each kind."""
    count, images = 1000, patches(24).repeat(84, 1, 1, 1)[:1000]
    kinds = (views.none, views.translate, views.rotate, views.scale_up, views.scale_down)
    total = torch.zeros(5)
    for step in range(2):
        where = draw(count, step=step)
        found = views.course_copies(images, where)
        halves = views.flip_half(images, where)
        mirrored = (halves == images.flip(-1) / 255).flatten(1).all(1)
        assert int(mirrored.sum()) == count // 2
        flipped = (halves * 255).round().byte()
        close = [(found - view(flipped, where)).abs().flatten(1).amax(1) < 1e-6 for view in kinds]
        matches = torch.stack(close)  # (kinds, B)
        assert torch.equal(matches.sum(0), torch.ones(count, dtype=torch.int64))
        assert torch.equal(found[matches[0]], halves[matches[0]])
        total += matches.sum(1)
        for kind in matches:  # what is drawn for the kind says nothing about the mirror
            assert abs(int((kind & mirrored).sum()) - int(kind.sum()) / 2) < 4 * (int(kind.sum()) / 4) ** 0.5
    assert (total - 2 * count / 5).abs().max() < 4 * (2 * count * 0.2 * 0.8) ** 0.5


def test_fractions_hold_at_other_sizes() -> None:
    did = measured(views.course, draw(600), size=48)
    assert_fills(did["x"], -4.8, 4.8)
    assert_fills(did["scale"], 86 / 96, 96 / 87)


def test_an_unknown_view_is_named_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"there is no view 'coarse'; did you mean 'course'\?"):
        views.find_view("coarse")
    with pytest.raises(
        InputError,
        match=r"no view 'xyz'; there are: contrastive, contrastive_shift, course, course_copies, flip_half, jitter",
    ):
        views.find_view("xyz")


def test_floats_are_refused() -> None:
    with pytest.raises(TypeError, match=r"takes uint8 images, not torch\.float32"):
        views.weak(torch.zeros(1, 3, 8, 8), draw(1))
    with pytest.raises(TypeError, match=r"takes uint8 images, not torch\.float32"):
        views.strong(torch.zeros(1, 3, 8, 8), draw(1))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", sorted(views.VIEWS))
def test_on_a_gpu_a_view_is_the_same_and_never_waits(name: str, photographs: Tensor) -> None:
    images, where = photographs.cuda(), replace(draw(8), position=torch.arange(8).cuda())
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = views.find_view(name)(images, where)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(found.cpu(), views.find_view(name)(photographs, draw(8)), atol=1e-4, rtol=0)
