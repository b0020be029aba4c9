"""CIFAR-10: what torchvision reads, split as promised, and no pickle opened before its md5 is right."""

from __future__ import annotations

import hashlib
import pickle
import shutil
import tarfile
import urllib.request
from collections.abc import Iterator
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from helpers import classifier, trainer
from torchvision.datasets import CIFAR10 as Source

from datamodules import cifar10
from datamodules.cifar10 import CIFAR10
from semisup.data.download import fetch
from semisup.errors import InputError
from strategies.pseudolabel import PseudoLabel

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN = [name for name, _ in Source.train_list]


def publish(root: Path, patch: pytest.MonkeyPatch) -> None:
    """Makes the files in `root` those that are expected."""
    md5 = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in (root / Source.base_folder).iterdir()}
    patch.setattr(Source, "train_list", [[name, md5[name]] for name in TRAIN])
    patch.setattr(Source, "test_list", [["test_batch", md5["test_batch"]]])
    patch.setattr(Source, "meta", {**Source.meta, "md5": md5["batches.meta"]})


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five batches of 40 images and a test batch of 30, of random pixels, in CIFAR-10's own format."""
    folder, rng = tmp_path / Source.base_folder, np.random.default_rng(0)
    folder.mkdir()
    for name, count in [*((name, 40) for name in TRAIN), ("test_batch", 30)]:
        labels = rng.permutation(np.arange(count) % 10).tolist()
        batch = {"data": rng.integers(0, 256, (count, 3072), dtype=np.uint8), "labels": labels}
        (folder / name).write_bytes(pickle.dumps(batch))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(NAMES)}))
    publish(tmp_path, monkeypatch)
    return tmp_path


def test_pixels_and_labels_equal_torchvision(root: Path) -> None:
    data = CIFAR10(str(root), labels_per_class=3)
    pools = data.pools
    assert (
        pools.without_label is not None
        and pools.val is not None
        and pools.test is not None
        and pools.hidden_labels is not None
    )
    assert data.spec.class_names == tuple(Source(root).classes) and pools.test.shape == (3, 32, 32)
    given = [pools.labeled.labels, torch.as_tensor(pools.hidden_labels), pools.val.labels, pools.test.labels]
    pairs = zip((pools.labeled, pools.without_label, pools.val, pools.test), given, strict=True)
    for pool, labels in pairs:
        source = Source(root, train=pool is not pools.test)
        images = pool.gather(torch.arange(len(pool)))
        assert images.dtype == torch.uint8
        for image, label, row in zip(images, labels, pool.rows, strict=True):
            picture, target = source[row]
            assert np.array_equal(image.permute(1, 2, 0), np.asarray(picture)) and label == target


def test_the_splits_are_stratified_and_only_the_labeled_images_depend_on_the_seed(root: Path) -> None:
    one, other = (CIFAR10(str(root), labels_per_class=3, seed=seed).pools for seed in (0, 1))
    assert (
        one.val is not None
        and other.val is not None
        and one.without_label is not None
        and other.without_label is not None
    )
    assert [len(p) for p in (one.labeled, one.without_label, one.val)] == [30, 150, 20] and one.train_size == 180
    assert one.val.labels.bincount().tolist() == [2] * 10 and one.labeled.labels.bincount().tolist() == [3] * 10
    everything = np.concatenate([one.labeled.rows, one.without_label.rows, one.val.rows])
    assert sorted(everything) == list(range(200))
    assert np.array_equal(one.val.rows, other.val.rows) and not np.array_equal(one.labeled.rows, other.labeled.rows)
    assert (one.without_label.labels == -1).all()


def test_without_labels_per_class_everything_is_labeled(root: Path) -> None:
    for pools in (CIFAR10(str(root)).pools, CIFAR10(str(root), labels_per_class=18).pools):
        assert (
            len(pools.labeled) == pools.train_size == 180
            and pools.without_label is None
            and pools.hidden_labels is None
        )


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["data_batch_1", "data_batch_5", "test_batch", "batches.meta"])
def test_no_file_is_unpickled_unless_all_are_right(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran, first = root / "ran", root / Source.base_folder / ("data_batch_1" if name != "data_batch_1" else "test_batch")
    first.write_bytes(pickle.dumps(Trap(ran)))
    publish(root, monkeypatch)  # the trap has the right md5, and the file `name` has not
    damaged = root / Source.base_folder / name
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match=rf"a wrong md5: {name}\).*--data.download true"):
        CIFAR10(str(root)).read()
    damaged.unlink()
    with pytest.raises(InputError, match=rf"found no \S+/{name}\).*--data.download true"):
        CIFAR10(str(root)).read()
    assert not ran.exists()
    pickle.loads(first.read_bytes())  # the trap works
    assert ran.exists()


@pytest.fixture
def archive(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The files of `root` as the archive at the address they are downloaded from, and no longer in `root`."""
    path = root / "server" / Source.filename
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as tar:
        tar.add(root / Source.base_folder, Source.base_folder)
    shutil.rmtree(root / Source.base_folder)
    monkeypatch.setattr(Source, "tgz_md5", hashlib.md5(path.read_bytes()).hexdigest())
    with HTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=path.parent)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(Source, "url", f"http://127.0.0.1:{server.server_port}/{path.name}")
        monkeypatch.setattr(CIFAR10, "packed", path.stat().st_size)
        opener = urllib.request.build_opener()  # the server has no certificate, so it is asked by http
        monkeypatch.setattr(cifar10, "download", lambda *arguments: fetch(*arguments, opener))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield path
        server.shutdown()


def test_missing_files_are_downloaded_only_when_asked_for(root: Path, archive: Path) -> None:
    with pytest.raises(InputError, match=rf"found no {root}/cifar-10-batches-py/data_batch_1.*--data.download true"):
        CIFAR10(str(root)).read()
    assert [path.name for path in root.iterdir()] == ["server"]
    assert len(CIFAR10(str(root), download=True).pools.labeled) == 180
    archive.unlink()  # what is there is not downloaded again
    assert len(CIFAR10(str(root), download=True).pools.labeled) == 180


def test_a_damaged_file_is_replaced_by_a_download(root: Path, archive: Path) -> None:
    assert len(CIFAR10(str(root), download=True).pools.labeled) == 180
    (root / Source.base_folder / "batches.meta").write_bytes(b"")
    with pytest.raises(InputError, match=r"a wrong md5: batches.meta"):
        CIFAR10(str(root)).read()
    assert len(CIFAR10(str(root), download=True).pools.labeled) == 180


@pytest.mark.parametrize("content", [None, b"not an archive"])
def test_a_failed_download_is_one_error(content: bytes | None, root: Path, archive: Path) -> None:
    archive.unlink()
    if content:
        archive.write_bytes(content)
    with pytest.raises(InputError, match=rf"{Source.url} broke off after \d+ of .*type the same command to go on"):
        CIFAR10(str(root), download=True).read()


def test_a_short_fit_learns_from_both_pools(root: Path) -> None:
    data = CIFAR10(str(root), labels_per_class=2, batch_size=10, steps_per_epoch=2)
    strategy = PseudoLabel(threshold=0.0, warmup_epochs=1)
    module, fit = classifier(data, strategy), trainer(2)
    fit.fit(module, data)
    assert fit.global_step == 4 and len(strategy.rows_) == 160
    assert 0 <= fit.callback_metrics["val/accuracy"] <= 1
