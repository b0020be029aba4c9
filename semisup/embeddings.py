"""What methods do with embeddings: heads that make them, memory banks of them, losses on what they resemble."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semisup.losses import precise


def two_layer_head(outputs: int, activation: nn.Module) -> Callable[[int, int], nn.Module]:
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


def similarities(z: Tensor, bank: Tensor, temperature: float) -> Tensor:
    """Logits (B, K) of the similarity of embeddings (B, d) to a bank (K, d); its empty rows, which are 0, have none.

    SimMatch (Zheng et al. 2022, arXiv 2203.06915), equations 3 and 4. Both are of length 1.
    """
    return (z @ bank.T / temperature).masked_fill(~bank.any(1), -1e4)  # of which a softmax makes 0


def unfolded(q: Tensor, p: Tensor, labels: Tensor) -> Tensor:
    """Similarities (B, K) times the probability (B, classes) of the class (K,) of each row, normalised: (B, K).

    SimMatch, equations 7 and 8.
    """
    scaled = q * p[:, labels]
    return scaled / scaled.sum(1, keepdim=True).clamp_min(1e-12)


def aggregated(q: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Similarities (B, K) summed over the rows of each class (K,): (B, classes) probabilities; SimMatch, equation 9."""
    return q @ F.one_hot(labels, classes).to(q.dtype)


def remembered(bank: Tensor, z: Tensor, rows: Tensor, decay: float) -> Tensor:
    """The bank (K, d) after embeddings (B, d) of its rows (B,) came in: decay * old + (1 - decay) * new, of length 1.

    SimMatch, equation 12. Of an image that is in the batch more than once the mean comes in, and an empty row takes all
    of it.
    """
    of_row = (rows == torch.arange(len(bank), device=rows.device)[:, None]).to(z.dtype)  # (K, B)
    new = F.normalize(decay * bank + (1 - decay) * (of_row @ z) / of_row.sum(1, keepdim=True).clamp_min(1))
    return torch.where(of_row.any(1, keepdim=True), new, bank.to(z.dtype))


def pushed_by_class(queue: Tensor, filled: Tensor, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """A queue (classes, size, F) and how many each class has had (classes,), after features (B, F) of labels (B,).

    The oldest features of a class make room; of more than fit at once, the last ones stay.
    """
    classes, size, _ = queue.shape
    ones = F.one_hot(labels, classes)  # (B, classes)
    rank = (ones.cumsum(0) - ones).gather(1, labels[:, None])[:, 0]  # of its class in the batch
    counts = ones.sum(0)
    stays = rank >= counts[labels] - size
    place = (filled[labels] + rank) % size
    # One row too many takes what does not stay, so that no place is written to twice.
    rows = torch.where(stays, labels * size + place, classes * size)
    features = precise(features)
    flat = torch.cat([queue.flatten(0, 1).to(features.dtype), features.new_zeros(1, queue.shape[2])])
    return flat.index_copy(0, rows, features)[:-1].view_as(queue), filled + counts


def prototypes(queue: Tensor, filled: Tensor) -> Tensor:
    """The mean feature (classes, F) of every class of a queue; 0 where there is none yet."""
    return queue.sum(1) / filled.clamp(1, queue.shape[1])[:, None]


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


def nt_xent(own: Tensor, everyone: Tensor, position: Tensor, temperature: float) -> Tensor:
    """The normalised, temperature-scaled cross-entropy, a scalar in nats: its mean over a rank's views.

    SimCLR (Chen, Kornblith, Norouzi & Hinton 2020, arXiv 2002.05709), equation 1.

    Args:
        own: (2, B, d) what two views of the rank's images are projected to.
        everyone: (2, N, d) the same of all images in the global batch, in its order.
        position: (B,) int64, where the rank's images are in it.
        temperature: of the cosines, more than 0.
    """
    count = everyone.shape[1]
    cosines = F.normalize(precise(own).flatten(0, 1), dim=1) @ F.normalize(precise(everyone).flatten(0, 1), dim=1).T
    itself, other = torch.cat([position, position + count]), torch.cat([position + count, position])
    logits = (cosines / temperature).scatter(1, itself[:, None], -math.inf)
    return F.cross_entropy(logits, other)
