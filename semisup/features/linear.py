"""A linear support vector machine on fixed features: the usual test of features that were learned without labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import Tensor

from semisup.errors import require
from semisup.randomness import key

GRID = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


@dataclass(frozen=True)
class LinearScores:
    """What a linear classifier reached.

    Attributes:
        c: the C that it was trained with.
        val_accuracy: from 0 to 1; None without validation images.
        test_accuracy: from 0 to 1.
    """

    c: float
    val_accuracy: float | None
    test_accuracy: float


def linear_svm(
    train_x: Tensor,
    train_y: Tensor,
    val_x: Tensor | None,
    val_y: Tensor | None,
    test_x: Tensor,
    test_y: Tensor,
    *,
    cs: Sequence[float] = GRID,
    seed: int = 0,
) -> LinearScores:
    """Trains scikit-learn's LinearSVC (squared hinge, one class against the rest) and scores it once on test.

    Every feature is scaled to zero mean and unit variance over the training images. C is the one with the best accuracy
    on the validation images, of equally good ones the smallest; nothing is trained on these.

    Args:
        train_x: (N, F) float32 features on the CPU; likewise val_x and test_x.
        train_y: (N,) int64 classes; likewise val_y and test_y.
        val_x: None where `cs` holds one value alone, and there is nothing to choose; likewise val_y.
        val_y: see train_y.
        test_x: see train_x.
        test_y: see train_y.
        cs: values of C to choose from: weight of the training errors against the norm of the weights.
        seed: of the solver's draws.

    Raises:
        InputError: there is more than one C and no validation image, or all training images are of one class.
    """
    require(len(train_y.unique()) > 1, "a linear SVM needs training images of two classes or more")
    if val_x is None or val_y is None:
        require(len(cs) == 1, f"there are no validation images to choose one of {len(cs)} values of C on; give one C")
    scaler = StandardScaler().fit(train_x.numpy())
    scaled, random_state = scaler.transform(train_x.numpy()), key(seed, "linear svm") % (1 << 32)
    models = {
        c: LinearSVC(C=c, dual="auto", random_state=random_state).fit(scaled, train_y.numpy()) for c in sorted(cs)
    }
    accuracies = {}
    if val_x is not None and val_y is not None:
        held_out = scaler.transform(val_x.numpy())
        accuracies = {c: float(model.score(held_out, val_y.numpy())) for c, model in models.items()}
    best = max(models, key=lambda c: accuracies.get(c, 0.0))  # the first of equals
    test_accuracy = float(models[best].score(scaler.transform(test_x.numpy()), test_y.numpy()))
    return LinearScores(best, accuracies.get(best), test_accuracy)
