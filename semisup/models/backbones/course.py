"""The three networks of the course work on STL-10: the baseline, a VGG with dropout, and the one that won.

All are stages of conv 3x3 -> BatchNorm (eps 1e-3) -> ReLU with max-pooling between them (kernel = stride, ceil mode),
then dropout .5 -> linear -> BatchNorm (eps 1e-5) -> ReLU -> dropout .5. The linear layer of the classes comes after it
and is not part of a backbone. Convolutions start from N(0, sqrt(2 / (kW*kH*nOut))) with zero bias.

Before an eps of 1e-3 the scale of the images matters: of pixels in [0, 1] many a channel's variance lies below it. The
course fed bytes (`--model.normalization bytes`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from semisup.errors import require

_EPS = 1e-3  # of the batch normalisations behind convolutions; PyTorch's default is 1e-5


class CourseNetwork(nn.Module):
    """What the three have in common: groups of convolutions with a max-pooling after each, and a neck.

    Networks that were trained before the definitions were put right stay what they were: the version of the definition
    goes with the weights, by PyTorch's own means, and loading weights of version 1 brings its definition back.

    Args:
        in_channels: channels of the images.
        image_size: height and width of the images in pixels; any.
        groups: channels of the convolutions of every group.
        pools: kernel and stride of the max-pooling after every group.
        dropout: whether the dropouts of `vgg_bn_drop` stand between convolutions.
    """

    num_features: int
    _version = 2  # in version 1 the neck's eps was 1e-3, and the pools of `solution` rounded down
    _rounded_down = False  # the pools in version 1

    def __init__(
        self,
        in_channels: int,
        image_size: int,
        groups: Sequence[Sequence[int]],
        pools: Sequence[int],
        *,
        dropout: bool = False,
    ) -> None:
        super().__init__()
        self._image_size, self._pools, self._width = image_size, pools, groups[-1][-1]
        self.body = _body(in_channels, groups, pools, dropout)
        self.neck = self._neck()
        _initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, image_size, image_size) floats -> (B, num_features)."""
        features: Tensor = self.neck(self.body(x))
        return features

    def _neck(self) -> nn.Sequential:
        """What stands between the last max-pooling and the linear layer of the classes."""
        side = self._image_size
        for pool in self._pools:
            side = -(-side // pool) if self._rounds_up() else side // pool
        return nn.Sequential(
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(self._width * side**2, self.num_features),
            nn.BatchNorm1d(self.num_features, eps=_EPS if self._version == 1 else 1e-5),
            nn.ReLU(),
            nn.Dropout(0.5),
        )

    def _rounds_up(self) -> bool:
        return not (self._rounded_down and self._version == 1)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *others: Any
    ) -> None:
        """Takes up the definition that weights were trained with, before they're loaded (see torch.nn.Module)."""
        version = local_metadata.get("version", self._version)  # absent where somebody made the dictionary by hand
        if version != self._version:
            self._version = version
            for module in self.body:
                if isinstance(module, nn.MaxPool2d):
                    module.ceil_mode = self._rounds_up()
            like = next(self.neck.parameters())
            self.neck = self._neck().to(like).requires_grad_(like.requires_grad).train(self.training)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *others)


class Sample(CourseNetwork):
    """The course's baseline: seven 3x3 convolutions of 64 to 256 channels, four max-poolings (STL-10, 96 pixels).

    Structure: 64, pool 4 | 128, pool 3 | 256, 256, pool 2 | 256, 256, 256, pool 2; flatten (256*2*2 at 96 pixels);
    dropout .5, linear 256, BatchNorm, ReLU, dropout .5. 256 features. A number is a conv 3x3 -> BatchNorm -> ReLU.
    Parameters at 96 pixels with 3 channels and a linear head of 10 classes: 2,999,562.
    Source: the baseline given in a university course on STL-10, in the manner of
    https://github.com/szagoruyko/cifar.torch.

    Args:
        in_channels: channels of the images.
        image_size: height and width of the images in pixels; any.
    """

    num_features = 256

    def __init__(self, in_channels: int, image_size: int) -> None:
        groups, pools = ((64,), (128,), (256, 256), (256, 256, 256)), (4, 3, 2, 2)
        super().__init__(in_channels, image_size, groups, pools)


class VGGBNDrop(CourseNetwork):
    """VGG with batch normalisation and dropout: thirteen 3x3 convolutions of 64 to 512 channels, five max-poolings.

    Structure: 64 64 | 128 128 | 256 x3 | 512 x3 | 512 x3, each group followed by a max-pooling of 2; dropout .3 after
    the first convolution, .4 after every other one but the last of each group; flatten (512*3*3 at 96 pixels); dropout
    .5, linear 512, BatchNorm, ReLU, dropout .5. 512 features. A number is a conv 3x3 -> BatchNorm -> ReLU.
    Parameters at 96 pixels with 3 channels and a linear head of 10 classes: 17,089,098.
    Source: `vgg_bn_drop` of https://github.com/szagoruyko/cifar.torch, as given in a university course on STL-10.

    Args:
        in_channels: channels of the images.
        image_size: height and width of the images in pixels; any.
    """

    num_features = 512

    def __init__(self, in_channels: int, image_size: int) -> None:
        groups, pools = ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3), (2,) * 5
        super().__init__(in_channels, image_size, groups, pools, dropout=True)


class Solution(CourseNetwork):
    """The network that won the course: six 3x3 convolutions of 64 to 256 channels, three max-poolings.

    Structure: 64 64 pool 3 | 128 128 pool 4 | 256 256 pool 4; flatten (1,024 at 96 pixels, 256 at 48 and at 32);
    dropout .5, linear 256, BatchNorm, ReLU, dropout .5. 256 features. A number is a conv 3x3 -> BatchNorm -> ReLU.
    Parameters at 96 pixels with 3 channels and a linear head of 10 classes: 1,412,682.
    Source: the winning solution of a university course on STL-10.

    Args:
        in_channels: channels of the images.
        image_size: height and width of the images in pixels, 13 or more.

    Raises:
        InputError: the images have less, and the last max-pooling would see a single pixel.
    """

    num_features = 256
    _rounded_down = True

    def __init__(self, in_channels: int, image_size: int) -> None:
        groups, pools = ((64, 64), (128, 128), (256, 256)), (3, 4, 4)
        require(
            image_size > math.prod(pools[:-1]),
            f"solution takes images of {math.prod(pools[:-1]) + 1} pixels or more, these have {image_size}; "
            "type --model.backbone small",
        )
        super().__init__(in_channels, image_size, groups, pools)


def _body(in_channels: int, groups: Sequence[Sequence[int]], pools: Sequence[int], dropout: bool) -> nn.Sequential:
    """Groups of convolutions, each followed by a max-pooling; `dropout` adds that of `vgg_bn_drop` between them."""
    layers: list[nn.Module] = []
    for group, pool in zip(groups, pools, strict=True):
        for place, width in enumerate(group):
            rate = 0.4 if layers else 0.3
            layers += [nn.Conv2d(in_channels, width, 3, padding=1), nn.BatchNorm2d(width, eps=_EPS), nn.ReLU()]
            if dropout and place < len(group) - 1:
                layers.append(nn.Dropout(rate))
            in_channels = width
        layers.append(nn.MaxPool2d(pool, ceil_mode=True))
    return nn.Sequential(*layers)


def _initialize(backbone: nn.Module) -> None:
    """MSR initialisation of the convolutions, by the number of outputs (He et al. 2015, arXiv 1502.01852)."""
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)
