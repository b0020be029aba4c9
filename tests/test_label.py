"""`semisup label`: which pictures are chosen, and what is written of them."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from helpers import Blobs, classifier
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_folders import SIZE, cats_and_dogs, picture
from torch import Tensor

from semisup import load
from semisup.cli.front import main
from semisup.data.labels_csv import labels_text, read_labels
from semisup.labeling import choose as rule
from semisup.labeling.choose import choose, seen
from semisup.runs.run import Run


def naive(features: Tensor, probabilities: Tensor, labeled: Tensor, count: int) -> list[int]:
    """The rule in loops: each step tries every picture, and computes what all of them are then covered by."""
    x, known = (
        [row / max(np.linalg.norm(row), 1e-12) for row in part.double().numpy()] for part in (features, labeled)
    )
    margins = [sorted(row)[-1] - sorted(row)[-2] for row in probabilities.double().tolist()]

    def uncovered(chosen: list[int]) -> float:
        there = [*known, *(x[k] for k in chosen)]
        nearest = [min([np.linalg.norm(a - b) for b in there], default=2.0) for a in x]
        return sum((1 - margin) * distance for margin, distance in zip(margins, nearest, strict=True))

    chosen: list[int] = []
    while len(chosen) < min(count, len(x)):
        rest = [k for k in range(len(x)) if k not in chosen]
        chosen.append(min(rest, key=lambda k: round(uncovered([*chosen, k]), 9)))
    return chosen


@settings(max_examples=30)
@given(st.integers(1, 14), st.integers(0, 4), st.integers(1, 16), st.integers(2, 5), st.integers(0, 99))
def test_the_choice_is_the_naive_one(pictures: int, labeled: int, count: int, classes: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    features, known = torch.randn(pictures, 3, generator=draw), torch.randn(labeled, 3, generator=draw)
    probabilities = torch.randn(pictures, classes, generator=draw).mul(2).softmax(1)
    assert choose(features, probabilities, known, count).tolist() == naive(features, probabilities, known, count)


def test_what_is_sure_or_covered_comes_last() -> None:
    corners = torch.eye(4)
    features = corners[[0, 1, 1, 1, 2, 2, 3]]
    unsure, sure = torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0])
    probabilities = torch.stack([unsure, unsure, unsure, unsure, sure, sure, unsure])
    # The first corner has a label. Three of the second are nearer by one label than the one of the fourth.
    assert choose(features, probabilities, corners[:1], 3).tolist() == [1, 6, 0]
    assert choose(features, probabilities, corners[:1], 9).tolist() == [1, 6, 0, 2, 3, 4, 5]


def test_of_many_pictures_some_stand_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rule, "_STAND", 200)
    monkeypatch.setattr(rule, "_CANDIDATES", 100)
    draw = torch.Generator().manual_seed(0)
    features, probabilities = torch.randn(500, 4, generator=draw), torch.rand(500, 3, generator=draw).softmax(1)
    rows = choose(features, probabilities, features[:0], 20)
    assert len(set(rows.tolist())) == 20 and torch.equal(rows, choose(features, probabilities, features[:0], 20))

    def uncovered(chosen: Tensor) -> float:
        unit = torch.nn.functional.normalize(features, dim=1)
        two = probabilities.topk(2, dim=1).values
        return float((torch.cdist(unit, unit[chosen]).amin(1) * (1 - two[:, 0] + two[:, 1])).sum())

    at_random = [uncovered(torch.randperm(500, generator=draw)[:20]) for _ in range(20)]
    assert uncovered(rows) < min(at_random)


def test_features_and_probabilities_are_those_that_are_scored() -> None:
    data = Blobs()
    module = classifier(data)
    module.start_ema(0.5)
    module.teacher.average.head.bias.data += torch.tensor([1.0, 0.0, -1.0])
    pool = data.pools.val
    assert pool is not None
    features, probabilities = seen(module, pool, 7)
    images = pool.gather(torch.arange(len(pool))).float() / 255
    with torch.no_grad():
        torch.testing.assert_close(probabilities, module.eval()(images).softmax(1))
        torch.testing.assert_close(features, module.teacher.features(images))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of pictures, some of them without a label, and a run on it."""
    folder = tmp_path_factory.mktemp("label")
    root = cats_and_dogs(folder / "pictures", 5)
    for number in range(7):
        picture(root / f"unlabeled/more/=new {number},.png", 30 + number, 20)
    words = f"--data folder --data.root {root} --data.image_size {SIZE} --data.batch_size 4 --data.steps_per_epoch 2"
    words += " --model small --tracking.mode disabled --trainer.max_epochs 1 --trainer.accelerator cpu"
    assert main(["fit", *words.split(), "--trainer.default_root_dir", str(folder / "runs")]) == 0
    (run,) = (folder / "runs/folder/supervised").iterdir()
    return root, run


def data_of(page: Path) -> dict[str, object]:
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    data: dict[str, object] = json.loads(found)
    return data


