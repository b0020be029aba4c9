"""Targets from features: scikit-learn's estimators against slow versions of themselves, and a training on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import Blobs, classifier, trainer

from semisup.classifier import ModelOptions
from semisup.errors import InputError
from semisup.predict import features
from strategies.knn import NearestNeighbours
from strategies.labelpropagation import FromFeatures, LabelPropagation
from strategies.linearprobe import LinearTargets

BATCHED = LabelPropagation(method="batched")


def clusters(seed: int = 0, spread: float = 0.15) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Three clusters of 20 points of length 1 with two labels each: labeled points, labels, others, true classes."""
    rng = np.random.default_rng(seed)
    truth = np.arange(60) % 3
    points = np.eye(8)[truth] + spread * rng.standard_normal((60, 8))
    points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    return points[:6], truth[:6], points[6:], truth[6:]


def test_knn_is_the_mean_of_the_nearest_labels_by_inverse_distance() -> None:
    x, y, u, _ = clusters(spread=0.6)
    made = NearestNeighbours(k=3).targets(x, y, u, 4)
    for row, point in zip(made, u, strict=True):
        distance = np.linalg.norm(x - point, axis=1)
        nearest = np.argsort(distance)[:3]
        votes = np.zeros(4)
        for near in nearest:
            votes[y[near]] += 1 / distance[near]
        np.testing.assert_allclose(row, votes / votes.sum(), rtol=1e-4)


def test_labels_spread_to_the_fixed_point_of_the_graph() -> None:
    """(1 - alpha) (I - alpha S)^-1 Y of the k-nearest-neighbour graph (Zhou et al. 2004, equation 4), row by row."""
    x, y, u, truth = clusters(spread=0.3)
    nodes = np.concatenate([x, u]).astype(float)
    made = LabelPropagation(neighbours=5, alpha=0.5).targets(x, y, u, 3)
    distance = np.linalg.norm(nodes[:, None] - nodes, axis=2)
    w = np.zeros((60, 60))
    for i in range(60):
        w[i, np.argsort(distance[i])[:5]] = 1
    np.fill_diagonal(w, 0)
    degree = w.sum(1)
    one_hot = np.zeros((60, 3))
    one_hot[np.arange(6), y] = 1
    s = w / np.sqrt(np.outer(w.sum(0).clip(1e-12), w.sum(0).clip(1e-12)))
    solved = np.linalg.solve(np.eye(60) - 0.5 * s, 0.5 * one_hot)[6:]
    assert degree.min() > 0 and (solved.argmax(1) == made.argmax(1)).mean() > 0.95
    assert (made.argmax(1) == truth).mean() > 0.9
    np.testing.assert_allclose(made.sum(1), 1, rtol=1e-5)


def test_batched_labels_spread_over_a_symmetric_weighted_graph() -> None:
    """(I - alpha S)^-1 Y with S of cosines to the power 3 in both directions, each row over its sum."""
    x, y, u, truth = clusters(spread=0.3)
    nodes = np.concatenate([x, u]).astype(float)
    made = LabelPropagation(neighbours=5, alpha=0.5, method="batched").targets(x, y, u, 3)
    cosines = nodes @ nodes.T - 2 * np.eye(60)
    w = np.zeros((60, 60))
    for i in range(60):
        for j in np.argsort(-cosines[i])[:5]:
            w[i, j] = cosines[i, j] ** 3
    w += w.T
    s = w / np.sqrt(np.outer(w.sum(1), w.sum(1)))
    one_hot = np.zeros((60, 3))
    one_hot[np.arange(6), y] = 1
    solved = np.linalg.solve(np.eye(60) - 0.5 * s, one_hot)[6:]
    np.testing.assert_allclose(made, solved / solved.sum(1, keepdims=True), atol=1e-4)
    assert (made.argmax(1) == truth).mean() > 0.9


@pytest.mark.parametrize("method", ["sklearn", "batched"])
def test_what_no_label_reaches_may_be_of_any_class(method: Any) -> None:
    x, y, u, _ = clusters(spread=0.01)
    made = LabelPropagation(neighbours=3, method=method).targets(x[:1], y[:1], u, 3)
    np.testing.assert_allclose(made.sum(1), 1, rtol=1e-5)
    assert (np.isfinite(made).all() and np.allclose(made[-1], 1 / 3)) or made[-1, 0] == 1


@pytest.mark.parametrize("strategy", [NearestNeighbours(), LinearTargets(), LabelPropagation(), BATCHED])
def test_clusters_are_told_apart_and_a_class_without_label_is_never_given(strategy: FromFeatures) -> None:
    x, y, u, truth = clusters()
    made = strategy.targets(x, y, u, 5)
    assert made.shape == (54, 5) and (made.argmax(1) == truth).all() and np.all(made[:, 3:] == 0)


@pytest.mark.parametrize("strategy", [NearestNeighbours(), LinearTargets(), LabelPropagation(), BATCHED])
def test_labels_of_one_class_and_of_one_image(strategy: FromFeatures) -> None:
    x, _, u, _ = clusters()
    made = strategy.targets(x[:1], np.array([2]), u, 3)
    assert np.isfinite(made).all() and (made.argmax(1) == 2).mean() > 0.3 and np.allclose(made.sum(1), 1)


def test_targets_are_of_the_network_as_the_training_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = Blobs()
    module = classifier(data, strategy := NearestNeighbours(ratio=2), model=ModelOptions("small", adapt="head"))
    module.network.normalization.fit(data.pools.labeled.chunks(16))
    pools = data.pools
    assert pools.without_label is not None
    x, u = (torch.nn.functional.normalize(features(module, pool, 16)) for pool in (pools.labeled, pools.without_label))
    expected = strategy.targets(x.numpy(), pools.labeled.labels.numpy(), u.numpy(), 3)
    trainer(1).fit(module, datamodule=data)
    assert (strategy.targets_.argmax(1).numpy() == expected.argmax(1)).mean() > 0.9  # bfloat16 rounds
    assert torch.equal(data.relabeled.targets, strategy.targets_) and len(data.relabeled) == 90


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: NearestNeighbours(k=0), "knn.k is 0"),
        (lambda: LinearTargets(c=0), "linearprobe.c is 0"),
        (lambda: LabelPropagation(alpha=0), "labelpropagation.alpha is 0"),
        (lambda: LabelPropagation(alpha=1), "labelpropagation.alpha is 1"),
        (lambda: LabelPropagation(neighbours=0), "labelpropagation.neighbours is 0"),
        (lambda: NearestNeighbours(weight=-1), "knn.weight is -1"),
    ],
)
def test_options_out_of_range(make: type, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()
