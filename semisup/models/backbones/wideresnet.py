"""The wide residual networks of FixMatch and of the benchmarks after it (Zagoruyko & Komodakis 2016, arXiv 1605.07146).

The block is FixMatch's: batch normalisation and leaky ReLU come before each convolution, and the shortcut takes the
block's input as it is, except in the network's very first block, where it takes the activated input. TorchSSL and USB
differ in the first block of the later stages, whose first convolution takes the input without activation there (a batch
normalisation is left without use). USB's convolutions but the first have no bias either, and the batch normalisations
of its blocks an eps of 1e-5. So WRN-28-2 has 1,469,642 parameters in FixMatch, in TorchSSL and here, and 1,467,626 in
USB; WRN-37-2 has 5,933,770 in TorchSSL and here, and 5,929,450 in USB.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

_SLOPE = 0.1  # of the leaky ReLU
_BLOCKS = 4  # per stage
_STEM = 16  # channels of the first convolution


class Block(nn.Module):
    """Two 3x3 convolutions with activation before each, added to a shortcut.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output; where they differ from the input's, the shortcut is a 1x1 convolution.
        stride: of the first convolution and of the shortcut's.
        activate_before_residual: whether the shortcut takes the activated input.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, activate_before_residual: bool) -> None:
        super().__init__()
        self.first = _activation(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1)
        self.second = _activation(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        same = in_channels == out_channels and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1, stride)
        self.activate_before_residual = activate_before_residual

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, ceil(H / stride), ceil(W / stride))."""
        activated = self.first(x)
        shortcut: Tensor = self.shortcut(activated if self.activate_before_residual else x)
        residual: Tensor = self.conv2(self.second(self.conv1(activated)))
        return residual + shortcut


class WideResNet(nn.Module):
    """A pre-activation residual network of any number of stages, each twice as wide as the one before.

    Args:
        in_channels: channels of the images.
        strides: of each stage's first block; there are as many stages as strides.
        width: how many times wider than 16 channels the first stage is.
    """

    def __init__(self, in_channels: int, strides: Sequence[int], width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, _STEM, 3, padding=1)
        stages: list[nn.Module] = []
        channels = _STEM
        for stage, stride in enumerate(strides):
            out = _STEM * width * 2**stage
            blocks = [Block(channels, out, stride, activate_before_residual=stage == 0)]
            blocks += [Block(out, out, 1, activate_before_residual=False) for _ in range(_BLOCKS - 1)]
            stages.append(nn.Sequential(*blocks))
            channels = out
        self.stages = nn.Sequential(*stages)
        self.last = _activation(channels)
        self.num_features = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) floats -> (B, num_features)."""
        features: Tensor = self.last(self.stages(self.stem(x))).mean(dim=(2, 3))
        return features


class WideResNet28x2(WideResNet):
    """WRN-28-2, the network of FixMatch, TorchSSL and USB on CIFAR-10: three stages of 32 to 128 channels.

    Structure: conv 3x3 of 16; three stages of four blocks of 32, 64 and 128 channels, strides 1, 2, 2; BatchNorm, leaky
    ReLU .1, global average. 128 features. Convolutions have a bias and start from N(0, sqrt(2 / (kW*kH*nOut))).
    Batch normalisation has eps 1e-3 and momentum .01. FixMatch, TorchSSL and USB have .001, with which the running
    statistics need thousands of steps to settle: over their 2^20 steps the two are alike, over a thousand only ours
    evaluates well.
    Parameters with 3 channels and a linear head of 10 classes: 1,469,642 (1.47 M), at every image size.
    Source: Sohn et al. 2020, FixMatch, arXiv 2001.07685.

    Args:
        in_channels: channels of the images.
        image_size: height and width of the images in pixels; any.
    """

    def __init__(self, in_channels: int, image_size: int) -> None:
        super().__init__(in_channels, strides=(1, 2, 2), width=2)


class WideResNet37x2(WideResNet):
    """WRN-37-2, the network of TorchSSL and USB on STL-10: WRN-28-2 with a fourth stage, of 256 channels.

    Structure: conv 3x3 of 16; four stages of four blocks of 32, 64, 128 and 256 channels, strides 2, 2, 2, 2 (6x6 maps
    at 96 pixels); BatchNorm, leaky ReLU .1, global average. 256 features. Everything else as in WRN-28-2.
    37 counts the convolutions: 1 + 4 * (4 * 2 + 1 shortcut).
    Parameters with 3 channels and a linear head of 10 classes: 5,933,770 (5.93 M), at every image size.
    Source: `WideResNetVar` of TorchSSL (Zhang et al. 2021, arXiv 2110.08263), `wrn_var_37_2` of USB (Wang et al. 2022,
    arXiv 2208.07204). FixMatch's own four-stage network has stride 1 in its first stage.

    Args:
        in_channels: channels of the images.
        image_size: height and width of the images in pixels; any.
    """

    def __init__(self, in_channels: int, image_size: int) -> None:
        super().__init__(in_channels, strides=(2, 2, 2, 2), width=2)


def _activation(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(channels, eps=1e-3, momentum=1e-2), nn.LeakyReLU(_SLOPE))
