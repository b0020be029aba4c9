"""Pictures that a program gives: whatever form they come in, they are the same pools; and each mistake is one error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from helpers import same
from PIL import Image
from test_api import BRIEF, TRAINER, rows, state
from torch.utils.data import Subset, TensorDataset

import semisup
from datamodules.digits import Digits
from semisup.batch import UNLABELED
from semisup.cli.front import main
from semisup.data.memory import Memory
from semisup.data.pool import Pool
from semisup.errors import InputError
from semisup.runs.run import Run

SIDE = 8
PIXELS = np.random.default_rng(0).integers(0, 256, (14, SIDE, SIDE, 3), dtype=np.uint8)
LABELS = [0, 1] * 5  # of the first ten


def opened(data: semisup.Data) -> Memory:
    made = Memory(**data.options)
    made.given = data
    return made


def pixels(pool: Pool | None) -> np.ndarray:
    assert pool is not None
    return pool.gather(torch.arange(len(pool))).numpy().transpose(0, 2, 3, 1)


class MapStyle:
    """As torchvision's datasets are."""

    classes = ("cat", "dog")

    def __init__(self, first: int, last: int) -> None:
        self.first, self.count = first, last - first

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, k: int) -> tuple[Image.Image, int]:
        if k >= self.count:
            raise IndexError
        return Image.fromarray(PIXELS[self.first + k]), LABELS[k % 10]


def hugging_face(first: int, last: int, labels: bool = True) -> datasets.Dataset:
    columns: dict[str, Any] = {
        "image": [Image.fromarray(x) for x in PIXELS[first:last]],
        "note": ["x"] * (last - first),
    }
    features: dict[str, Any] = {"image": datasets.Image(), "note": datasets.Value("string")}
    if labels:
        columns["label"], features["label"] = LABELS[: last - first], datasets.ClassLabel(names=["cat", "dog"])
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


