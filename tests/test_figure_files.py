"""`semisup figures`: what it writes of a run, of several, and of what is left of one."""

from __future__ import annotations

import re
import shutil
from argparse import ArgumentParser
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from matplotlib.figure import Figure
from PIL import Image

from datamodules.digits import Digits
from semisup.classifier import Classifier
from semisup.cli import figures
from semisup.cli.front import main
from semisup.data.datamodule import DataModule
from semisup.errors import InputError
from semisup.figures import CURVES, FIGURES, drawn, of_run
from semisup.figures.artifacts import RunArtifacts, labeled_images
from semisup.figures.mosaic import pixels
from semisup.runs.reading import read_metrics
from strategies.exemplar import Exemplar, SurrogateClasses
from tests.helpers import Blobs, classifier, trainer

SHORT = [
    *("--strategy", "kmeans+pseudolabel", "--pseudolabel.warmup_epochs", "1", "--pseudolabel.every_n_epochs", "1"),
    *("--pseudolabel.threshold", "0.5", "--data.steps_per_epoch", "10", "--trainer.max_epochs", "2"),
    *("--tracking.mode", "disabled", "--trainer.accelerator", "cpu", "--trainer.devices", "1"),
]
CPU = torch.device("cpu")


def draw(*argv: str) -> None:
    """Runs the verb in this process."""
    parser = ArgumentParser(allow_abbrev=False)
    figures.add_options(parser)
    figures.run(parser.parse_args(argv))


def fit(folder: Path, *arguments: str) -> Path:
    """Trains in a folder and returns the run directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["fit", *SHORT, *arguments]) == 0
        return folder / max(Path("runs").glob("*/*/*"), key=lambda path: path.stat().st_mtime)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, to be read only."""
    return fit(tmp_path_factory.mktemp("user"), "--data", "digits")


def artifacts(path: Path, data: DataModule) -> RunArtifacts:
    return RunArtifacts(path, lambda path: data, CPU)


def parts(name: str, run: RunArtifacts) -> list[tuple[str, Figure]]:
    """The parts of a figure of a run, by the names of their files."""
    return list(drawn(of_run(run)[name], run))


def names(folder: Path) -> set[str]:
    """The figures in a folder; each is there as a whole PNG and as a whole PDF."""
    found = {path.name for path in folder.glob("[!.]*")}  # without the list of what semisup wrote
    stems = {Path(name).stem for name in found}
    assert found == {f"{stem}.{kind}" for stem in stems for kind in ("png", "pdf")}
    for stem in stems:
        with Image.open(folder / f"{stem}.png") as image:
            image.load()
            assert 1000 <= image.size[0] <= 1300
        content = (folder / f"{stem}.pdf").read_bytes()
        assert content.startswith(b"%PDF-") and content.rstrip().endswith(b"%%EOF")
    return stems


EMBEDDINGS = {"embedding-0-pixels", "embedding-1-pooling1", "embedding-2-pooling2", "embedding-3-features"}


def test_every_figure_that_a_run_has_data_for_is_written(
    run: Path, few_embedded: None, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(str(run))
    # Steps are logged every fifty here, and have no targets.
    ours = {figure.name for figure in FIGURES} - {"embedding", "targets", "losses"}
    assert names(run / "figures") == ours | {"centroids", "pseudolabels", "curves"} | EMBEDDINGS
    files = {path.name for path in (run / "figures").iterdir()}
    assert {Path(line).name for line in capsys.readouterr().out.splitlines()} == files


def test_figures_are_of_the_checkpoint_that_is_named(run: Path, tmp_path: Path) -> None:
    last = run / "checkpoints" / "last.ckpt"
    draw(str(run), "--ckpt_path", str(last), "--out", str(tmp_path), "--only", "filters")
    assert names(tmp_path) == {"filters"}
    (_, figure), *rest = parts("filters", artifacts(last, Digits()))
    assert not rest and [axes.get_title("left") for axes in figure.axes] == [
        "k-means, before training",
        "after 2 epochs",
    ]
    module = Classifier.from_checkpoint(last)
    trained = next(w for name, w in module.network.backbone.named_parameters() if w.ndim == 4)
    cell = np.asarray(figure.axes[1].images[0].get_array())[:24:8, :24:8, 0]
    expected = 255 * (0.5 + 0.5 * trained[0, 0] / trained[0].abs().max())
    assert np.abs(cell - expected.detach().numpy()).max() <= 0.5001


def test_scores_are_those_of_the_best_checkpoint_on_test(run: Path) -> None:
    best = read_metrics(run)[-1]["best/test_accuracy"]
    found = artifacts(run, Digits())
    for name in ("confusion", "calibration"):
        ((_, figure),) = parts(name, found)
        title = figure.axes[0].get_title("left")
        assert "360 test images" in title and f"{100 * best:.1f} %" in title


def test_pseudo_labels_drawn_are_those_logged(run: Path) -> None:
    ((_, figure),) = parts("pseudolabels", artifacts(run, Digits()))
    logged = [row for row in read_metrics(run) if "pseudolabel/count" in row]
    for digit, group in zip(range(10), figure.axes[0].containers, strict=True):
        assert [bar.get_height() for bar in group] == [row[f"pseudolabel/count/{digit}"] for row in logged]


def test_without_the_data_the_rest_is_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for folder in ("train/cat", "train/dog", "unlabeled", "val/cat", "val/dog"):
        (tmp_path / "pictures" / folder).mkdir(parents=True)
        for number in range(10):
            pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / folder / f"{number}.png")
    data = ["--data", "folder", "--data.root", str(tmp_path / "pictures"), "--data.image_size", "16"]
    run = fit(tmp_path, *data, "--data.batch_size", "4")
    (tmp_path / "pictures").rename(tmp_path / "moved")
    capsys.readouterr()
    draw(str(run))
    assert names(run / "figures") == {"filters", "centroids", "losses", "pseudolabels", "curves"}
    assert re.search(
        r"^left out augmentations, embedding, confusion, calibration: .*pictures", capsys.readouterr().out, re.M
    )
    draw(str(run), "--data.root", str(tmp_path / "moved"), "--only", "confusion")
    assert "confusion" in names(run / "figures")


