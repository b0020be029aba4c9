"""Datasets: STL-10's and MNIST's files, folders of pictures, and what is kept beside them."""

from __future__ import annotations

import gzip
import io
import struct
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn
from PIL import Image

from datamodules.duplicates import cached_duplicates, sealed
from datamodules.folder import Folder
from datamodules.mnist import MNIST
from datamodules.stl10 import STL10
from fuzzing.damage import NAMES, damaged, some_damaged
from fuzzing.judging import Case, Property
from semisup.batch import UNLABELED
from semisup.data.pool import Pool
from semisup.data.pools import Pools

_SIDE, _CLASSES = 4, 10
_SIZES = {"train": 30, "test": 12, "unlabeled": 9}
_PICTURE = 8  # pixels a side


def pixels(pool: Pool) -> np.ndarray:
    """(N, C, H, W) uint8."""
    return pool.gather(torch.arange(len(pool))).numpy()


def parts(pools: Pools) -> dict[str, Pool]:
    """The pools that there are."""
    found = {"labeled": pools.labeled, "unlabeled": pools.without_label, "val": pools.val, "test": pools.test}
    return {name: pool for name, pool in found.items() if pool is not None}


# ---- STL-10


@cache
def stl10_files() -> dict[str, bytes]:
    """A small STL-10 whose unlabeled image 3 is test image 5."""
    rng = np.random.default_rng(0)
    images = {part: rng.integers(0, 256, (count, 3 * _SIDE**2), np.uint8) for part, count in _SIZES.items()}
    images["unlabeled"][3] = images["test"][5]
    files = {f"{part}_X.bin": stored.tobytes() for part, stored in images.items()}
    for part in ("train", "test"):
        files[f"{part}_y.bin"] = bytes(row % _CLASSES + 1 for row in range(_SIZES[part]))
    truth = io.BytesIO()
    np.save(truth, np.arange(_SIZES["unlabeled"], dtype=np.uint8) % _CLASSES + 1)
    folds = "".join(f"{k} {k + 10} {k + 20}\n" for k in range(10))
    names = "".join(f"class{k}\n" for k in range(_CLASSES))
    more = {"unlabeled_y.npy": truth.getvalue(), "fold_indices.txt": folds.encode(), "class_names.txt": names.encode()}
    return files | more


@st.composite
def stl10_cases(draw: DrawFn) -> Case:
    files, whole = draw(some_damaged(stl10_files()))
    split, fold = draw(st.sampled_from((("course", None), ("full", None), ("fold", 3))))
    return Case({f"stl10_binary/{name}": content for name, content in files.items()}, (split, fold), whole)


def check_stl10(case: Case) -> None:
    """Every pixel and label is that of the files, read byte by byte."""
    split, fold = case.given
    pools = STL10(".", split=split, fold=fold).pools
    files = {name.rpartition("/")[2]: content for name, content in case.files.items()}
    labels = {part: [byte - 1 for byte in files[f"{part}_y.bin"]] for part in ("train", "test")}
    classes = len(files["class_names.txt"].decode().split())
    assert all(0 <= label < classes for label in chain(*labels.values()))
    for name, pool in parts(pools).items():
        part = {"labeled": "train", "val": "train"}.get(name, name)
        assert pool.labels.tolist() == (
            [UNLABELED] * len(pool) if part == "unlabeled" else [labels[part][row] for row in pool.rows]
        )
        content, side = files[f"{part}_X.bin"], pool.shape[1]
        assert pool.shape == (3, side, side) and len(content) % (3 * side * side) == 0
        for index, image in enumerate(pixels(pool)):
            source, _, row = pool.name(index).rpartition("/")  # an image of train among the unlabeled ones: train/ROW
            start = int(row) * image.size
            planes = files[f"{source or part}_X.bin"][start : start + image.size]
            assert np.array_equal(image, np.frombuffer(planes, np.uint8).reshape(3, side, side).transpose(0, 2, 1))
    if split == "fold":
        lines = files["fold_indices.txt"].decode().splitlines()
        assert pools.labeled.rows.tolist() == [int(word) for word in lines[fold].split()]
    if pools.unlabeled:
        size = pools.unlabeled.shape[1] ** 2 * 3
        held = {files["test_X.bin"][at : at + size] for at in range(0, len(files["test_X.bin"]), size)}
        assert not any(image.transpose(0, 2, 1).tobytes() in held for image in pixels(pools.unlabeled))


@st.composite
def fold_cases(draw: DrawFn) -> Case:
    words = st.one_of(st.integers(0, 29).map(str), st.sampled_from(("", "-1", "30", "1.0", "1e1", "٣", "9" * 5000)))
    count = draw(st.sampled_from((10, 10, 10, 9, 11, 0)))
    lines = [" ".join(draw(st.lists(words, min_size=1, max_size=4))) for _ in range(count)]
    files = stl10_files() | {"fold_indices.txt": draw(st.sampled_from(("\n", "\r\n"))).join(lines).encode()}
    return Case({f"stl10_binary/{name}": content for name, content in files.items()}, ("fold", 3))


# ---- MNIST


@cache
def mnist_files() -> dict[str, bytes]:
    """A small MNIST."""
    rng, files = np.random.default_rng(0), {}
    for part, count in (("train", 20), ("t10k", 10)):
        images = rng.integers(0, 256, (count, 28, 28), np.uint8)
        files[f"{part}-images-idx3-ubyte"] = struct.pack(">4i", 2051, count, 28, 28) + images.tobytes()
        files[f"{part}-labels-idx1-ubyte"] = struct.pack(">2i", 2049, count) + bytes(row % 10 for row in range(count))
    return files


