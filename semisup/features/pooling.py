"""Features of whole images from a network's layers, pooled over four quadrants (Exemplar-CNN, arXiv 1406.6909).

A network that was trained on small crops answers at every place of a larger image. The paper takes the responses of all
layers but the last, after their ReLU, and keeps of each channel the largest in each quadrant of the image. Networks
that came later have dozens of layers; here it is the last response at every resolution, which for the paper's own
networks means all of them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semisup.data.loader import EvaluationLoader
from semisup.data.pool import Pool
from semisup.models.modes import evaluation_mode
from semisup.runtime.console import watched

_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Tanh)


def max_quadrants(maps: Tensor) -> Tensor:
    """The largest response of each channel in each quadrant.

    Where a side is odd, the middle row or column is the first half's; a side of one pixel is not halved.

    Args:
        maps: (B, C, H, W) floats.

    Returns:
        (B, 4*C), the same dtype, channel by channel, each by top left, top right, bottom left, bottom right. Of maps of
        a single pixel, (B, C).
    """
    half = [-(-side // 2) for side in maps.shape[2:]]
    return F.max_pool2d(maps, half, ceil_mode=True).flatten(1)


def pooled_responses(network: nn.Module, images: Tensor) -> Tensor:
    """The pooled features of some images.

    A response is what an activation function that is a module of the network (ReLU and its kin) gives. Of those of one
    height and width the last is taken, and so of those without (fully connected layers), which are not pooled. A
    network without such modules gives its own output.

    Args:
        network: takes the images to (B, F).
        images: (B, C, H, W), as the network takes them.

    Returns:
        (B, features).
    """
    responses: dict[tuple[int, ...], Tensor] = {}

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        # Pooled at once, because the next layer may work in place.
        if output.ndim == 4:
            responses[tuple(output.shape[2:])] = max_quadrants(output)
        elif output.ndim == 2:
            responses[()] = output.clone()

    hooks = [m.register_forward_hook(keep) for m in network.modules() if isinstance(m, _ACTIVATIONS)]
    try:
        output: Tensor = network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.cat([response.float() for response in responses.values()] or [output.float()], 1)


def pooled_features(
    network: nn.Module, pool: Pool, batch_size: int, device: torch.device, rank: int = 0, world: int = 1
) -> Tensor:
    """The pooled features of a rank's share of a pool, in order, in batches.

    Args:
        network: takes images (B, C, H, W) floats in [0, 1], of its parameters' dtype, to (B, F).
        pool: the images.
        batch_size: images in a batch.
        device: where the network is.
        rank: whose share of the pool.
        world: number of ranks that share the work.

    Returns:
        (n, features) float32 on the CPU.
    """
    dtype = next((p.dtype for p in network.parameters()), torch.float32)
    batches = EvaluationLoader(pool, batch_size, rank, world, device)
    with evaluation_mode(network):
        return torch.cat(
            [
                pooled_responses(network, (batch.image.to(dtype) / 255).to(memory_format=torch.channels_last)).cpu()
                for batch in watched(batches, "features", len(batches), disable=rank > 0)
            ]
        )
