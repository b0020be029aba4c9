"""Bars and lines of figures against naive versions and peers: confusion, calibration, rounds, curves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from drawn_figures import GENERATOR, drawn_image, predictions
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix

from semisup.figures.calibration import BINS, bins, calibration
from semisup.figures.confusion import confusion, counted
from semisup.figures.curves import curves, smoothed
from semisup.figures.rounds import pseudolabels
from semisup.metrics import Evaluation
from semisup.runs.rounds import rounds


def bars(figure: Figure, panel: int) -> list[list[float]]:
    return [[bar.get_height() for bar in group] for group in figure.axes[panel].containers]


# Scores


def test_confusion_counts_as_scikit_learn_and_writes_every_count() -> None:
    p, target = predictions()
    matrix = counted(p, target)
    assert np.array_equal(matrix, confusion_matrix(target, p.argmax(1)))
    figure = confusion(matrix, ("a", "b", "c", "d"))
    axes = figure.axes[0]
    assert np.allclose(drawn_image(figure), matrix / matrix.sum(1, keepdim=True))
    written = {(int(t.get_position()[1]), int(t.get_position()[0])): int(t.get_text()) for t in axes.texts}
    assert written == {(i, j): int(matrix[i, j]) for i in range(4) for j in range(4) if matrix[i, j]}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c", "d"]
    right = 100 * (p.argmax(1) == target).float().mean()
    assert axes.get_title("left").startswith(f"{right:.1f} % of 300 images")


def test_bins_are_the_naive_ones_and_the_bars_show_them() -> None:
    p, target = predictions()
    p[0] = torch.tensor([1.0, 0, 0, 0])  # the last bin is closed
    found, figure = bins(p, target), calibration(p, target)
    naive = []
    for i in range(BINS):
        chosen = [
            (float(row.max()), int(row.argmax()) == int(k))
            for row, k in zip(p.double(), target, strict=True)
            if i / BINS <= float(row.max()) < (i + 1) / BINS or (i == BINS - 1 and float(row.max()) == 1)
        ]
        assert int(found.images[i]) == len(chosen)
        if chosen:
            naive.append((np.mean([right for _, right in chosen]), np.mean([conf for conf, _ in chosen]), len(chosen)))
    accuracy, confidence, images = np.array(naive).T
    assert np.allclose(bars(figure, 0)[0], accuracy)
    assert np.allclose(np.abs(bars(figure, 0)[1]), np.abs(confidence - accuracy))
    assert np.allclose(bars(figure, 1)[0], images)


def test_thin_bins_of_the_calibration_carry_their_count() -> None:
    p = torch.tensor([[0.97, 0.03]] * 40 + [[0.7, 0.3]] * 3)
    lower = calibration(p, torch.zeros(43, dtype=torch.int64)).axes[1]
    assert [text.get_text() for text in lower.texts] == ["3"]


def test_the_calibration_error_is_the_reported_one() -> None:
    p, target = predictions()
    p[:50] = torch.nn.functional.one_hot(target[:50].roll(25), 4).float()  # quite sure, and mostly wrong
    evaluation = Evaluation(("a", "b", "c", "d"))
    evaluation.update(p.clamp(min=1e-30).log(), target)
    ece = evaluation.compute().scalars["ece"]
    assert f"expected calibration error {100 * ece:.1f} %" in calibration(p, target).axes[0].get_title("left")


# Curves


def test_bars_and_lines_of_pseudo_labels_are_the_metrics() -> None:
    metrics: list[dict[str, float]] = [{"epoch": 0, "step": 9, "train/loss": 1.0}]
    for number in range(3):
        count = {"pseudolabel/count/cat": 10.0 + number, "pseudolabel/count/dog": 5.0 * number}
        precision = {"pseudolabel/precision": 0.9, "pseudolabel/precision/cat": 0.8 + number / 10}
        metrics.append({"epoch": number, "step": 10 + number, "pseudolabel/count": 15.0, **count, **precision})
    found = rounds(metrics)
    assert len(found) == 3
    figure = pseudolabels(found)
    assert bars(figure, 0) == [[10, 11, 12], [0, 5, 10]]
    assert [group.get_label() for group in figure.axes[0].containers] == ["cat", "dog"]
    assert [bar.get_y() for bar in figure.axes[0].containers[1]] == [10, 11, 12]
    assert [text.get_text() for text in figure.axes[0].texts] == ["10", "16", "22"]
    cat, dog, overall = figure.axes[1].lines
    assert np.allclose(cat.get_ydata(), [0.8, 0.9, 1.0]) and np.isnan(dog.get_ydata()).all()
    assert list(overall.get_ydata()) == [0.9] * 3


def test_with_many_classes_the_frequent_ones_are_drawn_and_all_are_counted() -> None:
    row = {f"pseudolabel/count/{k}": float(k) for k in range(30)}
    figure = pseudolabels(rounds([{"epoch": 0, "step": 0, **row}]))
    assert len(figure.axes) == 1  # nothing is known of the truth
    heights = {group.get_label(): group[0].get_height() for group in figure.axes[0].containers}
    assert heights == {**{str(k): k for k in range(21, 30)}, "all other classes": sum(range(21))}


def test_curves_are_the_metrics_of_every_run() -> None:
    loss = torch.rand(100, generator=GENERATOR).tolist()
    metrics = [{"epoch": 0, "step": 10 * k + 9, "train/loss": value} for k, value in enumerate(loss)]
    metrics[49]["val/accuracy"], metrics[99]["val/accuracy"] = 0.75, 0.5
    figure = curves({"one": metrics, "other": metrics[:50]})
    raw, mean, *_ = figure.axes[0].lines
    assert list(raw.get_xdata()) == list(range(10, 1001, 10)) and list(raw.get_ydata()) == loss
    assert np.allclose(mean.get_ydata(), [np.mean(loss[max(0, k - 2) : k + 3]) for k in range(100)])
    line, best, _, _ = figure.axes[1].lines
    assert list(line.get_xdata()) == [500, 1000] and list(line.get_ydata()) == [0.75, 0.5]
    assert best.get_xdata() == 500 and best.get_ydata() == 0.75
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one", "other"]


def test_the_best_epoch_is_of_the_last_phase() -> None:
    """Steps of phases before are negative."""
    rows: list[dict[str, float]] = [{"step": -1, "val/accuracy": 0.9}, {"step": 4, "val/accuracy": 0.6}]
    rows += [{"step": 9, "val/accuracy": 0.7}, {"step": 14, "val/accuracy": 0.5}]
    line, best = curves({"run": rows}).axes[1].lines
    assert list(line.get_xdata()) == [0, 5, 10, 15] and (best.get_xdata(), best.get_ydata()) == (10, 0.7)


@pytest.mark.parametrize(("least", "scale"), [(0.5, "linear"), (0.01, "log"), (0.0, "linear")])
def test_the_scale_of_losses_is_logarithmic_where_it_spans_a_decade(least: float, scale: str) -> None:
    metrics = [{"epoch": 0, "step": k, "train/loss": 1.0 if k < 50 else least} for k in range(100)]
    assert curves({"run": metrics}).axes[0].get_yscale() == scale


def test_a_run_that_was_never_validated_has_a_loss_alone() -> None:
    figure = curves({"short": [{"epoch": 0, "step": 9, "train/loss": 0.5}]})
    assert [len(axes.lines) for axes in figure.axes] == [2, 1]
    assert len(smoothed(np.array([]))) == 0
