"""The three networks of the course work on STL-10: the baseline, a VGG with dropout, and the one that won.

All are stages of conv 3x3 -> BatchNorm -> ReLU with max-pooling between them, then dropout .5 -> linear -> BatchNorm ->
ReLU -> dropout .5. The linear layer of the classes comes after that and is not part of a backbone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from semisup.errors import require

_EPS = 1e-3  # of every batch normalisation; PyTorch's default is 1e-5


class Sample(nn.Module):
    """The course's baseline: seven 3x3 convolutions of 64 to 256 channels, four max-poolings (STL-10, 96 pixels).

    Structure: 64, pool 4 | 128, pool 3 | 256, 256, pool 2 | 256, 256, 256, pool 2 (ceil mode; kernel = stride);
    flatten (256*2*2 at 96 pixels); dropout .5, linear 256, BatchNorm, ReLU, dropout .5. 256 features. A number is a
    conv 3x3 -> BatchNorm (eps 1e-3) -> ReLU; convolutions start from N(0, sqrt(2 / (kW*kH*nOut))) with zero bias.
    Parameters at 96 pixels with 3 channels and a linear head of 10 classes: 2,999,562.
    Source: the baseline given in a university course on STL-10, in the manner of
    https://github.com/szagoruyko/cifar.torch.

    Args:
        in_channels: channels of the images.
        image_size: height and width of the images in pixels; any.
    """

    num_features = 256

    def __init__(self, in_channels: int, image_size: int) -> None:
        super().__init__()
        groups, pools = ((64,), (128,), (256, 256), (256, 256, 256)), (4, 3, 2, 2)
        self.body = _body(in_channels, groups, pools, ceil_mode=True)
        self.neck = _neck(256 * _side(image_size, pools, ceil_mode=True) ** 2, self.num_features)
        _initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, image_size, image_size) floats -> (B, 256)."""
        features: Tensor = self.neck(self.body(x))
        return features


class VGGBNDrop(nn.Module):
    """VGG with batch normalisation and dropout: thirteen 3x3 convolutions of 64 to 512 channels, five max-poolings.

    Structure: 64 64 | 128 128 | 256 x3 | 512 x3 | 512 x3, each group followed by a max-pooling of 2 (ceil mode);
    dropout .3 after the first convolution, .4 after every other one but the last of each group; flatten (512*3*3 at 96
    pixels); dropout .5, linear 512, BatchNorm, ReLU, dropout .5. 512 features. A number is a conv 3x3 -> BatchNorm
    (eps 1e-3) -> ReLU; convolutions start from N(0, sqrt(2 / (kW*kH*nOut))) with zero bias.
    Parameters at 96 pixels with 3 channels and a linear head of 10 classes: 17,089,098.
    Source: `vgg_bn_drop` of https://github.com/szagoruyko/cifar.torch, as given in a university course on STL-10.

    Args:
        in_channels: channels of the images.
        image_size: height and width of the images in pixels; any.
    """

    num_features = 512

    def __init__(self, in_channels: int, image_size: int) -> None:
        super().__init__()
        groups, pools = ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3), (2,) * 5
        self.body = _body(in_channels, groups, pools, ceil_mode=True, dropout=True)
        self.neck = _neck(512 * _side(image_size, pools, ceil_mode=True) ** 2, self.num_features)
        _initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, image_size, image_size) floats -> (B, 512)."""
        features: Tensor = self.neck(self.body(x))
        return features


class Solution(nn.Module):
    """The network that won the course: six 3x3 convolutions of 64 to 256 channels, three max-poolings (48+ pixels).

    Structure: 64 64 pool 3 | 128 128 pool 4 | 256 256 pool 4 (floor mode; kernel = stride); flatten (1,024 at 96
    pixels); dropout .5, linear 256, BatchNorm, ReLU, dropout .5. 256 features. A number is a conv 3x3 -> BatchNorm
    (eps 1e-3) -> ReLU; convolutions start from N(0, sqrt(2 / (kW*kH*nOut))) with zero bias.
    Parameters at 96 pixels with 3 channels and a linear head of 10 classes: 1,412,682.
    Source: the winning solution of a university course on STL-10.

    Args:
        in_channels: channels of the images.
        image_size: height and width of the images in pixels, 48 or more.

    Raises:
        InputError: the images have less than 48 pixels a side.
    """

    num_features = 256

    def __init__(self, in_channels: int, image_size: int) -> None:
        super().__init__()
        groups, pools = ((64, 64), (128, 128), (256, 256)), (3, 4, 4)
        require(
            image_size >= math.prod(pools),
            f"solution takes images of {math.prod(pools)} pixels or more, these have {image_size}; "
            "type --model.backbone small",
        )
        self.body = _body(in_channels, groups, pools, ceil_mode=False)
        self.neck = _neck(256 * _side(image_size, pools, ceil_mode=False) ** 2, self.num_features)
        _initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, image_size, image_size) floats -> (B, 256)."""
        features: Tensor = self.neck(self.body(x))
        return features


def _body(
    in_channels: int, groups: Sequence[Sequence[int]], pools: Sequence[int], *, ceil_mode: bool, dropout: bool = False
) -> nn.Sequential:
    """Groups of convolutions, each followed by a max-pooling; `dropout` adds that of `vgg_bn_drop` between them."""
    layers: list[nn.Module] = []
    for group, pool in zip(groups, pools, strict=True):
        for place, width in enumerate(group):
            rate = 0.4 if layers else 0.3
            layers += [nn.Conv2d(in_channels, width, 3, padding=1), nn.BatchNorm2d(width, eps=_EPS), nn.ReLU()]
            if dropout and place < len(group) - 1:
                layers.append(nn.Dropout(rate))
            in_channels = width
        layers.append(nn.MaxPool2d(pool, ceil_mode=ceil_mode))
    return nn.Sequential(*layers)


def _neck(in_features: int, width: int) -> nn.Sequential:
    """What stands between the last max-pooling and the linear layer of the classes."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(in_features, width),
        nn.BatchNorm1d(width, eps=_EPS),
        nn.ReLU(),
        nn.Dropout(0.5),
    )


def _side(image_size: int, pools: Sequence[int], *, ceil_mode: bool) -> int:
    """Height and width of the maps after the last max-pooling."""
    for pool in pools:
        image_size = -(-image_size // pool) if ceil_mode else image_size // pool
    return image_size


def _initialize(backbone: nn.Module) -> None:
    """MSR initialisation of the convolutions, by the number of outputs (He et al. 2015, arXiv 1502.01852)."""
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)
