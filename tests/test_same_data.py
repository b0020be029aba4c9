"""A run knows the images that it was trained with: on resume, when it is scored, when it predicts, and compared."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from changed_pictures import CHANGES, FIT, SIDE, add, edit, picture, pictures, remove, rename, swap
from helpers import Blobs, classifier, trainer

from datamodules.folder import Folder
from semisup.cli.front import main
from semisup.runs import checkpoint_file
from semisup.runs.run import Run
from strategies.crest import CReST
from strategies.exemplar import Exemplar
from strategies.noisystudent import NoisyStudent
from strategies.pseudolabel import PseudoLabel


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures and a run that was made with a relative root, both to be copied."""
    folder = tmp_path_factory.mktemp("made")
    pictures(folder / "pictures")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["fit", *FIT, "--data.root", "pictures"]) == 0
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, in which the run knows its pictures where the copies are; it is the working directory."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    (config,) = tmp_path.glob("runs/*/*/*/config.yaml")
    config.write_text(config.read_text().replace(str(made), str(tmp_path)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_in(folder: Path) -> str:
    (run,) = folder.glob("runs/*/*/*")
    return str(run)


def saved(run: str) -> dict[str, Any]:
    return checkpoint_file.read(Path(run) / "checkpoints" / "last.ckpt")


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def failure(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main([*arguments]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


# ---- changes


@pytest.mark.parametrize("change", CHANGES)
def test_changed_data_is_one_error_on_resume(change: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    apply, message = CHANGES[change]
    apply(here / "pictures")
    run, before = run_in(here), content(here / "runs")
    line = failure(capsys, "fit", "--resume", run, "--trainer.max_epochs", "3")
    assert re.search(message, line) and "last.ckpt" in line and "--data.root FOLDER" in line, line
    assert ("--resume_data remap" in line) == (change != "swapped")
    assert content(here / "runs") == before


@pytest.mark.parametrize("change", ["edited", "added", "no val", "swapped"])
def test_it_is_told_when_a_run_is_scored_and_predicts(
    change: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    apply, _ = CHANGES[change]
    run = run_in(here)
    assert main(["test", "--ckpt_path", run]) == 0
    assert "not what it was trained with" not in capsys.readouterr().out
    apply(here / "pictures")
    for verb in ("test", "predict"):
        if change == "swapped":
            line = failure(capsys, verb, "--ckpt_path", run)
            assert "have changed places: what it knows as 'cat' is now 'dog', 'dog' is now 'cat'; put it back" in line
            continue
        assert main([verb, "--ckpt_path", run]) == 0
        told = [line for line in capsys.readouterr().out.splitlines() if "not what it was trained with" in line]
        assert len(told) == 1 and {"edited": "1 edited", "added": "20 added", "no val": "6 removed"}[change] in told[0]


def test_other_pictures_are_predicted(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("cat", "dog"):
        picture(here / "others" / "train" / name / f"{name}-other.png")
        picture(here / "others" / "test" / f"{name}-new.png")
    own = Path(run_in(here)) / "predictions.csv"
    before = own.read_bytes()
    assert main(["predict", "--ckpt_path", run_in(here), "--data.root", "others", "--data.labels_per_class", "1"]) == 0
    assert "not what it was trained with" in capsys.readouterr().out
    assert len(Path("predictions.csv").read_text().splitlines()) == 1 + 2 and own.read_bytes() == before


@pytest.mark.parametrize("verb", ["test", "predict", "resume"])
def test_a_class_that_is_called_otherwise(verb: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part in ("train", "val", "test"):
        (here / "pictures" / part / "cat").rename(here / "pictures" / part / "kitten")
    asked = ["fit", "--resume", run_in(here)] if verb == "resume" else [verb, "--ckpt_path", run_in(here)]
    line = failure(capsys, *asked)
    assert "cat, dog" in line and ("dog, kitten" in line)
    assert verb == "resume" or "the first that isn't is 'cat': rename them, or type --data.root FOLDER" in line


# ---- going on with other data


def pseudo_labels(run: str, root: Path) -> dict[str, int]:
    pool = Folder(str(root), image_size=SIDE, labels_per_class=3).pools.without_label
    state = saved(run)["callbacks"]["PseudoLabel"]
    assert pool is not None
    return {pool.name(row): label for row, label in zip(state["rows"].tolist(), state["targets"].tolist(), strict=True)}


def test_pseudo_labels_follow_their_images(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Twenty are added in front of all others, one is removed, one is renamed, one is edited."""
    run, root = run_in(here), here / "pictures"
    before = pseudo_labels(run, root)
    assert len(before) == 12 + 14
    add(root)
    (root / "unlabeled/cat-u02.png").unlink()
    rename("unlabeled/dog-u03.png", "unlabeled/0.png")(root)
    shutil.copy(root / "unlabeled/a-cat05.png", root / "unlabeled/cat-u04.png")
    capsys.readouterr()
    assert main(["fit", "--resume", run, "--trainer.max_epochs", "3", "--resume_data", "remap"]) == 0
    said = capsys.readouterr().out
    assert (
        "data: goes on with other data than before: 20 added (" in said and "1 removed (unlabeled/cat-u02.png)" in said
    )
    assert "pseudolabel: 25 of 26 pseudo-labels are of images that are still there" in said
    del before["unlabeled/cat-u02.png"]
    before["unlabeled/0.png"] = before.pop("unlabeled/dog-u03.png")
    assert pseudo_labels(run, root) == before
    # It goes on with these from now on.
    assert main(["fit", "--resume", run, "--trainer.max_epochs", "4"]) == 0
    assert "other data" not in capsys.readouterr().out and pseudo_labels(run, root) == before


def test_remapping_is_of_a_resumed_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--resume_data remap goes with --resume RUN" in failure(capsys, "fit", "--resume_data", "remap")
    assert "--resume_data: expected same or remap" in failure(capsys, "fit", "--resume_data", "yes")
    swap(here / "pictures")
    line = failure(capsys, "fit", "--resume", run_in(here), "--resume_data", "remap")
    assert "have changed places" in line


def test_surrogate_classes_keep_their_order() -> None:
    data = Blobs()
    module = classifier(data, strategy := Exemplar())
    fitting = trainer(1)
    fitting.datamodule = data  # type: ignore[attr-defined]
    module.trainer = fitting
    strategy.rows_, strategy.backbone_ = torch.tensor([4, 1, 3]), {"x": torch.zeros(1)}
    strategy.remap(module, torch.tensor([9, -1, 7, 0, 5]))
    assert strategy.rows_.tolist() == [5, -1, 0]


@pytest.mark.parametrize("make", [PseudoLabel, NoisyStudent, CReST])
def test_labels_follow_their_images_but_to_those_that_have_a_true_one_now(
    make: type[PseudoLabel] | type[NoisyStudent] | type[CReST],
) -> None:
    data = Blobs()
    module = classifier(data, strategy := make())
    fitting = trainer(1)
    fitting.datamodule = data  # type: ignore[attr-defined]
    module.trainer = fitting
    assert data.pools.without_label is not None
    count = len(data.pools.without_label)
    strategy.rows_, strategy.targets_ = torch.tensor([0, 1, 2, 4]), torch.tensor([2, 1, 0, 1])
    strategy.remap(module, torch.tensor([5, -1, count, 9, count - 1]))
    assert strategy.rows_.tolist() == [5, count - 1] and strategy.targets_.tolist() == [2, 1]


# ---- moved data, and runs of before


def test_a_run_goes_on_from_another_working_directory(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (Path(run_in(here)) / "config.yaml").read_text()
    assert f'  # typed as "pictures"\n  root: {here}/pictures\n' in text
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    run = os.path.relpath(run_in(here))
    assert main(["test", "--ckpt_path", run]) == 0
    assert main(["fit", "--resume", run, "--trainer.max_epochs", "3"]) == 0
    assert "not what" not in capsys.readouterr().out
    assert main(["fit", "--resume", run, "--trainer.max_epochs", "3", "--data.root", "../pictures"]) == 0


def test_the_same_pictures_in_another_place(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_in(here)
    (here / "pictures").rename(here / "new place")
    assert "type --data.root FOLDER" in failure(capsys, "fit", "--resume", run)
    assert main(["fit", "--resume", run, "--data.root", "new place", "--trainer.max_epochs", "3"]) == 0
    written = (Path(run) / "config.yaml").read_text()
    assert '  # typed as "new place"\n  root: ' in written  # a long path goes on in the next line
    assert yaml.safe_load(written)["data"]["root"] == f"{here}/new place"
    edit(here / "new place")
    shutil.copytree(here / "new place", here / "third")
    assert "1 edited" in failure(capsys, "fit", "--resume", run, "--data.root", "third", "--trainer.max_epochs", "4")
    auto = failure(capsys, "fit", *FIT, "--trainer.max_epochs", "3", "--data.root", "new place", "--resume", "auto")
    assert "1 edited" in auto  # which looks for runs on what is in this place


def saved_over(path: Path, checkpoint: dict[str, Any]) -> None:
    """Saves a checkpoint in the place of the one that it was read from, which its tensors are still mapped to."""
    torch.save(checkpoint, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def of_before(run: str) -> None:
    """Makes a checkpoint what it was before it had a fingerprint."""
    for path in (Path(run) / "checkpoints").iterdir():
        kept = checkpoint_file.read_sealed(path)
        kept["semisup"].pop("data", None)
        checkpoint_file.seal(kept)
        saved_over(path, kept)


def test_a_checkpoint_without_a_fingerprint(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_in(here)
    of_before(run)
    capsys.readouterr()
    for asked in (["test", "--ckpt_path", run], ["predict", "--ckpt_path", run], ["fit", "--resume", run]):
        assert main(asked) == 0
        told = [line for line in capsys.readouterr().out.splitlines() if "can't be checked" in line]
        assert len(told) == 1 and told[0].startswith("data: ") and "is of an earlier version" in told[0]
    of_before(run)
    shutil.copytree(here / "pictures", here / "third")
    assert "can't be another one than" in failure(capsys, "fit", "--resume", run, "--data.root", "third")


@pytest.mark.parametrize("damage", [{}, {"labeled": {}}, {"labeled": 3}, 7, "x", {"val": {"names": torch.zeros(1)}}])
def test_a_damaged_fingerprint_is_one_error(damage: Any, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(run_in(here)) / "checkpoints" / "best.ckpt"
    kept = checkpoint_file.read_sealed(path)
    kept["semisup"]["data"] = damage
    saved_over(path, kept)
    line = failure(capsys, "test", "--ckpt_path", str(path))
    assert "best.ckpt contradicts itself: its fingerprint of the data is damaged" in line


def test_a_damaged_run_does_not_end_auto(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = Path(run_in(here))
    faults = {"config.yaml": "20400101-000000-s0", "checkpoints/last.ckpt": "20400101-000001-s0"}
    for file, name in faults.items():
        shutil.copytree(good, good.with_name(name))
        (good.with_name(name) / file).write_bytes(b"\xff")
    for path in (good.with_name("20400101-000001-s0") / "checkpoints").iterdir():
        path.write_bytes(b"")
    capsys.readouterr()
    assert main(["fit", *FIT, "--data.root", "pictures", "--resume", "auto"]) == 0
    said = capsys.readouterr().out
    skipped = [line for line in said.splitlines() if line.startswith("--resume auto: skips ")]
    assert [name in line for name, line in zip(sorted(faults.values(), reverse=True), skipped, strict=True)] == [
        True
    ] * 2
    assert f"--resume auto: goes on with {os.path.relpath(good)}" in said


# ---- the parts


def test_the_digest_of_a_dataset_is_that_of_every_seed(here: Path) -> None:
    def digest(root: str = "pictures", **options: Any) -> str:
        data = Folder(root, image_size=SIDE, **{"labels_per_class": 3, **options})
        return data.fingerprint.digest

    first = digest()
    assert first == digest(seed=1) == digest(labels_per_class=5) == digest(labels_per_class=None)
    shutil.copytree("pictures", "copy")
    assert digest("copy") == first
    (run,) = here.glob("runs/*/*/*")
    assert f"\ndata: {first}\n" in (run / "environment.txt").read_text() and Run(run).data_digest == first
    remove(here / "copy")
    assert digest("copy").split()[0] == first.split()[0] and digest("copy") != first
    shutil.rmtree(here / "copy" / "test" / "cat")
    assert digest("copy").split()[0] != first.split()[0]
