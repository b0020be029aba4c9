"""CoMatch (Li, Xiong & Hoi 2021, arXiv 2011.11183): pseudo-labels smoothed by neighbours, and a graph of them.

    semisup fit --strategy comatch --data stl10 --data.labels_per_class 4

Class probabilities are aligned (section 3.2), then smoothed by those of the nearest embeddings in a memory bank
(equation 5 to 7); where confident they are the soft targets of a strong view (equation 4). The embeddings of two strong
views must show the graph of the pseudo-labels: equation 8 makes it, equations 9 and 10 are its loss. The second strong
view is RandAugment too, as in the benchmarks; the paper has SimCLR's there. The bank remembers as many batches as the
authors' code, labeled images among them, and smooths from the second step on.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semisup.batch import Batch, Needs
from semisup.classifier import Classifier
from semisup.errors import BELOW_ONE, check
from semisup.losses import consistency, distribution, precise
from semisup.runtime.ranks import gather, gather_with_gradient, mean
from semisup.strategy import WEAK_AND_STRONG, Loss, LossStrategy
from semisup.targets import align, probabilities

_BATCHES = 5  # that the memory bank holds
_WIDTH = 64  # of the embeddings
_MEANS = 32  # batches whose mean prediction is aligned


def smoothed(p: Tensor, z: Tensor, bank_p: Tensor, bank_z: Tensor, alpha: float, temperature: float) -> Tensor:
    """Probabilities (B, classes) smoothed by a bank's: alpha p + (1 - alpha) sum_k a_k p_k (equations 5 to 7).

    Args:
        p: (B, classes) probabilities.
        z: (B, d) their embeddings, of length 1.
        bank_p: (K, classes) probabilities that are remembered.
        bank_z: (K, d) their embeddings.
        alpha: share of an image's own.
        temperature: of the softmax over the similarities, which makes a_k.
    """
    return alpha * p + (1 - alpha) * (z @ bank_z.T / temperature).softmax(1) @ bank_p


def graph_contrast(
    z: Tensor, everyone: Tensor, q: Tensor, others: Tensor, first: int, threshold: float, temperature: float
) -> Tensor:
    """Cross-entropy between the graph of pseudo-labels and that of embeddings (equations 8 to 10), a scalar in nats.

    Args:
        z: (B, d) embeddings of one strong view, of length 1.
        everyone: (N, d) those of the other strong view of the global batch.
        q: (B, classes) pseudo-labels.
        others: (N, classes) those of the global batch.
        first: where in the global batch this rank's rows begin.
        threshold: least similarity of two pseudo-labels that makes an edge.
        temperature: of the embeddings' similarities.
    """
    graph = q @ others.T  # (B, N)
    graph = torch.where(graph >= threshold, graph, 0.0)
    rows = torch.arange(len(q), device=q.device)
    graph[rows, rows + first] = 1.0
    graph = graph / graph.sum(1, keepdim=True)
    return F.cross_entropy(z @ everyone.T / temperature, graph)


class CoMatch(LossStrategy):
    """Pseudo-labels smoothed over a memory bank, and a contrastive loss on their graph (Li et al. 2021).

    Args:
        ratio: unlabeled images for every labeled one in a batch (mu).
        threshold: least confidence of a target (tau).
        contrast_threshold: least similarity of two pseudo-labels that makes an edge of the graph (T).
        alpha: share of an image's own prediction in its pseudo-label.
        temperature: of the similarities of embeddings (t).
        weight: weight of the unlabeled images in the loss (lambda_cls).
        contrast_weight: weight of the graph's loss (lambda_ctr); the paper has 1 for CIFAR-10 and 5 for STL-10.
        ema_decay: decay of the moving average that evaluates.
    """

    gives = WEAK_AND_STRONG

    def __init__(
        self,
        ratio: int = 7,
        threshold: float = 0.95,
        contrast_threshold: float = 0.8,
        alpha: float = 0.9,
        temperature: float = 0.2,
        weight: float = 1.0,
        contrast_weight: float = 1.0,
        ema_decay: float = 0.999,
    ) -> None:
        check("comatch", ratio=(ratio, 1, 1000), threshold=(threshold, 0, 1), alpha=(alpha, 0, 1))
        check("comatch", contrast_threshold=(contrast_threshold, 0, 1), temperature=(temperature, 0.001, math.inf))
        check("comatch", weight=(weight, 0, math.inf), contrast_weight=(contrast_weight, 0, math.inf))
        check("comatch", ema_decay=(ema_decay, 0, BELOW_ONE))
        self.threshold, self.contrast_threshold, self.alpha = threshold, contrast_threshold, alpha
        self.temperature, self.weight, self.contrast_weight = temperature, weight, contrast_weight
        self.ema_decay, self.targets_from = ema_decay, "training"
        self.needs = Needs(
            unlabeled_views={"weak": "weak", "strong": "strong", "strong_2": "strong"},
            unlabeled_ratio=ratio,
            modules={"projection": projection},
        )
        self.bank_p_, self.bank_z_ = torch.empty(0, 0), torch.empty(0, _WIDTH)
        self.means_: list[Tensor] = []  # of the predictions of the latest batches, (classes,) each

    def loss(self, module: Classifier, batch: Batch) -> Loss:
        """Cross-entropy of labeled images, of strong views with smoothed targets, and of the two graphs."""
        labeled, unlabeled = batch.labeled, batch.unlabeled
        assert unlabeled is not None
        views = [labeled.views["weak"], *(unlabeled.views[name] for name in ("weak", "strong", "strong_2"))]
        (logits, weak, strong, _), features = module.joint(*views)
        z = [F.normalize(precise(module.extra["projection"](x))) for x in features]

        p = probabilities(weak)
        self.means_ = [*self.means_, mean(p.mean(0))][-_MEANS:]
        p = q = align(p, torch.stack(self.means_).mean(0))
        if len(self.bank_p_):
            q = smoothed(p, z[1].detach(), self.bank_p_, self.bank_z_, self.alpha, self.temperature)
        known = distribution(labeled.target, p.shape[1]).to(p.dtype)
        rows = [torch.cat([gather(u), gather(x)]) for u, x in ((p, known), (z[1], z[0]))]
        size = _BATCHES * len(rows[0])
        self.bank_p_, self.bank_z_ = (
            torch.cat([new, old.reshape(-1, new.shape[1])])[:size]
            for new, old in zip(rows, (self.bank_p_, self.bank_z_), strict=True)
        )

        mask = q.max(1).values >= self.threshold
        supervised, unsupervised = module.labeled_loss(logits, labeled.target), consistency(strong, q, mask)
        first = module.global_rank * len(unlabeled)
        everyone, others = gather_with_gradient(z[3]), gather(q)
        graph = graph_contrast(z[2], everyone, q, others, first, self.contrast_threshold, self.temperature)
        metrics = {"loss_labeled": supervised, "loss_unlabeled": unsupervised, "loss_graph": graph}
        outputs = dict(zip(self.gives, (logits, weak, strong, *features[:3], q, mask), strict=True))
        return supervised + self.weight * unsupervised + self.contrast_weight * graph, metrics, outputs


def projection(width: int, classes: int) -> nn.Module:
    """The projection head of embeddings: two layers, 64 wide in the end."""
    return nn.Sequential(nn.Linear(width, width), nn.LeakyReLU(0.1), nn.Linear(width, _WIDTH))
