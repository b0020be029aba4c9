"""Long-tailed pools: counts by the papers' formula, on datasets of all kinds, and what can't be."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import Blobs, classifier, trainer
from hypothesis import given
from hypothesis import strategies as st

from datamodules.digits import Digits
from semisup.classifier import Classifier
from semisup.data.imbalance import _most, imbalanced, long_tail
from semisup.data.pool import Pool
from semisup.data.pools import Pools
from semisup.errors import InputError


def counts(labels: Any, classes: int = 10) -> list[int]:
    return np.bincount(np.asarray(labels), minlength=classes).tolist()


def test_the_counts_of_cifar_10_lt() -> None:
    """As DARP's and DASO's code count them: 1,500 labeled images of the first class, and a ratio of 100."""
    assert long_tail(1500, 100, 10) == [1500, 899, 539, 323, 193, 116, 69, 41, 25, 15]
    assert long_tail(3000, 1, 3) == [3000] * 3
    assert long_tail(4, 100, 10)[-1] == 1 and long_tail(5, 10, 1) == [5]


@given(st.lists(st.integers(1, 500), min_size=1, max_size=12), st.floats(1, 300))
def test_no_greater_tail_fits(available: list[int], ratio: float) -> None:
    def fits(first: int) -> bool:
        return all(a <= b for a, b in zip(long_tail(first, ratio, len(available)), available, strict=True))

    assert fits(_most(available, ratio)) and not fits(_most(available, ratio) + 1)


@pytest.mark.parametrize("unlabeled", ["equal", "reversed", "uniform"])
def test_the_pools_of_digits(unlabeled: Any) -> None:
    data = Digits(labels_per_class=40, imbalance=20, unlabeled_imbalance=unlabeled, unlabeled_per_class=60, seed=3)
    pools = data.pools
    assert counts(pools.labeled.labels) == long_tail(40, 20, 10)
    assert pools.hidden_labels is not None and pools.without_label is not None
    tail = long_tail(60, 20, 10)
    wanted = {"equal": tail, "reversed": tail[::-1], "uniform": [60] * 10}[unlabeled]
    assert counts(pools.hidden_labels) == wanted and len(pools.without_label) == sum(wanted)
    assert pools.labeled_in_unlabeled == len(pools.labeled)

    whole = Digits(labels_per_class=40, seed=3)
    assert whole.pools.unlabeled is not None and whole.pools.hidden_labels is not None
    assert set(pools.labeled.rows) < set(whole.pools.labeled.rows)
    places = {row: place for place, row in enumerate(whole.pools.unlabeled.rows)}
    then = [places[row] for row in pools.without_label.rows]
    assert pools.hidden_labels.tolist() == whole.pools.hidden_labels[then].tolist()
    assert torch.equal(
        pools.without_label.gather(torch.arange(9)), whole.pools.unlabeled.gather(torch.tensor(then[:9]))
    )
    assert pools.val is not None and whole.pools.val is not None
    assert pools.val.rows.tolist() == whole.pools.val.rows.tolist() and data.steps == whole.steps
    assert set(pools.labeled.rows) != set(
        Digits(labels_per_class=40, imbalance=20, unlabeled_imbalance=unlabeled, seed=4).pools.labeled.rows
    )


def test_without_a_number_there_are_as_many_as_there_can_be() -> None:
    data, whole = Digits(labels_per_class=20, imbalance=10), Digits(labels_per_class=20)
    there, found = counts(whole.pools.hidden_labels), counts(data.pools.hidden_labels)
    assert found == long_tail(found[0], 10, 10) and all(a <= b for a, b in zip(found, there, strict=True))
    assert any(a > b for a, b in zip(long_tail(found[0] + 1, 10, 10), there, strict=True))


def test_unlabeled_images_of_unknown_classes_stay_as_they_are() -> None:
    data = Blobs(truth="unknown", imbalance=4, labeled_in_unlabeled=False)
    assert counts(data.pools.labeled.labels, 3) == [4, 2, 1]
    assert data.pools.unlabeled is not None and len(data.pools.unlabeled) == 90


def test_names_stay_with_their_images() -> None:
    images = np.arange(12, dtype=np.uint8).reshape(12, 1, 1, 1)
    pool = Pool(images, np.arange(12) % 2, names=[f"{row}.png" for row in range(12)])
    found = imbalanced(Pools(pool, None, None, None, 12), ("a", "b"), 3).labeled
    assert counts(found.labels, 2) == [6, 2]
    assert [found.name(k) for k in range(8)] == [f"{int(x)}.png" for x in found.gather(torch.arange(8)).flatten()]


def test_what_training_begins_with_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    Digits(imbalance=4, unlabeled_imbalance="uniform", unlabeled_per_class=50).setup("fit")
    printed = capsys.readouterr().out
    assert "data: labeled images by class: 4, 3, 2, 2, 2, 1, 1, 1, 1, 1\n" in printed
    assert f"data: unlabeled images by class: {', '.join(['50'] * 10)}\n" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"imbalance": 0.5}, "data.imbalance is 0.5, but must be at least 1"),
        ({"unlabeled_imbalance": "reversed"}, "data.imbalance is 1; type --data.imbalance 100"),
        ({"unlabeled_per_class": 5}, "data.imbalance is 1; type --data.imbalance 100"),
        ({"imbalance": 2, "unlabeled_per_class": 0}, "data.unlabeled_per_class is 0, but must be at least 1"),
        ({"imbalance": 2, "unlabeled_per_class": 500}, r"is 500, but at most 1\d\d images of class '0'"),
        (
            {"imbalance": 2, "unlabeled_imbalance": "reversed", "unlabeled_per_class": 500},
            r"is 500, but at most 1\d\d images of class '9'",
        ),
    ],
)
def test_what_can_not_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        _ = Digits(**options).pools


def test_a_class_without_images_is_refused() -> None:
    pool = Pool(np.zeros((4, 1, 1, 1), np.uint8), np.zeros(4, np.int64))
    with pytest.raises(InputError, match=re.escape("class 'b' has no image here")):
        imbalanced(Pools(pool, None, None, None, 4), ("a", "b"), 3)


def test_every_evaluation_scores_the_classes_by_their_labeled_images(tmp_path: Path) -> None:
    """While training, after it, and of a model that was restored, which knows them from its checkpoint."""
    data = Blobs(imbalance=4)
    module = classifier(data)
    fit = trainer(1)
    fit.fit(module, data)
    fit.save_checkpoint(tmp_path / "last.ckpt")
    found = [fit.test(module, data, verbose=False)[0]]
    restored = Classifier.from_checkpoint(tmp_path / "last.ckpt")
    found.append(trainer(1).test(restored, Blobs(), verbose=False)[0])
    assert found[0] == found[1] and "few_shot" in module.scores["val"].scalars
    for name, label in {"many_shot": "left", "medium_shot": "middle", "few_shot": "right"}.items():
        assert found[0][f"test/{name}"] == pytest.approx(found[0][f"test/accuracy/{label}"])
