"""Convolutional networks of the older kind: tanh, L2 pooling and subtractive normalisation, of a course on MNIST.

A stage is conv 5x5 -> tanh (or ReLU) -> L2 pooling of 2 -> subtraction of the local mean. The pooling is the square
root of the sum of squares (Sermanet, Chintala & LeCun 2012, arXiv 1204.3968), the subtraction that of
`semisup.models.normalization.subtract_local_mean`. Weights start as PyTorch's do, which is as Torch7's did.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from semisup.errors import require
from semisup.models.normalization import subtract_local_mean

_WINDOW = 7  # pixels of the Gaussian


class SubtractLocalMean(nn.Module):
    """`subtract_local_mean` under a window of 7, as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        return subtract_local_mean(x, _WINDOW)


class LeNet(nn.Module):
    """Stages of conv 5x5 -> activation -> L2 pooling of 2 -> subtraction of the local mean, then hidden units.

    Args:
        in_channels: channels of the images.
        image_size: height and width of the images in pixels.
        widths: channels of each stage, and last the number of hidden units.
        activation: after every convolution, and after the hidden units.
        padding: of every convolution: 0 (only whole windows) or 2 (maps keep their size).

    Raises:
        InputError: the images are too small for that many stages.
    """

    def __init__(
        self,
        in_channels: int,
        image_size: int,
        widths: Sequence[int] = (64, 64, 128),
        activation: type[nn.Module] = nn.Tanh,
        padding: int = 0,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        side = image_size
        for width in widths[:-1]:
            side = (side + 2 * padding - 4) // 2
            layers += [nn.Conv2d(in_channels, width, 5, padding=padding), activation(), nn.LPPool2d(2, 2)]
            layers.append(SubtractLocalMean())
            in_channels = width
        require(
            side >= 1,
            f"{len(widths) - 1} stages of lenet leave nothing of images of {image_size} pixels; make them larger, or "
            f"type --model.backbone small",
        )
        self.num_features = widths[-1]
        hidden = nn.Linear(in_channels * side**2, self.num_features)
        self.body = nn.Sequential(*layers, nn.Flatten(), hidden, activation())

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, image_size, image_size) floats -> (B, num_features)."""
        features: Tensor = self.body(x)
        return features


class LeNetTanh(LeNet):
    """Two 5x5 convolutions of 64 channels with tanh, L2 pooling and subtractive normalisation (MNIST, 28 pixels).

    Structure: conv 5x5 of 64 without padding, tanh, L2 pooling 2, subtraction of the local mean, twice; 128 hidden
    units, tanh. 128 features.
    Parameters with 1 channel of 28 pixels and a linear head of 10 classes: 236,618.
    Source: a university course on MNIST, in the manner of Torch7's tutorials.

    Args:
        in_channels: channels of the images.
        image_size: height and width of the images in pixels, 16 or more.
    """

    def __init__(self, in_channels: int, image_size: int) -> None:
        super().__init__(in_channels, image_size)


class LeNetReLU(LeNet):
    """`lenet-tanh` with ReLU in place of every tanh.

    Args:
        in_channels: channels of the images.
        image_size: height and width of the images in pixels, 16 or more.
    """

    def __init__(self, in_channels: int, image_size: int) -> None:
        super().__init__(in_channels, image_size, activation=nn.ReLU)


class LeNetTanh3(LeNet):
    """`lenet-tanh` with three stages, of 32, 64 and 128 channels, and 256 hidden units.

    The convolutions are padded, since a third one without padding would find nothing left of 28 pixels.
    Parameters with 1 channel of 28 pixels and a linear head of 10 classes: 554,762.
    Source: the same course's deeper network.

    Args:
        in_channels: channels of the images.
        image_size: height and width of the images in pixels, 8 or more.
    """

    def __init__(self, in_channels: int, image_size: int) -> None:
        super().__init__(in_channels, image_size, (32, 64, 128, 256), padding=2)