TENSOR = torch.from_numpy(PIXELS).permute(0, 3, 1, 2)
FORMS: dict[str, tuple[Any, Any]] = {  # ten pictures with labels, four without
    "numpy": ((PIXELS[:10], np.array(LABELS)), PIXELS[10:]),
    "numpy, floating point": ((PIXELS[:10] / 255, LABELS), (PIXELS[10:] / 255).astype(np.float32)),
    "torch": ((TENSOR[:10], torch.tensor(LABELS)), TENSOR[10:]),
    "torch, floating point": ((TENSOR[:10] / 255, LABELS), TENSOR[10:] / 255),
    "a list of arrays": ([*zip(PIXELS[:10], LABELS, strict=True)], [*PIXELS[10:]]),
    "Pillow": (([Image.fromarray(x) for x in PIXELS[:10]], LABELS), [Image.fromarray(x) for x in PIXELS[10:]]),
    "map style": (MapStyle(0, 10), MapStyle(10, 14)),
    "a subset": (Subset(MapStyle(0, 14), range(10)), Subset(MapStyle(0, 14), range(10, 14))),  # type: ignore[arg-type]
    "tensors": (TensorDataset(TENSOR[:10], torch.tensor(LABELS)), TensorDataset(TENSOR[10:])),
    "Hugging Face": (hugging_face(0, 10), hugging_face(10, 14, labels=False)),
    "one array, -1 is no label": ((PIXELS, [*LABELS, -1, -1, -1, -1]), None),
    "names, None is no label": ((PIXELS, [*(("cat", "dog")[k] for k in LABELS), None, None, None, None]), None),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_pools(form: str) -> None:
    labeled, unlabeled = FORMS[form]
    first = ["cat", "dog"] if form.startswith("names") else [0, 1]
    data = opened(semisup.Data(labeled, unlabeled, val=(PIXELS[:2], first), labeled_in_unlabeled=False))
    pools = data.pools
    assert np.array_equal(pixels(pools.labeled), PIXELS[:10]) and pools.labeled.labels.tolist() == LABELS
    assert np.array_equal(pixels(pools.unlabeled), PIXELS[10:]) and pools.unlabeled is not None
    assert pools.unlabeled.labels.tolist() == [UNLABELED] * 4 and pools.hidden_labels is None
    named = form in ("map style", "a subset", "Hugging Face", "names, None is no label")
    assert data.spec.class_names == (("cat", "dog") if named else ("0", "1"))
    assert (data.spec.image_size, data.spec.channels) == (SIDE, 3)


def test_files_are_read_and_keep_their_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for k in range(6):
        Image.fromarray(PIXELS[k]).save(tmp_path / f"{k}.png")
    (tmp_path / "3.png").write_text("no picture")
    paths = [tmp_path / f"{k}.png" for k in range(6)]
    pools = opened(semisup.Data((paths, [0, 1] * 3), unlabeled=tmp_path, image_size=SIDE)).pools
    kept = [0, 1, 2, 4, 5]
    assert pools.val is not None and pools.val.names is not None and pools.labeled.names is not None
    names = pools.labeled.names + pools.val.names
    together = dict(zip(names, np.concatenate([pixels(pools.labeled), pixels(pools.val)]), strict=True))
    assert {*together} == {str(paths[k]) for k in kept}
    assert all(np.array_equal(together[str(paths[k])], PIXELS[k]) for k in kept)
    assert "1 of 6 files of labeled are not readable pictures, and are left out: " in capsys.readouterr().out


def test_sizes_and_channels_are_the_pictures_own() -> None:
    def shape(*pictures: Any, **options: Any) -> tuple[int, int]:
        spec = opened(semisup.Data(([*pictures], [*range(len(pictures))]), **options)).spec
        return spec.image_size, spec.channels

    grey, colour = np.zeros((20, 30), np.uint8), np.zeros((20, 30, 3), np.uint8)
    assert shape(grey, grey) == (20, 1) and shape(grey, colour) == (20, 3)
    assert shape(grey, np.zeros((21, 30), np.uint8)) == (96, 1)
    assert shape(grey, colour, image_size=12, channels=1) == (12, 1)
    assert shape(np.zeros((300, 400), np.uint8), np.zeros((300, 301), np.uint8)) == (224, 1)
    assert shape(Image.fromarray(grey), torch.zeros(1, 20, 20)) == (20, 1)
    assert opened(semisup.Data((np.zeros((2, 5, 6), np.uint8), [0, 1]))).spec.image_size == 8


def test_classes_are_found_by_name_where_two_datasets_number_them_otherwise() -> None:
    test = datasets.Dataset.from_dict(
        {"image": [Image.fromarray(PIXELS[0])] * 3, "label": [0, 1, -1]},
        features=datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["dog", "cat"])}),
    )
    pools = opened(semisup.Data(MapStyle(0, 10), test=test)).pools
    assert pools.test is not None and pools.test.labels.tolist() == [1, 0, UNLABELED]
    seven = opened(semisup.Data((PIXELS[:4], [7, 3, 7, 3]), test=(PIXELS[:2], [3, 7])))
    assert seven.spec.class_names == ("3", "7") and seven.pools.labeled.labels.tolist() == [1, 0, 1, 0]
    assert seven.pools.test is not None and seven.pools.test.labels.tolist() == [0, 1]
    said = opened(semisup.Data(MapStyle(0, 10), test=(PIXELS[:2], ["Hund", 0]), class_names=["Katze", "Hund"]))
    assert said.spec.class_names == ("Katze", "Hund") and said.pools.test is not None
    assert said.pools.test.labels.tolist() == [1, 0]


