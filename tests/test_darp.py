"""DARP: the refinement against the authors' solver and the problem itself, steps on FixMatch against naive ones."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from helpers import Blobs, trainer
from one_step import Identity, assert_same, batch, cross_entropies, logits
from scipy import optimize
from torch import Tensor

from semisup.composition import Composition
from semisup.errors import InputError
from semisup.targets import aligned_to_counts, without_noise
from strategies.darp import DARP
from strategies.fixmatch import FixMatch


def predictions(count: int, classes: int, scale: float = 3.0) -> Tensor:
    """(count, classes) float64, biased to the first class."""
    generator = torch.Generator().manual_seed(count)
    x = scale * torch.randn(count, classes, generator=generator, dtype=torch.float64)
    x[:, 0] += 1
    return x.softmax(1)


def tail(count: int, classes: int) -> Tensor:
    """Counts (classes,) float64 that fall off by a factor of 3."""
    shares = torch.tensor([3.0**-k for k in range(classes)], dtype=torch.float64)
    return shares / shares.sum() * count


def slow_without_noise(p: list[list[float]], counts: list[float], delta: float) -> list[list[float]]:
    kept = [[0.0] * len(counts) for _ in p]
    for k, count in enumerate(counts):
        best = sorted(range(len(p)), key=lambda m, k=k: -p[m][k])[: int(delta * count)]  # type: ignore[misc]
        scale = (count + 1e-6) / (sum(p[m][k] for m in best) + 1e-6)
        for m in best:
            kept[m][k] = p[m][k] * scale
    return [[(x + 1e-6) / sum(y + 1e-6 for y in row) for x in row] for row in kept]


def slow_aligned(p: list[list[float]], counts: list[float], rounds: int) -> list[list[float]]:
    """The authors' alternation of scalings of rows and of classes, each of which a root gives to the last digit."""
    w = [1 / -sum(x * math.log(x) for x in row) for row in p]
    y = [[math.exp(-1 / v)] * len(counts) for v in w]
    x: list[float] = []
    for number in range(rounds + 1):
        x = [1 / sum(a * b / math.e for a, b in zip(row, s, strict=True)) for row, s in zip(p, y, strict=True)]
        for k in range(len(counts) if number < rounds else 0):

            def excess(nu: float, k: int = k, x: list[float] = x) -> float:
                return sum(r[k] / math.e * u * math.exp(-nu / v) for r, u, v in zip(p, x, w, strict=True)) - counts[k]

            nu = optimize.brentq(excess, -50, 50, xtol=1e-13)
            for row, v in zip(y, w, strict=True):
                row[k] = math.exp(-nu / v)
    return [[a * u * b / math.e for a, b in zip(r, s, strict=True)] for r, u, s in zip(p, x, y, strict=True)]


