"""Every strategy, alone and composed: a resumed run ends as if it had not stopped, two processes keep equal weights.

And what can't be done is refused before anything is learned.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import methods
import numpy as np
import pytest
import torch
from helpers import Blobs, SaveAt, in_two_processes, same, trainer, weights
from PIL import Image
from torch import Tensor

from semisup.classifier import Classifier, ModelOptions
from semisup.cli.front import main
from semisup.composition import Composition
from semisup.training.forecast import Forecast

NAMES = [
    *methods.NAMES,
    "kmeans+pseudolabel",
    "exemplar+pseudolabel",
    "exemplar+kmeans+pseudolabel",
    "kmeans+fixmatch",
    "kmeans+exemplar+fixmatch",
]

DROPOUT = "64c5-64c5-128f"


def fit(name: str, ckpt_path: Path | None = None, backbone: str = "small", **options: Any) -> dict[str, Tensor]:
    """Trains two epochs of four steps, three with pseudo-labels; every weight, and what the strategies have learned."""
    data = Blobs(augmentation="weak")
    composition = Composition(methods.parts(name))
    module = Classifier(data.spec, composition, ModelOptions(backbone))
    epochs = 3 if "pseudolabel" in name.split("+") else 2
    trainer(epochs, limit_val_batches=0, **options).fit(module, data, ckpt_path=ckpt_path, weights_only=True)
    found = {f"parameter {key}": value.detach().clone() for key, value in module.named_parameters()}
    found |= {f"weight {key}": value for key, value in weights(module).items()}
    for part, strategy in composition.parts.items():
        found |= tensors({key: value for key, value in vars(strategy).items() if key.endswith("_")}, part)
    return found


def tensors(value: Any, name: str) -> dict[str, Tensor]:
    """Every tensor and number in nested dicts and lists, by its path."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {path: x for key, inner in items for path, x in tensors(inner, f"{name} {key}").items()}
    return {name: torch.as_tensor(value).detach().clone()} if isinstance(value, Tensor | int | float) else {}


def averaged(name: str) -> bool:
    """Whether a moving average evaluates."""
    owner = Composition(methods.parts(name)).owner
    return owner is not None and owner.ema_decay > 0


pytestmark = pytest.mark.usefixtures("cache")


# ---- stopping and going on


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_run_ends_as_if_it_had_not_stopped(name: str, tmp_path: Path) -> None:
    """Stopped at an epoch's end, after a round of pseudo-labels, and in the middle; the network has dropout."""
    steps = (6, 8, 10, 12) if "exemplar" in name else (4, 6)  # the first eight are the pretraining's
    saving = [SaveAt(step, tmp_path / f"{step}.ckpt") for step in steps]
    whole = fit(name, backbone=DROPOUT, enable_checkpointing=True, callbacks=saving)
    assert any(key.startswith("weight ema.") for key in whole) == averaged(name)
    assert "pseudolabel" not in name.split("+") or len(whole["pseudolabel rows_"])
    for step in steps:
        torch.rand(7)  # whatever the global generator did in between must not matter
        # Which a forecast must leave as it is.
        assert same(fit(name, tmp_path / f"{step}.ckpt", DROPOUT, callbacks=[Forecast()]), whole)


# ---- two processes


