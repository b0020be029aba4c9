"""`semisup report`: its numbers against the runs' own files, and one content in three formats."""

from __future__ import annotations

import csv
import re
import statistics
from pathlib import Path

import pytest
import torch
import yaml
from reports import OPTIONS, OWN, Tables, found_tables, latex_tables, make_run, markdown_tables, percent, report
from scipy.stats import ttest_1samp

from semisup import figures
from semisup.classifier import ModelOptions
from semisup.cli.front import main
from semisup.data.pools import DataSpec
from semisup.escape import MINUS, TIMES
from semisup.report.layers import layers
from tests.helpers import Blobs, classifier

# ---- the numbers


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[Path]]]:
    """Three supervised runs, four with pseudo-labels of which three have a partner, and a report of them."""
    folder = tmp_path_factory.mktemp("made")
    seeds = {"supervised": (0, 1, 2), "pseudolabel": (0, 1, 2, 3)}
    runs = {strategy: [make_run(folder, strategy, seed) for seed in seeds[strategy]] for strategy in seeds}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        # The augmentations need no checkpoint and would take a while.
        patch.setattr(figures, "FIGURES", [one for one in figures.FIGURES if one.name != "augmentations"])
        report(*runs["pseudolabel"], *runs["supervised"])
    return folder / "report", runs


def test_means_are_those_of_the_metrics(made: tuple[Path, dict[str, list[Path]]]) -> None:
    folder, runs = made
    rows = found_tables(folder)["Accuracy in percent, mean ± standard deviation over seeds"]
    assert rows[0] == ["strategy", "seeds", "best val", "best test", "last val", "last test"]
    for row, strategy in zip(rows[1:], ("supervised", "pseudolabel"), strict=True):
        expected = []
        for name in ("best/val_accuracy", "best/test_accuracy", "last/val_accuracy", "last/test_accuracy"):
            scores = [percent(run, name) for run in runs[strategy]]
            expected.append(f"{statistics.mean(scores):.2f} ± {statistics.stdev(scores):.2f}")
        assert row == [strategy, ", ".join(str(seed) for seed in range(len(runs[strategy]))), *expected]


def test_differences_are_paired_by_seed(made: tuple[Path, dict[str, list[Path]]]) -> None:
    folder, runs = made
    tables = found_tables(folder)
    rows = tables["Difference to supervised training, paired by seed"]
    for row, which in zip(rows[1:], ("best", "last"), strict=True):
        name = f"{which}/test_accuracy"
        pairs = [
            percent(b, name) - percent(a, name) for a, b in zip(runs["supervised"], runs["pseudolabel"], strict=False)
        ]
        low, high = ttest_1samp(pairs, 0).confidence_interval(0.95)
        error = statistics.stdev(pairs) / len(pairs) ** 0.5
        expected = f"{statistics.mean(pairs):+.2f}|{error:.2f}|{low:+.2f} to {high:+.2f}".replace("-", MINUS)
        assert row == ["pseudolabel", "supervised", which, "3", *expected.split("|")]
    best = [row for row in tables["The pairs, test accuracy in percent"][1:] if row[1] == "best"]
    name = "best/test_accuracy"
    assert [row[2:5] for row in best] == [
        [str(seed), f"{percent(runs['supervised'][seed], name):.2f}", f"{percent(runs['pseudolabel'][seed], name):.2f}"]
        for seed in range(3)
    ]


def test_every_run_is_listed(made: tuple[Path, dict[str, list[Path]]]) -> None:
    folder, runs = made
    rows = found_tables(folder)["Accuracy of every run in percent"]
    for row, run in zip(rows[1:], [*runs["supervised"], *runs["pseudolabel"]], strict=True):
        validated = [x["val/accuracy"] for x in csv.DictReader((run / "metrics.csv").open()) if x["val/accuracy"]]
        best = str(1 + validated.index(max(validated, key=float)))
        assert row[1:5] == [run.name, run.name[-1], best, f"{percent(run, 'best/val_accuracy'):.2f}"]
        assert row[7] == f"{percent(run, 'last/test_accuracy'):.2f}"
    lengths = found_tables(folder)["Length of the training; seconds are those of training and validation"]
    assert lengths[1] == ["supervised", "2", "100", "2.5 ± 1.0"]


def test_the_formats_say_the_same(made: tuple[Path, dict[str, list[Path]]]) -> None:
    folder, _ = made
    in_markdown = markdown_tables((folder / "report.md").read_text())
    page = Tables((folder / "report.html").read_text())
    assert page.tables == latex_tables((folder / "report.tex").read_text()) == in_markdown
    assert len(in_markdown) == 8 and sum(len(row) for found in in_markdown for row in found) > 100
    for title in ("Summary", "Data and splits", "Results", "Configuration", "Environment", "What is missing"):
        assert f"## {title}\n" in (folder / "report.md").read_text()
        assert title in page.text and f"\\section{{{title}}}" in (folder / "report.tex").read_text()


