"""Meta Pseudo Labels (Pham et al. 2021, arXiv 2003.10580): a teacher that learns from how its student does on labels.

    semisup fit --strategy metapseudolabels --data cifar10 --data.labels_per_class 400

Two networks of one kind take turns on every batch. The teacher draws a class for every strong view by its own
probabilities, and the student takes a step towards these. Then the teacher takes one, by the loss

    CE(labeled) + weight * CE(sharpened confident weak view, strong view) + h * CE(drawn class, strong view),

the second part of which is UDA's. The feedback h is by how much the student's step has lowered its own loss of the
labeled images: to first order the learning rate times the scalar product of its gradients on them, after the step, and
on the drawn classes, before it. So what has helped the student becomes more probable. The student, which sees no label
until then, is evaluated; in the end it is trained on the labeled images alone.

The paper's text beyond its abstract was not at hand. All settings are those of the authors' command for CIFAR-10
(google-research/google-research, meta_pseudo_labels), against whose code the teacher's first two parts were held on the
same tensors; its threshold is one of sharpened predictions, other than UDA's own. As there, the labeled loss is
measured before and after the step in place of gradients, and its running mean is taken from h, so that classes which
help less than usual become less probable. There the drawn class is the teacher's whole prediction, the gradient of
whose cross-entropy with itself is 0, and h has the other sign; here both are as the first-order form above says. There
the labeled loss is measured beside the strong views before the step and alone after it; here alone in both, so that
batch normalisation does not enter into the difference. Dropout, label smoothing and the student's 1 % of steps of
waiting are left out. The last training is not in that code; the paper's, of 8,000 steps in batches of 512 at this rate,
could not be checked.
"""

from __future__ import annotations

from typing import Annotated

import torch

from semisup.batch import Batch, Needs
from semisup.classifier import Classifier
from semisup.composition import Composition
from semisup.losses import consistency, linear_ramp
from semisup.models.optim import Constant
from semisup.ranges import Decay, NonNegative, Range, Ratio, Share, Temperature, check_ranges
from semisup.runtime.ranks import mean
from semisup.strategy import Loss, LossStrategy, Outputs, Phase
from semisup.targets import probabilities, running

_TAUGHT = ("teacher_labeled", "teacher_weak", "teacher_strong", "before")  # outputs for the teacher's step


class MetaPseudoLabels(LossStrategy):
    """A teacher that learns from how its student does on the labeled images (Pham et al. 2021).

    Args:
        ratio: unlabeled images for every labeled one in a batch.
        threshold: least confidence of a weak view, once it is sharpened, in the teacher's loss.
        temperature: of the sharpening of weak views.
        weight: of unlabeled images in the teacher's loss.
        ramp: share of the training over which that weight rises from 0.
        decay: of the running mean of the student's gain.
        ema_decay: decay of the moving average of the student that evaluates; 0 evaluates the weights that train.
        finetune_epochs: of the student on labeled images alone, in the end.
        finetune_lr: learning rate of these.
    """

    presentation = "strategies.metapseudolabels_figures:PRESENTATION"
    gives = ("strong", "strong_features", "target", "mask")
    steps_twice = True

    def __init__(
        self,
        ratio: Ratio = 7,
        threshold: Share = 0.6,
        temperature: Temperature = 0.7,
        weight: NonNegative = 8.0,
        ramp: Share = 1 / 60,
        decay: Decay = 0.99,
        ema_decay: Decay = 0.995,
        finetune_epochs: Annotated[int, Range(0)] = 1,
        finetune_lr: NonNegative = 1e-5,
    ) -> None:
        check_ranges("metapseudolabels", MetaPseudoLabels, locals())
        self.threshold, self.temperature, self.weight, self.ramp = threshold, temperature, weight, ramp
        self.decay, self.ema_decay, self.targets_from = decay, ema_decay, "training"
        self.finetune_epochs, self.finetune_lr = finetune_epochs, finetune_lr
        self.needs = Needs(unlabeled_views=("weak", "strong"), unlabeled_ratio=ratio, networks=("teacher",))
        self.gain_ = torch.zeros(())

    def phases(self, module: Classifier) -> list[Phase]:
        """The training of both, and that of the student on labels."""
        last = Phase(
            "fine-tuning",
            epochs=self.finetune_epochs,
            needs=Needs(),
            loss=Composition({}).loss,
            optimizer=lambda module: torch.optim.SGD(module.network.parameters(), lr=self.finetune_lr, momentum=0.9),
            schedule=Constant(),
            lr_option="--metapseudolabels.finetune_lr",
        )
        return [Phase(end=Classifier.take_average), last] if self.finetune_epochs else [Phase()]

    def loss(self, module: Classifier, batch: Batch) -> Loss:
        """Cross-entropy of the student's strong views with classes that the teacher draws."""
        labeled, unlabeled = batch.labeled, batch.unlabeled
        assert unlabeled is not None
        views = (labeled.views["weak"], unlabeled.views["weak"], unlabeled.views["strong"])
        taught = module.extra["teacher"](torch.cat(views)).split([len(images) for images in views])
        target = module.draw(unlabeled, batch, "pseudo-labels").categorical("class", probabilities(taught[2]))
        with torch.no_grad():
            before = consistency(module(views[0]), labeled.target)
        (logits,), (features,) = module.joint(views[2])
        computed = (logits, features, target, torch.ones_like(target), *taught, before)
        loss, outputs = consistency(logits, target), dict(zip((*self.gives, *_TAUGHT), computed, strict=True))
        return loss, {"loss_labeled": before}, outputs

    def second_loss(self, module: Classifier, batch: Batch, outputs: Outputs) -> Loss:
        """The teacher's: of labels, of agreement between views, and of the classes that it drew, by their feedback."""
        labels, strong = batch.labeled.target, outputs["teacher_strong"]
        with torch.no_grad(), module.frozen_batchnorm():
            after = consistency(module(batch.labeled.views["weak"]), labels)
        gain = mean(outputs["before"] - after)
        self.gain_ = running(self.gain_.to(gain), gain, self.decay)
        feedback = gain - self.gain_
        sharpened = probabilities(outputs["teacher_weak"], self.temperature)
        mask = sharpened.amax(1) >= self.threshold
        agreement = consistency(strong, sharpened, mask)
        supervised = module.labeled_loss(outputs["teacher_labeled"], labels)
        weight = self.weight * linear_ramp(batch.step, 0, round(self.ramp * module.total_steps))
        loss = supervised + weight * agreement + feedback * consistency(strong, outputs["target"])
        metrics = {"loss_teacher_labeled": supervised, "loss_teacher_unlabeled": agreement, "feedback": feedback}
        return loss, {**metrics, "confident": mask.float().mean()}
