"""The linear SVM against scikit-learn's own pipeline."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from semisup.errors import InputError
from semisup.features.linear import linear_svm
from semisup.randomness import key

CS = (1e-5, 1e-3, 1e-1)


def digits() -> tuple[torch.Tensor, ...]:
    """600 to train, 300 to validate, 500 to test; a feature that is constant in training and another in test."""
    x, y = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
    x = torch.cat([x.float(), torch.zeros(len(x), 1)], dim=1)
    x[900:, -1] = 3.0
    return x[:600], y[:600], x[600:900], y[600:900], x[900:1400], y[900:1400]


def test_it_is_scikit_learns_pipeline_with_c_chosen_on_validation() -> None:
    data = digits()
    train_x, train_y, val_x, val_y, test_x, test_y = (part.numpy() for part in data)
    pipelines = {}
    for c in CS:
        svm = LinearSVC(C=c, dual="auto", random_state=key(0) % 2**32)
        pipelines[c] = make_pipeline(StandardScaler(), svm).fit(train_x, train_y)
    val = {c: pipeline.score(val_x, val_y) for c, pipeline in pipelines.items()}
    best = max(val, key=lambda c: val[c])
    scores = linear_svm(*data, cs=CS)
    assert len(set(val.values())) > 1
    assert (scores.c, scores.val_accuracy) == (best, val[best])
    assert scores.test_accuracy == pipelines[best].score(test_x, test_y) > 0.9


def test_of_equally_good_values_the_smallest_is_taken() -> None:
    x = torch.cat([torch.full((20, 1), -1.0), torch.full((20, 1), 1.0)])
    y = torch.arange(40) // 20
    assert linear_svm(x, y, x, y, x, y, cs=(1.0, 0.01, 0.1)).c == 0.01


def test_the_test_images_choose_nothing() -> None:
    train_x, train_y, val_x, val_y, test_x, test_y = digits()
    one = linear_svm(train_x, train_y, val_x, val_y, test_x, test_y, cs=CS)
    other = linear_svm(train_x, train_y, val_x, val_y, test_x.flip(1), test_y.flip(0), cs=CS)
    assert (one.c, one.val_accuracy) == (other.c, other.val_accuracy) and one.test_accuracy != other.test_accuracy


def test_without_validation_images_there_must_be_one_c() -> None:
    train_x, train_y, val_x, val_y, test_x, test_y = digits()
    given = linear_svm(train_x, train_y, None, None, test_x, test_y, cs=(1e-3,))
    chosen = linear_svm(train_x, train_y, val_x, val_y, test_x, test_y, cs=(1e-3,))
    assert given.val_accuracy is None and given.test_accuracy == chosen.test_accuracy
    with pytest.raises(InputError, match="no validation images to choose one of 3 values of C on"):
        linear_svm(train_x, train_y, None, None, test_x, test_y, cs=CS)


def test_one_class_is_refused() -> None:
    x, y = torch.from_numpy(np.eye(3, dtype=np.float32)), torch.zeros(3, dtype=torch.int64)
    with pytest.raises(InputError, match="two classes or more"):
        linear_svm(x, y, x, y, x, y)
