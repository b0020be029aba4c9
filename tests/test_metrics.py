"""Scores against scikit-learn and closed forms, over uneven batches."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
    roc_auc_score,
    top_k_accuracy_score,
)

from semisup.errors import InputError
from semisup.metrics import Evaluation, shots

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
    for k in range(1, 8):
        assert scores.topk_error(k) == pytest.approx(1 - top_k_accuracy_score(truth, logits.numpy(), k=k))
    assert [name for name in scores.scalars if name.startswith("top")] == [f"top{k}_error" for k in (1, 2, 3, 5)]
    assert all(scores.scalars[f"top{k}_error"] == scores.topk_error(k) for k in (1, 2, 3, 5))
    assert scores.topk_error(8) == scores.topk_error(99) == 0
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


def test_topk_error_counts_classes_that_score_strictly_higher() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randint(0, 4, (300, 8), generator=generator).float()  # most rows have ties
    target = torch.randint(0, 8, (300,), generator=generator)
    evaluation = Evaluation(NAMES)
    for chunk in torch.arange(300).split(70):
        evaluation.update(logits[chunk], target[chunk])
    scores = evaluation.compute()
    for k in range(1, 9):
        errors = 0
        for row, label in zip(logits.tolist(), target.tolist(), strict=True):
            errors += sum(score > row[label] for score in row) >= k
        assert scores.topk_error(k) == errors / 300
    assert 0 < scores.topk_error(5) < scores.topk_error(1) < 1 - scores.scalars["accuracy"]
    assert scores.ranks.sum() == 300
    with pytest.raises(InputError, match="at least 1, not 0"):
        scores.topk_error(0)


@pytest.mark.parametrize(
    ("counts", "groups"),
    [
        ([9, 9, 8, 5, 5, 4, 3, 2, 1, 1], [[0, 1, 2], [3, 4, 5, 6], [7, 8, 9]]),
        ([1, 20, 3, 300], [[3], [1, 2], [0]]),
        ([5, 5, 5, 2, 2, 2], [[0, 1], [2, 3], [4, 5]]),
        ([4, 1, 2], [[0], [2], [1]]),
        ([3, 0, 0], [[0], [1], [2]]),
        ([126, 125, 124], []),
        ([5, 1], []),
    ],
)
def test_classes_are_told_apart_by_their_labeled_images(counts: list[int], groups: list[list[int]]) -> None:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    assert list(shots(labels, len(counts)).values()) == groups


def test_scores_by_many_medium_and_few_shot_classes(predictions: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Means over the classes of a group that occur; class 2 does not, and neither do 6 and 7, all of the few."""
    logits, target = predictions
    kept = (target != 2) & (target < 6)
    evaluation = Evaluation(NAMES)
    evaluation.group(torch.repeat_interleave(torch.arange(8), torch.tensor([90, 80, 70, 60, 50, 5, 3, 2])))
    evaluation.update(logits[kept], target[kept])
    scores = evaluation.compute().scalars
    recall = {k: float((logits[target == k].argmax(1) == k).float().mean()) for k in range(6)}
    assert scores["many_shot"] == pytest.approx((recall[0] + recall[1]) / 2)
    assert scores["medium_shot"] == pytest.approx((recall[3] + recall[4]) / 2)
    assert scores["few_shot"] == pytest.approx(recall[5])
    evaluation.update(logits[kept], target[kept])
    assert evaluation.compute().scalars == scores


def test_topk_error_of_scores_whose_probabilities_are_equal() -> None:
    evaluation = Evaluation(("a", "b", "c"))
    evaluation.update(torch.tensor([[500.0, 2.0, 1.0]]), torch.tensor([2]))  # both others have probability 0
    assert evaluation.compute().scalars["top2_error"] == 1


def test_scores_that_are_not_numbers_are_errors() -> None:
    nan, inf = float("nan"), float("inf")
    evaluation = Evaluation(("a", "b", "c"))
    rows = [[nan, nan, nan], [nan, 1.0, 0.0], [1.0, nan, 0.0], [-inf, -inf, inf]]
    evaluation.update(torch.tensor(rows), torch.tensor([0, 0, 0, 2]))
    assert evaluation.ranks.compute().tolist() == [1, 1, 0, 2]


def scikit_learns(logits: torch.Tensor, target: torch.Tensor) -> dict[str, float]:
    """Macro averages, AUC and NLL; the AUC is the mean over the classes that scikit-learn has one for."""
    p, truth, classes = logits.softmax(1).numpy(), target.numpy(), logits.shape[1]
    predicted = p.argmax(1)
    macro = precision_recall_fscore_support(truth, predicted, average="macro", zero_division=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes that are predicted and don't occur
        balanced = balanced_accuracy_score(truth, predicted)
    found = {"balanced_accuracy": balanced, **dict(zip(("precision", "recall", "f1"), macro[:3], strict=True))}
    recalls = [float((predicted[truth == k] == k).mean()) for k in np.unique(truth)]
    found["geometric_mean"] = math.prod(recalls) ** (1 / len(recalls))
    found["nll"] = log_loss(truth, logits.double().softmax(1).numpy(), labels=range(classes))
    rest = [k for k in range(classes) if 0 < (truth == k).sum() < len(truth)]
    if rest:
        found["auc"] = float(np.mean([roc_auc_score(truth == k, p[:, k]) for k in rest]))
    return found


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    classes=st.integers(2, 6),
    count=st.integers(1, 60),
    present=st.integers(1, 6),
    ties=st.booleans(),
)
def test_macro_averages_auc_and_nll_equal_scikit_learn(
    seed: int, classes: int, count: int, present: int, ties: bool
) -> None:
    """With ties, few images, and classes that don't occur, in truth or in predictions."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, classes, generator=generator)
    if ties:
        logits = torch.randint(0, 2, (count, classes), generator=generator) / 2
    target = torch.randint(0, min(present, classes), (count,), generator=generator)
    evaluation = Evaluation(NAMES[:classes], areas=True)
    for chunk in torch.arange(count).split(25):
        evaluation.update(logits[chunk], target[chunk])
    scalars = evaluation.compute().scalars
    wanted = scikit_learns(logits, target)
    assert {name: scalars[name] for name in wanted} == pytest.approx(wanted, abs=1e-6)
    assert ("auc" in scalars) == ("auc" in wanted)


def test_auc_equals_scikit_learns_own_mean_where_all_classes_occur(
    predictions: tuple[torch.Tensor, torch.Tensor],
) -> None:
    logits, target = predictions
    evaluation = Evaluation(NAMES, areas=True)
    for _ in range(2):  # nothing is left of the first time
        evaluation.update(logits, target)
        wanted = roc_auc_score(target, logits.softmax(1), multi_class="ovr", average="macro")
        assert evaluation.compute().scalars["auc"] == pytest.approx(wanted)


def test_a_diverged_network_has_no_likelihood_and_no_area() -> None:
    evaluation = Evaluation(("a", "b"), areas=True)
    evaluation.update(torch.tensor([[float("nan"), 0.0], [1.0, 0.0]]), torch.tensor([0, 1]))
    scalars = evaluation.compute().scalars
    assert np.isnan(scalars["nll"]) and "auc" not in scalars
