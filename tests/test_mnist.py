"""MNIST: what torchvision reads, split as promised, fetched only when asked; and the course's studies of it."""

from __future__ import annotations

import gzip
import hashlib
import struct
import urllib.request
from collections.abc import Iterator
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from threading import Thread
from typing import Any

import forked
import numpy as np
import pytest
import torch
import yaml
from helpers import Blobs, classifier, trainer
from torchvision.datasets import MNIST as Source

from datamodules import mnist
from datamodules.mnist import MNIST, fetch
from semisup.classifier import Classifier, ModelOptions
from semisup.cli.config import parse
from semisup.cli.front import main
from semisup.data.download import fetch as fetch_by
from semisup.errors import InputError
from semisup.losses import LABELED, LabeledLoss
from semisup.strategy import LossStrategy
from semisup.training.train_accuracy import TrainAccuracy
from strategies.fixmatch import FixMatch
from strategies.pseudolabel import PseudoLabel
from strategies.supervised import Supervised

EXPERIMENTS = Path(__file__).parents[1] / "experiments" / "mnist"
ARMS = sorted(path.stem for path in EXPERIMENTS.glob("*.yaml") if path.stem != "base")


def write(root: Path, train: int = 200, test: int = 30) -> Path:
    """MNIST's four files, unpacked, with random pixels; returns their folder."""
    folder, rng = root / "MNIST" / "raw", np.random.default_rng(0)
    folder.mkdir(parents=True)
    for part, count in (("train", train), ("t10k", test)):
        images = rng.integers(0, 256, (count, 28, 28), np.uint8)
        labels = rng.permutation(np.arange(count) % 10).astype(np.uint8)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, count, 28, 28) + images.tobytes())
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, count) + labels.tobytes())
    return folder


def pack(folder: Path) -> dict[str, str]:
    """Leaves the files as they are published, and gives their md5."""
    for path in [*folder.iterdir()]:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    return {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path)
    return tmp_path


def test_pixels_and_labels_equal_torchvision(root: Path) -> None:
    pools = MNIST(str(root), labels_per_class=3).pools
    assert (
        pools.without_label is not None
        and pools.val is not None
        and pools.test is not None
        and pools.hidden_labels is not None
    )
    given = [pools.labeled.labels, torch.as_tensor(pools.hidden_labels), pools.val.labels, pools.test.labels]
    for pool, labels in zip((pools.labeled, pools.without_label, pools.val, pools.test), given, strict=True):
        source = Source(root, train=pool is not pools.test)
        images = pool.gather(torch.arange(len(pool)))
        assert torch.equal(images[:, 0], source.data[pool.rows]) and torch.equal(labels, source.targets[pool.rows])


def test_packed_files_anywhere_are_read_alike(root: Path) -> None:
    unpacked = MNIST(str(root)).pools.labeled
    folder = root / "MNIST" / "raw"
    pack(folder)
    for place in (root, folder):
        packed = MNIST(str(place)).pools.labeled
        index = torch.arange(len(packed))
        assert torch.equal(packed.gather(index), unpacked.gather(index)) and torch.equal(packed.labels, unpacked.labels)