@pytest.mark.parametrize(("count", "classes"), [(30, 3), (40, 2), (24, 5)])
@pytest.mark.parametrize("delta", [2.0, 0.7])
def test_noise_goes_and_the_rest_is_aligned(count: int, classes: int, delta: float) -> None:
    p, counts = predictions(count, classes), tail(count, classes)
    y = without_noise(p, counts, delta)
    torch.testing.assert_close(y, torch.tensor(slow_without_noise(p.tolist(), counts.tolist(), delta)).double())
    for rounds in (1, 3):
        slow = torch.tensor(slow_aligned(y.tolist(), counts.tolist(), rounds), dtype=torch.float64)
        torch.testing.assert_close(aligned_to_counts(y, counts, rounds), slow, rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(
            aligned_to_counts(y.float(), counts.float(), rounds), slow.float(), rtol=1e-3, atol=1e-5
        )


def test_in_the_limit_it_is_the_nearest_of_all_that_have_these_sums() -> None:
    """A step along any change that keeps all sums makes the weighted divergence greater."""
    p, counts = predictions(12, 3, 1.0), tail(12, 3)
    x = aligned_to_counts(p, counts, 300)
    torch.testing.assert_close(x.sum(0), counts, rtol=1e-6, atol=0)
    torch.testing.assert_close(x.sum(1), torch.ones(12, dtype=torch.float64))
    w = -1 / (p * p.log()).sum(1)

    def divergence(x: Tensor) -> float:
        return float((w * (x * (x / p).log()).sum(1)).sum())

    for one in range(12):
        for other in range(one):
            change = torch.zeros_like(x)
            change[one, :2], change[other, :2] = torch.tensor([1.0, -1.0]), torch.tensor([-1.0, 1.0])
            step = 1e-3 * change * min(float(x[one].min()), float(x[other].min()))
            assert divergence(x + step) > divergence(x) < divergence(x - step)


@pytest.mark.parametrize("counts", [[90.0, 0.0, 0.0], [0.0, 45.0, 45.0], [30.0, 30.0, 30.0]])
@pytest.mark.parametrize("kind", ["random", "sure", "uniform"])
def test_no_counted_image_and_no_doubt_are_no_trouble(counts: list[float], kind: str) -> None:
    p = {"random": predictions(90, 3, 9.0), "sure": torch.eye(3).repeat(30, 1), "uniform": torch.full((90, 3), 1 / 3)}
    wanted = torch.tensor(counts)
    x = aligned_to_counts(without_noise(p[kind].float(), wanted, 2.0), wanted, 10)
    torch.testing.assert_close(x.sum(1), torch.ones(90))
    assert kind == "uniform" or (x.sum(0) - wanted).abs().max() < 0.5


def test_of_one_class_everything_is() -> None:
    one = torch.tensor([5.0])
    assert torch.equal(aligned_to_counts(without_noise(torch.ones(5, 1), one, 2.0), one, 10), torch.ones(5, 1))


def composed(**options: Any) -> tuple[Identity, DARP]:
    """A training of 20 steps of FixMatch and DARP on 102 unlabeled images."""
    data, darp = Blobs(), DARP(**{"rounds": 3, "interval": 2, "warmup": 0.1, "shares": [3.0, 2.0, 1.0], **options})
    module = Identity(data.spec, Composition({"fixmatch": FixMatch(threshold=0.6, weight=0.5), "darp": darp}))
    module.trainer = trainer(5)
    module.trainer.datamodule = data  # type: ignore[attr-defined]
    darp.setup(module.trainer, module, "fit")
    return module, darp


def test_loss_gradient_and_predictions_of_six_steps() -> None:
    module, darp = composed()
    known = torch.full((102, 3), 1 / 3)
    refined, changed, counted = known, 0, 0
    counts = torch.tensor([51.0, 34.0, 17.0])
    for step in range(6):
        inputs = logits(4, 40, 40, seed=step)
        labeled, weak, strong = inputs
        target, rows = torch.tensor([0, 1, 2, 0]), (torch.arange(40) * 7 + 40 * step) % 102
        rows[3] = rows[30]  # the same image twice
        loss, _, outputs = module.strategy.loss(module, batch(labeled, target, step, rows, weak=weak, strong=strong))
        p = weak.detach().softmax(1)
        known = known.clone()
        for row, prediction in zip(rows.tolist(), p, strict=True):
            known[row] = prediction
        assert torch.equal(darp.predicted_, known)
        if step >= 2:
            if step % 2 == 0:
                refined = aligned_to_counts(without_noise(known, counts, 2.0), counts, 3)
            p = refined[rows]
        terms = [-x.log_softmax(0)[q.argmax()] for q, x in zip(p, strong, strict=True) if q.max() >= 0.6]
        supervised = torch.stack(cross_entropies(labeled, target)).mean()
        assert_same(loss, supervised + 0.5 * sum(terms, torch.tensor(0.0)) / 40, inputs)
        assert outputs["target"].tolist() == p.argmax(1).tolist() and int(outputs["mask"].sum()) == len(terms)
        changed, counted = changed + int((p.argmax(1) != weak.argmax(1)).sum()), counted + len(terms)
    assert changed > 10 and 0 < counted < 240


def test_shares_are_those_of_the_labels_by_default() -> None:
    _, darp = composed(shares=None)
    assert darp.counts_.tolist() == [34, 34, 34] and darp.predicted_.shape == (102, 3)


@pytest.mark.parametrize("shares", [[1.0, 2.0], [0.0, 0.0, 0.0], [1.0, -1.0, 1.0], [1.0, math.inf, 1.0]])
def test_other_shares_are_refused(shares: list[float]) -> None:
    with pytest.raises(InputError, match=r"darp.shares is .* but must be a number from 0 on for each of 3 classes"):
        composed(shares=shares)


def test_predictions_follow_their_images_to_another_pool() -> None:
    module, darp = composed()
    before = darp.predicted_ = torch.rand(102, 3)
    darp.refined_ = before / 2
    places = torch.arange(102) - 2  # the first two are gone; the last two have become new ones
    places[:2] = -1
    darp.remap(module, places)
    assert torch.equal(darp.predicted_[:100], before[2:]) and torch.equal(darp.refined_[:100], before[2:] / 2)
    assert torch.equal(darp.predicted_[100:], torch.full((2, 3), 1 / 3))


def test_alone_it_is_refused() -> None:
    with pytest.raises(InputError, match="darp refines targets, which supervised training does not let others do"):
        Composition({"darp": DARP()})
