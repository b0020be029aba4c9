"""Datasets of strangers that break the contract: each is one line that names the dataset and what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from helpers import Blobs, install

from semisup.cli import front
from semisup.data.pool import Pool
from semisup.data.pools import DataSpec, Pools
from semisup.errors import InputError

IMAGES = np.random.default_rng(0).integers(0, 256, (30, 1, 8, 8)).astype(np.uint8)
LABELS = np.arange(30) % 3


def labeled(images: Any = IMAGES, labels: Any = LABELS, **kwargs: Any) -> Callable[[Pools], Pools]:
    return lambda pools: replace(pools, labeled=Pool(images, labels, **kwargs))


def with_part(**parts: Any) -> Callable[[Pools], Any]:
    return lambda pools: replace(pools, **parts)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (labeled(IMAGES.astype(np.float32)), r"float32 \(30, 1, 8, 8\) \(ndarray\) for images, .*uint8"),
        (labeled(IMAGES.astype(np.int64)), r"int64 \(30, 1, 8, 8\)"),
        (labeled(IMAGES[:, 0]), r"uint8 \(30, 8, 8\) \(ndarray\) for images"),
        (lambda pools: labeled(torch.from_numpy(IMAGES))(pools), r"torch.uint8 \(30, 1, 8, 8\) \(Tensor\) for images"),
        (lambda pools: labeled(list(IMAGES))(pools), "has a list for images"),
        (labeled(IMAGES.transpose(0, 2, 3, 1)), r"labeled images of \(8, 8, 1\), but its spec says \(1, 8, 8\)"),
        (labeled(IMAGES[..., :7]), r"labeled images of \(1, 8, 7\)"),
        (labeled(labels=LABELS[:29]), "has 29 labels for 30 images"),
        (labeled(labels=LABELS + 1), "has labeled labels from 1 to 3, but its 3 class names are of the labels 0 to 2"),
        (labeled(labels=LABELS - 1), "has labeled labels from -1 to 1"),
        (labeled(labels=LABELS / 2), r"float64 \(30,\) \(ndarray\) for labels, which must be integers"),
        (labeled(labels=LABELS == 1), r"bool \(30,\)"),
        (labeled(labels=np.eye(3, dtype=np.int64)[LABELS]), r"int64 \(30, 3\) \(ndarray\) for labels"),
        (labeled(labels=np.array(list("abc"))[LABELS]), r"<U1 \(30,\)"),
        (labeled(labels=None), "has labeled labels from -1 to -1"),
        (labeled(rows=np.ones(30, dtype=bool)), r"bool \(30,\) \(ndarray\) for rows"),
        (labeled(rows=np.arange(1, 31)), "has rows from 1 to 30 of 30 images"),
        (labeled(rows=np.arange(30) - 1), "has rows from -1 to 28 of 30 images"),
        (labeled(names=["one"]), "has 1 names for 30 images"),
        (labeled(IMAGES[:0], LABELS[:0]), "has no labeled images"),
        (with_part(labeled=None), "gives a NoneType as labeled, which must be a Pool"),
        (with_part(val=(IMAGES, LABELS)), "gives a tuple as val, which must be a Pool"),
        (lambda pools: replace(pools, val=Pool(IMAGES)), "has val labels from -1 to -1"),
        (lambda pools: replace(pools, test=Pool(IMAGES, LABELS * 2)), "has test labels from 0 to 4"),
        (lambda pools: replace(pools, unlabeled=Pool(np.zeros((4, 3, 8, 8), np.uint8))), r"unlabeled images of \(3, 8"),
        (
            with_part(hidden_labels=LABELS),
            r"int64 \(30,\) as hidden_labels, which must be an array of integers \(90,\)",
        ),
        (with_part(hidden_labels=[0] * 90), r"gives \[0, .* as hidden_labels"),
        (with_part(hidden_labels=np.full(90, 3)), "has hidden labels from 3 to 3"),
        (with_part(train_size=0), "gives 0 as train_size"),
        (with_part(train_size=None), "gives None as train_size"),
        (lambda pools: None, "gives a NoneType, but `read` must give Pools"),
        (lambda pools: (pools.labeled, pools.unlabeled), "gives a tuple, but `read` must give Pools"),
    ],
)
def test_pools_that_are_not_what_they_must_be(broken: Callable[[Pools], Any], words: str) -> None:
    class Broken(Blobs):
        def read(self) -> Pools:
            return broken(super().read())

    with pytest.raises(InputError, match=f"^the dataset test_dataset_contract:.*Broken .*{words}"):
        Broken().test_dataloader()


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (("blobs", ("a", "b", "c"), 1, 8), "gives a tuple as its spec"),
        (DataSpec("", ("a", "b", "c"), 1, 8), "names itself ''"),
        (DataSpec("blobs", ("a", "b"), 1, 8), "has labeled labels from 0 to 2, but its 2 class names"),
        (DataSpec("blobs", ("a", "b", "a"), 1, 8), r"gives a class name twice: \['a'\]"),
        (DataSpec("blobs", "abc", 1, 8), "gives 'abc' as class_names"),  # type: ignore[arg-type]
        (DataSpec("blobs", 3, 1, 8), "gives 3 as class_names"),  # type: ignore[arg-type]
        (DataSpec("blobs", (0, 1, 2), 1, 8), r"gives \(0, 1, 2\) as class_names"),  # type: ignore[arg-type]
        (DataSpec("blobs", (), 1, 8), r"gives \(\) as class_names"),
        (DataSpec("blobs", ("a", "b", "c"), 0, 8), "gives 0 as channels"),
        (DataSpec("blobs", ("a", "b", "c"), 1, (8, 8)), r"gives \(8, 8\) as image_size"),  # type: ignore[arg-type]
        (DataSpec("blobs", ("a", "b", "c"), 1, 8.0), "gives 8.0 as image_size"),  # type: ignore[arg-type]
        (DataSpec("blobs", ("a", "b", "c"), 3, 8), r"labeled images of \(1, 8, 8\), but its spec says \(3, 8, 8\)"),
    ],
)
def test_a_spec_that_is_not_what_it_must_be(spec: Any, words: str) -> None:
    class Broken(Blobs):
        @property
        def spec(self) -> DataSpec:
            return spec

    with pytest.raises(InputError, match=f"^the dataset test_dataset_contract:.*Broken .*{words}"):
        _ = Broken().pools


def test_a_dataset_that_keeps_the_contract_is_as_it_was() -> None:
    pools = Blobs().pools
    assert [len(pool) for pool in (pools.labeled, pools.val, pools.test) if pool] == [12, 30, 30]
    assert pools.labeled.labels.tolist() == [k % 3 for k in range(12)]


class NoRead(Blobs):
    read = Blobs.__mro__[1].read  # type: ignore[assignment]


class NoSuper(Blobs):
    def __init__(self, **kwargs: Any) -> None:
        self.truth = "right"


class NoArguments(Blobs):
    def __init__(self) -> None:
        super().__init__()


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("NoRead", "lacks read, which every dataset must have"),
        ("NoSuper", "has an __init__ without super().__init__(**kwargs)"),
        ("NoArguments", "its __init__ must take **kwargs"),
        ("DataSpec", "no subclass of DataModule"),
    ],
)
def test_a_class_that_is_no_dataset(
    target: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    install(monkeypatch, theirs=("semisup.datamodules", f"test_dataset_contract:{target}"))
    assert front.main(["fit", "--data", "theirs", "--tracking.mode", "disabled"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert words in line and target in line
