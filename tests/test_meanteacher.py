"""Mean Teacher: the loss of a step and its gradient, image by image, and where the targets come from."""

from __future__ import annotations

import math

import pytest
import torch
from helpers import Blobs, classifier, trainer
from one_step import assert_same, batch, cross_entropies, identity, logits
from torch import Tensor, nn

from semisup.models.ema import EMA
from strategies.meanteacher import MeanTeacher


@pytest.mark.parametrize(("step", "t"), [(0, 0.0), (2, 0.25), (8, 1.0), (19, 1.0)])
@pytest.mark.parametrize("size", [1, 6])
def test_loss_and_gradient_of_a_step(step: int, t: float, size: int) -> None:
    """The teacher makes the targets, of the other view, and has no gradient; the weight is exp(-5 (1 - t)^2)."""
    module = identity(strategy := MeanTeacher(weight=3.0, ramp=0.4))
    weights = torch.randn(3, 3, generator=torch.Generator().manual_seed(1))
    teacher = nn.Linear(3, 3, bias=False)
    teacher.weight.data = weights
    module.ema = EMA(teacher, 0.9)
    inputs = logits(4, size, size, seed=step)
    labeled, one, other = inputs
    target = torch.tensor([0, 1, 2, 0])
    loss, _, outputs = strategy.loss(module, batch(labeled, target, step, weak=one, weak_2=other))
    distance = torch.tensor(0.0)
    for student, x in zip(one.softmax(1), other.detach(), strict=True):
        q = (weights @ x).softmax(0)
        distance = distance + sum(((student[k] - q[k]) ** 2 for k in range(3)), torch.tensor(0.0))
    expected: Tensor = torch.stack(cross_entropies(labeled, target)).mean()
    assert_same(loss, expected + 3 * math.exp(-5 * (1 - t) ** 2) * distance / (3 * size), inputs)
    torch.testing.assert_close(outputs["target"], (other @ weights.T).softmax(1))


def test_the_teacher_predicts_in_evaluation_mode_while_the_student_trains() -> None:
    """Its targets for an image do not depend on the batch, and no statistics of its move."""
    data = Blobs(augmentation="weak")
    module = classifier(data, strategy := MeanTeacher(ema_decay=0.5))
    trainer(1).fit(module, data)
    given = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    module.train()
    before = {name: x.clone() for name, x in module.teacher.state_dict().items() if torch.is_tensor(x)}
    outputs = strategy.loss(module, given)[2]
    view = given.unlabeled.views["weak_2"]
    alone = torch.cat([module.evaluate(x[None]).softmax(1) for x in view])
    torch.testing.assert_close(outputs["target"], alone, rtol=1e-4, atol=1e-5)
    assert module.training and all(torch.equal(x, module.teacher.state_dict()[name]) for name, x in before.items())
