"""K-means features against a loop over positions, in NumPy, and the verb that scores them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import patches as crops

from datamodules.digits import Digits
from semisup.cli import kmeans_features
from semisup.cli.front import main
from semisup.data.pool import Pool
from semisup.errors import InputError
from semisup.features import chunks, coates
from semisup.features.coates import encode, features, sum_quadrants, triangle
from semisup.features.dictionary import Dictionary, learn
from semisup.features.linear import GRID, linear_svm
from semisup.figures.filters import filters
from semisup.figures.style import save

pytestmark = pytest.mark.usefixtures("cache")


def learned(k: int = 20, size: tuple[int, int] = (3, 4), eps: float | None = 0.1) -> Dictionary:
    return learn(Pool(crops().numpy()), k, size, 0, images=12, patches_per_image=100, eps=eps)


def naive(image: np.ndarray, dictionary: Dictionary) -> np.ndarray:
    """Section 3.2 of the paper, position by position: (C, H, W) -> (4 * k,)."""
    _, h, w = dictionary.shape
    centroids = dictionary.centroids.numpy().astype(np.float64)
    rows, columns = image.shape[1] - h + 1, image.shape[2] - w + 1
    pooled = np.zeros((2, 2, len(centroids)))
    for y in range(rows):
        for x in range(columns):
            patch = image[:, y : y + h, x : x + w].astype(np.float64).ravel()
            patch = (patch - patch.mean()) / np.sqrt(patch.var(ddof=1) + 10)
            if dictionary.whitening:
                patch = (patch - dictionary.whitening.mean.numpy()) @ dictionary.whitening.matrix.numpy()
            z = np.array([np.linalg.norm(patch - centroid) for centroid in centroids])
            pooled[int(y >= (rows + 1) // 2), int(x >= (columns + 1) // 2)] += np.maximum(0, z.mean() - z)
    return pooled.ravel()


@pytest.mark.parametrize("eps", [0.1, None])
@pytest.mark.parametrize("side", [8, 9])
def test_features_are_those_of_a_loop_over_positions(side: int, eps: float | None) -> None:
    images, dictionary = crops(side, (100, 300)), learned(eps=eps)
    expected = np.stack([naive(image, dictionary) for image in images.numpy()])
    found = encode(images, dictionary)
    assert found.shape == (8, 80) and found.dtype == torch.float32
    assert np.allclose(found.numpy(), expected, rtol=1e-3, atol=1e-3 * expected.max())


def test_the_triangle_is_zero_from_the_mean_distance_on() -> None:
    assert triangle(torch.tensor([[1.0, 2.0, 6.0], [4.0, 4.0, 4.0]])).tolist() == [[2.0, 1.0, 0.0], [0.0, 0.0, 0.0]]


def test_quadrants_of_odd_sides_give_the_middle_to_the_first_half() -> None:
    maps = torch.arange(15.0).reshape(1, 3, 5, 1)  # rows 0-4, 5-9, 10-14
    assert sum_quadrants(maps).tolist() == [[0 + 1 + 2 + 5 + 6 + 7, 3 + 4 + 8 + 9, 10 + 11 + 12, 13 + 14]]


def test_a_pool_is_streamed_in_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    images, dictionary = crops(16, (100, 200, 300)), learned()
    pool = Pool(images.numpy(), rows=np.array([7, 3, 11, 0, 5]))
    whole = encode(images[[7, 3, 11, 0, 5]], dictionary)
    positions, sizes = 14 * 13, []
    monkeypatch.setitem(chunks.NUMBERS, "cpu", 2 * positions * 36)  # two images at a time
    monkeypatch.setattr(coates, "encode", lambda x, d: sizes.append(len(x)) or encode(x, d))
    assert torch.allclose(features(pool, dictionary), whole, rtol=1e-4, atol=1e-3)
    assert sizes == [2, 2, 1]


@pytest.mark.parametrize("shape", [(3, 3), (1, 9)])
def test_images_that_do_not_fit_the_dictionary_are_refused(shape: tuple[int, int]) -> None:
    channels, side = shape
    pool = Pool(np.zeros((2, channels, side, side), dtype=np.uint8))
    with pytest.raises(InputError, match=rf"3x3x4 .* can't slide over images of {channels}x{side}x{side}"):
        features(pool, learned())


@pytest.mark.parametrize("drawn", [20, 1600])
def test_the_verb_scores_features_of_the_unlabeled_images_dictionary(
    drawn: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kmeans_features, "_DRAWN", drawn)
    options = ["--data", "digits", "--seed", "3", "--centroids", "50", "--patch", "4", "--patches_per_image", "4"]
    assert main(["kmeans-features", *options]) == 0
    pools = Digits(seed=3).pools
    assert pools.without_label is not None and pools.val is not None and pools.test is not None
    dictionary = learn(pools.without_label, 50, (4, 4), 3, images=20_000, patches_per_image=4)
    x = [features(pool, dictionary) for pool in (pools.labeled, pools.val, pools.test)]
    y = [pool.labels for pool in (pools.labeled, pools.val, pools.test)]
    scores = linear_svm(x[0], y[0], x[1], y[1], x[2], y[2], cs=GRID, seed=3)
    printed = capsys.readouterr().out
    assert scores.val_accuracy is not None and scores.test_accuracy > 0.7
    assert f"linear SVM with C {scores.c:g}" in printed
    assert f"val/accuracy   {100 * scores.val_accuracy:6.2f} %" in printed
    assert f"test/accuracy  {100 * scores.test_accuracy:6.2f} %" in printed

    (folder,) = tmp_path.glob("runs/digits/kmeans-features/*-s3")
    assert f"{folder.relative_to(tmp_path)}/scores.csv\n" in printed
    header, line = (folder / "scores.csv").read_text().splitlines()
    assert header == "c,val_accuracy,test_accuracy"
    assert [float(value) for value in line.split(",")] == [scores.c, scores.val_accuracy, scores.test_accuracy]
    title = "the first 20 of 50 centroids of whitened patches" if drawn == 20 else "50 centroids of whitened patches"
    centroids = dictionary.centroids.unflatten(1, (1, 4, 4))[:drawn]
    for path in save(filters({title: centroids}), tmp_path / "expected", "centroids"):
        assert (folder / path.name).read_bytes() == path.read_bytes()
        assert f"{folder.relative_to(tmp_path) / path.name}\n" in printed


def test_the_verb_writes_where_it_is_told_and_with_one_c_chooses_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--data", "digits", "--centroids", "9", "--patch", "3", "--c", "0.5", "--out", "here"]
    assert main(["kmeans-features", *options]) == 0
    assert {path.name for path in Path("here").glob("[!.]*")} == {"centroids.png", "centroids.pdf", "scores.csv"}
    assert Path("here/scores.csv").read_text().splitlines()[1].startswith("0.5,")
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--centroids", "1"], "--centroids is 1, but must be at least 2"),
        (["--patch", "1"], "--patch is 1, but must be at least 2"),
        (["--images", "0"], "--images is 0, but must be at least 1"),
        (["--patches_per_image", "0"], "--patches_per_image is 0, but must be at least 1"),
        (["--c", "0"], "--c is 0.0, but must be more than 0, and finite"),
        (["--c", "inf"], "--c is inf, but must be more than 0, and finite"),
        (["--c", "nan"], "--c is nan, but must be more than 0, and finite"),
        (["--trainer.max_epochs", "3"], "there is no option --trainer.max_epochs here"),
        (["--patch", "8"], "--patch is 8, but patches slide over the images, which have 8 pixels a side; type --patch"),
        (["--images", "3", "--patches_per_image", "5"], "1,600 centroids on 15 patches, 5 of each of 3 images; take"),
        (["--images", "1", "--patches_per_image", "1"], "can't place 1,600 centroids on 1 patches"),
        (["--data.batchsize", "3"], "did you mean --data.batch_size"),
    ],
)
def test_the_verb_refuses_what_is_wrong(
    argv: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert main(["kmeans-features", "--data", "digits", *argv]) == 2
    printed = capsys.readouterr()
    (error,) = printed.err.splitlines()
    assert error.startswith("semisup: error: ") and message in error
    assert "kmeans-features:" not in printed.out and not list((tmp_path / "empty").iterdir())
