"""SimMatch: unfolding, aggregation and the bank against the paper's equations, image by image and row by row."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from one_step import assert_same, batch, cross_entropies, identity, logits
from torch import Tensor, nn

from semisup.embeddings import aggregated, remembered, similarities, unfolded
from strategies.simmatch import SimMatch

Bank = dict[int, Tensor]  # of the rows that are filled


def drawn(rows: int, width: int, seed: int) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def naive_similarities(z: Tensor, bank: Bank, t: float) -> dict[int, Tensor]:
    """Equations 3 and 4 for one embedding."""
    near = {row: (z @ other / t).exp() for row, other in bank.items()}
    total = torch.stack(list(near.values())).sum()
    return {row: x / total for row, x in near.items()}


def naive_targets(
    p: Tensor, z: Tensor, bank: Bank, labels: list[int], alpha: float, t: float
) -> tuple[Tensor, dict[int, float]]:
    """Equations 7 to 10 for one image: the smoothed probabilities and the scaled similarities."""
    q = {row: float(x) for row, x in naive_similarities(z, bank, t).items()}
    by_class = [sum(x for row, x in q.items() if labels[row] == k) for k in range(len(p))]
    scaled = {row: x * float(p[labels[row]]) for row, x in q.items()}
    total = sum(scaled.values())
    return alpha * p + (1 - alpha) * torch.tensor(by_class), {row: x / total for row, x in scaled.items()}


def naive_bank(bank: Bank, z: Tensor, rows: list[int], decay: float) -> Bank:
    """Equation 12."""
    new = dict(bank)
    for row in set(rows):
        mean = torch.stack([x for x, of in zip(z, rows, strict=True) if of == row]).mean(0)
        moved = decay * bank[row] + (1 - decay) * mean if row in bank else mean
        new[row] = moved / moved.norm()
    return new


def as_tensor(bank: Bank, rows: int, width: int) -> Tensor:
    return torch.stack([bank.get(row, torch.zeros(width)) for row in range(rows)])


def test_targets_of_a_bank_that_is_filled_in_part() -> None:
    labels = [0, 2, 2, 1, 0]
    bank = {row: F.normalize(drawn(1, 4, row))[0] for row in (0, 1, 2, 3)}
    p, z = (2 * drawn(6, 3, 10)).softmax(1), F.normalize(drawn(6, 4, 11))
    q = similarities(z, as_tensor(bank, 5, 4), 0.1).softmax(1)
    torch.testing.assert_close(q.sum(1), torch.ones(6))
    assert q[:, 4].tolist() == [0] * 6
    smooth = 0.9 * p + 0.1 * aggregated(q, torch.tensor(labels), 3)
    like = unfolded(q, p, torch.tensor(labels))
    for k in range(6):
        expected, scaled = naive_targets(p[k], z[k], bank, labels, 0.9, 0.1)
        torch.testing.assert_close(smooth[k], expected)
        torch.testing.assert_close(like[k], torch.tensor([scaled.get(row, 0.0) for row in range(5)]))


@pytest.mark.parametrize("rows", [[2], [0, 3], [1, 1, 1], [3, 1, 3, 0]])
def test_the_bank_takes_in_a_batch(rows: list[int]) -> None:
    """Also with an image twice; the code of the authors keeps whichever of them is written last."""
    bank = {row: F.normalize(drawn(1, 4, row))[0] for row in (0, 1)}
    z = F.normalize(drawn(len(rows), 4, 7))
    found = remembered(as_tensor(bank, 4, 4), z, torch.tensor(rows), 0.7)
    torch.testing.assert_close(found, as_tensor(naive_bank(bank, z, rows, 0.7), 4, 4))


def test_loss_gradient_and_bank_of_five_steps() -> None:
    options = {"threshold": 0.6, "temperature": 0.5, "alpha": 0.8, "bank_decay": 0.6}
    module = identity(strategy := SimMatch(weight=0.5, instance_weight=2.0, **options))  # type: ignore[arg-type]
    module.network.extra["projection"] = project = nn.Linear(3, 128)
    nn.init.normal_(project.weight, generator=torch.Generator().manual_seed(0))
    nn.init.zeros_(project.bias)
    labels = module.datamodule.pools.labeled.labels.tolist()
    bank: Bank = {}
    means: list[Tensor] = []
    counted = 0
    for step in range(5):
        inputs = logits(4, 8, 8, seed=step)
        labeled, weak, strong = inputs
        given = batch(labeled, torch.tensor([labels[row] for row in range(4)]), step, weak=weak, strong=strong)
        given.labeled.index = rows = (torch.arange(4) * 2 + step) % len(labels)
        loss, metrics, outputs = strategy.loss(module, given)

        zx, zw, zs = (F.normalize(project(x)) for x in inputs)
        means.append(weak.detach().softmax(1).mean(0))
        p = weak.detach().softmax(1) / torch.stack(means).mean(0)
        p = p / p.sum(1, keepdim=True)
        targets, terms, instances = [], [], []
        for k in range(8):
            target = p[k]
            if bank:
                target, like = naive_targets(p[k], zw[k].detach(), bank, labels, 0.8, 0.5)
                near = naive_similarities(zs[k], bank, 0.5)
                instances.append(-torch.stack([like[row] * near[row].log() for row in bank]).sum())
            targets.append(target)
            if float(target.max()) >= 0.6:
                terms.append(-(target * strong[k].log_softmax(0)).sum())
        instance = torch.stack(instances).mean() if bank else torch.tensor(0.0)
        supervised = torch.stack(cross_entropies(labeled, given.labeled.target)).mean()
        expected = supervised + 0.5 * sum(terms, torch.tensor(0.0)) / 8 + 2 * instance
        assert_same(loss, expected, inputs)
        torch.testing.assert_close(metrics["loss_instances"], instance)
        torch.testing.assert_close(outputs["target"], torch.stack(targets))
        assert int(outputs["mask"].sum()) == len(terms)
        bank = naive_bank(bank, zx.detach(), rows.tolist(), 0.6)
        torch.testing.assert_close(strategy.bank_, as_tensor(bank, len(labels), 128))
        counted += len(terms)
    assert len(bank) == 11 and 0 < counted < 40


def test_a_class_that_can_not_be_makes_no_number_that_is_none() -> None:
    """The probability of a class may be 0 in float32, and the bank may hold images of that class alone."""
    like = unfolded(torch.ones(1, 2) / 2, torch.tensor([[1.0, 0.0]]), torch.tensor([1, 1]))
    assert like.tolist() == [[0.0, 0.0]]


def test_the_bank_begins_anew_where_the_labeled_images_are_others() -> None:
    module = identity(strategy := SimMatch())
    strategy.bank_, strategy.labels_ = torch.ones(3, 128), torch.zeros(3, dtype=torch.int64)
    strategy.remap(module, torch.arange(5))
    assert strategy.bank_.shape == (12, 128) and not strategy.bank_.any()
    assert torch.equal(strategy.labels_, module.datamodule.pools.labeled.labels)


def test_similar_to_nothing_but_itself() -> None:
    z = torch.eye(3)
    assert similarities(z, z, 1.0).softmax(1)[0, 0].item() == pytest.approx(math.e / (math.e + 2))
