"""CoMatch: smoothing, memory bank and graph against the paper's equations, pair by pair."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from one_step import assert_same, batch, cross_entropies, identity, logits
from torch import Tensor, nn

from semisup.embeddings import graph_contrast, smoothed
from strategies.comatch import CoMatch


def drawn(rows: int, width: int, seed: int) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def naive_smoothed(p: Tensor, z: Tensor, bank: list[tuple[Tensor, Tensor]], alpha: float, t: float) -> Tensor:
    """Equations 5 to 7 for every image and every remembered one."""
    rows = []
    for own, embedding in zip(p, z, strict=True):
        near = [math.exp(float(embedding @ other) / t) for _, other in bank]
        neighbours = sum((a / sum(near) * q for a, (q, _) in zip(near, bank, strict=True)), torch.zeros(p.shape[1]))
        rows.append(alpha * own + (1 - alpha) * neighbours)
    return torch.stack(rows)


def naive_graph(
    z: Tensor, everyone: Tensor, q: Tensor, others: Tensor, first: int, threshold: float, t: float
) -> Tensor:
    """Equations 8 to 10; the authors' code adds 1e-7 to the embeddings' graph."""
    total = torch.tensor(0.0)
    for b in range(len(z)):
        edges = [float(q[b] @ other) for other in others]
        edges = [1.0 if j == first + b else w if w >= threshold else 0.0 for j, w in enumerate(edges)]
        near = torch.stack([(z[b] @ other / t).exp() for other in everyone])
        for j, w in enumerate(edges):
            total = total - w / sum(edges) * (near[j] / near.sum()).log()
    return total / len(z)


def test_smoothing() -> None:
    p, bank_p = drawn(4, 3, 0).softmax(1), drawn(7, 3, 1).softmax(1)
    z, bank_z = F.normalize(drawn(4, 5, 2)), F.normalize(drawn(7, 5, 3))
    bank = list(zip(bank_p, bank_z, strict=True))
    found = smoothed(p, z, bank_p, bank_z, 0.9, 0.2)
    torch.testing.assert_close(found, naive_smoothed(p, z, bank, 0.9, 0.2))
    torch.testing.assert_close(found.sum(1), torch.ones(4))
    assert torch.equal(smoothed(p, z, bank_p, bank_z, 1.0, 0.2), p)
    assert torch.equal(smoothed(p, z, torch.empty(0, 0), torch.empty(0, 5), 0.9, 0.2), p)


@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("first", "count"), [(0, 6), (2, 3), (5, 1)])
def test_the_graph_and_its_gradient(threshold: float, first: int, count: int) -> None:
    """Of a rank's rows, which begin anywhere in the global batch; a row is always its own neighbour."""
    z, everyone = (F.normalize(drawn(6, 5, seed)).requires_grad_() for seed in (0, 1))
    others = (4 * drawn(6, 3, 2)).softmax(1)
    own = z[first : first + count]
    q = others[first : first + count]
    found = graph_contrast(own, everyone, q, others, torch.arange(first, first + count), threshold, 0.2)
    assert_same(found, naive_graph(own, everyone, q, others, first, threshold, 0.2), (z, everyone))


def test_a_graph_without_edges_tells_images_apart() -> None:
    z = torch.eye(3)
    found = graph_contrast(z, z, torch.full((3, 3), 1 / 3), torch.full((3, 3), 1 / 3), torch.arange(3), 0.8, 1.0)
    assert found.item() == pytest.approx(math.log(math.e + 2) - 1)


def test_loss_gradient_and_bank_of_seven_steps() -> None:
    """The bank holds the latest five batches, newest first: probabilities before smoothing, then the labels."""
    module = identity(strategy := CoMatch(threshold=0.7, contrast_threshold=0.5, weight=0.5, contrast_weight=2.0))
    module.network.extra["projection"] = project = nn.Linear(3, 64)
    nn.init.normal_(project.weight, generator=torch.Generator().manual_seed(0))
    nn.init.zeros_(project.bias)
    bank: list[tuple[Tensor, Tensor]] = []
    means: list[Tensor] = []
    counted = 0
    for step in range(7):
        inputs = logits(2, 6, 6, 6, seed=step)
        labeled, weak, strong, other = inputs
        target = torch.tensor([step % 3, 2])
        views = {"weak": weak, "strong": strong, "strong_2": other}
        loss, _, outputs = strategy.loss(module, batch(labeled, target, step, **views))
        zx, zw, zs, zo = (F.normalize(project(x)) for x in inputs)
        means.append(weak.detach().softmax(1).mean(0))
        p = weak.detach().softmax(1) / torch.stack(means).mean(0)  # alignment, as in the authors' code
        p = p / p.sum(1, keepdim=True)
        q = naive_smoothed(p, zw.detach(), bank, 0.9, 0.2) if bank else p
        new = [*zip(p, zw.detach(), strict=True), *zip(F.one_hot(target, 3).float(), zx.detach(), strict=True)]
        bank = (new + bank)[: 5 * 8]
        mask = [float(row.max()) >= 0.7 for row in q]
        terms = [-(a * s.log_softmax(0)).sum() for a, s, counts in zip(q, strong, mask, strict=True) if counts]
        unsupervised = sum(terms, torch.tensor(0.0)) / 6
        graph = naive_graph(zs, zo, q, q, 0, 0.5, 0.2)
        expected = torch.stack(cross_entropies(labeled, target)).mean() + 0.5 * unsupervised + 2 * graph
        assert_same(loss, expected, inputs)
        torch.testing.assert_close(outputs["target"], q)
        assert outputs["mask"].tolist() == mask
        torch.testing.assert_close(strategy.bank_p_, torch.stack([row for row, _ in bank]))
        torch.testing.assert_close(strategy.bank_z_, torch.stack([row for _, row in bank]))
        counted += sum(mask)
    assert len(bank) == 40 and 0 < counted < 42


def test_the_mean_prediction_is_of_the_latest_32_batches() -> None:
    module = identity(strategy := CoMatch())
    module.network.extra["projection"] = nn.Linear(3, 64)
    expected = []
    for step in range(34):
        labeled, weak, strong, other = logits(1, 1, 1, 1, seed=step)
        views = {"weak": weak, "strong": strong, "strong_2": other}
        strategy.loss(module, batch(labeled, torch.tensor([0]), step, **views))
        expected.append(weak.detach().softmax(1).mean(0))
    torch.testing.assert_close(torch.stack(strategy.means_), torch.stack(expected[2:]))