def test_images_configuration_and_environment(made: tuple[Path, dict[str, list[Path]]]) -> None:
    folder, _ = made
    text, tables = (folder / "report.md").read_text(), found_tables(folder)
    sizes = dict(tables["Images of digits"][1:])
    assert (sizes["labeled"], sizes["unlabeled"], sizes["validation"], sizes["test"]) == ("40", "1,217", "180", "360")
    shared, *own = (yaml.safe_load(block) for block in re.findall(r"```\n(.*?)\n```", text, flags=re.DOTALL)[:3])
    assert own == [{"strategy": name, name: OWN[name]} for name in ("supervised", "pseudolabel")]
    later = {"labeled_in_unlabeled": False, "imbalance": 1.0, "unlabeled_imbalance": "equal", "sampler": "uniform"}
    assert shared["data"] == OPTIONS["data"] | later  # runs of before these options came
    assert shared["trainer"] == {"max_epochs": 2}
    assert "semisup fit --seed 3\n" in text and "/home/me" not in text
    assert text.startswith("# Semi-supervised image classification on digits: supervised and pseudolabel\n\n2026-01-03")
    missing = tables["Left out of this report"][1:]
    lacking = "filters, embedding, confusion, calibration, model"
    assert [row[:2] for row in missing] == [
        ["supervised", lacking],
        ["pseudolabel", lacking],
        ["pseudolabel", "pseudolabels"],  # which supervised runs never have, and nobody misses in them
    ]
    assert all("holds no checkpoints/best.ckpt" in row[2] for row in missing[:2])


# ---- with checkpoints


@pytest.mark.slow
def test_a_whole_run(
    few_embedded: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    short = ["--data.steps_per_epoch", "10", "--trainer.max_epochs", "1", "--tracking.mode", "disabled"]
    assert main(["fit", "--data", "digits", "--trainer.accelerator", "cpu", *short]) == 0
    (run,) = Path("runs/digits/supervised").iterdir()
    capsys.readouterr()
    report(run, run)
    folder = run / "report"
    assert capsys.readouterr().out.splitlines()[-3:] == [
        str(folder / f"report.{kind}") for kind in ("tex", "html", "md")
    ]
    text = (folder / "report.md").read_text()
    images = [folder / path for path in re.findall(r"!\[.*?\]\((.*?)\)", text)]
    assert {image.name.split("-")[0].removesuffix(".png") for image in images} == {
        *("filters", "augmentations", "embedding", "confusion", "calibration", "curves")
    }
    assert Tables((folder / "report.html").read_text()).images == [image.read_bytes() for image in images]
    included = re.findall(r"\\includegraphics\{(.*?)\}", (folder / "report.tex").read_text())
    assert [folder / path for path in included] == [image.with_suffix(".pdf") for image in images]
    assert all((folder / path).read_bytes().startswith(b"%PDF-") for path in included)
    assert "What is missing" not in text
    rows = found_tables(folder)["Layers in the order that an image passes them, and parameters"]
    assert rows[-1] == ["", "in all", "", "94,186"]
    assert sum(int(row[3].replace(",", "")) for row in rows[1:-1]) == 94_186
    assert {path.name for path in run.iterdir()} >= {"metrics.csv", "report"}


def test_without_the_data_the_report_says_what_is_missing(tmp_path: Path) -> None:
    run = make_run(tmp_path, "supervised", 0, data__root=str(tmp_path / "gone"))
    options = yaml.safe_load((run / "config.yaml").read_text())
    options["data"] = {"name": "folder", "root": str(tmp_path / "gone")}
    (run / "config.yaml").write_text(yaml.safe_dump(options))
    report(run)
    rows = found_tables(run / "report")["Left out of this report"][1:]
    assert any("augmentations" in row[1] and "numbers of images" in row[1] and "gone" in row[2] for row in rows)


@pytest.mark.parametrize("backbone", ["small", "solution", "torchvision:resnet18", "torchvision:swin_t"])
def test_layers_hold_every_parameter_once(backbone: str) -> None:
    spec = DataSpec("pictures", ("a", "b", "c"), channels=3, image_size=48)
    data = Blobs()
    module = classifier(type("Spec", (), {"spec": spec, "seed": data.seed})(), model=ModelOptions(backbone))  # type: ignore[arg-type]
    before = {name: part.training for name, part in module.named_modules()}
    found = layers(module)
    assert sum(layer.parameters for layer in found) == sum(p.numel() for p in module.network.parameters())
    assert found[0].shape == (3, 48, 48) and found[-1].shape in ((3,), ())
    assert {name: part.training for name, part in module.named_modules()} == before
    assert not any(part._forward_hooks for part in module.modules())
    for layer in found:
        part = module.network.get_submodule(layer.name) if layer.name else None
        if isinstance(part, torch.nn.Conv2d):
            assert layer.kind.startswith(f"Conv2d {part.kernel_size[0]}{TIMES}{part.kernel_size[1]}")
            assert layer.shape[0] == part.out_channels and layer.parameters == sum(p.numel() for p in part.parameters())