def rank(number: int, folder: str, port: int) -> None:
    os.environ |= {"LOCAL_RANK": str(number), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ["XDG_CACHE_HOME"] = f"{folder}/{number}"  # what one rank found must reach the other by itself
    two: dict[str, Any] = {"devices": 2, "strategy": "ddp"}
    for name in NAMES:
        path = Path(folder, f"{name}.ckpt")
        whole = fit(name, enable_checkpointing=True, callbacks=[SaveAt(6, path)], **two)
        resumed = fit(name, path, callbacks=[Forecast()], **two)
        torch.save([whole, resumed], Path(folder, f"{name}-{number}.pt"))


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left of every composition, each with batch statistics of its own half of a batch."""
    folder = tmp_path_factory.mktemp("ranks")
    in_two_processes(rank, folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_two_processes_keep_equal_weights_also_when_they_are_resumed(name: str, ranks: Path) -> None:
    first, second = (torch.load(ranks / f"{name}-{number}.pt", weights_only=True) for number in range(2))
    (whole, resumed), (others, others_resumed) = first, second
    shared = {key for key in whole if not key.startswith("weight ")}  # running statistics are each rank's own
    assert any(key.startswith("parameter ema.average.") for key in shared) == averaged(name)
    assert same({key: whole[key] for key in shared}, {key: others[key] for key in shared})
    assert same(resumed, whole) and same(others_resumed, others)


# ---- what can't be


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of labeled pictures without unlabeled ones, in the folder of the user."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for folder in ("train/cat", "train/dog", "val/cat", "val/dog"):
        (tmp_path / "pictures" / folder).mkdir(parents=True)
        for number in range(4):
            picture = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(picture).save(tmp_path / "pictures" / folder / f"{number}.png")
    return tmp_path / "pictures"


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of an error, after which nothing has been learned and no run is left."""
    local = ["--tracking.mode", "disabled", "--trainer.accelerator", "cpu", "--trainer.devices", "1"]
    assert main(["fit", *arguments, *local, "--data.steps_per_epoch", "2", "--trainer.max_epochs", "1"]) == 2
    printed = capsys.readouterr()
    error = printed.err.splitlines()[-1]
    assert error.startswith("semisup: error: ") and "Traceback" not in printed.err
    assert "surrogate classes of" not in printed.out and "epoch 1 of" not in printed.out
    assert not Path("runs").exists()
    return error


@pytest.mark.parametrize("name", [name for name in NAMES if Composition(methods.parts(name)).needs.unlabeled_ratio])
def test_without_unlabeled_images_what_needs_them_is_refused(
    name: str, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", "folder", "--data.root", str(pictures), "--data.image_size", "16"]
    fast = ["--exemplar.samples_per_class", "4"] if "exemplar" in name else []
    error = refused(capsys, "--strategy", name, *data, *fast)
    assert "needs unlabeled images and folder has none here" in error and "type --strategy supervised" in error


def test_a_single_image_makes_no_surrogate_classes(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (pictures / "unlabeled").mkdir()
    (pictures / "train" / "cat" / "0.png").rename(pictures / "unlabeled" / "0.png")
    data = ["--data", "folder", "--data.root", str(pictures), "--data.image_size", "16"]
    error = refused(capsys, "--strategy", "exemplar", *data)
    assert "of a single unlabeled image there is one; add unlabeled images, or leave exemplar out" in error


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "kmeans",
            "--kmeans.images 2 --kmeans.patches_per_image 3",
            "can't place 32 centroids on 6 patches, 3 of each",
        ),
        (
            "kmeans",
            "--kmeans.images 1 --kmeans.patches_per_image 1",
            "can't place 32 centroids on 1 patches, 1 of each",
        ),
        ("exemplar+kmeans", "--kmeans.images 2 --kmeans.patches_per_image 3", "can't place 32 centroids on 6 patches"),
        ("exemplar+kmeans", "--kmeans.images 0", "kmeans.images is 0, but must be at least 1"),
        ("kmeans", "--kmeans.eps 0", "kmeans.eps is 0.0, but must be more than 0"),
        ("kmeans", "--model.normalization local7", "with the normalization local7 the network sees something else"),
        ("kmeans", "--model.backbone torchvision:alexnet", "can't take images of 8 pixels"),
        ("exemplar", "--exemplar.images 1", "exemplar.images is 1, but must be at least 2"),
        ("exemplar", "--exemplar.batch_size 1", "exemplar.batch_size is 1, but must be at least 2"),
        ("exemplar", "--exemplar.crop 9", "exemplar.crop is 9, but the images have 8 pixels a side"),
        ("kmeans+exemplar", "--exemplar.crop 9", "exemplar.crop is 9, but the images have 8 pixels a side"),
        ("exemplar", "--exemplar.recipe papers", "--exemplar.recipe: "),
        (
            "exemplar+pseudolabel",
            "--pseudolabel.rule top_k_overall --pseudolabel.top_k 1218",
            "pseudolabel.top_k is 1,218, but the unlabeled pool has 1,217 images; type --pseudolabel.top_k N",
        ),
        (
            "kmeans+pseudolabel",
            "--pseudolabel.rule top_k_per_class --pseudolabel.top_k 1218",
            "pseudolabel.top_k is 1,218, but the unlabeled pool has 1,217 images; type --pseudolabel.top_k N",
        ),
        ("exemplar+pseudolabel", "--pseudolabel.ratio 0", "pseudolabel.ratio is 0, but must be at least 1"),
        ("kmeans+fixmatch", "--fixmatch.ratio 0", "fixmatch.ratio is 0, but must be at least 1"),
        ("kmeans+fixmatch", "--fixmatch.threshold 1.01", "fixmatch.threshold is 1.01, but must be from 0 to 1"),
        ("exemplar+pseudolabel+fixmatch", "", "pseudolabel and fixmatch each own the loss"),
    ],
)
def test_what_a_strategy_can_not_do_is_refused(
    name: str,
    options: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refused(capsys, "--strategy", name, "--data", "digits", *options.split())
