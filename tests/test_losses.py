"""Losses against naive versions of themselves."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from one_step import assert_same

from semisup.errors import InputError
from semisup.losses import (
    LABELED,
    LabeledLoss,
    confident_consistency,
    consistency,
    cross_entropy,
    distribution,
    divergence,
    gaussian_ramp,
    linear_ramp,
    most_probable,
    mse,
    multi_margin,
    precise,
    squared_error,
)


def test_cross_entropy_of_hard_and_soft_targets() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(9, 4, generator=generator)
    hard = torch.randint(0, 4, (9,), generator=generator)
    soft = torch.rand(9, 4, generator=generator).softmax(1)

    def naive(weights: list[list[float]]) -> float:
        total = 0.0
        for row, weight in zip(logits.tolist(), weights, strict=True):
            log_sum = math.log(sum(math.exp(x) for x in row))
            total -= sum(w * (x - log_sum) for w, x in zip(weight, row, strict=True))
        return total / len(logits)

    one_hot = torch.nn.functional.one_hot(hard, 4).tolist()
    assert cross_entropy(logits, hard).item() == pytest.approx(naive(one_hot), rel=1e-5)
    assert cross_entropy(logits, soft).item() == pytest.approx(naive(soft.tolist()), rel=1e-5)


def test_multi_margin_and_mse_are_the_naive_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, target = torch.randn(9, 4, generator=generator), torch.randint(0, 4, (9,), generator=generator)
    hinge = distance = 0.0
    for row, label in zip(logits.tolist(), target.tolist(), strict=True):
        hinge += sum(max(0.0, 1 - row[label] + x) for k, x in enumerate(row) if k != label) / 4
        distance += sum((x - (k == label)) ** 2 for k, x in enumerate(row))
    assert multi_margin(logits, target).item() == pytest.approx(hinge / 9, rel=1e-5)
    assert mse(logits, target).item() == pytest.approx(distance / 9, rel=1e-5)
    assert mse(logits, target).item() == pytest.approx(4 * F.mse_loss(logits, F.one_hot(target, 4).float()).item())


@pytest.mark.parametrize("name", LABELED)
def test_soft_targets_weigh_the_classes(name: LabeledLoss) -> None:
    """One-hot ones are classes; others are expectations over classes, but for mse, where what is constant is left."""
    generator = torch.Generator().manual_seed(0)
    logits, target = torch.randn(9, 4, generator=generator), torch.randint(0, 4, (9,), generator=generator)
    one_hot = F.one_hot(target, 4)
    for soft in (one_hot.float(), one_hot.double(), one_hot.bfloat16()):
        torch.testing.assert_close(LABELED[name](logits, soft), LABELED[name](logits, target))
    soft = torch.rand(9, 4, generator=generator).softmax(1)
    expected = 0.0
    for row, weights in zip(logits, soft, strict=True):
        for k, weight in enumerate(weights.tolist()):
            expected += weight * LABELED[name](row[None], torch.tensor([k])).item() / 9
    if name == "mse":
        expected -= (1 - soft.square().sum(1)).mean().item()  # |z - p|^2 = E |z - e_k|^2 - (1 - |p|^2)
    assert LABELED[name](logits, soft).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", LABELED)
def test_soft_targets_have_the_gradient_of_the_expectation(name: LabeledLoss) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(5, 3, generator=generator).requires_grad_()
    soft = torch.rand(5, 3, generator=generator).softmax(1)
    (found,) = torch.autograd.grad(LABELED[name](logits, soft), logits)
    parts = [soft[i, k] * LABELED[name](logits[i : i + 1], torch.tensor([k])) / 5 for i in range(5) for k in range(3)]
    (expected,) = torch.autograd.grad(sum(parts[1:], parts[0]), logits)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", LABELED)
@pytest.mark.parametrize(
    "target",
    [torch.zeros(5, 4).long(), torch.zeros(5), torch.zeros(5).int(), torch.zeros(5, 3), torch.zeros(4).long()],
    ids=["whole one-hot", "float classes", "int32 classes", "too few classes", "too few images"],
)
def test_targets_that_are_neither_classes_nor_probabilities(name: LabeledLoss, target: torch.Tensor) -> None:
    with pytest.raises(InputError, match=r"int64 classes of shape \(5,\).*float probabilities of shape \(5, 4\)"):
        LABELED[name](torch.zeros(5, 4), target)


@pytest.mark.parametrize("name", LABELED)
def test_labeled_losses_are_float32_and_least_for_the_right_class(name: LabeledLoss) -> None:
    target = torch.tensor([2, 0])
    right, wrong = (F.one_hot(classes, 3).bfloat16() for classes in (target, target.flip(0)))
    best, worst = LABELED[name](right, target), LABELED[name](wrong, target)
    assert best.dtype == torch.float32 and best < worst


def test_ramp_of_lee_2013() -> None:
    alpha = [3 * linear_ramp(t, 100, 600) for t in (0, 99, 100, 225, 350, 600, 9999)]
    assert alpha == pytest.approx([0, 0, 0, 0.75, 1.5, 3, 3])
    assert linear_ramp(0, 0, 0) == 1


def test_ramp_must_rise() -> None:
    with pytest.raises(InputError, match="must have 0 <= start <= end"):
        linear_ramp(5, 10, 3)


def test_fixmatch_is_the_naive_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    weak = 3 * torch.randn(50, 5, generator=generator)
    strong = torch.randn(50, 5, generator=generator)
    loss, mask = confident_consistency(weak, strong, 0.8)
    total, counted = 0.0, []
    for w, s in zip(weak.tolist(), strong.tolist(), strict=True):
        p = [math.exp(x) / sum(math.exp(y) for y in w) for x in w]
        target = p.index(max(p))
        counted.append(p[target] >= 0.8)
        if counted[-1]:
            total -= s[target] - math.log(sum(math.exp(y) for y in s))
    assert 5 < sum(counted) < 45
    assert mask.tolist() == counted
    assert loss.item() == pytest.approx(total / 50, rel=1e-5)  # over all images, not only those that count


def test_fixmatch_sends_no_gradient_into_its_targets() -> None:
    weak, strong = (torch.randn(4, 3, requires_grad=True) for _ in range(2))
    confident_consistency(weak, strong, 0.0)[0].backward()
    assert weak.grad is None and strong.grad is not None and strong.grad.abs().sum() > 0


# ---- losses of unlabeled images


def naive_unlabeled(name: str, x: torch.Tensor, q: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
    """Image by image, class by class; the mean is over all images whatever their weight."""
    total = torch.tensor(0.0)
    for i in range(len(x)):
        p, w = x[i].exp() / x[i].exp().sum(), 1.0 if weight is None else float(weight[i])
        for k in range(x.shape[1]):
            t = q[i, k].item()
            each = {
                "consistency": -t * p[k].log(),
                "divergence": t * ((math.log(t) if t > 0 else 0.0) - p[k].log()),
                "squared_error": (p[k] - t) ** 2 / x.shape[1],
            }[name]
            total = total + w * each
    return total / len(x)


UNLABELED_LOSSES = {"consistency": consistency, "divergence": divergence, "squared_error": squared_error}


@pytest.mark.parametrize("weighted", ["no", "bool", "float", "none counts"])
@pytest.mark.parametrize("name", UNLABELED_LOSSES)
@pytest.mark.parametrize("size", [1, 6])
def test_losses_of_unlabeled_images_and_their_gradients(name: str, weighted: str, size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(size, 4, generator=generator).requires_grad_()
    q = torch.randn(size, 4, generator=generator).softmax(1)
    q[0] = torch.tensor([0.0, 1.0, 0.0, 0.0])  # certain
    q.requires_grad_()
    share = torch.rand(size, generator=generator)
    weight = {"no": None, "bool": share > 0.5, "float": share, "none counts": torch.zeros(size)}[weighted]
    found, expected = UNLABELED_LOSSES[name](x, q, weight), naive_unlabeled(name, x, q, weight)
    assert_same(found, expected, (x, q))
    assert torch.autograd.grad(found, q, allow_unused=True, retain_graph=True)[0] is None
    half = UNLABELED_LOSSES[name](x.bfloat16(), q, weight)
    assert half.dtype == torch.float32 and half.item() == pytest.approx(expected.item(), rel=0.05, abs=0.01)


def test_hard_targets_are_those_of_one_hot_ones() -> None:
    x, target = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 2, 1, 1, 0])
    one_hot = F.one_hot(target, 3).float()
    torch.testing.assert_close(consistency(x, target), consistency(x, one_hot))
    torch.testing.assert_close(consistency(x, target), divergence(x, one_hot))  # a certain target has no entropy


def test_targets_as_probabilities_and_as_classes() -> None:
    hard, soft = torch.tensor([2, 0]), torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])
    assert distribution(hard, 3).tolist() == [[0, 0, 1], [1, 0, 0]] and torch.equal(distribution(soft, 3), soft)
    assert most_probable(soft).tolist() == [1, 0] and torch.equal(most_probable(hard), hard)
    assert distribution(hard[:0], 3).shape == (0, 3) and most_probable(soft[:0]).shape == (0,)


def test_precise_is_float32_or_more() -> None:
    for given, found in ((torch.bfloat16, torch.float32), (torch.float16, torch.float32)):
        assert precise(torch.ones(2, dtype=given)).dtype == found
    x, y = torch.ones(2), torch.ones(2, dtype=torch.float64)
    assert precise(x) is x and precise(y) is y


def test_ramp_of_laine_2017() -> None:
    expected = [math.exp(-5), math.exp(-5 * 0.75**2), math.exp(-5 * 0.25**2), 1, 1]
    assert [gaussian_ramp(t, 80) for t in (0, 20, 60, 80, 300)] == pytest.approx(expected)
    assert gaussian_ramp(0, 0) == 1
