"""The networks of Exemplar-CNN (Dosovitskiy et al. 2014, arXiv 1406.6909), named as in the paper.

`64c5` are 64 filters of 5x5 pixels, `128f` is a fully connected layer of 128 units. Every layer is followed by ReLU,
the first two convolutions by a max-pooling of 2, the fully connected one by dropout .5. The paper trains on crops of
32x32 pixels and then moves the whole network, its fully connected layer like a convolution, over images of any size.
So do these; of the answers at all places, the largest is the feature.

The authors' configuration files differ from the paper in the pooling (3x3 with stride 2; the maps have the same size).
They start from narrow normal distributions and biases of .1, and train for a million steps; here weights start from
N(0, sqrt(2 / inputs)) (He et al. 2015, arXiv 1502.01852) and biases at zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from semisup.errors import require

_CROP = 32  # pixels a side that the fully connected layer sees
_KERNEL = 5


class Sliding(nn.Linear):
    """A fully connected layer over all of a square map, applied at every place of a larger one.

    Args:
        in_channels: channels of the map.
        side: height and width of what the layer sees.
        out_features: units.
    """

    def __init__(self, in_channels: int, side: int, out_features: int) -> None:
        super().__init__(in_channels * side**2, out_features)
        self.window = (in_channels, side, side)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_features, H - side + 1, W - side + 1)."""
        return F.conv2d(maps, self.weight.unflatten(1, self.window), self.bias)


class ExemplarCNN(nn.Module):
    """5x5 convolutions with ReLU, a max-pooling of 2 after each of the first two, and a fully connected layer.

    Args:
        in_channels: channels of the images.
        image_size: height and width of the images in pixels, 4 or more; the fully connected layer sees 32 of them, or
            all where there are fewer.
        widths: filters of each convolution.
        units: of the fully connected layer.

    Raises:
        InputError: the images have less than 4 pixels a side.
    """

    def __init__(self, in_channels: int, image_size: int, widths: Sequence[int], units: int) -> None:
        super().__init__()
        require(
            image_size >= 4,
            f"the networks of Exemplar-CNN take images of 4 pixels or more, these have {image_size}; make them larger",
        )
        layers: list[nn.Module] = []
        for place, width in enumerate(widths):
            layers += [nn.Conv2d(in_channels, width, _KERNEL, padding=_KERNEL // 2), nn.ReLU()]
            if place < 2:
                layers.append(nn.MaxPool2d(2))
            in_channels = width
        self.body = nn.Sequential(*layers, Sliding(in_channels, min(image_size, _CROP) // 4, units), nn.ReLU())
        self.dropout = nn.Dropout(0.5)
        self.num_features = units
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) floats, H and W of 32 or more or the image_size -> (B, units)."""
        features: Tensor = self.dropout(self.body(x).amax(dim=(2, 3)))
        return features


class ExemplarSmall(ExemplarCNN):
    """The small network of Exemplar-CNN: two 5x5 convolutions of 64 channels, 128 units; images of any size.

    Structure: conv 5x5 of 64, ReLU, max-pooling 2, twice; fully connected layer of 128 over 8x8 (32 pixels), ReLU,
    largest answer of all places, dropout .5. 128 features.
    Parameters with 3 channels, images of 32 pixels or more and a linear head of 10 classes: 633,034.
    Source: Dosovitskiy et al. 2014, arXiv 1406.6909, where it serves to compare settings.

    Args:
        in_channels: channels of the images.
        image_size: height and width of the images in pixels, 4 or more.
    """

    def __init__(self, in_channels: int, image_size: int) -> None:
        super().__init__(in_channels, image_size, (64, 64), 128)


class ExemplarLarge(ExemplarCNN):
    """The large network of Exemplar-CNN: three 5x5 convolutions of 92 to 512 channels, 1,024 units; any size.

    Structure: conv 5x5 of 92, ReLU, max-pooling 2; the same of 256; conv 5x5 of 512, ReLU; fully connected layer of
    1,024 over 8x8 (32 pixels), ReLU, largest answer of all places, dropout .5. 1,024 features.
    Parameters with 3 channels, images of 32 pixels or more and a linear head of 10 classes: 37,439,066.
    Source: Dosovitskiy et al. 2014, arXiv 1406.6909, table 1: a linear SVM on its features reaches 74.2 +- .4 % on
    STL-10.

    Args:
        in_channels: channels of the images.
        image_size: height and width of the images in pixels, 4 or more.
    """

    def __init__(self, in_channels: int, image_size: int) -> None:
        super().__init__(in_channels, image_size, (92, 256, 512), 1024)