def test_splits(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = (MNIST(str(root), labels_per_class=3, seed=seed).pools for seed in (0, 1))
    assert one.val is not None and other.val is not None and one.without_label is not None
    assert [len(p) for p in (one.labeled, one.without_label, one.val)] == [30, 150, 20] and one.train_size == 180
    assert one.val.labels.bincount().tolist() == [2] * 10 and one.labeled.labels.bincount().tolist() == [3] * 10
    assert sorted(np.concatenate([one.labeled.rows, one.without_label.rows, one.val.rows])) == list(range(200))
    assert np.array_equal(one.val.rows, other.val.rows) and not np.array_equal(one.labeled.rows, other.labeled.rows)

    full = MNIST(str(root), split="full").pools
    assert len(full.labeled) == full.train_size == 200 and full.val is None and full.unlabeled is None
    assert "peek" not in capsys.readouterr().out
    peek = MNIST(str(root), split="peek").pools
    assert len(peek.labeled) == 200 and peek.val is peek.test and peek.test is not None and len(peek.test) == 30
    assert "the test images validate (--data.split peek)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train-images-idx3-ubyte", b""),
        ("train-images-idx3-ubyte", b"\0\0\x08\x03" + struct.pack(">3i", 200, 28, 28) + bytes(5)),
        ("t10k-images-idx3-ubyte", struct.pack(">4i", 2051, -200, 28, 28) + bytes(30 * 784)),
        ("t10k-labels-idx1-ubyte", struct.pack(">2i", 2049, -1) + bytes(30)),
        ("t10k-labels-idx1-ubyte", b"<html>not found</html>"),
    ],
)
def test_a_damaged_file_is_one_error(name: str, content: bytes, root: Path) -> None:
    folder = root / "MNIST" / "raw"
    (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name} is damaged, .*semisup data download mnist"):
        MNIST(str(root)).read()
    (folder / name).unlink()
    (folder / f"{name}.gz").write_bytes(gzip.compress(bytes(1000))[:-9])
    with pytest.raises(InputError, match=rf"{name}.gz is damaged"):
        MNIST(str(root)).read()
    (folder / f"{name}.gz").unlink()
    with pytest.raises(InputError, match=rf"there is no {name} in {folder}.*semisup data download mnist --root {root}"):
        MNIST(str(root)).read()


def test_images_without_labels_are_refused(root: Path) -> None:
    labels = root / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
    labels.write_bytes(struct.pack(">2i", 2049, 29) + bytes(29))
    with pytest.raises(InputError, match=r"t10k images of shape \(30, 28, 28\) and labels of shape \(29,\)"):
        MNIST(str(root)).read()
    labels.write_bytes(struct.pack(">2i", 2049, 30) + bytes([10] * 30))
    with pytest.raises(InputError, match="a label from 0 to 9"):
        MNIST(str(root)).read()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a mirror that publishes small files in MNIST's place."""
    folder = write(tmp_path / "mirror")
    monkeypatch.setattr(Source, "resources", sorted(pack(folder).items()))
    monkeypatch.setattr(mnist, "_PACKED", {path.name: path.stat().st_size for path in folder.iterdir()})
    opener = urllib.request.build_opener()  # the mirror has no certificate, so it is asked by http
    monkeypatch.setattr(mnist, "download", lambda *arguments: fetch_by(*arguments, opener))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with HTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=folder)) as http:
        Thread(target=http.serve_forever, daemon=True).start()
        monkeypatch.setattr(Source, "mirrors", [f"http://127.0.0.1:{http.server_port}/"])
        yield folder
        http.shutdown()


