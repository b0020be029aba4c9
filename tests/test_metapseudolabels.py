"""Meta Pseudo Labels: steps against two networks with an optimiser each, the feedback against gradients, refusals."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from helpers import Blobs, classifier, same, trainer, weights
from torch import Tensor

from semisup.batch import Batch
from semisup.classifier import Classifier, OptimizerOptions
from semisup.errors import InputError
from semisup.models.optim import Constant
from semisup.randomness import Draw
from strategies.metapseudolabels import MetaPseudoLabels

RATE = 0.05


class Watch(pl.Callback):
    """Keeps the networks that a training began with, its batches, and what was averaged when a phase ended."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.feedback: list[float] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.network = deepcopy(pl_module.network)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Batch, batch_idx: int) -> None:
        self.batches.append(batch)

    def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
        self.feedback.append(trainer.callback_metrics["train/feedback"].item())


def fitted(watch: pl.Callback, epochs: int = 1, optimizer: dict[str, Any] | None = None, **options: Any) -> Classifier:
    data = Blobs(augmentation="weak", seed=3)
    strategy = MetaPseudoLabels(**{"ratio": 2, "threshold": 0.45, "ramp": 0.5, "decay": 0.6, **options})
    chosen = OptimizerOptions("sgd", optimizer or {"lr": RATE, "momentum": 0.9})
    module = classifier(data, strategy, optimizer=chosen, lr_scheduler=Constant(), seed=3)
    flags = {"precision": "64-true", "log_every_n_steps": 1, "limit_val_batches": 0, "callbacks": [watch]}
    trainer(epochs, **flags).fit(module, data)
    return module


def test_students_and_teachers_steps_are_those_of_two_networks_with_an_optimiser_each() -> None:
    watch = Watch()
    module = fitted(watch, finetune_epochs=0)
    student = watch.network
    teacher = student.extra["teacher"]
    assert not torch.equal(teacher.head.weight, student.head.weight)  # type: ignore[arg-type]
    student.extra = torch.nn.ModuleDict()
    steps = {net: torch.optim.SGD(net.parameters(), lr=RATE, momentum=0.9) for net in (student, teacher)}
    usual, feedback, counted = 0.0, [], list[bool]()
    for batch in watch.batches:
        labeled, unlabeled = batch.labeled, batch.unlabeled
        assert unlabeled is not None
        images, labels = labeled.views["weak"], labeled.target
        weak, strong = unlabeled.views["weak"], unlabeled.views["strong"]
        ours, theirs, augmented = teacher(torch.cat([images, weak, strong])).split([12, 24, 24])
        uniform = Draw(3, batch.step, "pseudo-labels", unlabeled.position, 24).uniform("class")[:, 0]
        classes = []
        for p, x in zip(augmented.softmax(1), uniform, strict=True):
            classes.append(0 if x < p[0] else 1 if x < p[0] + p[1] else 2)
        target = torch.tensor(classes)

        before = F.cross_entropy(student(images), labels).item()
        steps[student].zero_grad()
        F.cross_entropy(student(strong), target).backward()
        steps[student].step()
        after = F.cross_entropy(deepcopy(student)(images), labels).item()

        usual = 0.6 * usual + 0.4 * (before - after)
        feedback.append(before - after - usual)
        agreement = torch.zeros((), dtype=torch.float64)
        for q, x in zip(theirs.detach(), augmented, strict=True):
            sharpened = (q / 0.7).softmax(0)
            if sharpened.max() >= 0.45:  # which without the sharpening fewer would reach
                agreement = agreement - (sharpened * x.log_softmax(0)).sum() / 24
                counted += [float(q.softmax(0).max()) < 0.45]
        loss = F.cross_entropy(ours, labels) + 8 * min(1, batch.step / 2) * agreement
        steps[teacher].zero_grad()
        (loss + feedback[-1] * F.cross_entropy(augmented, target)).backward()
        steps[teacher].step()
    assert 0 < sum(counted) < len(counted) < 96
    assert len(feedback) == 4 and watch.feedback == pytest.approx(feedback, rel=1e-6, abs=1e-9)
    for net, found in ((student, module.network), (teacher, module.network.extra["teacher"])):
        for name, x in dict(found.named_parameters()).items():
            if not name.startswith("extra."):
                torch.testing.assert_close(x, dict(net.named_parameters())[name], rtol=1e-5, atol=1e-7)
    for name, x in student.named_buffers():
        torch.testing.assert_close(dict(module.network.named_buffers())[name], x)


