"""Scores against scikit-learn and closed forms, over uneven batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, top_k_accuracy_score

from semisup.metrics import Evaluation

NAMES = tuple("abcdefgh")


@pytest.fixture
def predictions() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(0, 8, (203,), generator=generator)
    logits = torch.randn(203, 8, generator=generator) + 1.5 * torch.nn.functional.one_hot(target, 8)
    return logits, target


def naive_calibration_error(p: np.ndarray, target: np.ndarray, bins: int = 15) -> float:
    confidence, right = p.max(1), p.argmax(1) == target
    error = 0.0
    for b in range(bins):
        inside = (confidence > b / bins) & (confidence <= (b + 1) / bins)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return error


def test_scores_equal_scikit_learn(predictions: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, target = predictions
    evaluation = Evaluation(NAMES)
    for chunk in torch.arange(203).split(60):  # the last batch is smaller
        evaluation.update(logits[chunk], target[chunk])
    scores = evaluation.compute()
    p, truth = logits.softmax(1).numpy(), target.numpy()
    confusion = confusion_matrix(truth, p.argmax(1), labels=range(8))
    assert scores.scalars["accuracy"] == pytest.approx(accuracy_score(truth, p.argmax(1)))
    assert scores.scalars["top5_error"] == pytest.approx(1 - top_k_accuracy_score(truth, p, k=5), abs=1e-6)
    assert scores.scalars["ece"] == pytest.approx(naive_calibration_error(p, truth), abs=1e-5)
    assert scores.confusion.tolist() == confusion.tolist()
    for k, name in enumerate(NAMES):
        assert scores.scalars[f"accuracy/{name}"] == pytest.approx(confusion[k, k] / confusion[k].sum())


def test_a_second_evaluation_starts_anew(predictions: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, target = predictions
    evaluation = Evaluation(NAMES)
    evaluation.update(logits, target)
    first = evaluation.compute()
    evaluation.update(logits, target)
    assert evaluation.compute().scalars == first.scalars


def test_two_classes_and_a_class_that_does_not_occur() -> None:
    evaluation = Evaluation(("cat", "dog"))
    evaluation.update(torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 0]))
    scores = evaluation.compute()
    assert scores.scalars["accuracy"] == 0.5 and scores.scalars["top1_error"] == 0.5
    assert "accuracy/dog" not in scores.scalars
