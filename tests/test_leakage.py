"""No label that training must not know reaches it, nor any test image: by bit-identical weights, for every strategy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from altered_data import Altered, fit
from helpers import Blobs, classifier, same, trainer, weights
from methods import make, parts
from test_compositions import NAMES
from test_stl10 import write_stl10
from torch import Tensor

from datamodules.stl10 import STL10
from semisup.batch import UNLABELED
from semisup.classifier import Classifier
from semisup.data.pools import Pools
from semisup.errors import InputError
from semisup.strategy import LossStrategy
from strategies.kmeans import KMeans
from strategies.pseudolabel import PseudoLabel

pytestmark = pytest.mark.usefixtures("cache")


def learned(path: Path) -> dict[str, Tensor]:
    """Every tensor of a checkpoint, weights, optimiser's and strategies' states alike, and every number."""
    found: dict[str, Tensor] = {}

    def collect(value: Any, name: str) -> None:
        if isinstance(value, dict | list | tuple):
            for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
                collect(inner, f"{name}.{key}")
        elif isinstance(value, Tensor | int | float):
            found[name] = torch.as_tensor(value)

    saved = torch.load(path, weights_only=True)
    for key in ("state_dict", "optimizer_states", "lr_schedulers", "callbacks", "epoch", "global_step"):
        collect(saved[key], key)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_what_training_must_not_know_changes_no_bit_of_it(name: str, tmp_path: Path) -> None:
    weights_of = {}
    # In turn: as it is; the truth about unlabeled images, test images and labels; validation as well.
    for case in ((), ("truth", "test"), ("truth", "test", "val")):
        weights_of[case] = weights(fit(parts(name), Altered(*case), tmp_path / "-".join(["run", *case])).network)
    plain, test, val = weights_of.values()
    assert same(plain, test) and same(plain, val)
    # What was chosen on validation is the same file, and what the last one holds but for the best accuracy.
    for which in ("best", "last"):
        assert same(learned(tmp_path / f"run/{which}.ckpt"), learned(tmp_path / f"run-truth-test/{which}.ckpt"))


class Peeking(LossStrategy):
    """Trains on labels that it must not know."""

    def __init__(self, pool: str) -> None:
        self.pool = pool

    def loss(self, module: Classifier, batch: Any) -> Any:
        pool = getattr(module.datamodule.pools, self.pool)
        logits = module(pool.gather(torch.arange(len(pool))).float() / 255)
        return module.labeled_loss(logits, pool.labels), {}


@pytest.mark.parametrize("pool", ["val", "test"])
def test_these_tests_see_a_leak(pool: str, tmp_path: Path) -> None:
    found = [fit({"peeking": Peeking(pool)}, Altered(*case), tmp_path / "run") for case in ((), (pool,))]
    assert not same(*(weights(module.network) for module in found))


def test_the_labels_of_unlabeled_images_are_refused_in_their_pool() -> None:
    class Careless(Blobs):
        def read(self) -> Pools:
            pools = super().read()
            assert pools.unlabeled is not None and pools.hidden_labels is not None
            pools.unlabeled.labels[5] = int(pools.hidden_labels[5])
            return pools

    with pytest.raises(
        InputError, match=r"Careless gives labels to its unlabeled images.* give them as Pools\.hidden_labels"
    ):
        _ = Careless().pools


def test_no_batch_holds_the_truth() -> None:
    """Nor the labels of the labeled images among the unlabeled ones."""
    targets: list[Tensor] = []
    index: list[Tensor] = []

    class Watch(pl.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            targets.append(batch.unlabeled.target)
            index.append(batch.unlabeled.index)

    data = Blobs()
    trainer(1, callbacks=[Watch()]).fit(classifier(data, make("fixmatch")), data)
    assert data.hidden_labels is not None and len(targets) == 4
    assert torch.cat(targets).unique().tolist() == [UNLABELED]
    assert (torch.cat(index) >= 90).any()  # some of the twelve labeled ones


# ---- STL-10, from its files


def train_stl10(root: Path, folder: Path) -> tuple[dict[str, Tensor], STL10]:
    data = STL10(str(root), batch_size=10, steps_per_epoch=2)
    options: dict[str, Any] = {"threshold": 0.1, "warmup_epochs": 1, "every_n_epochs": 1, "ramp_end": 1}
    module = fit({"kmeans": KMeans(patches_per_image=20), "pseudolabel": PseudoLabel(**options)}, data, folder, 2)
    return weights(module.network), data


def test_stl10s_test_files_change_nothing_but_what_is_left_out(tmp_path: Path) -> None:
    """Unlabeled images 3 and 17 are test images 5 and 0."""
    folder = write_stl10(tmp_path / "data", side=16)
    before, data = train_stl10(tmp_path / "data", tmp_path / "one")
    assert data.pools.left_out == 2 and data.pools.without_label is not None and data.pools.test is not None
    test = {image.tobytes() for image in data.pools.test.gather(torch.arange(20)).numpy()}
    assert data.pools.unlabeled is not None and len(data.pools.unlabeled) == 28 + 40
    assert not any(image.tobytes() in test for image in data.pools.unlabeled.gather(torch.arange(68)).numpy())

    images = np.fromfile(folder / "test_X.bin", np.uint8).reshape(20, -1)
    kept = images[[5, 0]].copy()
    images[:] = np.random.default_rng(3).integers(0, 256, images.shape, np.uint8)
    images[[8, 9]] = kept
    images.tofile(folder / "test_X.bin")
    for name in ("test_y.bin", "unlabeled_y.npy"):
        labels = np.fromfile(folder / name, np.uint8) if name.endswith("bin") else np.load(folder / name)
        changed = (labels % 10 + 1).astype(np.uint8)
        changed.tofile(folder / name) if name.endswith("bin") else np.save(folder / name, changed)
    after, data = train_stl10(tmp_path / "data", tmp_path / "two")
    assert data.pools.left_out == 2 and same(before, after)

    np.random.default_rng(4).integers(0, 256, images.shape, np.uint8).tofile(folder / "test_X.bin")
    without, data = train_stl10(tmp_path / "data", tmp_path / "three")
    assert data.pools.left_out == 0 and data.pools.without_label is not None and len(data.pools.without_label) == 30
    assert not same(before, without)


def test_statistics_are_of_the_labeled_training_images_alone(tmp_path: Path) -> None:
    write_stl10(tmp_path / "data", side=16)
    data = STL10(str(tmp_path / "data"), labels_per_class=2, batch_size=10, steps_per_epoch=1)
    module = fit({}, data, tmp_path / "run", 1)
    images = data.pools.labeled.gather(torch.arange(20)).double() / 255
    assert len(data.pools.labeled) == 20
    assert torch.allclose(module.network.normalization.mean.double(), images.mean((0, 2, 3)), atol=1e-6)
    assert torch.allclose(module.network.normalization.std.double(), images.std((0, 2, 3), correction=0), atol=1e-6)