def test_labels_that_are_left_over_are_hidden() -> None:
    pools = opened(semisup.Data((PIXELS[:10], LABELS), val=(PIXELS, [0] * 14), labels_per_class=2)).pools
    assert pools.labeled.labels.tolist().count(0) == 2 == pools.labeled.labels.tolist().count(1)
    assert pools.without_label is not None and pools.hidden_labels is not None
    names = [pools.without_label.name(k) for k in range(6)]
    assert [LABELS[int(name.removeprefix("labeled/"))] for name in names] == pools.hidden_labels.tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labeled": (PIXELS, [0, 1])}, "labeled has 14 pictures and 2 labels; give one for each"),
        ({"labeled": (PIXELS[:2], [0, 0])}, "labeled has 1 classes (0), but two or more are needed"),
        ({"labeled": (PIXELS[:0], [])}, "labeled has no pictures"),
        ({"labeled": PIXELS}, "labeled has 0 classes (none), but two or more are needed"),
        ({"labeled": (PIXELS[:2], [0.5, 1])}, "labeled has the label '0.5' (float), but a label is a"),
        ({"labeled": (PIXELS[:2], [-2, 1])}, "labeled has the label '-2' (int)"),
        ({"labeled": (PIXELS[:2], ["a", 1])}, "labels that are numbers and labels that are names"),
        ({"labeled": (PIXELS[:2], np.eye(2))}, "labeled has labels of shape (2, 2), but must have one number or name"),
        ({"labeled": (PIXELS[:2], 5)}, "labeled has labels of type int"),
        ({"labeled": (PIXELS[:2], [0, 1]), "test": (PIXELS[:1], [2])}, "test has the label 2, and the classes are"),
        ({"labeled": (PIXELS[:2], [0, 1]), "class_names": "abc"}, "class 'c' has no labeled picture"),
        ({"labeled": (PIXELS[:2], [0, 1]), "class_names": "aa"}, "class_names has 'a' twice"),
        ({"labeled": (PIXELS[:2], ["a", "\ud800"])}, "which is no Unicode and can't be saved"),
        ({"labeled": (PIXELS[:2], ["caf\u00e9", "cafe\u0301"])}, "one name that Unicode writes in two ways"),
        ({"labeled": (PIXELS[0, 0], [0, 1])}, "labeled is an array of shape (8, 3)"),
        ({"labeled": (PIXELS[:2] * 2.0, [0, 1])}, "labeled: a picture in floating point is from 0 to 1; found"),
        ({"labeled": (TENSOR[:2].numpy(), [0, 1])}, "labeled: a picture is uint8, or floating point from 0 to 1"),
        ({"labeled": {"train": hugging_face(0, 4)}}, "labeled is dict; give pictures"),
        ({"labeled": datasets.DatasetDict(train=hugging_face(0, 4))}, "give one of its splits (train)"),
        ({"labeled": hugging_face(0, 4).to_iterable_dataset()}, "labeled is a IterableDataset, but must be"),
        ({"labeled": hugging_face(0, 4).remove_columns("image")}, "columns note, label, and none could be the pic"),
        ({"labeled": iter(PIXELS)}, "labeled is iterator; give pictures"),
        ({"labeled": (["missing.png"], [0])}, "labeled has no pictures"),
        ({"labeled": None}, "labeled has no pictures"),
        ({"labeled": (PIXELS[:4], [0, 1, 0, 1]), "val": PIXELS[:2]}, "2 pictures of val have no label"),
    ],
)  # fmt: skip
def test_each_mistake_is_one_error(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        _ = opened(semisup.Data(**arguments)).pools
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def digits() -> semisup.Data:
    """The digits as a program has them, split as the datamodule does."""
    pools = Digits(labels_per_class=None).pools
    parts = {"labeled": pools.labeled, "val": pools.val, "test": pools.test}
    given = {name: (pixels(pool), pool.labels) for name, pool in parts.items() if pool}
    options = {"augmentation": "shift", "batch_size": 24, "steps_per_epoch": 3, "labels_per_class": 4}
    return semisup.Data(**given, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def run(digits: semisup.Data, tmp_path_factory: pytest.TempPathFactory) -> semisup.Model:
    """A run on them, to be read only."""
    root = tmp_path_factory.mktemp("given")
    return semisup.fit(digits, "fixmatch", trainer=TRAINER | {"default_root_dir": root}, **BRIEF)


def test_arrays_are_trained_on_as_the_dataset_of_the_same_images_to_the_bit(run: semisup.Model, tmp_path: Path) -> None:
    options = {"name": "digits", "steps_per_epoch": 3}
    named = semisup.fit(options, "fixmatch", trainer=TRAINER | {"default_root_dir": tmp_path}, **BRIEF)
    assert run.directory is not None and named.directory is not None
    assert same(state(run.directory), state(named.directory)) and rows(run.directory) == rows(named.directory)
    assert run.scores == named.scores


def test_a_run_is_found_again_by_its_images(run: semisup.Model, digits: semisup.Data) -> None:
    assert run.directory is not None
    options: dict[str, Any] = {"trainer": TRAINER | {"default_root_dir": run.directory.parents[2]}, **BRIEF}
    again = semisup.fit(digits, "fixmatch", resume="auto", **options)
    assert again.directory == run.directory
    images, labels = digits.labeled
    turned = semisup.Data((images[::-1].copy(), labels.flip(0)), val=digits.val, test=digits.test, **digits.options)
    with pytest.raises(InputError, match="was trained with other data: "):
        semisup.fit(turned, "fixmatch", resume=run.directory, **options)
    assert turned is not digits and opened(turned).digest != opened(digits).digest
    assert Run(run.directory).options["data.images"] == opened(digits).digest
    with pytest.raises(InputError, match="the data of this run was given in Python"):
        semisup.fit(resume=run.directory)


def test_the_command_line_predicts_pictures_by_it_and_says_where_its_data_was(
    run: semisup.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "digit.png"
    Image.fromarray(PIXELS[0]).save(path)
    assert main(["predict", str(run.directory), str(path), "--device", "cpu", "--out", "told.csv"]) == 0
    (probability,) = run.predict(path).confidence.tolist()
    assert f"{path},{run.predict(path).classes[0]},{probability:.6f}" in (tmp_path / "told.csv").read_text()
    capsys.readouterr()
    for verb in ("predict", "test", "validate"):
        assert main([verb, str(run.directory)]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "the data of this run was given in Python and can't be read" in error
