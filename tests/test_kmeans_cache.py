"""The cache of k-means: the same patches are clustered once, and a damaged cache costs no more than that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from kmeans_data import Photographs

from semisup.features.dictionary import learn

pytestmark = pytest.mark.usefixtures("cache")


def test_the_same_patches_are_clustered_once(cache: Path) -> None:
    pool, options = Photographs().pools.labeled, {"images": 12, "patches_per_image": 20}
    first = learn(pool, 8, (3, 3), 0, **options)
    (file,) = cache.iterdir()
    again = learn(pool, 8, (3, 3), 0, **options)
    assert torch.equal(again.centroids, first.centroids) and torch.equal(again.filters(), first.filters())
    kept = torch.load(file, weights_only=True)
    torch.save({**kept, "centroids": torch.ones(8, 27)}, file)  # what is recalled now is the cache's
    assert torch.equal(learn(pool, 8, (3, 3), 0, **options).centroids, torch.ones(8, 27))


def test_whatever_changes_the_centroids_is_another_entry_of_the_cache(cache: Path) -> None:
    data, other = Photographs(), Photographs()
    other.pools.labeled._images[:, 0] //= 2
    base = {"pool": data.pools.labeled, "k": 8, "seed": 0, "eps": 0.1, "method": "auto", "images": 12}
    changes = [{"k": 9}, {"seed": 1}, {"eps": 0.2}, {"eps": None}, {"method": "lloyd"}, {"images": 11}, {"steps": 9}]
    for number, change in enumerate([{}, *changes, {"pool": other.pools.labeled}, {"method": "minibatch"}], start=1):
        learn(**{**base, **change}, size=(3, 3), patches_per_image=20)
        assert len(list(cache.iterdir())) == min(number, 9), change  # the last is what auto stands for


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", "half"])
def test_a_damaged_cache_is_computed_anew(damage: Any, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pool, options = Photographs().pools.labeled, {"images": 12, "patches_per_image": 20}
    first = learn(pool, 8, (3, 3), 0, **options)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if damage == "half" else damage)
    assert torch.equal(learn(pool, 8, (3, 3), 0, **options).centroids, first.centroids)
    assert f"{file} is damaged; its centroids are computed anew" in capsys.readouterr().out
    assert torch.equal(torch.load(file, weights_only=True)["centroids"], first.centroids)
    assert list(cache.iterdir()) == [file]


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    pool = Photographs().pools.labeled
    one, other = (learn(pool, 8, (3, 3), 0, images=12, patches_per_image=20) for _ in range(2))
    assert torch.equal(one.centroids, other.centroids)