def test_it_is_fetched_only_when_asked(server: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "data"
    with pytest.raises(InputError, match=f"semisup data download mnist --root {root}"):
        MNIST(str(root)).read()
    assert not root.exists()
    assert main(["data", "download", "mnist", "--root", str(root)]) == 0
    assert f"--data mnist --data.root {root}" in capsys.readouterr().out
    assert len(MNIST(str(root)).pools.labeled) == 180


def test_what_arrives_with_a_wrong_md5_is_refused(server: Path, tmp_path: Path) -> None:
    (server / (name := "t10k-labels-idx1-ubyte.gz")).write_bytes(bytes((server / name).stat().st_size))
    with pytest.raises(InputError, match=rf"{name} brought \d+ bytes with md5 .* they were removed"):
        fetch(tmp_path / "data")
    assert not list((tmp_path / "data").rglob(f"{name}*"))


@pytest.mark.parametrize("strategy", [FixMatch(ratio=2, threshold=0.0), PseudoLabel(threshold=0.0, warmup_epochs=1)])
def test_strategies_train_on_grey_images_of_28_pixels(strategy: LossStrategy, root: Path) -> None:
    data = MNIST(str(root), labels_per_class=2, batch_size=4, steps_per_epoch=2)
    model = ModelOptions(backbone="lenet-tanh", normalization="local7")
    module, fit = classifier(data, strategy, model=model), trainer(2)
    before = {name: value.clone() for name, value in module.network.named_parameters()}
    fit.fit(module, data)
    assert fit.global_step == 4
    assert all(value.isfinite().all() for value in module.network.parameters())
    assert not any(torch.equal(value, before[name]) for name, value in module.network.named_parameters())


@pytest.mark.parametrize("name", LABELED)
def test_every_strategy_uses_the_loss_that_the_model_names(name: LabeledLoss) -> None:
    data = Blobs()
    for strategy in (Supervised(), PseudoLabel(), FixMatch(ratio=1, weight=0.0), None):
        module = classifier(data, strategy, model=ModelOptions(loss=name))
        data.needs = module.strategy.needs
        module._trainer = None
        batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
        with torch.no_grad():
            loss = module.strategy.loss(module.eval(), batch)[0]
            logits = module(batch.labeled.views["weak"])
        assert loss.item() == pytest.approx(LABELED[name](logits, batch.labeled.target).item(), rel=1e-5)


def test_train_accuracy_is_that_of_the_labeled_images_after_each_epoch() -> None:
    data = Blobs()
    module, fit = classifier(data, Supervised()), trainer(2, callbacks=[TrainAccuracy()])
    fit.fit(module, data)
    pool = data.pools.labeled
    with torch.no_grad():
        logits = module.eval()(pool.gather(torch.arange(12)).float() / 255)
    assert fit.callback_metrics["train/accuracy"].item() == pytest.approx(
        (logits.argmax(1) == pool.labels).float().mean().item()
    )


def test_the_loss_is_kept_in_the_checkpoint(tmp_path: Path) -> None:
    data = Blobs()
    module, fit = classifier(data, Supervised(), model=ModelOptions(loss="mse")), trainer(1)
    fit.fit(module, data)
    fit.save_checkpoint(tmp_path / "x.ckpt")
    assert Classifier.from_checkpoint(tmp_path / "x.ckpt").options.loss == "mse"


def flat(arm: str) -> dict[str, Any]:
    """group.option -> value, as an arm of the studies resolves."""
    files = [EXPERIMENTS / "base.yaml", *([EXPERIMENTS / f"{arm}.yaml"] if arm != "base" else [])]
    tree = yaml.safe_load(parse("fit", ["--trust", *(word for path in files for word in ("--config", str(path)))]).yaml)
    return {f"{group}.{name}": value for group in ("data", "model", "optimizer") for name, value in tree[group].items()}


def test_every_arm_of_the_studies_changes_one_thing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "data").symlink_to(root)
    monkeypatch.chdir(root)
    base = flat("base")
    assert base["data.split"] == "peek" and base["model.backbone"] == "lenet-tanh"
    changes = {arm: {name: value for name, value in flat(arm).items() if base[name] != value} for arm in ARMS}
    assert changes == {
        "activation-relu": {"model.backbone": "lenet-relu"},
        "depth-3": {"model.backbone": "lenet-tanh-3"},
        "loss-mse": {"model.loss": "mse"},
        "loss-multi_margin": {"model.loss": "multi_margin"},
        "normalization-15": {"model.normalization": "local15"},
        "normalization-none": {"model.normalization": "none"},
    }


@pytest.mark.slow
def test_the_studies_run_once_and_leave_tables_and_curves(root: Path) -> None:
    local = ["--data.root", str(root), "--data.steps_per_epoch", "2", "--tracking.mode", "disabled"]
    cpu = ["--trainer.accelerator", "cpu", "--trainer.devices", "1"]
    asked = ["--studies", "baseline", "activation", "--epochs", "2"]
    outputs = []
    for _ in range(2):
        done = forked.script(EXPERIMENTS / "studies.py", *asked, "--", *local, *cpu, cwd=root)
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
        runs = sorted(path.parent.parent.parent.parent.name for path in root.glob("runs/*/*/*/*/*/metrics.csv"))
        assert runs == ["activation-relu", "base"]
    assert outputs[0] == outputs[1]
    rows = [line for line in outputs[0].splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows[1::1]] == [
        "| baseline",
        "| train / test after epoch",
        "| tanh",
        "| ReLU",
    ]
    assert rows[1].removeprefix("| baseline") == rows[3].removeprefix("| tanh") and " / " in rows[1]
    assert {path.name for path in (root / "runs/mnist-studies").glob("*.*")} == {
        *("tables.md", "baseline.png", "baseline.pdf", "activation.png", "activation.pdf")
    }
