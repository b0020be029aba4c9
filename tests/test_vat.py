"""VAT: the direction of the worst change against the Fisher matrix, and a step against a slow version of it."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from helpers import Blobs, classifier, trainer, weights
from torch import Tensor

from semisup.batch import Batch
from semisup.classifier import Classifier
from strategies.vat import VAT, adversarial_direction, entropy, unit


def one_batch(**options: float) -> tuple[Classifier, Batch]:
    data = Blobs(augmentation="weak")
    module = classifier(data, VAT(ratio=2, ema_decay=0, **options))  # type: ignore[arg-type]
    trainer(1).fit(module, data)
    module.train()
    batch: Batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    return module, batch


def test_rows_of_any_size_come_out_at_length_one() -> None:
    rows = torch.randn(4, 3, 5, 5) * torch.tensor([1e-30, 1.0, 1e30, 0.0]).view(4, 1, 1, 1)
    lengths = unit(rows).flatten(1).norm(dim=1)
    torch.testing.assert_close(lengths, torch.tensor([1.0, 1.0, 1.0, 0.0]))
    torch.testing.assert_close(unit(rows)[1], rows[1] / rows[1].norm())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_direction_is_a_step_of_power_iteration_with_the_fisher_matrix(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    weight, images, start = torch.randn(3, 12), torch.rand(4, 3, 2, 2), torch.randn(4, 3, 2, 2)
    weight, images, start = weight.to(dtype), images.to(dtype), start.to(dtype)
    found = adversarial_direction(lambda x: torch.tanh(x.flatten(1) @ weight.T), images, start, 0.0025)
    for x, d, got in zip(images.double().flatten(1), start.double().flatten(1), found, strict=True):
        z = torch.tanh(weight.double() @ x)
        jacobian = (1 - z**2)[:, None] * weight.double()  # of the logits by the pixels
        p = z.softmax(0)
        fisher = jacobian.T @ (torch.diag(p) - torch.outer(p, p)) @ jacobian  # the Hessian of the divergence at r = 0
        wanted = fisher @ d
        torch.testing.assert_close(got.double().flatten(), wanted / wanted.norm(), rtol=0, atol=5e-3)


def test_the_papers_difference_of_1e_6_is_lost_in_float32() -> None:
    torch.manual_seed(0)
    weight, images, start = torch.randn(3, 3072), torch.rand(4, 3, 32, 32), torch.randn(4, 3, 32, 32)

    def agreement(length: float) -> Tensor:
        def look(x: Tensor) -> Tensor:
            return torch.tanh(x.flatten(1) @ weight.to(x.dtype).T / 20)

        exact = adversarial_direction(look, images.double(), start.double(), length)
        return (exact * adversarial_direction(look, images, start, length)).sum((1, 2, 3))

    assert agreement(0.0025).min() > 0.99
    assert agreement(2.5e-7).min() < 0.9


def test_entropy_by_hand_and_of_certain_predictions() -> None:
    p = torch.tensor([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]])
    wanted = 0.5 * (0.5 * math.log(2) + 0.5 * math.log(4))
    assert entropy((p + 1e-30).log()).item() == pytest.approx(wanted)


def test_the_loss_and_the_gradient_of_a_step() -> None:
    module, batch = one_batch(eps=2.0, weight=0.7, entropy=0.3)
    assert batch.unlabeled is not None and isinstance(module.strategy.owner, VAT)
    module.eval()  # batch statistics would couple the images of the slow version
    loss, metrics, outputs = module.strategy.loss(module, batch)
    gradient = torch.autograd.grad(loss, list(module.network.parameters()))

    scale = 0.25 * math.sqrt(64 / 3072)
    start = module.draw(batch.unlabeled, batch, "vat").normal("direction", 64).view(-1, 1, 8, 8)
    terms, entropies = [], []
    for x, d in zip(batch.unlabeled.views["weak"], start, strict=True):
        r = (0.01 * scale * d / d.norm())[None].requires_grad_()
        q = module(x[None]).softmax(1).detach()
        g = torch.autograd.grad((q * (q.log() - module(x[None] + r).log_softmax(1))).sum(), r)[0]
        p = module(x[None] + 2.0 * scale * g / g.norm()).softmax(1)
        terms.append((q * (q / p).log()).sum())
        own = module(x[None]).softmax(1)
        entropies.append(-(own * own.log()).sum())
    labeled = F.cross_entropy(module(batch.labeled.views["weak"]), batch.labeled.target)
    wanted = labeled + 0.7 * torch.stack(terms).mean() + 0.3 * torch.stack(entropies).mean()
    torch.testing.assert_close(loss, wanted, rtol=1e-3, atol=1e-5)
    for got, slow in zip(gradient, torch.autograd.grad(wanted, list(module.network.parameters())), strict=True):
        torch.testing.assert_close(got, slow, rtol=1e-2, atol=1e-3 * float(slow.abs().max()) + 1e-6)
    assert metrics["loss_unlabeled"] > 0 and outputs["weak"].shape == (24, 3)


def test_only_labeled_images_move_the_statistics_and_a_step_repeats() -> None:
    module, batch = one_batch()
    assert batch.unlabeled is not None
    before = weights(module)
    loss, _, _ = module.strategy.loss(module, batch)
    moved = weights(module)
    module.load_state_dict(before)
    module(batch.labeled.views["weak"])
    assert all(torch.equal(value, moved[name]) for name, value in weights(module).items())
    module.load_state_dict(before)
    assert torch.equal(module.strategy.loss(module, batch)[0], loss)
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())


def test_the_found_direction_is_worse_than_a_random_one() -> None:
    module, batch = one_batch()
    assert batch.unlabeled is not None
    module.eval()
    images = batch.unlabeled.views["weak"]
    start = module.draw(batch.unlabeled, batch, "vat").normal("direction", 64).view(images.shape)
    q = module(images).softmax(1).detach()
    found = adversarial_direction(module, images, start, 0.001)
    far = [F.kl_div(module(images + 0.2 * d).log_softmax(1), q, reduction="batchmean") for d in (found, unit(start))]
    assert far[0] > 2 * far[1] > 0
