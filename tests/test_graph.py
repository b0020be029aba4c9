"""A graph of nearest neighbours in blocks, and labels that spread over it: against loops and the closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from semisup.features.graph import nearest, normalized_graph, spread


def points(count: int, width: int = 6, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)))


def dense(x: Tensor, k: int) -> np.ndarray:
    """S by loops over points (Iscen et al. 2019, equations 9 and 10), in double precision."""
    cosines = (x.double() @ x.double().T).numpy()
    a = np.zeros_like(cosines)
    for i in range(len(x)):
        others = sorted((j for j in range(len(x)) if j != i), key=lambda j: -cosines[i, j])[:k]
        for j in others:
            a[i, j] = max(cosines[i, j], 0) ** 3
    w = a + a.T
    d = w.sum(1)
    s = np.zeros_like(w)
    for i in range(len(x)):
        for j in range(len(x)):
            s[i, j] = w[i, j] / np.sqrt(d[i] * d[j]) if w[i, j] else 0
    return s


@pytest.mark.parametrize(("rows", "columns"), [(1024, 65_536), (7, 5), (1, 1), (50, 3)])
def test_nearest_neighbours_do_not_depend_on_the_blocks(rows: int, columns: int) -> None:
    x = points(50)
    cosines, numbers = nearest(x, 4, rows, columns)
    for i in range(50):
        others = sorted((j for j in range(50) if j != i), key=lambda j: -float(x[i] @ x[j]))[:4]
        assert numbers[i].tolist() == others
        torch.testing.assert_close(cosines[i], x[others] @ x[i])


def test_the_graph_is_symmetric_and_normalised() -> None:
    x = points(40)
    graph = normalized_graph(*nearest(x, 5)).to_dense()
    np.testing.assert_allclose(graph.numpy(), dense(x, 5), atol=1e-6)
    assert torch.equal(graph, graph.T) and float(torch.linalg.eigvalsh(graph).abs().max()) < 1 + 1e-5


@pytest.mark.parametrize("alpha", [0.0, 0.2, 0.99, 0.9999])
def test_labels_spread_to_the_closed_form(alpha: float) -> None:
    x, labels = points(60), torch.tensor([0, 1, 2, 3, 0, 40])  # more classes than spread at once, most without a label
    found = spread(normalized_graph(*nearest(x, 6)), labels, 41, alpha)
    y = np.zeros((60, 41))
    y[np.arange(6), labels] = 1
    solved = np.linalg.solve(np.eye(60) - alpha * dense(x, 6), y)
    sums = solved.sum(1, keepdims=True)
    expected = np.divide(solved, sums, where=sums > 0, out=np.zeros_like(solved))
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-4 if alpha > 0.9 else 1e-5)


def test_what_no_label_reaches_stays_empty() -> None:
    x = torch.eye(8).repeat_interleave(4, 0)[:, :8]  # eight clusters at right angles
    x = F.normalize(x + 1e-3 * points(32, 8))
    found = spread(normalized_graph(*nearest(x, 3)), torch.tensor([2]), 3, 0.9)
    assert (found[:4] == torch.tensor([0.0, 0.0, 1.0])).all() and not found[4:].any()
    alone = normalized_graph(*nearest(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), 1))  # whose only neighbour is opposite
    assert spread(alone, torch.tensor([1]), 2, 0.5).tolist() == [[0, 1], [0, 0]]
