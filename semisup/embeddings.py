"""What methods do with embeddings: the head that makes them, smoothing by a memory bank, a loss on their graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semisup.losses import precise


def projection_head(outputs: int, activation: nn.Module) -> Callable[[int, int], nn.Module]:
    """A head of two layers on the features, for `Needs.modules`.

    Args:
        outputs: width of what it makes; the layer between is as wide as the features.
        activation: between the layers.
    """
    return partial(_two_layers, outputs=outputs, activation=activation)


def _two_layers(width: int, classes: int, outputs: int, activation: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(width, width), activation, nn.Linear(width, outputs))


def embedded(head: nn.Module, features: Sequence[Tensor]) -> list[Tensor]:
    """What a head makes of the features (B, F) of each view, at length 1, in float32 or more: (B, d) each."""
    return [F.normalize(precise(head(x))) for x in features]


def smoothed(p: Tensor, z: Tensor, bank_p: Tensor, bank_z: Tensor, alpha: float, temperature: float) -> Tensor:
    """Probabilities (B, classes) smoothed by a bank's: alpha p + (1 - alpha) sum_k a_k p_k; by an empty one, p.

    CoMatch (Li, Xiong & Hoi 2021, arXiv 2011.11183), equations 5 to 7.

    Args:
        p: (B, classes) probabilities.
        z: (B, d) their embeddings, of length 1.
        bank_p: (K, classes) probabilities that are remembered.
        bank_z: (K, d) their embeddings.
        alpha: share of an image's own.
        temperature: of the softmax over the similarities, which makes a_k.
    """
    return alpha * p + (1 - alpha) * (z @ bank_z.T / temperature).softmax(1) @ bank_p if len(bank_p) else p


def graph_contrast(
    z: Tensor, everyone: Tensor, q: Tensor, others: Tensor, position: Tensor, threshold: float, temperature: float
) -> Tensor:
    """Cross-entropy between the graph of pseudo-labels and that of embeddings, a scalar in nats.

    CoMatch (Li, Xiong & Hoi 2021, arXiv 2011.11183), equations 8 to 10.

    Args:
        z: (B, d) embeddings of one strong view, of length 1.
        everyone: (N, d) those of the other strong view of the global batch.
        q: (B, classes) pseudo-labels.
        others: (N, classes) those of the global batch.
        position: (B,) int64, where the rank's images are in it.
        threshold: least similarity of two pseudo-labels that makes an edge.
        temperature: of the embeddings' similarities.
    """
    edges = q @ others.T  # (B, N)
    edges = torch.where(edges >= threshold, edges, 0.0).scatter(1, position[:, None], 1.0)  # an image is its own
    return F.cross_entropy(z @ everyone.T / temperature, edges / edges.sum(1, keepdim=True))
