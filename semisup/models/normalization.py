"""Normalisation of the images as the first layer of the model, so that a saved model takes raw images.

The course work on STL-10 compared two: raw pixels, which did better and were bytes there, and Torch7's usual
preprocessing in YUV; the one on MNIST compared none and local contrast normalisation under two windows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semisup.errors import require

Kind = Literal["none", "channel", "yuv", "local7", "local15", "bytes"]

_YUV = ((0.299, 0.587, 0.114), (-0.14713, -0.28886, 0.436), (0.615, -0.51499, -0.10001))  # rows Y, U, V over R, G, B
_IMAGES_AT_ONCE = 256  # images that are float64 at one time
_WINDOWS = {"local7": 7, "local15": 15}  # pixels
_CONSTANT = 1e-6  # a standard deviation below this is that of a constant channel, and rounding


class Normalization(nn.Module):
    """Normalises images in [0, 1]; what it learns from the training images is in its `state_dict`.

    - `none`: the raw pixels, in [0, 1].
    - `bytes`: the raw pixels, in [0, 255]. To a batch normalisation whose eps is small next to the variance of its
      input it is the same. To one of eps 1e-3 it is not: of pixels in [0, 1] many a channel's variance is smaller than
      that, and comes out the weaker for it.
    - `channel`: each channel by the training images' mean and standard deviation.
    - `yuv`: RGB -> YUV; Y by `local_contrast`, image for image; U and V by the training images' mean and standard
      deviation. The course's baseline.
    - `local7`, `local15`: each channel by `local_contrast` under a window of that size, image for image.

    Before `fit` the mean is 0 and the standard deviation 1.

    Args:
        kind: `none`, `channel`, `yuv`, `local7`, `local15` or `bytes`.
        in_channels: channels of the images; 3 for `yuv`.
        own: mean and standard deviation of each channel that a network comes with, which `channel` has in place of the
            training images'; an image of one channel then becomes one of as many.

    Attributes:
        mean: float32, (in_channels,) for `channel`, (2,) for `yuv` (of U and V); absent for the others.
        std: the same of the standard deviation (over all pixels, not Bessel-corrected).

    Raises:
        InputError: an unknown kind, or `yuv` of images that are not RGB.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, kind: Kind, in_channels: int, own: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    ) -> None:
        super().__init__()
        kinds = get_args(Kind)
        require(kind in kinds, f"there is no normalization {kind!r}; there are: {', '.join(kinds)}")
        require(
            kind != "yuv" or in_channels == 3,
            f"normalization yuv needs 3 channels (RGB), these images have {in_channels}; "
            "type --model.normalization channel",
        )
        self.kind = kind
        self.in_channels = in_channels
        if kind in ("channel", "yuv"):
            learned = in_channels if kind == "channel" else 2
            self.register_buffer("mean", torch.zeros(learned))
            self.register_buffer("std", torch.ones(learned))
        self.fixed = kind == "channel" and own is not None  # nothing is learned
        if self.fixed and own is not None:
            self.mean, self.std = torch.tensor(own[0]), torch.tensor(own[1])

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) floats in [0, 1] -> the same shape and dtype, normalised."""
        if self.kind == "none":
            return x
        if self.kind == "bytes":
            return x * 255
        if self.kind == "channel":
            return self._standardize(x)
        if self.kind in _WINDOWS:
            return local_contrast(x.float(), _WINDOWS[self.kind]).to(x.dtype)
        yuv = rgb_to_yuv(x.float())
        return torch.cat([local_contrast(yuv[:, :1]), self._standardize(yuv[:, 1:])], dim=1).to(x.dtype)

    @torch.no_grad()
    def take(self, kind: str, mean: Tensor, std: Tensor) -> bool:
        """Takes what another one has learned, and learns nothing itself from then on; whether it is of that kind.

        One that a network comes with stays what it is.

        Args:
            kind: of the other one.
            mean: as its own.
            std: as its own.
        """
        if self.fixed or self.kind not in ("channel", "yuv"):
            return self.fixed or self.kind == kind
        if (self.kind, self.mean.shape) != (kind, mean.shape):
            return False
        self.mean.copy_(mean)
        self.std.copy_(std)
        self.fixed = True
        return True

    @torch.no_grad()
    def fit(self, images: Iterable[Tensor]) -> None:
        """Learns `mean` and `std` from the training images, batch by batch, in float64.

        Where nothing is learned no image is read.

        A channel that is constant gets a standard deviation of 1.

        Args:
            images: (B, C, H, W) uint8 batches of any size.

        Raises:
            InputError: there are no images, or they are not uint8 with the right number of channels.
        """
        if self.fixed or self.kind not in ("channel", "yuv"):
            return
        count = 0
        total, squares = torch.zeros(2, len(self.mean), dtype=torch.float64)
        for batch in images:
            require(
                batch.dtype == torch.uint8 and batch.ndim == 4 and batch.shape[1] == self.in_channels,
                f"normalization needs uint8 images of shape (B, {self.in_channels}, H, W), "
                f"got {batch.dtype} of {tuple(batch.shape)}",
            )
            for chunk in torch.split(batch, _IMAGES_AT_ONCE):
                x = chunk.double() / 255  # (b, C, H, W)
                if self.kind == "yuv":
                    x = rgb_to_yuv(x)[:, 1:]
                count += x.numel() // x.shape[1]
                total += x.sum(dim=(0, 2, 3)).cpu()
                squares += x.square().sum(dim=(0, 2, 3)).cpu()
        require(count > 0, f"normalization {self.kind} needs training images to learn from, there are none")
        mean = total / count
        std = (squares / count - mean.square()).clamp(min=0).sqrt()
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std < _CONSTANT, 1.0, std))

    def _standardize(self, x: Tensor) -> Tensor:
        scale = 1 / self.std
        shift = -self.mean * scale
        return torch.addcmul(shift.to(x.dtype)[:, None, None], x, scale.to(x.dtype)[:, None, None])  # in one pass

    def extra_repr(self) -> str:
        """What `print` shows of the layer."""
        return f"{self.kind}, in_channels={self.in_channels}"


def rgb_to_yuv(x: Tensor) -> Tensor:
    """RGB to YUV as Torch7's `image.rgb2yuv` does it (BT.601, analogue; Y in [0, 1], U in +-.436, V in +-.615).

    Args:
        x: (B, 3, H, W) floats in [0, 1].

    Returns:
        (B, 3, H, W) floats; Y, U, V.
    """
    red, green, blue = x.unbind(dim=1)
    # Sums of products, not a matrix product: that may run in TF32, which has 10 bits.
    return torch.stack([r * red + g * green + b * blue for r, g, b in _YUV], dim=1)


def local_contrast(y: Tensor, size: int = 7, threshold: float = 1e-4) -> Tensor:
    """Subtracts the local mean, then divides by the local standard deviation, under a Gaussian window.

    Torch7's `nn.SpatialContrastiveNormalization(1, image.gaussian1D(size))`, with its ways: the window is separable,
    has a standard deviation of a quarter of its size and sums to 1; outside of the image is 0, which both estimates
    make good by dividing by the window's mass inside of the image (the standard deviation, too, by the mass and not by
    its root); a standard deviation below `threshold` counts as `threshold`.

    Args:
        y: (B, C, H, W) float32 or float64; each channel is normalised by itself.
        size: of the window, in pixels; odd.
        threshold: the least standard deviation to divide by.

    Returns:
        (B, C, H, W), same dtype.
    """
    window = _gaussian(size)
    mass = _blur(torch.ones_like(y[:1, :1]), window)  # (1, 1, H, W)
    centered = y - _blur(y, window) / mass
    # The threshold comes before the root, whose gradient at 0, in a flat patch, would be infinite.
    variance = torch.maximum(_blur(centered.square(), window), (threshold * mass).square())
    return centered * mass / variance.sqrt()


def subtract_local_mean(x: Tensor, size: int = 7) -> Tensor:
    """Subtracts from every channel the mean over all channels and a Gaussian window.

    Torch7's `nn.SpatialSubtractiveNormalization(C, image.gaussian1D(size))`, with the window and the edges of
    `local_contrast`.

    Args:
        x: (B, C, H, W) float.
        size: of the window, in pixels; odd.

    Returns:
        (B, C, H, W), same dtype.
    """
    window, mean = _gaussian(size), x.mean(dim=1, keepdim=True)
    return x - _blur(mean, window) / _blur(torch.ones_like(mean[:1]), window)


def _gaussian(size: int) -> list[float]:
    """Torch7's `image.gaussian1D`, a standard deviation of a quarter of the size, made to sum to 1."""
    window = [math.exp(-(((i - size // 2) / (size / 4)) ** 2) / 2) for i in range(size)]
    return [weight / sum(window) for weight in window]


def _blur(x: Tensor, window: list[float]) -> Tensor:
    """Same-size correlation of (B, C, H, W) with a separable odd window; outside of the image is 0."""
    # Not conv2d: that may run in TF32, whose rounding exceeds the threshold that flat patches are divided by.
    radius, (height, width) = len(window) // 2, x.shape[-2:]
    x = F.pad(x, (radius, radius, radius, radius))
    x = torch.stack([weight * x[..., i : i + width] for i, weight in enumerate(window)]).sum(dim=0)
    return torch.stack([weight * x[..., i : i + height, :] for i, weight in enumerate(window)]).sum(dim=0)