@st.composite
def mnist_cases(draw: DrawFn) -> Case:
    files, whole = draw(some_damaged(mnist_files()))
    if draw(st.booleans()):
        files, packed = draw(some_damaged({f"{name}.gz": gzip.compress(x, 1, mtime=0) for name, x in files.items()}))
        whole = whole and packed
    return Case(files, valid=whole)


def check_mnist(case: Case) -> None:
    """Every pixel and label is that of the files, behind headers that say as many as there are."""
    found = parts(MNIST(".").pools)
    files = {
        name.removesuffix(".gz"): gzip.decompress(x) if name[-3:] == ".gz" else x for name, x in case.files.items()
    }
    for name, pool in found.items():
        part = "t10k" if name == "test" else "train"
        images, labels = files[f"{part}-images-idx3-ubyte"], files[f"{part}-labels-idx1-ubyte"]
        count = len(labels) - 8
        assert images[:16] == struct.pack(">4i", 2051, count, 28, 28) and labels[:8] == struct.pack(">2i", 2049, count)
        assert pool.labels.tolist() == [labels[8 + row] for row in pool.rows] and pool.labels.max() < 10
        for row, image in zip(pool.rows, pixels(pool), strict=True):
            assert image.tobytes() == images[16 + 784 * row : 16 + 784 * (row + 1)]


# ---- a folder of pictures


@cache
def picture(kind: str) -> bytes:
    """A file of 8x8 random pixels."""
    noise = np.random.default_rng(len(kind)).integers(0, 256, (_PICTURE, _PICTURE, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).convert("P" if kind == "GIF" else "RGB").save(file, kind)
    return file.getvalue()


@st.composite
def folder_cases(draw: DrawFn) -> Case:
    kinds = st.sampled_from(("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"))
    classes = draw(st.lists(NAMES, min_size=draw(st.sampled_from((1, 2, 2, 2, 2))), max_size=3, unique=True))
    files = {f"train/{name}/{k}.png": picture("PNG") for name in classes for k in range(3)}
    for folder in ("unlabeled", "test", *(f"train/{name}" for name in classes), f"val/{draw(NAMES)}"):
        if draw(st.booleans()):
            name, content = draw(NAMES), picture(draw(kinds))
            files[f"{folder}/{name}"] = draw(st.one_of(st.just(content), damaged(content)))
    return Case(files, draw(st.sampled_from((1, 3))))


def check_folder(case: Case) -> None:
    """What is whole has its own pixels, and whatever is served is a file that is there; the cache gives the same."""
    data = Folder(".", image_size=_PICTURE, channels=case.given)
    pools = parts(data.pools)
    served = [name for pool in pools.values() for name in pool.names or ()]
    assert len(served) == len(set(served)) <= len(case.files)
    known = {content: kind for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP") for content in [picture(kind)]}
    for pool in pools.values():
        assert pool.shape == (case.given, _PICTURE, _PICTURE)
        for name, image in zip(pool.names or (), pixels(pool), strict=True):
            content = case.files.get(name, b"")  # a name with control characters is called otherwise
            if content in known:
                whole = Image.open(io.BytesIO(content)).convert("RGB" if case.given == 3 else "L")
                assert np.array_equal(image, np.asarray(whole).reshape(_PICTURE, _PICTURE, -1).transpose(2, 0, 1))
    again = parts(Folder(".", image_size=_PICTURE, channels=case.given).pools)
    assert all(np.array_equal(pixels(pool), pixels(again[name])) for name, pool in pools.items())


# ---- caches


@st.composite
def cache_cases(draw: DrawFn) -> Case:
    files = {name: stl10_files()[name] for name in ("unlabeled_X.bin", "test_X.bin")}
    other = np.array(draw(st.lists(st.integers(-1, 9), max_size=4, unique=True).map(sorted)), dtype=np.int64)
    contents = st.one_of(damaged(sealed(np.array([3]))), st.just(sealed(other) if -1 in other or 9 in other else b""))
    return Case(files, draw(contents), valid=True)


def check_cache(case: Case) -> None:
    """A damaged cache of duplicates is found out, and they are searched anew."""
    paths = Path("unlabeled_X.bin"), Path("test_X.bin")
    assert cached_duplicates(*paths, 3 * _SIDE**2).tolist() == [3]
    (kept,) = Path().glob(".semisup-duplicates-*")
    kept.write_bytes(case.given)
    assert cached_duplicates(*paths, 3 * _SIDE**2).tolist() == [3]


_CACHES = ("*.semisup-*", "xdg*")
PROPERTIES = (
    Property("STL-10's files", stl10_cases(), check_stl10, (".bin", ".txt", ".npy", "STL-10"), _CACHES),
    Property("STL-10's folds", fold_cases(), check_stl10, ("fold_indices.txt",), _CACHES),
    Property("MNIST's files", mnist_cases(), check_mnist, ("ubyte", "MNIST"), _CACHES),
    Property("a folder of pictures", folder_cases(), check_folder, ("train", "val", "test", "unlabeled"), _CACHES),
    Property("the cache of duplicates", cache_cases(), check_cache, keeps=_CACHES),
)
