"""What others wrote runs no code and stays within bounds."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import sys
import tarfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10 as CIFAR10Source
from torchvision.datasets import MNIST as MNISTSource

from datamodules import mnist, stl10_files
from datamodules.cifar10 import CIFAR10
from semisup import plugins
from semisup.classifier import Classifier
from semisup.cli.front import main
from semisup.data.download import unpack_tar
from semisup.errors import InputError
from semisup.features import dictionary
from semisup.figures.artifacts import RunArtifacts
from semisup.runs import safe_yaml


class Touches:
    """Pickled, it makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (self.path, "w")


@pytest.fixture
def executed(tmp_path: Path) -> Iterator[Path]:
    """The file that `Touches` makes; it must not be there in the end."""
    path = tmp_path / "executed"
    pickle.loads(pickle.dumps(Touches(path))).close()
    assert path.exists()  # it does make it
    path.unlink()
    yield path
    assert not path.exists()


# ---- nothing that is read runs


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "argv", ["test --ckpt_path", "predict --ckpt_path", "fit --resume", "figures --only filters", "report"]
)
def test_a_checkpoint_runs_no_code(
    legacy: bool, argv: str, executed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "digits" / "supervised" / "20260101-000000-s0"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").write_text("strategy: supervised\nseed: 0\ndata: {name: digits}\n")
    content = {"semisup": {"format": 1}, "state_dict": {"x": Touches(executed)}, "callbacks": Touches(executed)}
    for name in ("best", "last", "previous"):
        torch.save(content, run / "checkpoints" / f"{name}.ckpt", _use_new_zipfile_serialization=not legacy)
    assert main([*argv.split(), str(run)]) == 2


def test_a_checkpoints_other_readers_run_no_code(executed: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    path = tmp_path / "checkpoints" / "best.ckpt"
    torch.save({"callbacks": {"KMeans": Touches(executed)}}, path)
    with pytest.raises(InputError, match="is not a checkpoint"):
        Classifier.saved(path)

    def no_data(path: Path) -> Any:
        raise InputError("no data")

    with pytest.raises(InputError, match="is not a checkpoint"):
        RunArtifacts(tmp_path, no_data, torch.device("cpu")).state("KMeans")


def test_a_cache_of_centroids_runs_no_code(executed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "cache" / "semisup" / "dictionary-x.pt"
    path.parent.mkdir(parents=True)
    torch.save({"centroids": Touches(executed)}, path)
    found = dictionary._cached("x", {"centroids": (2, 3)}, lambda: {"centroids": torch.ones(2, 3)})
    assert torch.equal(found["centroids"], torch.ones(2, 3))


def test_true_classes_run_no_code(executed: Path, tmp_path: Path) -> None:
    from test_stl10 import STL10, write_stl10

    folder = write_stl10(tmp_path, side=4)
    np.save(folder / "unlabeled_y.npy", np.array([Touches(executed)] * 30, dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="is not an array of numpy"):
        _ = STL10(str(tmp_path)).pools


def test_cifar10s_pickles_are_read_only_with_the_published_checksum(executed: Path, tmp_path: Path) -> None:
    folder = tmp_path / CIFAR10Source.base_folder
    folder.mkdir()
    for name, _ in (*CIFAR10Source.train_list, *CIFAR10Source.test_list, (CIFAR10Source.meta["filename"], "")):
        (folder / name).write_bytes(pickle.dumps({"data": Touches(executed), "labels": []}))
    with pytest.raises(InputError, match="a wrong md5"):
        _ = CIFAR10(str(tmp_path)).pools


@pytest.mark.parametrize("text", ["!!python/object/apply:builtins.open [{}, w]", "!!python/name:os.system"])
def test_a_configuration_runs_no_code(text: str, executed: Path, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(f"strategy: {text.format(executed)}\n")
    assert main(["fit", "--config", str(tmp_path / "x.yaml"), "--print_config"]) == 2
    with pytest.raises(InputError, match=r"x\.yaml"):
        safe_yaml.read_run(tmp_path / "x.yaml")


# ---- archives and downloads


def test_downloads_are_from_https_alone() -> None:
    assert stl10_files.URL.startswith("https://") and CIFAR10Source.url.startswith("https://")
    assert MNISTSource.mirrors[0].startswith("https://")
    sizes = (*stl10_files.FILES.values(), (stl10_files.ARCHIVE_SIZE, stl10_files.ARCHIVE_MD5))
    assert all(size > 0 and len(md5) == 32 for size, md5 in sizes)
    assert {name for name, _ in MNISTSource.resources} == set(mnist._PACKED)


def peak(act: Callable[[], Any]) -> int:
    """Bytes that Python held at most meanwhile, beyond those before."""
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def bomb(path: Path, name: str, kind: bytes) -> Path:
    """A small archive whose only member is 64 MB of zeros, or has a name of that length."""
    with gzip.open(path, "wb", 1) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.size = kind, 64 << 20
        archive.addfile(member, io.BytesIO(bytes(member.size)))
    assert path.stat().st_size < 1 << 20
    return path


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_an_archive_does_not_expand_without_bound(kind: bytes, tmp_path: Path) -> None:
    path, into = bomb(tmp_path / "a.tar.gz", "a", kind), tmp_path / "into"
    into.mkdir()

    def unpack() -> None:
        with pytest.raises(InputError, match=r"a\.tar\.gz"):
            unpack_tar(path, into, 1 << 20)

    assert peak(unpack) < 16 << 20
    assert list(into.iterdir()) == []


def test_a_packed_file_of_mnist_does_not_expand_without_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnist, "_LARGEST", 1 << 20)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(64 << 20), 1))

    def read() -> None:
        with pytest.raises(InputError, match="it unpacks to more than 1,048,576 bytes"):
            _ = mnist.MNIST(str(tmp_path)).pools

    assert peak(read) < 16 << 20


# ---- plugins


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that a module makes when it is imported; its distribution brings a plugin of every kind."""
    made, folder = tmp_path / "imported", tmp_path / "stranger"
    info = folder / "stranger-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1\n")
    groups = (plugins.STRATEGIES, plugins.DATAMODULES, plugins.BACKBONES)
    (info / "entry_points.txt").write_text("".join(f"[{group}]\nstranger = stranger_module:A\n" for group in groups))
    (folder / "stranger_module.py").write_text(
        f"from semisup.strategy import Strategy\nopen({str(made)!r}, 'w').close()\nclass A(Strategy):\n    '''A.'''\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "stranger_module", raising=False)
    return made


@pytest.mark.parametrize(
    "line",
    [
        *("--help", "fit --help", "fit --strategy supervised --help", "list", "list strategies", "list backbones"),
        *("fit --print_config", "fit --strategy fixmatch --data digits --model small --print_config", "predict --help"),
        *("fit --strategy strangr", "compare --help", "data download strange"),
    ],
)
def test_a_plugin_is_not_imported_unless_it_is_named(
    line: str, stranger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(line.split())
    except SystemExit as leaving:  # of help
        code = int(leaving.code or 0)
    assert code == (2 if "strang" in line else 0)
    assert not stranger.exists() and "stranger_module" not in sys.modules
    assert ("stranger" in capsys.readouterr().out) == line.startswith("list")


def test_a_plugin_is_imported_when_it_is_named(stranger: Path) -> None:
    assert main(["fit", "--strategy", "stranger", "--data", "digits", "--print_config"]) == 0
    assert stranger.exists()
    del sys.modules["stranger_module"]
    os.remove(stranger)
