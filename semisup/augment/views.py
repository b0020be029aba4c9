"""The views that a strategy can ask for by name, each a function of uint8 images and of a `Draw`.

A view takes (B, C, H, W) uint8 and gives (B, C, H, W) float32 in [0, 1]. What it draws comes from the `Draw` alone, so
the same samples at the same step look the same on one device and on two, and after a resume.

To add a view, write such a function and name it in `VIEWS`.

The course on STL-10 augmented by five parts: translation by up to 10 %, rotation by up to 20 degrees, scaling up,
scaling down, and mirroring half of the images. The first four each made a further copy of the training set, as in
`course_copies`. All five on every image, `course`, is another, stronger augmentation. The course's sizes were in pixels
of 96x96 images; here they are fractions, for images of any size. Each part is a view as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from semisup.augment import color, geometry
from semisup.augment.jitter import color_jitter
from semisup.augment.randaugment import rand_augment
from semisup.errors import InputError, did_you_mean
from semisup.randomness import Draw

View = Callable[[Tensor, Draw], Tensor]

TRANSLATION = 0.1  # of the image's size, either way along each axis
ROTATION = 20.0  # degrees, either way
SCALE_UP = 96 / 87  # the central 87x87 of 96x96 pixels fill the image
JITTER = (0.4, 0.4, 0.4, 0.1)  # strength of brightness, contrast, saturation and hue
PART = (0.08, 1.0)  # of an image's area that a contrastive view shows
SCALE_DOWN = 86 / 96  # the image shrinks to 86x86 of 96x96 pixels, amid zeros


def none(images: Tensor, draw: Draw) -> Tensor:
    """The images as they are."""
    return _unit(images)


def weak(images: Tensor, draw: Draw) -> Tensor:
    """Mirrors each image with probability one half, then shifts it: the weak view of FixMatch (arXiv 2001.07685)."""
    return _unit(_shifted(_mirrored(images, draw), draw))


def shift(images: Tensor, draw: Draw) -> Tensor:
    """Moves each image by whole pixels, up to an eighth of its shorter side along each axis, and never mirrors it.

    For digits and letters, whose mirror image is another thing. What comes in at the edge is reflected, as in `weak`:
    the margin of MNIST's digits is empty, so there it brings in the same zeros as padding with zeros would.
    """
    return _unit(_shifted(images, draw))


def strong(images: Tensor, draw: Draw) -> Tensor:
    """The strong view of FixMatch: mirrored and shifted as in `weak`, then RandAugment and cutout (`randaugment`)."""
    return _unit(rand_augment(_shifted(_mirrored(images, draw), draw), draw))


def strong_shift(images: Tensor, draw: Draw) -> Tensor:
    """The strong view of images that must not be mirrored: `strong` after `shift` instead of `weak`."""
    return _unit(rand_augment(_shifted(images, draw), draw))


def medium(images: Tensor, draw: Draw) -> Tensor:
    """Between weak and strong: `strong` with one operation of RandAugment in place of three (SequenceMatch's code)."""
    return _unit(rand_augment(_shifted(_mirrored(images, draw), draw), draw, 1))


def medium_shift(images: Tensor, draw: Draw) -> Tensor:
    """The medium view of images that must not be mirrored."""
    return _unit(rand_augment(_shifted(images, draw), draw, 1))


def jitter(images: Tensor, draw: Draw) -> Tensor:
    """`weak`, then brightness, contrast and saturation changed by up to 40 % and hue by up to a tenth of the circle."""
    return _unit(color_jitter(_shifted(_mirrored(images, draw), draw), draw, *JITTER))


def contrastive(images: Tensor, draw: Draw) -> Tensor:
    """A part of the image, mirrored or not, in other colours: the view of SimCLR on small images (arXiv 2002.05709).

    The part has between 8 % and all of the image's area, sides in a ratio of 3/4 to 4/3, and fills the image. With
    probability .8 its colours are jittered as those of `jitter`, with probability .2 it is grey. The appendix of the
    paper has no blur at 32 pixels. Where a side would be longer than the image's it is as long; torchvision draws anew.
    """
    return _recoloured(_part(_mirrored(images, draw), draw), draw)


def contrastive_shift(images: Tensor, draw: Draw) -> Tensor:
    """The contrastive view of images that must not be mirrored."""
    return _recoloured(_part(_checked(images), draw), draw)


def course(images: Tensor, draw: Draw) -> Tensor:
    """All five parts of the course at once, composed into a single resampling.

    Exactly half of the global batch is mirrored; then every image is scaled by a factor that is uniform between
    `SCALE_DOWN` and `SCALE_UP`, rotated and translated as in `rotate` and `translate`. Zeros lie beyond the image.
    """
    scale = draw.uniform("scale", low=SCALE_DOWN, high=SCALE_UP)[:, 0]
    return _resample(images, _angle(draw), *_translation(images, draw), scale, draw.half("flip"))


def course_copies(images: Tensor, draw: Draw) -> Tensor:
    """The course's own way: the original or a copy of one part; exactly half of the global batch is mirrored.

    Each image is, as likely as not one of the others, as it is, or as `translate`, `rotate`, `scale_up` or `scale_down`
    make it of what `flip_half` made of it. The course wrote four such copies of its training set and shuffled them
    among the originals: of a batch drawn from that larger set a fifth is of each kind as well, up to chance. What
    differs is that a copy was moved and turned once and for all, and is here whenever the image comes up. And an epoch
    is one pass over the images, as with any other view, where the course's was one over the larger set:
    `--data.steps_per_epoch` makes it as long (of 4,000 images in batches of 64, 312).
    """
    kind, zero = draw.integers("kind", 5)[:, 0], _zeros(draw)
    translated, rotated, up, down = (kind == number for number in range(1, 5))
    right, below = (torch.where(translated, pixels, zero) for pixels in _translation(images, draw))
    scale = torch.where(up, zero + SCALE_UP, torch.where(down, zero + SCALE_DOWN, zero + 1))
    flipped = geometry.flip(_checked(images), draw.half("flip"))
    copies = _resample(flipped, torch.where(rotated, _angle(draw), zero), right, below, scale)
    return torch.where((kind == 0)[:, None, None, None], _unit(flipped), copies)


def translate(images: Tensor, draw: Draw) -> Tensor:
    """Moves each image along both axes, uniformly up to `TRANSLATION` of its width and height; zeros come in."""
    zero = _zeros(draw)
    return _resample(images, zero, *_translation(images, draw), zero + 1)


def rotate(images: Tensor, draw: Draw) -> Tensor:
    """Turns each image about its centre, uniformly up to `ROTATION` degrees either way; zeros come in."""
    zero = _zeros(draw)
    return _resample(images, _angle(draw), zero, zero, zero + 1)


def scale_up(images: Tensor, draw: Draw) -> Tensor:
    """Enlarges each image about its centre by `SCALE_UP`; what grows beyond the edge is lost."""
    zero = _zeros(draw)
    return _resample(images, zero, zero, zero, zero + SCALE_UP)


def scale_down(images: Tensor, draw: Draw) -> Tensor:
    """Shrinks each image about its centre by `SCALE_DOWN`; zeros surround it."""
    zero = _zeros(draw)
    return _resample(images, zero, zero, zero, zero + SCALE_DOWN)


def flip_half(images: Tensor, draw: Draw) -> Tensor:
    """Mirrors exactly half of the global batch left to right (of an odd number, the smaller half)."""
    return _unit(geometry.flip(images, draw.half("flip")))


VIEWS: dict[str, View] = {
    view.__name__: view
    for view in (
        none,
        weak,
        shift,
        strong,
        strong_shift,
        medium,
        medium_shift,
        jitter,
        contrastive,
        contrastive_shift,
        course,
        course_copies,
        translate,
        rotate,
        scale_up,
        scale_down,
        flip_half,
    )
}


def meant(name: str, weak: str) -> str:
    """The view that a name stands for on images whose light augmentation is `weak`.

    Pictures that must not be mirrored, such as digits, must not be in the stronger views either.
    """
    mirrors = weak != "shift"
    stronger = {name: name if mirrors else f"{name}_shift" for name in ("medium", "strong", "contrastive")}
    return {**stronger, "weak": weak}.get(name, name)


def find_view(name: str) -> View:
    """The view of that name.

    Raises:
        InputError: there is no such view; the message names the nearest one.
    """
    if name not in VIEWS:
        raise InputError(f"there is no view {name!r}{did_you_mean(name, VIEWS)}")
    return VIEWS[name]


def _unit(images: Tensor) -> Tensor:
    """uint8 to float32 in [0, 1]."""
    return _checked(images).float().div_(255)


def _checked(images: Tensor) -> Tensor:
    if images.dtype != torch.uint8:
        raise TypeError(f"a view takes uint8 images, not {images.dtype}: images stay uint8 until they are augmented")
    return images


def _mirrored(images: Tensor, draw: Draw) -> Tensor:
    return geometry.flip(_checked(images), draw.uniform("flip")[:, 0] < 0.5)


def _shifted(images: Tensor, draw: Draw) -> Tensor:
    padding = min(images.shape[-2:]) // 8
    dy, dx = draw.integers("crop", 2 * padding + 1, 2).unbind(1)
    return geometry.crop(_checked(images), dy, dx, padding)


def _part(images: Tensor, draw: Draw) -> Tensor:
    """A rectangle of each image at its size, (B, C, H, W) uint8."""
    sides = images.shape[-2:]
    area = draw.uniform("area", low=PART[0], high=PART[1])[:, 0]
    # In double precision, because a float32 exponential's last bit may depend on a number's place in the batch.
    ratio = (draw.uniform("ratio", low=-1, high=1)[:, 0].double() * math.log(4 / 3)).exp()
    places = draw.uniform("place", 2).double().unbind(1)
    cut = [((area * by).sqrt() * size).clamp(1, size) for by, size in zip((1 / ratio, ratio), sides, strict=True)]
    begin = [place * (size - side) for place, size, side in zip(places, sides, cut, strict=True)]
    part = geometry.resized_crop(images.float(), *(x.float() for x in (*begin, *cut)))
    return part.round_().to(torch.uint8)


def _recoloured(images: Tensor, draw: Draw) -> Tensor:
    jittered, greyed = draw.uniform("recoloured", 2)[:, :, None, None, None].unbind(1)
    images = torch.where(jittered < 0.8, color_jitter(images, draw, *JITTER), images)
    return _unit(torch.where(greyed < 0.2, color.grey(images), images))


def _zeros(draw: Draw) -> Tensor:
    return torch.zeros(len(draw.position), device=draw.position.device)


def _angle(draw: Draw) -> Tensor:
    return draw.uniform("angle", low=-ROTATION, high=ROTATION)[:, 0]


def _translation(images: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
    """Pixels to the right and down, (B,) each."""
    x, y = draw.uniform("translation", 2, -TRANSLATION, TRANSLATION).unbind(1)
    return x * images.shape[-1], y * images.shape[-2]


def _resample(
    images: Tensor, angle: Tensor, right: Tensor, down: Tensor, scale: Tensor, mirror: Tensor | None = None
) -> Tensor:
    matrix = geometry.affine_matrix(angle, right, down, scale, mirror=mirror)
    # The four weights of a bilinear value may add up to a little more than 1.
    return geometry.affine(_unit(images), matrix).clamp_(0, 1)
