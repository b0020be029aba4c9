"""Backward passes derived by hand against finite differences, closed forms and PyTorch's own, in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import grad, gradcheck

from experiments.course_layers.convolution import ValidConvolution, input_gradient
from experiments.course_layers.minmax import MinPlusMax
from experiments.course_layers.shift_norm import ShiftNorm, ShiftNormFunction, normalization_gradient
from experiments.course_layers.softmax_regression import SoftmaxRegression
from semisup.errors import InputError


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()


def assert_same(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


SHAPES = [(7, 3), (4, 3, 5), (3, 2, 4, 5)]


@pytest.mark.parametrize("shape", SHAPES)
def test_shift_norm_by_finite_differences_and_by_pytorch(shape: tuple[int, ...]) -> None:
    x, shift, g = numbers(*shape), numbers(shape[1], seed=1), numbers(*shape, seed=2)
    assert gradcheck(lambda *inputs: ShiftNormFunction.apply(*inputs, 1e-3), (x, shift))
    ours, theirs = ShiftNormFunction.apply(x, shift, 1e-3), F.batch_norm(x, None, None, None, shift, True, 0.0, 1e-3)
    assert_same((ours,), (theirs,))
    assert_same(grad(ours, (x, shift), g), grad(theirs, (x, shift), g))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_gradient_of_full_batch_norm_follows_from_the_same_closed_form(shape: tuple[int, ...]) -> None:
    x, scale, shift, g = numbers(*shape), numbers(shape[1], seed=1), numbers(shape[1], seed=2), numbers(*shape, seed=3)
    axes, channel = [axis for axis in range(len(shape)) if axis != 1], (1, -1, *[1] * (len(shape) - 2))
    s = (x.var(axes, correction=0, keepdim=True) + 1e-5).sqrt()
    z = (x - x.mean(axes, keepdim=True)) / s
    ours = (normalization_gradient(scale.view(channel) * g, z, s), (g * z).sum(axes), g.sum(axes))
    assert_same(ours, grad(F.batch_norm(x, None, None, scale, shift, True, 0.0, 1e-5), (x, scale, shift), g))


def test_shift_norms_gradient_is_orthogonal_to_what_normalisation_removes() -> None:
    x, g = numbers(6, 2, 3), numbers(6, 2, 3, seed=1)
    (dx,) = grad(ShiftNormFunction.apply(x, numbers(2, seed=2), 0.0), x, g)
    for direction in (torch.ones_like(x), x):  # the whole batch moved, and stretched
        torch.testing.assert_close(
            (dx * direction).sum((0, 2)), torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-12
        )


def test_the_shift_norm_layer_trains_and_evaluates_as_pytorchs_without_its_scale() -> None:
    ours, theirs = ShiftNorm(3).double(), nn.BatchNorm2d(3).double()
    theirs.weight.requires_grad_(False)
    for layer in (ours, theirs):
        optimizer = torch.optim.SGD([p for p in layer.parameters() if p.requires_grad], 0.1)
        for step in range(4):
            optimizer.zero_grad()
            (layer(3 * numbers(5, 3, 4, 4, seed=step) + 2) ** 3).mean().backward()
            optimizer.step()
    x = numbers(2, 3, 4, 4, seed=9)
    assert ours.shift.abs().min() > 0
    assert_same(
        (ours.shift, ours.running_mean, ours.running_var), (theirs.bias, theirs.running_mean, theirs.running_var)
    )
    assert_same((ours.eval()(x),), (theirs.eval()(x),))


def test_shift_norm_of_a_single_value_is_refused() -> None:
    with pytest.raises(InputError, match=r"several values per channel, not \[1, 3\]"):
        ShiftNorm(3)(torch.zeros(1, 3))


def test_min_plus_max_by_finite_differences_closed_form_and_autograd() -> None:
    x1, x2, g = numbers(4, 5), numbers(4, 5, seed=1), numbers(4, 5, seed=2)
    assert gradcheck(MinPlusMax.apply, (x1, x2))
    s1, s2 = x1.sigmoid(), x2.sigmoid()
    ours = grad(MinPlusMax.apply(x1, x2), (x1, x2), g)
    assert_same(ours, (g * s1 * (1 - s1), g * s2 * (1 - s2)))
    assert_same(ours, grad(torch.minimum(s1, s2) + torch.maximum(s1, s2), (x1, x2), g))
    assert_same((MinPlusMax.apply(x1, x2),), (s1 + s2,))


def test_min_plus_max_has_a_derivative_where_both_are_equal() -> None:
    x1, x2 = numbers(3), numbers(3)
    assert torch.equal(x1, x2) and gradcheck(MinPlusMax.apply, (x1, x2))


def test_softmax_regression_by_finite_differences_closed_form_and_pytorch() -> None:
    x, weight, bias, target = numbers(6, 4), numbers(3, 4, seed=1), numbers(3, seed=2), torch.tensor([0, 2, 1, 1, 0, 2])
    inputs = (x, weight, bias)
    assert gradcheck(SoftmaxRegression.apply, (*inputs, target))
    ours, theirs = SoftmaxRegression.apply(*inputs, target), F.cross_entropy(F.linear(x, weight, bias), target)
    assert_same((ours,), (theirs,))
    gradients = grad(2 * ours, inputs)
    assert_same(gradients, grad(2 * theirs, inputs))
    naive = torch.zeros(3, 4, dtype=torch.float64)
    for row, label in zip(x.detach(), target.tolist(), strict=True):
        p = (weight.detach() @ row + bias.detach()).softmax(0)
        for k in range(3):
            naive[k] += 2 * (p[k] - float(k == label)) * row / 6
    assert_same((gradients[1],), (naive,))


def test_softmax_regression_of_large_scores_stays_finite() -> None:
    x = torch.full((1, 1), 1e4, dtype=torch.float64, requires_grad=True)
    weight = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    loss = SoftmaxRegression.apply(x, weight, torch.zeros(2, dtype=torch.float64), torch.tensor([1]))
    assert loss.item() == pytest.approx(2e4) and grad(loss, x)[0].item() == pytest.approx(2)


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (2, 4), (5, 6)])
def test_valid_convolution_by_finite_differences_and_pytorch(kernel: tuple[int, int]) -> None:
    inputs = numbers(2, 3, 5, 6), numbers(4, 3, *kernel, seed=1), numbers(4, seed=2)
    assert gradcheck(ValidConvolution.apply, inputs)
    theirs = F.conv2d(*inputs)
    g = numbers(*theirs.shape, seed=3)
    assert_same(grad(ValidConvolution.apply(*inputs), inputs, g), grad(theirs, inputs, g))


def test_the_input_gradient_of_a_convolution_is_the_naive_sum() -> None:
    g, weight = numbers(1, 2, 2, 3).detach(), numbers(2, 1, 2, 2, seed=1).detach()
    naive = torch.zeros(1, 1, 3, 4, dtype=torch.float64)
    for o in range(2):
        for i in range(2):
            for j in range(3):
                for u in range(2):
                    for v in range(2):
                        naive[0, 0, i + u, j + v] += weight[o, 0, u, v] * g[0, o, i, j]
    assert_same((input_gradient(g, weight),), (naive,))
