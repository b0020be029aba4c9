"""K-means initialisation of the first convolution: centroids of unlabeled patches are its first filters.

    semisup fit --data stl10 --strategy kmeans
    semisup fit --data stl10 --strategy kmeans+pseudolabel --kmeans.patches_per_image 5

Random patches of the size of the convolution's kernel are contrast-normalised, ZCA-whitened and clustered by plain
k-means into as many centroids as it has filters: Coates, Ng & Lee 2011, "An analysis of single-layer networks in
unsupervised feature learning", section 3. The centroids of the whitened patches are the filters, as they are, with a
bias of zero, and are trained from there as any other weights. So began the network that won a university course on
STL-10.

Such filters are some ten times as large as random ones: a standard deviation of .5 to .9 where that of 64 filters of
3x3x3 is .06. Behind a batch normalisation, which divides by the scale again, a filter ten times as large changes a
hundred times as slowly, so that these nearly stay what k-means found. `--kmeans.scale initial` lets them learn as fast
as random ones do, and is what a convolution without a batch normalisation behind it should have.
"""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from semisup.classifier import Classifier
from semisup.errors import InputError, require
from semisup.features.dictionary import Dictionary, learn
from semisup.ranges import Count, Positive, Range, check_ranges
from semisup.runtime.console import say
from semisup.strategy import Strategy


