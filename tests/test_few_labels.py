"""Datasets of which all labels are known: what the published files hold, split as promised, few labels given."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torchvision import datasets

from datamodules import eurosat, svhn
from datamodules.cifar100 import CIFAR100
from datamodules.eurosat import EuroSAT
from datamodules.svhn import SVHN
from semisup.data.datamodule import DataModule
from semisup.data.pool import Pool
from semisup.data.pools import Pools
from semisup.errors import InputError

RNG = np.random.default_rng(0)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def cifar100(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataModule:
    """400 training images and 100 test images, of random pixels, in CIFAR-100's own format."""
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for name, count in (("train", 1000), ("test", 100)):
        labels = RNG.permutation(np.arange(count) % 100).tolist()
        content = {"data": RNG.integers(0, 256, (count, 3072), dtype=np.uint8), "fine_labels": labels}
        (folder / name).write_bytes(pickle.dumps(content))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": list(CIFAR100.spec.class_names)}))
    monkeypatch.setattr(datasets.CIFAR100, "train_list", [["train", md5(folder / "train")]])
    monkeypatch.setattr(datasets.CIFAR100, "test_list", [["test", md5(folder / "test")]])
    monkeypatch.setattr(datasets.CIFAR100, "meta", {**datasets.CIFAR100.meta, "md5": md5(folder / "meta")})
    return CIFAR100(str(tmp_path), labels_per_class=2)


@pytest.fixture
def house_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataModule:
    """100 training, 40 test and 60 extra images of random pixels, in SVHN's own format, where a zero is a ten."""
    files = {}
    for part, count in (("train", 100), ("test", 40), ("extra", 60)):
        url, name, _ = datasets.SVHN.split_list[part]
        labels = RNG.permutation(np.arange(count) % 10 + 1)[:, None].astype(np.uint8)
        savemat(tmp_path / name, {"X": RNG.integers(0, 256, (32, 32, 3, count), dtype=np.uint8), "y": labels})
        files[part] = [url, name, md5(tmp_path / name)]
    monkeypatch.setattr(datasets.SVHN, "split_list", files)
    return SVHN(str(tmp_path), labels_per_class=2, extra=True)


@pytest.fixture
def land(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataModule:
    """Ten pictures of each class, laid out as torchvision lays EuroSAT out."""
    for name in EuroSAT.spec.class_names:
        folder = tmp_path / "eurosat" / "2750" / name
        folder.mkdir(parents=True)
        for number in range(10):
            pixels = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{name}_{number + 1}.jpg", quality=90)
    monkeypatch.setattr(eurosat, "_IMAGES", 100)
    return EuroSAT(str(tmp_path), labels_per_class=2)


def pairs(pool: Pool, labels: np.ndarray) -> list[tuple[bytes, int]]:
    images = pool.gather(torch.arange(len(pool)))
    assert images.dtype == torch.uint8
    return [(image.numpy().tobytes(), int(label)) for image, label in zip(images, labels, strict=True)]


def held(pools: Pools) -> tuple[list[tuple[bytes, int]], list[tuple[bytes, int]]]:
    """(training and validation, test): pixels and label of every image."""
    assert pools.without_label and pools.val and pools.test and pools.hidden_labels is not None
    train = [
        *pairs(pools.labeled, pools.labeled.labels.numpy()),
        *pairs(pools.without_label, pools.hidden_labels),
        *pairs(pools.val, pools.val.labels.numpy()),
    ]
    return train, pairs(pools.test, pools.test.labels.numpy())


def published(*sources: datasets.VisionDataset) -> list[tuple[bytes, int]]:
    return sorted(
        (np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1)).tobytes(), int(label))
        for source in sources
        for picture, label in (source[index] for index in range(len(source)))
    )


def test_cifar_100_is_what_torchvision_reads(cifar100: DataModule) -> None:
    root = str(cifar100.root)  # type: ignore[attr-defined]
    train, test = held(cifar100.pools)
    source = datasets.CIFAR100(root)
    assert sorted(train) == published(source) and sorted(test) == published(datasets.CIFAR100(root, train=False))
    assert tuple(source.classes) == cifar100.spec.class_names and len(cifar100.pools.labeled) == 200
    assert cifar100.pools.val is not None and torch.equal(cifar100.pools.val.labels.bincount(), torch.ones(100).long())


def test_the_fine_labels_of_cifar_100_are_a_hundred_names_in_order() -> None:
    names = CIFAR100.spec.class_names
    assert len(set(names)) == 100 and list(names) == sorted(names)