def rows(path: str) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to write to."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_list_and_the_page_name_what_is_chosen(
    made: tuple[Path, Path], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, run = made
    assert main(["label", str(run), "--count", "4", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "4 of 7 unlabeled pictures: to-label.csv" in said
    assert "--data.labels_csv labels.csv --model.weights " in said
    listed = rows("to-label.csv")
    names = [row["path"] for row in listed]
    assert len(set(names)) == 4 and all(re.fullmatch(r"unlabeled/more/=new \d,\.png", name) for name in names)
    told = load(run, "cpu").predict([root / name for name in names])
    assert [row["guess"] for row in listed] == told.classes
    assert [float(row["confidence"]) for row in listed] == pytest.approx(told.confidence.tolist(), abs=1e-5)
    data = data_of(Path("to-label.html"))
    assert [one["path"] for one in data["pictures"]] == names  # type: ignore[attr-defined, index]
    # What the page saves begins with every label that there was, also of those that validate.
    Path("head.csv").write_text(unquote(str(data["head"])))
    trained = {f"train/{kind}/{kind}{number}.png": kind for kind in ("cat", "dog") for number in range(5)}
    assert read_labels(Path("head.csv")) == trained


def test_labels_made_since_are_in_the_file_and_are_not_asked_for_again(made: tuple[Path, Path], here: Path) -> None:
    _, run = made
    since = {f"unlabeled/more/=new {number},.png": "bird" if number else "cat" for number in range(5)}
    Path("labels.csv").write_text(labels_text(since))
    assert main(["label", str(run), "--count", "9", "--labels", "labels.csv"]) == 0
    assert sorted(row["path"] for row in rows("to-label.csv")) == [f"unlabeled/more/=new {k},.png" for k in (5, 6)]
    data = data_of(Path("to-label.html"))
    assert [one["name"] for one in data["classes"]] == ["cat", "dog", "bird"]  # type: ignore[attr-defined, index]
    Path("head.csv").write_text(unquote(str(data["head"])))
    assert since.items() <= read_labels(Path("head.csv")).items()
    assert len(read_labels(Path("head.csv"))) == 15


def test_what_the_page_saves_is_trained_on_and_labeled_on(
    made: tuple[Path, Path], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, run = made
    assert main(["label", str(run), "--count", "4"]) == 0
    (command,) = re.findall("then train on what it saves: semisup (.*)", capsys.readouterr().out)
    data = data_of(Path("to-label.html"))
    new = [(one["cell"], data["classes"][k % 2]["cell"]) for k, one in enumerate(data["pictures"])]  # type: ignore[arg-type, index, var-annotated]
    Path("labels.csv").write_text(unquote(str(data["head"]) + "".join(f"{path},{label}\n" for path, label in new)))
    assert main([*shlex.split(command), "--trainer.default_root_dir", "again"]) == 0
    (again,) = Path("again/folder/supervised").iterdir()
    said = capsys.readouterr().out
    # A fifth of the 14 labels validates.
    assert re.search(r"data: folder, 12 labeled, 3 unlabeled, 2 val", said), said
    assert Path(Run(again).config["model"]["weights"]).resolve() == run.resolve()
    assert main(["label", str(again), "--out", "next.csv"]) == 0
    labels = read_labels(Path("labels.csv"))
    assert len(rows("next.csv")) == 3 and not {row["path"] for row in rows("next.csv")} & labels.keys()
    Path("head.csv").write_text(unquote(str(data_of(Path("next.html"))["head"])))
    assert read_labels(Path("head.csv")) == labels


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--count 0", "--count is 0"),
        ("--out page.html", "type a name ending in .csv"),
        ("--out mine.csv", "--force to replace it"),
        ("--labels mine.csv", "has the columns mine; expected a CSV file"),
        ("--labels unknown.csv", "names pictures that folder doesn't have here: unlabeled/gone.png"),
        ("--labels all.csv", "no unlabeled pictures here that would still"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    words: str, message: str, made: tuple[Path, Path], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.csv").write_text("mine\n")
    Path("unknown.csv").write_text("path,class\nunlabeled/gone.png,cat\n")
    Path("all.csv").write_text(labels_text({f"unlabeled/more/=new {number},.png": "cat" for number in range(7)}))
    before = sorted(here.iterdir())
    assert main(["label", str(made[1]), *words.split()]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert sorted(here.iterdir()) == before and Path("mine.csv").read_text() == "mine\n"


def test_pictures_that_are_no_files_go_by_their_numbers(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = shutil.copytree(Path(__file__).parent / "old_run", "run")
    assert main(["label", str(run), "--count", "3"]) == 0
    said = capsys.readouterr().out
    assert "--data.labels_csv does not take the pictures of digits; the page saves them by their numbers" in said
    assert len({int(row["path"]) for row in rows("to-label.csv")}) == 3
    data = data_of(Path("to-label.html"))
    assert data["small"] and len(unquote(str(data["head"])).splitlines()) > 10
    assert main(["label", str(run), "--count", "3"]) == 0  # its own files are replaced