class KMeans(Strategy):
    """Starts the first convolution from k-means centroids of unlabeled patches (Coates, Ng & Lee 2011).

    It acts before the first step and owns no loss: alone it trains on the labeled images, and `kmeans+pseudolabel`
    composes it with another strategy. Where there are no unlabeled images, patches of the labeled ones serve.

    Args:
        images: how many images to take patches of; all where there are fewer.
        patches_per_image: of each image.
        whitening: whether to whiten the patches before clustering them.
        eps: added to the variances that the whitening divides by.
        method: lloyd, minibatch (faster on the CPU, a higher inertia), or auto, lloyd on a GPU and minibatch elsewhere.
        iterations: passes over the patches, at the most; lloyd ends earlier when it has converged.
        scale: own, the centroids' own, or initial: the filters are scaled, all alike, to the standard deviation of the
            random initialisation.
        mapped_back: take the centroids back through the whitening and the normalization of the input, so that a filter
            answers to pixels as its centroid answers to whitened patches.
    """

    presentation = "strategies.kmeans_figures:PRESENTATION"
    sees_pixels = True

    def __init__(
        self,
        images: Count = 10_000,
        patches_per_image: Annotated[int, Range(1, 1_000_000)] = 5,
        whitening: bool = True,
        eps: Positive = 0.1,
        method: Literal["auto", "minibatch", "lloyd"] = "lloyd",
        iterations: Annotated[int, Range(1, 1_000_000)] = 3000,
        scale: Literal["own", "initial"] = "own",
        mapped_back: bool = False,
    ) -> None:
        check_ranges("kmeans", KMeans, locals())
        self.images, self.patches_per_image, self.method = images, patches_per_image, method
        self.iterations, self.scale, self.mapped_back = iterations, scale, mapped_back
        self.eps = eps if whitening else None
        self.centroids_ = torch.empty(0)  # (n, C, h, w), as k-means found them, in the space of whitened patches
        self.filters_ = torch.empty(0)  # (n, C, h, w), as training began with them

    def begin_fit(self, module: Classifier) -> None:
        """Learns the filters on rank 0 and gives them to every rank; a resumed run restores its weights over them."""
        trainer = module.trainer
        kind = module.network.normalization.kind
        require(
            kind in ("none", "channel", "bytes"),
            f"kmeans learns filters of pixels, and with the normalization {kind} the network sees something else; type "
            f"--model.normalization channel",
        )
        convolution = first_convolution(module)
        learned: Any = None
        if trainer.is_global_zero:
            try:
                learned = self._learn(module, convolution)
            except InputError as error:  # raised on every rank below: the others wait for an answer
                learned = error
        learned = trainer.strategy.broadcast(learned)
        if isinstance(learned, InputError):
            raise learned
        self.centroids_, self.filters_ = learned
        self.initialize(module)

    def initialize(self, module: Classifier) -> None:
        """Puts the filters in place."""
        convolution = first_convolution(module)
        with torch.no_grad():
            convolution.weight.copy_(self.filters_)
            if convolution.bias is not None:
                convolution.bias.zero_()

    def _learn(self, module: Classifier, convolution: nn.Conv2d) -> tuple[Tensor, Tensor]:
        start, data = time.monotonic(), module.datamodule
        unlabeled = data.pools.without_label
        pool, name = (unlabeled, "unlabeled") if unlabeled else (data.pools.labeled, "labeled")
        height, width = convolution.kernel_size
        dictionary = learn(
            pool,
            convolution.out_channels,
            (height, width),
            module.seed,
            images=self.images,
            patches_per_image=self.patches_per_image,
            eps=self.eps,
            method=self.method,
            steps=self.iterations,
            device=module.device if module.device.type == "cuda" else None,
        ).to(torch.device("cpu"))
        filters = dictionary.centroids.unflatten(1, dictionary.shape)
        if self.mapped_back:
            normalization = module.network.normalization
            normalization.fit(data.pools.labeled.chunks(data.eval_batch_size))
            std = normalization.std if normalization.kind == "channel" else torch.ones(pool.shape[0])
            filters = filters_of_pixels(dictionary, std)
        if self.scale == "initial":
            filters = filters * (float(convolution.weight.detach().std()) / filters.std())
        count = min(self.images, len(pool)) * self.patches_per_image
        say(
            f"kmeans: {len(filters)} filters of {height}x{width} from {count:,} "
            f"{'whitened ' if self.eps else ''}patches of {name} images, in {time.monotonic() - start:.1f} s"
        )
        return dictionary.centroids.unflatten(1, dictionary.shape), filters

    def state_dict(self) -> dict[str, Any]:
        """The centroids, and the filters that training began with."""
        return {"centroids": self.centroids_, "filters": self.filters_}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up those of the run that is resumed."""
        self.centroids_, self.filters_ = state_dict["centroids"], state_dict["filters"]


def first_convolution(module: Classifier) -> nn.Conv2d:
    """The convolution that sees the images.

    Raises:
        InputError: there is none, it is 1x1, or it does not see all channels of the images.
    """
    name, channels = module.backbone_name, module.spec.channels
    instead = "type --model.backbone small, or leave kmeans out of --strategy"
    convolution = next((m for m in module.network.backbone.modules() if isinstance(m, nn.Conv2d)), None)
    if convolution is None:
        raise InputError(f"kmeans initialises the first convolution, and the backbone {name} has none; {instead}")
    require(
        convolution.kernel_size != (1, 1),
        f"kmeans needs patches, and the first convolution of the backbone {name} is 1x1; {instead}",
    )
    require(
        convolution.weight.shape[1] == channels,
        f"kmeans needs a first convolution over all {channels} channels of the images, and that of the backbone {name} "
        f"takes {convolution.weight.shape[1]}; {instead}",
    )
    return convolution


def filters_of_pixels(dictionary: Dictionary, std: Tensor) -> Tensor:
    """The filters that answer to normalised images as the dictionary's filters answer to pixels, up to a factor.

    The network sees u = (x / 255 - mean) / std, channel by channel. As w . x = 255 (w std) . u + constant, the filters
    are multiplied by each channel's std; the constant, the same at every place, is left to the batch normalisation
    or to the bias, which starts at zero. A filter is thus zero-mean in pixels: whatever the brightness of a flat grey
    patch, the answer is the same. So filters of random weights, which do answer to brightness, have the larger output
    where both have the same standard deviation.

    Args:
        dictionary: of n centroids.
        std: (C,) of the input normalisation; ones where it has none.

    Returns:
        (n, C, h, w) float32.
    """
    return dictionary.filters() * std[:, None, None]