def test_svhn_is_what_torchvision_reads_and_extra_images_are_never_labeled(house_numbers: DataModule) -> None:
    root = str(house_numbers.root)  # type: ignore[attr-defined]
    train, test = held(house_numbers.pools)
    parts = {part: datasets.SVHN(root, split=part) for part in ("train", "test", "extra")}
    assert sorted(train) == published(parts["train"], parts["extra"]) and sorted(test) == published(parts["test"])
    given = house_numbers.pools.labeled
    assert {*pairs(given, given.labels.numpy())} <= {*published(parts["train"])} and len(given) == 20
    assert house_numbers.pools.train_size == 90
    alone = SVHN(root, labels_per_class=2)
    assert sorted(held(alone.pools)[0]) == published(parts["train"])
    assert pairs(alone.pools.labeled, alone.pools.labeled.labels.numpy()) == pairs(given, given.labels.numpy())


def test_eurosat_is_what_torchvision_reads(land: DataModule) -> None:
    root = str(land.root)  # type: ignore[attr-defined]
    train, test = held(land.pools)
    source = datasets.EuroSAT(root)
    assert sorted([*train, *test]) == published(source)
    assert tuple(source.classes) == land.spec.class_names
    pools = land.pools
    assert pools.val is not None and pools.test is not None
    assert [len(pool) for pool in (pools.labeled, pools.val, pools.test)] == [20, 20, 20]
    assert torch.equal(pools.test.labels.bincount(), torch.full((10,), 2))
    name = pools.test.name(0)
    assert name.split("/")[:3:2] == ["eurosat", land.spec.class_names[pools.test.labels[0]]]


@pytest.mark.parametrize("name", ["cifar100", "house_numbers", "land"])
def test_the_seed_chooses_the_labels_and_nothing_else(name: str, request: pytest.FixtureRequest) -> None:
    data = request.getfixturevalue(name)
    one, other = (type(data)(str(data.root), labels_per_class=2, seed=seed).pools for seed in (0, 1))
    assert held(one)[1] == held(other)[1] and np.array_equal(one.val.rows, other.val.rows)
    assert not np.array_equal(one.labeled.rows, other.labeled.rows)
    everything = type(data)(str(data.root)).pools
    assert everything.unlabeled is None and len(everything.labeled) == everything.train_size == one.train_size


def test_damaged_files_are_named_with_what_to_type(house_numbers: DataModule, land: DataModule) -> None:
    root = Path(house_numbers.root)  # type: ignore[attr-defined]
    (root / "train_32x32.mat").write_bytes(b"MATLAB")
    with pytest.raises(InputError, match=r"a wrong md5 of .*train_32x32.mat.*type semisup data download svhn --root"):
        _ = SVHN(str(root)).pools
    next(root.glob("eurosat/2750/River/*.jpg")).unlink()
    with pytest.raises(InputError, match=r"has 100 pictures, found 99 in .*type semisup data download eurosat --root"):
        _ = EuroSAT(str(root)).pools


def test_eurosat_is_unpacked_where_it_is_read(
    land: DataModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(land.root)  # type: ignore[attr-defined]
    before = held(land.pools)

    def publish(url: str, path: Path, size: int, digest: str) -> None:
        assert url.startswith("https://") and size == 94_280_567
        path.parent.mkdir(parents=True)
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted((root / "eurosat").rglob("*.jpg")):
                archive.write(file, file.relative_to(root / "eurosat"))

    monkeypatch.setattr(eurosat, "download", publish)
    eurosat.fetch(tmp_path / "elsewhere")
    eurosat.fetch(tmp_path / "elsewhere")  # a second time there is nothing to do
    assert held(EuroSAT(str(tmp_path / "elsewhere"), labels_per_class=2).pools) == before
    assert [path.name for path in (tmp_path / "elsewhere" / "eurosat").iterdir()] == ["2750"]


def test_svhn_is_fetched_by_its_three_files(house_numbers: DataModule, monkeypatch: pytest.MonkeyPatch) -> None:
    root, wanted = Path(house_numbers.root), []  # type: ignore[attr-defined]
    (root / "test_32x32.mat").unlink()
    monkeypatch.setattr(svhn, "download", lambda url, path, size, md5: wanted.append((url, path, size)))
    svhn.fetch(root)
    url = "https://ufldl.stanford.edu/housenumbers/test_32x32.mat"
    assert wanted == [(url, root / "test_32x32.mat", 64_275_384)]