def test_of_several_runs_each_has_its_folder_and_all_share_the_curves(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "pseudolabel" / "20260101-120000-s1"
    shutil.copytree(run, other, ignore=shutil.ignore_patterns("figures", "checkpoints"))
    draw(str(run), str(other), "--out", str(tmp_path / "out"), "--only", "pseudolabels")
    for path in (run, other):
        assert names(tmp_path / "out" / path.parent.name / path.name) == {"pseudolabels"}
    draw(str(other), str(run), "--only", "curves")
    assert names(other / "figures") == {"curves"}
    ((_, figure),) = drawn(CURVES, [artifacts(path, Digits()) for path in (run, other)])
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == [f"{path.parent.name}/{path.name}" for path in (run, other)]


def test_several_figures_are_named_at_once_or_one_by_one(run: Path, tmp_path: Path) -> None:
    for number, only in enumerate((["--only", "curves,filters"], ["--only", "curves", "--only", "filters"])):
        draw(str(run), *only, "--out", str(tmp_path / str(number)))
        assert names(tmp_path / str(number)) == {"curves", "filters"}


def test_mistakes_are_told(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no figure 'filter'; did you mean 'filters'"):
        draw(str(run), "--only", "filter")
    with pytest.raises(InputError, match="neither a run directory"):
        draw(str(tmp_path))
    with pytest.raises(InputError, match="one RUN"):
        draw(str(run), str(run), "--ckpt_path", str(run))
    with pytest.raises(InputError, match="nothing to draw"):
        draw(str(run), "--only", "surrogate")


def test_a_network_that_has_diverged_is_named_as_the_reason(
    run: Path, few_embedded: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(run, broken, ignore=shutil.ignore_patterns("figures", "best.ckpt"))
    saved = torch.load(broken / "checkpoints" / "last.ckpt", weights_only=True)
    weights = saved["state_dict"].items()
    saved["state_dict"] = {name: x * float("nan") if x.is_floating_point() else x for name, x in weights}
    torch.save(saved, broken / "checkpoints" / "last.ckpt")
    draw(str(broken))
    said = capsys.readouterr().out
    assert "left out embedding: the network has diverged: its features are not finite" in said
    assert "left out confusion, calibration: the network has diverged" in said
    assert {"filters", "curves", "pseudolabels"} < names(broken / "figures")


def test_embedded_images_are_labeled_and_never_test() -> None:
    data = Digits()
    images, target, what = labeled_images(data)
    val, labeled = data.pools.val, data.pools.labeled
    assert val is not None and what == "180 validation and 40 training images"
    expected = {(x.numpy().tobytes(), int(k)) for pool in (val, labeled) for x, k in zip(*both(pool), strict=True)}
    assert {(x.numpy().tobytes(), int(k)) for x, k in zip(images, target, strict=True)} == expected
    assert len(target) == 220 and labeled_images(data, count=100)[2] == "100 validation images"


def both(pool: object) -> tuple[torch.Tensor, torch.Tensor]:
    return pool.gather(torch.arange(len(pool))), pool.labels  # type: ignore[attr-defined, arg-type]


@pytest.mark.parametrize("recipe", ["course", "paper"])
def test_surrogate_samples_are_those_that_were_trained_on(recipe: str, tmp_path: Path) -> None:
    data = Blobs()
    options = {"images": 20, "samples_per_class": 9, "epochs": 1, "batch_size": 16, "crop": 6, "recipe": recipe}
    module = classifier(data, Exemplar(**options, svm=False), "exemplar")
    fitting = trainer(1)
    fitting.fit(module, datamodule=data)
    fitting.save_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    (tmp_path / "run" / "config.yaml").write_text(yaml.dump({"strategy": "exemplar", "exemplar": options}))

    ((_, figure),) = parts("surrogate", artifacts(tmp_path / "run", Blobs()))
    image = np.asarray(figure.axes[0].images[0].get_array())
    assert data.pools.without_label is not None
    classes = SurrogateClasses.choose(data.pools.without_label, 20, 9, 6, recipe, module.seed, CPU)
    samples = classes.samples(classes.pool.gather(torch.arange(180) // 9), torch.arange(180))
    side, gap = 24, 24 // 3
    drawn = [
        image[26 * row : 26 * row + side, side + gap + 26 * column :][:side:4, :side:4].tobytes()
        for row in range(10)
        for column in range(8)
    ]
    known = [cell.tobytes() for cell in pixels(samples)]
    numbers = [known.index(cell) for cell in drawn]
    assert all(np.diff(row).tolist() == [1] * 7 and row[0] % 9 == 0 for row in np.reshape(numbers, (10, 8)))
