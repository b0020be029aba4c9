"""CoMatch (Li, Xiong & Hoi 2021, arXiv 2011.11183): pseudo-labels smoothed by neighbours, and a graph of them.

    semisup fit --strategy comatch --data stl10 --data.labels_per_class 4

Class probabilities are aligned (section 3.2), then smoothed by those of the nearest embeddings in a memory bank
(equation 5 to 7); where confident they are the soft targets of a strong view (equation 4). The embeddings of two strong
views must show the graph of the pseudo-labels: equation 8 makes it, equations 9 and 10 are its loss. The second strong
view is RandAugment too, as in the benchmarks; the paper has SimCLR's there. The bank remembers as many batches as the
authors' code, labeled images among them, and smooths from the second step on.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from semisup.batch import Batch, Needs
from semisup.classifier import Classifier
from semisup.embeddings import embedded, graph_contrast, smoothed, two_layer_head
from semisup.losses import consistency, distribution
from semisup.ranges import Decay, NonNegative, Range, Ratio, Share, check_ranges
from semisup.runtime.ranks import gather, gather_with_gradient
from semisup.strategy import WEAK_AND_STRONG, Loss, LossStrategy
from semisup.targets import align_to_latest, probabilities, push

_BATCHES = 5  # that the memory bank holds
_WIDTH = 64  # of the embeddings


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
        ratio: Ratio = 7,
        threshold: Share = 0.95,
        contrast_threshold: Share = 0.8,
        alpha: Share = 0.9,
        temperature: Annotated[float, Range(0.001)] = 0.2,
        weight: NonNegative = 1.0,
        contrast_weight: NonNegative = 1.0,
        ema_decay: Decay = 0.999,
    ) -> None:
        check_ranges("comatch", CoMatch, locals())
        self.threshold, self.contrast_threshold, self.alpha = threshold, contrast_threshold, alpha
        self.temperature, self.weight, self.contrast_weight = temperature, weight, contrast_weight
        self.ema_decay, self.targets_from = ema_decay, "training"
        views = {"weak": "weak", "strong": "strong", "strong_2": "strong"}
        modules = {"projection": two_layer_head(_WIDTH, nn.LeakyReLU(0.1))}
        self.needs = Needs(unlabeled_views=views, unlabeled_ratio=ratio, modules=modules)
        self.bank_p_, self.bank_z_ = torch.empty(0, 0), torch.empty(0, _WIDTH)
        self.means_: list[Tensor] = []  # of the predictions of the latest batches, (classes,) each

    def loss(self, module: Classifier, batch: Batch) -> Loss:
        """Cross-entropy of labeled images, of strong views with smoothed targets, and of the two graphs."""
        labeled, unlabeled = batch.labeled, batch.unlabeled
        assert unlabeled is not None
        views = [labeled.views["weak"], *(unlabeled.views[name] for name in ("weak", "strong", "strong_2"))]
        (logits, weak, strong, _), features = module.joint(*views)
        z = embedded(module.extra["projection"], features)

        p, self.means_ = align_to_latest(probabilities(weak), self.means_)
        q = smoothed(p, z[1].detach(), self.bank_p_, self.bank_z_, self.alpha, self.temperature)
        mask = q.max(1).values >= self.threshold
        known = distribution(labeled.target, p.shape[1]).to(p.dtype)
        new_p, new_z = (torch.cat([gather(u), gather(x)]) for u, x in ((p, known), (z[1], z[0])))
        size = _BATCHES * len(new_p)
        self.bank_p_, self.bank_z_ = push(self.bank_p_, new_p, size), push(self.bank_z_, new_z, size)

        supervised, unsupervised = module.labeled_loss(logits, labeled.target), consistency(strong, q, mask)
        everyone, others, position = gather_with_gradient(z[3]), gather(q), unlabeled.position
        graph = graph_contrast(z[2], everyone, q, others, position, self.contrast_threshold, self.temperature)
        metrics = {"loss_labeled": supervised, "loss_unlabeled": unsupervised, "loss_graph": graph}
        outputs = dict(zip(self.gives, (logits, weak, strong, *features[:3], q, mask), strict=True))
        return supervised + self.weight * unsupervised + self.contrast_weight * graph, metrics, outputs
