"""CReST+ (Wei et al. 2021, arXiv 2102.09559): generations whose labeled images grow, most where a class is rare.

    semisup fit --strategy crest --data cifar10 --data.labels_per_class 1500 --data.imbalance 100

Every generation is trained by FixMatch from fresh weights, and its last weights that evaluate predict all unlabeled
images. Of those that are predicted as the l-th most frequent class of L the most confident are added to the labeled
images of the next one, a share of (N_(L + 1 - l) / N_1)^alpha of them, with N_l the labels of a class: all of the
rarest class, few of the most frequent one. Predictions of weak views are aligned to the labels' shares to
the power t, which falls from 1 in the first generation to .5 in the last one, towards even classes.
`--crest.align false` is CReST without that.

The paper's text beyond its abstract was not at hand; the rates, with alpha 1/3, and t of .5 are as the authors of DASO
describe them (arXiv 2106.05682, appendix C.3). Loss, alignment, rates and all other settings were held against the
authors' code (google-research/crest) on the same tensors and are its: hard targets, a threshold of .95, six
generations, as many unlabeled images as labeled ones (7 times as many in one of its two commands), and the alignment of
a step by the predictions before it. There the mean prediction is that of the last 128 batches; here it is a running
mean, as in the benchmark USB, and begins uniform in every generation, as there. A generation is a phase of
`--trainer.max_epochs`, whose epoch is one pass over its own labeled images from the second generation on; the authors'
generations have as many steps each, 64 epochs of 1,024.
"""

from __future__ import annotations

import torch
from torch import Tensor

from semisup import selection
from semisup.batch import Batch, Needs
from semisup.classifier import Classifier
from semisup.losses import consistency
from semisup.predict import select
from semisup.ranges import Count, Decay, NonNegative, Ratio, Share, check_ranges
from semisup.runtime.console import say
from semisup.runtime.ranks import mean
from semisup.strategy import WEAK_AND_STRONG, Loss, Phase, weak_and_strong
from semisup.targets import align, probabilities, running
from strategies.relabeling import Relabeling


def sampling_rates(counts: Tensor, alpha: float) -> Tensor:
    """The share (classes,) float64 of its predictions that every class adds, by its labels (classes,)."""
    falling, order = counts.clamp_min(1).double().sort(descending=True, stable=True)
    return torch.empty_like(falling).scatter(0, order, (falling.flip(0) / falling[0]) ** alpha)


def sampled(confidence: Tensor, predicted: Tensor, rates: Tensor) -> Tensor:
    """Places (n,) int64, ascending, of the most confident of each predicted class (N,), floor(rate * its images)."""
    most = rates * predicted.bincount(minlength=len(rates)) + 1e-9  # what is whole but for its rounding is whole
    return selection.top_per_class(confidence, predicted, most.floor(), len(rates))


class CReST(Relabeling):
    """FixMatch in generations that add pseudo-labels, most where a class is rare (Wei et al. 2021).

    Args:
        generations: trainings, the first one on the given labels alone.
        alpha: of the sampling rates; the smaller, the more images are added.
        align: align the predictions to the labels' shares, less and less so (CReST+).
        temperature: power of these shares in the last generation (t_min).
        ratio: unlabeled images for every labeled one in a batch.
        threshold: least confidence of a target (tau).
        weight: weight of the unlabeled images in the loss.
        decay: of the running mean of the predictions.
        ema_decay: decay of the moving average that evaluates; 0 evaluates the weights that train.
    """

    gives = WEAK_AND_STRONG
    refinable = True

    def __init__(
        self,
        generations: Count = 6,
        alpha: NonNegative = 1 / 3,
        align: bool = True,
        temperature: Share = 0.5,
        ratio: Ratio = 1,
        threshold: Share = 0.95,
        weight: NonNegative = 1.0,
        decay: Decay = 0.999,
        ema_decay: Decay = 0.999,
    ) -> None:
        super().__init__()
        check_ranges("crest", CReST, locals())
        self.generations, self.alpha, self.align, self.temperature = generations, alpha, align, temperature
        self.threshold, self.weight, self.decay, self.ema_decay = threshold, weight, decay, ema_decay
        self.targets_from = "training"
        self.needs = Needs(unlabeled_views=("weak", "strong"), unlabeled_ratio=ratio)
        self.generation_, self.counts_, self.seen_ = 0, torch.empty(0), torch.empty(0)

    def phases(self, module: Classifier) -> list[Phase]:
        """The generations; all but the last one end with pseudo-labels."""
        names = [f"generation {number}" for number in range(2, self.generations + 1)]
        later = [Phase(name, labeled=self.union, restart=True, end=self.label) for name in names]
        return [Phase("generation 1", end=self.label), *later]

    def begin_phase(self, module: Classifier, phase: Phase) -> None:
        """Counts the generations and the labels; the mean prediction begins uniform."""
        self.generation_ = self.generation_ + 1 if phase.restart else 0
        labels, classes = module.datamodule.pools.labeled.labels, len(module.spec.class_names)
        self.counts_ = labels.bincount(minlength=classes).to(module.device)
        self.seen_ = torch.full((classes,), 1 / classes, device=module.device)

    def label(self, module: Classifier) -> None:
        """Chooses what is added to the labeled images of the next generation."""
        pool = self.unlabeled(module)
        everything, _ = select(module, pool, lambda c: torch.arange(len(c), device=c.rows.device), title="crest")
        rates = sampling_rates(self.counts_.cpu(), self.alpha)
        chosen = everything.at(sampled(everything.confidence, everything.predicted, rates))
        say(f"crest: {module.phase.name} adds {len(chosen):,} of {len(pool):,} images to the labeled ones")
        self.relabel(module, chosen)

    def loss(self, module: Classifier, batch: Batch) -> Loss:
        """Cross-entropy of labeled images, and of strong views against weak ones that are aligned and confident."""
        outputs, refined = weak_and_strong(module, batch)
        p = probabilities(refined["weak"])
        power = 1 - self.generation_ / max(1, self.generations - 1) * (1 - self.temperature)
        wanted = (self.counts_ / self.counts_.sum()) ** power  # up to a factor
        confidence, target = (align(p, self.seen_, wanted.to(p)) if self.align else p).max(1)
        self.seen_ = running(self.seen_, mean(p.mean(0)), self.decay)
        mask = confidence >= self.threshold
        supervised = module.labeled_loss(outputs["labeled"], batch.labeled.target)
        unsupervised = consistency(refined["strong"], target, mask)
        metrics = {"loss_labeled": supervised, "loss_unlabeled": unsupervised}
        return supervised + self.weight * unsupervised, metrics, {**outputs, "target": target, "mask": mask}
