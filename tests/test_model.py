"""A trained model for new pictures, from its checkpoint alone."""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import Blobs, run_python, trainer
from picture_folders import SIZE, cats_and_dogs, picture, png
from PIL import Image

import semisup
from datamodules.folder import Folder
from semisup.classifier import Classifier
from semisup.cli.front import main
from semisup.data.deep import INTEGERS
from semisup.data.preprocessing import Preprocessing, find
from semisup.errors import InputError
from semisup.predict import predict
from strategies.fixmatch import FixMatch

OPTIONS = ["--data.image_size", str(SIZE), "--data.batch_size", "4", "--data.steps_per_epoch", "3", "--model", "small"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of several sizes, in colour and in grey."""
    root = cats_and_dogs(tmp_path_factory.mktemp("pictures"))
    for number, (width, height, mode) in enumerate([(24, 20, "RGB"), (9, 40, "L"), (16, 16, "RGBA"), (300, 31, "P")]):
        picture(root / f"test/new{number}.png", width, height, mode)
    picture(root / "test/turned.jpg", 30, 20, orientation=6)
    return root


@pytest.fixture(scope="module")
def run(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A FixMatch run on them, whose average is scored."""
    out = tmp_path_factory.mktemp("runs")
    words = [
        "--data",
        "folder",
        "--data.root",
        str(root),
        *OPTIONS,
        "--data.background",
        "red",
        "--tracking.mode",
        "disabled",
    ]
    words += ["--strategy", "fixmatch", "--data.labels_per_class", "4", "--trainer.max_epochs", "2"]
    assert main(["fit", *words, "--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(out)]) == 0
    (found,) = (out / "folder/fixmatch").iterdir()
    return found


def test_files_are_predicted_as_the_datasets_own_to_the_bit(root: Path, run: Path) -> None:
    model = semisup.load(run, "cpu")
    data = Folder(str(root), image_size=SIZE, background="red")
    assert data.pools.test is not None
    expected = {
        data.pools.test.name(int(row)): p
        for rows, ps in predict(model.classifier, data.pools.test, 256)
        for row, p in zip(rows, ps, strict=True)
    }
    told = model.predict(root / "test")
    assert [str(Path(name).relative_to(root)) for name in told.names] == list(expected)
    assert torch.equal(told.probabilities, torch.stack(list(expected.values())))
    assert model.class_names == told.class_names == ("cat", "dog") and not told.unreadable
    with (run / "predictions.csv").open(newline="") as file:
        rows = [(row["id"], row["class"], row["confidence"]) for row in csv.DictReader(file)]
    assert rows == list(zip(expected, told.classes, (f"{p:.6f}" for p in told.confidence.tolist()), strict=True))


def test_a_picture_in_memory_is_what_its_file_is(root: Path, run: Path) -> None:
    model, path = semisup.load(run, "cpu"), root / "test/new0.png"
    (expected,) = model.predict(path, batch_size=1).probabilities
    image = Image.open(path)
    pixels = np.asarray(image)
    forms = {
        "text": str(path),
        "Pillow": image,
        "numpy": pixels,
        "numpy, floating point": pixels / 255,
        "torch": torch.from_numpy(pixels.copy()).permute(2, 0, 1),
        "torch, half precision": torch.from_numpy(pixels.copy()).permute(2, 0, 1).to(torch.float32).div(255).half(),
        "several": pixels[None],
    }
    for name, form in forms.items():
        assert torch.equal(model.predict(form, batch_size=1).probabilities, expected[None]), name
    grey = Image.open(root / "test/new1.png")
    several = model.predict([path, grey, np.asarray(grey), np.asarray(grey)[..., None]], batch_size=1)
    assert several.names == [str(path), "1", "2", "3"]
    (alone,) = model.predict(root / "test/new1.png", batch_size=1).probabilities
    assert torch.equal(several.probabilities, torch.stack([expected, alone, alone, alone]))
    greys = np.stack([np.asarray(grey)[:9], np.asarray(grey)[-9:]])  # no axis of colours: two pictures
    told = [model.predict(x) for x in (greys, torch.from_numpy(greys), greys[..., None], [*greys])]
    assert all(len(x) == 2 and torch.equal(x.probabilities, told[0].probabilities) for x in told)
    turned = Image.open(root / "test/turned.jpg")
    assert torch.equal(*(model.predict(x).probabilities for x in (turned, root / "test/turned.jpg")))
    assert turned.size == (30, 20)  # the caller's picture is left as it is


def test_features_are_what_the_head_makes_the_probabilities_of(root: Path, run: Path) -> None:
    model = semisup.load(run, "cpu")
    logits = model.classifier.teacher.head(model.features(root / "test"))
    torch.testing.assert_close(logits.softmax(1), model.predict(root / "test").probabilities)


def test_a_restored_classifier_is_ready_and_its_forward_is_what_was_scored(run: Path) -> None:
    module = Classifier.from_checkpoint(run / "checkpoints/best.ckpt")
    images = torch.rand(5, 3, SIZE, SIZE)
    with torch.no_grad():
        assert not module.training and torch.equal(module(images), module.evaluate(images))
        assert not torch.equal(module(images), module.train()(images))
    images.requires_grad_()
    module.eval()(images).max(1).values.sum().backward()  # what an explanation of a picture is made of
    assert images.grad is not None and bool(images.grad.abs().sum() > 0)


def test_a_strategy_alone_goes_by_its_own_name() -> None:
    data = Blobs()
    module = Classifier(data.spec, FixMatch(ratio=2))
    trainer(1).fit(module, data)
    assert module.strategy.name == "fixmatch" and module.ema is not None
    assert Classifier(data.spec).strategy.parts == {}


def deep(path: Path, values: np.ndarray) -> Path:
    content = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(path, values.shape[1], values.shape[0], 16, 0, content)


def test_pictures_of_more_than_8_bits_are_seen_as_those_of_the_training(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        for number in range(6):
            deep(tmp_path / f"train/{name}/{number}.png", rng.integers(0, 4096, (SIZE, SIZE)))
    dark = deep(tmp_path / "test/dark.png", rng.integers(0, 300, (SIZE, SIZE)))
    data = Folder(str(tmp_path), image_size=SIZE, channels=1)
    assert data.preprocessing.ranges == {INTEGERS: (0, 4096)}
    assert Preprocessing.restored(data.preprocessing.saved()) == data.preprocessing
    (images, _, _) = next(data.preprocessing.batches([("dark", dark)], 4))
    assert data.pools.test is not None and torch.equal(images, data.pools.test.gather(torch.arange(1)))
    assert images.max() < 20
    # A model of pictures of 8 bits has no range; the usual one that holds the picture's own values is taken.
    (alone, _, _) = next(Preprocessing(data.how).batches([("dark", dark)], 4))
    assert alone.max() > 200


def test_files_that_are_no_pictures_are_named(
    root: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/notes.txt").write_text("no picture")
    (tmp_path / "a/.hidden.png").write_text("not looked at")
    (tmp_path / "a/back").symlink_to(tmp_path)
    shutil.copy(root / "test/new0.png", tmp_path / "a/z.png")
    model = semisup.load(run, "cpu")
    told = model.predict(tmp_path)
    assert told.names == [str(tmp_path / "a/z.png")] and len(told) == 1
    assert told.unreadable == {str(tmp_path / "a/notes.txt"): "not readable pictures"}
    assert "1 files are not readable pictures, and are left out" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"can't be read: .*notes.txt \(not readable pictures\)"):
        model.features(tmp_path)
    assert model.predict([]).probabilities.shape == (0, 2)


def test_paths_are_those_of_the_command_line(run: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(root))
    home = Path("~") / os.path.relpath(run, root)
    assert semisup.load(home, "cpu").predict("~/test/new0.png").names == [str(root / "test/new0.png")]
    calls: list[Callable[[], Any]] = [lambda: semisup.load("x" * 300), lambda: semisup.fit("x" * 300)]
    for call in [*calls, lambda: semisup.load(run, "cpu").predict("x" * 300)]:
        with pytest.raises(InputError, match="is no path: a name in one has at most 255 bytes"):
            call()


def test_a_file_that_pillow_has_opened_and_can_not_read_is_named(root: Path, run: Path) -> None:
    whole = (root / "test/new0.png").read_bytes()
    cut, closed = Image.open(io.BytesIO(whole[:-40])), Image.open(io.BytesIO(whole))
    closed.close()
    told = semisup.load(run, "cpu").predict([cut, Image.open(io.BytesIO(whole)), closed])
    assert told.names == ["1"] and told.unreadable == dict.fromkeys("02", "not readable pictures")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("missing.png", "missing.png is not there; give pictures"),
        (np.zeros((4, 4, 3)) + 2, "from 0 to 1; found 2 to 2"),
        (np.zeros((4, 4, 3), np.int64), r"found numpy, int64, shape \(4, 4, 3\)"),
        (torch.zeros(5, dtype=torch.uint8), r"found torch, torch.uint8, shape \(5,\)"),
        (np.full((4, 4), np.nan), "floating point is from 0 to 1"),
        (Image.new("I;16", (4, 4)), "mode I;16 has no range"),
        (Image.new("RGB", (0, 4)), "a picture of 0x4 pixels has none"),
        ([None], "found None, a NoneType"),
        ([b"x"], "found b'x', a bytes"),
        (5, "pictures are to be given, or what holds some; found 5"),
    ],
)
def test_what_is_no_picture_is_one_clear_error(given: object, message: str, run: Path) -> None:
    with pytest.raises(InputError, match=message):
        semisup.load(run, "cpu").predict(given)  # type: ignore[arg-type]


def test_an_empty_folder_and_a_run_from_before_are_understood(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no files"):
        find([tmp_path])
    model = semisup.load(Path(__file__).parent / "old_run", "cpu")
    digits = np.zeros((2, 8, 8, 1), np.uint8)
    assert model.predict(digits).probabilities.shape == (2, 10)


@pytest.mark.parametrize(
    "damage", [{"size": 0}, {"channels": 2}, {"ranges": {INTEGERS: [1, 1]}}, {"background": [0]}, {"x": 1}]
)
def test_damaged_preprocessing_is_refused(damage: dict[str, object]) -> None:
    saved = Blobs().preprocessing.saved()
    assert Preprocessing.restored(saved).saved() == saved
    with pytest.raises(InputError):
        Preprocessing.restored({**saved, **damage})


def test_importing_semisup_loads_nothing_heavy() -> None:
    done = run_python("-c", "import sys, semisup; print('torch' in sys.modules, 'load' in dir(semisup))")
    assert done.stdout.split() == ["False", "True"], done.stderr
    assert semisup.load.__module__ == "semisup.model"
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        _ = semisup.fitt  # type: ignore[attr-defined]