def test_feedback_is_the_product_of_the_students_gradients() -> None:
    """The first-order form of the paper: the rate times that on labels, after the step, and on drawn classes before."""
    found: dict[str, Tensor] = {}

    class Products(Watch):
        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            if trainer.global_step == 0 and "taught" not in found:
                own = {n: p for n, p in pl_module.network.named_parameters() if not n.startswith("extra.")}
                assert all(p.grad is None for p in pl_module.extra["teacher"].parameters())
                found["taught"] = torch.cat([p.grad.flatten() for p in own.values()]).clone()
                self.names = list(own)

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
            super().on_train_batch_end(trainer)
            if len(self.batches) == 1:
                net, batch = deepcopy(pl_module.network), self.batches[0]
                loss = F.cross_entropy(net(batch.labeled.views["weak"]), batch.labeled.target)
                own = [p for n, p in net.named_parameters() if n in self.names]
                found["labels"] = torch.cat([x.flatten() for x in torch.autograd.grad(loss, own)])

    watch = Products()
    fitted(watch, optimizer={"lr": 1e-5}, decay=0.999999, finetune_epochs=0)
    product = 1e-5 * float(found["taught"] @ found["labels"])
    assert watch.feedback[0] == pytest.approx(product, rel=1e-2) and product != 0


def test_fine_tuning_goes_on_with_the_average_on_labels_alone() -> None:
    class Border(Watch):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            if pl_module.ema is not None and pl_module.phases.index == 0:
                self.average = weights(pl_module.ema.average)

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            self.begun = weights(pl_module.network)

        def on_train_batch_end(self, *rest: Any) -> None:
            pass

    watch = Border()
    module = fitted(watch, ema_decay=0.9, finetune_lr=0.01)
    kept = {name: x for name, x in watch.average.items() if not name.startswith("extra.")}
    assert same(watch.begun, kept) and not same(weights(module.network), kept)
    assert [batch.unlabeled is None for batch in watch.batches] == [False] * 4 + [True] * 4
    assert not module.network.extra


def test_a_network_beside_begins_by_the_seed_and_its_name_and_sees_the_same_inputs() -> None:
    data = Blobs()
    one, other = (classifier(data, MetaPseudoLabels(), seed=seed) for seed in (1, 2))
    plain = classifier(data, seed=1)
    assert all(torch.equal(x, weights(one)[name]) for name, x in weights(plain).items())
    teacher: Any = one.extra["teacher"]
    assert same(weights(teacher), weights(classifier(data, MetaPseudoLabels(), seed=1).extra["teacher"]))
    assert not same(weights(teacher), weights(other.extra["teacher"])) and not same(weights(teacher), weights(plain))
    assert teacher.normalization is one.network.normalization
    begun = weights(one.network)
    for p in one.parameters():
        p.data.add_(1)
    one.restart()
    assert same(weights(one.network), begun)


@pytest.mark.parametrize(
    ("flags", "optimizer", "message"),
    [
        (
            {"accumulate_grad_batches": 2},
            "sgd",
            "two steps of the optimizer on a batch, and .*accumulate.* is 2; type 1",
        ),
        ({}, "LBFGS", "each of other weights, and LBFGS takes all weights as one; type another --optimizer"),
    ],
)
def test_what_can_not_take_two_steps_is_refused(flags: dict[str, Any], optimizer: str, message: str) -> None:
    data = Blobs()
    module = classifier(data, MetaPseudoLabels(ratio=2), optimizer=OptimizerOptions(optimizer, {"lr": 0.1}))
    with pytest.raises(InputError, match=message):
        trainer(1, **flags).fit(module, data)
