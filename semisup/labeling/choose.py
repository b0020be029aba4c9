"""Which unlabeled pictures teach most, when they are labeled: the uncertain ones that stand for other uncertain ones.

The rule is uncertainty coverage, chosen greedily (Bae, Oliveira & Sutherland 2025, Uncertainty Herding, arXiv
2412.20644). With few labels a picture near many others teaches more than one that the network is least sure of, which
most often is like no other; with many labels it is the other way round (Hacohen, Dekel & Weinshall 2022, TypiClust,
arXiv 2202.02794). Covering the uncertain part of the pictures is the first while the network is unsure of nearly all,
and becomes the second. The paper's kernel has a radius and its probabilities a temperature, which both must be found;
here a picture is covered the better the nearer a labeled one is, which leaves nothing to be set.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from semisup.classifier import Classifier
from semisup.data.loader import EvaluationLoader
from semisup.data.pool import Pool
from semisup.errors import require
from semisup.models.modes import evaluation_mode
from semisup.randomness import permutation

_STAND = 16_384  # unlabeled pictures that stand for all where there are more
_CANDIDATES = 4_096  # of these that can be chosen, where there are more


def choose(features: Tensor, probabilities: Tensor, labeled: Tensor, count: int) -> Tensor:
    """Rows (n,) int64 of the pictures to label, the first of them first; n is count, or fewer where there are fewer.

    The uncertainty of a picture is one minus the distance of its two largest probabilities. Each step takes the picture
    that brings the most uncertainty nearest: the sum over all pictures of their uncertainty times what their distance
    to the nearest labeled or chosen one loses. Distances are those of features of length 1. Greedy steps come to at
    least 1 - 1/e of the best sum (Nemhauser, Wolsey & Fisher 1978). Of equal pictures the first is taken.

    Args:
        features: (N, F) float, what the linear head is given of each unlabeled picture.
        probabilities: (N, classes) float32.
        labeled: (L, F) float, of the labeled pictures; L may be 0.
        count: how many to choose.
    """
    require(count >= 1, f"{count} pictures are to be chosen, but it must be at least 1")
    if len(features) > _STAND:
        stand = permutation(len(features), 0, "label", "stand")[:_STAND]
        return stand[choose(features[stand], probabilities[stand], labeled, count)]
    two = probabilities.topk(min(2, probabilities.shape[1]), dim=1).values
    uncertainty = 1 - (two[:, 0] - two[:, -1])
    features, labeled = F.normalize(features, dim=1), F.normalize(labeled, dim=1)
    candidates = torch.arange(len(features))
    if len(features) > max(count, _CANDIDATES):
        candidates = permutation(len(features), 0, "label", "candidates")[: max(count, _CANDIDATES)].sort().values
    far = torch.full((len(features),), 2.0)  # the largest distance of vectors of length 1
    nearest = torch.cdist(features, labeled).amin(1) if len(labeled) else far
    distances = torch.cdist(features[candidates], features)  # (candidates, N)
    chosen: list[int] = []
    for _ in range(min(count, len(candidates))):
        gain = ((nearest - distances).clamp_(min=0) @ uncertainty).index_fill(0, torch.tensor(chosen).long(), -1)
        chosen.append(int(gain.argmax()))
        nearest = torch.minimum(nearest, distances[chosen[-1]])
    return candidates[chosen]


def seen(classifier: Classifier, pool: Pool, batch_size: int) -> tuple[Tensor, Tensor]:
    """Features (N, F) and probabilities (N, classes), float32 on the CPU, by the weights that were scored.

    Args:
        classifier: on its device.
        pool: the pictures, at least one.
        batch_size: pictures at once.
    """
    features, probabilities = [], []
    with evaluation_mode(classifier):
        for batch in EvaluationLoader(pool, batch_size, 0, 1, classifier.device):
            batch_features = classifier.features(batch.image.float() / 255)
            features.append(batch_features.float().cpu())
            probabilities.append(classifier.head(batch_features).float().softmax(1).cpu())
    return torch.cat(features), torch.cat(probabilities)
