"""Ensembles: what the targets are, which runs may be asked, and that they are asked once."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import methods
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from ensemble_runs import fit, run
from helpers import Blobs, SaveAt, classifier, install_blobs, trainer
from torch import Tensor

from semisup import model
from semisup.classifier import Classifier, ModelOptions
from semisup.cli.config import parse
from semisup.cli.front import main
from semisup.data.pools import DataSpec, Pools
from semisup.errors import InputError
from semisup.figures.artifacts import RunArtifacts
from semisup.figures.style import save
from strategies.ensemble import Ensemble, agreement
from strategies.ensemble_figures import agreement as drawn


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three networks of two architectures, one of them an average and with LoRA."""
    folder = tmp_path_factory.mktemp("runs")
    lora = {"model": ModelOptions("64c5-64c5-128f", adapt="lora"), "seed": 1}
    averaged = {"model": ModelOptions("small"), "strategy": methods.make("fixmatch"), "seed": 2}
    options: list[dict[str, Any]] = [{"model": ModelOptions("small")}, lora, averaged]
    return [run(folder / f"{k}.ckpt", steps=3 - k, **each) for k, each in enumerate(options)]


def said(runs: list[str], images: Tensor) -> list[Tensor]:
    """What each run says of images (N, C, H, W) uint8, as its own classifier says it."""
    with torch.no_grad():
        return [Classifier.from_checkpoint(Path(path))(images.float() / 255).softmax(1) for path in runs]


@pytest.mark.parametrize("mean", ["labels", "probabilities"])
def test_targets_are_the_mean_of_what_the_runs_say(mean: Any, runs: list[str]) -> None:
    module = fit(strategy := Ensemble(runs, mean))
    pools = module.datamodule.pools if module._trainer else Blobs().pools
    assert pools.without_label is not None
    each = said(runs, pools.without_label.gather(torch.arange(90)))
    votes = torch.stack([p.argmax(1) for p in each])
    expected = torch.zeros(90, 3)
    for row in range(90):
        for k in range(3):
            expected[row] += F.one_hot(votes[k, row], 3) / 3 if mean == "labels" else each[k][row] / 3
    torch.testing.assert_close(strategy.targets_, expected, rtol=1e-5, atol=1e-6)
    for a in range(3):
        for b in range(3):
            share = sum(int(votes[a, row] == votes[b, row]) for row in range(90)) / 90
            assert float(strategy.agreement_[a, b]) == pytest.approx(share)


def test_what_is_said_and_logged_of_agreement(
    runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Keep(pl.loggers.CSVLogger):
        def log_metrics(self, metrics: Any, step: int | None = None) -> None:
            kept.update({name: value for name, value in metrics.items() if name.startswith("ensemble/")})

    kept: dict[str, float] = {}
    data = Blobs()
    fit(strategy := Ensemble(runs), data, logger=Keep(tmp_path))
    assert data.pools.without_label is not None and data.pools.hidden_labels is not None
    truth = torch.from_numpy(data.pools.hidden_labels)
    votes = torch.stack([p.argmax(1) for p in said(runs, data.pools.without_label.gather(torch.arange(90)))])
    unanimous = float(((votes[0] == votes[1]) & (votes[1] == votes[2])).float().mean())
    assert 0 < unanimous < 1
    two = [float((votes[a] == votes[b]).float().mean()) for a, b in ((0, 1), (0, 2), (1, 2))]
    right = [float((each == truth).float().mean()) for each in (strategy.targets_.argmax(1), *votes)]
    expected = {"unanimous": unanimous, "agreement": sum(two) / 3, "precision": right[0]}
    expected |= {f"precision/{k}": right[k] for k in (1, 2, 3)}
    assert kept == pytest.approx({f"ensemble/{name}": value for name, value in expected.items()})
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if line.startswith("ensemble: targets of"))
    assert re.search(rf"ensemble: targets for 90 images, mean confidence 0\.\d\d, {100 * right[0]:.1f} % right\n", out)
    assert line == (
        f"ensemble: targets of 3 runs for 90 images; they agree on {100 * unanimous:.1f} % of these, two of them on "
        f"{100 * min(two):.1f} to {100 * max(two):.1f} %; of what each says {100 * right[1]:.1f}, "
        f"{100 * right[2]:.1f}, {100 * right[3]:.1f} % is right"
    )
    assert strategy.summary() == f"3 runs made the targets, two of them agree on {sum(two) / 0.03:.1f} % of the images"


def test_one_run_is_self_training(runs: list[str]) -> None:
    fit(strategy := Ensemble(runs[:1]))
    assert strategy.targets_.sort(1).values.unique(dim=0).tolist() == [[0, 0, 1]]
    assert strategy.summary() == "1 run made the targets"
    assert agreement(torch.zeros(1, 5)).tolist() == [[1.0]]


def test_the_loss_goes_towards_the_targets_of_both_views(runs: list[str]) -> None:
    data, strategy = Blobs(augmentation="weak"), Ensemble(runs[:2], weight=0.5, ratio=2)

    class Compare(pl.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, idx: int) -> None:
            loss, _, outputs = strategy.loss(module, batch)
            labeled = outputs["labeled"].log_softmax(1)
            slow = -sum(labeled[k, y] for k, y in enumerate(batch.labeled.target)) / len(labeled)
            for view in ("weak", "strong"):
                log_p = outputs[view].log_softmax(1)
                rows = batch.unlabeled.index
                slow = slow - 0.5 * sum(strategy.targets_[row] @ log_p[k] for k, row in enumerate(rows)) / len(rows)
            losses.append((loss, slow, len(batch.unlabeled)))

    losses: list[Any] = []
    fitting = trainer(1, max_steps=1, limit_val_batches=0, callbacks=[Compare()])
    fitting.fit(classifier(data, strategy, model=ModelOptions("small")), data)
    (loss, slow, count) = losses[0]
    assert count == 24
    torch.testing.assert_close(loss, slow)


def test_a_resumed_training_asks_no_run(runs: list[str], tmp_path: Path) -> None:
    copies = [tmp_path / f"{k}.ckpt" for k in range(2)]
    for source, copy in zip(runs, copies, strict=False):
        copy.write_bytes(Path(source).read_bytes())
    data, path = Blobs(), tmp_path / "saved.ckpt"
    module = classifier(data, whole := Ensemble([*map(str, copies)]), model=ModelOptions("small"))
    trainer(1, enable_checkpointing=True, limit_val_batches=0, callbacks=[SaveAt(2, path)]).fit(module, data)
    for copy in copies:
        copy.unlink()
    data = Blobs()
    again = classifier(data, resumed := Ensemble([*map(str, copies)]), model=ModelOptions("small"))
    trainer(1, limit_val_batches=0).fit(again, data, ckpt_path=path, weights_only=True)
    assert torch.equal(whole.targets_, resumed.targets_) and torch.equal(whole.agreement_, resumed.agreement_)
    assert all(torch.equal(x, y) for x, y in zip(module.parameters(), again.parameters(), strict=True))


class Small(Blobs):
    """The same pictures as others have them: of half the height and width, of three channels."""

    @property
    def spec(self) -> DataSpec:
        return replace(super().spec, channels=3, image_size=16)

    def read(self) -> Pools:
        pools = super().read()
        for name in ("labeled", "unlabeled", "val", "test"):
            pool = getattr(pools, name)
            large = np.repeat(np.repeat(np.repeat(pool._images, 3, 1), 2, 2), 2, 3)
            setattr(pools, name, type(pool)(large, pool.labels.numpy(), pool.rows))
        return pools


def test_a_run_sees_the_images_as_its_own_were_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = run(tmp_path / "0.ckpt", Small(), model=ModelOptions("small"))
    monkeypatch.setattr("strategies.ensemble.given_away", lambda then, now: "")  # every image is another one
    data = Blobs()
    fit(strategy := Ensemble([path], "probabilities"), data)
    assert data.pools.without_label is not None
    pictures = [x[0].numpy() for x in data.pools.without_label.gather(torch.arange(90))]
    torch.testing.assert_close(strategy.targets_, model.load(path, "cpu").predict(pictures).probabilities)


# ---- what may not be asked


def test_runs_that_can_not_be_asked(runs: list[str], tmp_path: Path) -> None:
    for given, message in (
        (None, "was given none; type --ensemble.runs RUN RUN"),
        ([], "was given none; type --ensemble.runs RUN RUN"),
        ([runs[0], runs[1], runs[0]], "ensemble.runs names a run twice"),
        ([str(tmp_path / "none")], "none does not exist"),
    ):
        with pytest.raises(InputError, match=message):
            fit(Ensemble(given))
    saved = torch.load(runs[0], weights_only=True)
    del saved["semisup"]["data"]
    torch.save(saved, tmp_path / "old.ckpt")
    with pytest.raises(InputError, match="does not say which images it was trained on"):
        fit(Ensemble([str(tmp_path / "old.ckpt")]))


# ---- typed


@pytest.mark.parametrize(
    ("line", "runs"),
    [
        ("--ensemble.runs a b --ensemble.ratio 2", ["a", "b"]),
        ("--ensemble.runs a --ensemble.ratio 2", ["a"]),
        ("--ensemble.ratio 2 --ensemble.runs a 1 null", ["a", "1", "null"]),
        ("--ensemble.runs ['a','b'] --ensemble.ratio 2", ["a", "b"]),
        ("--ensemble.runs=['a'] --ensemble.ratio 2", ["a"]),
        ("--ensemble.runs null --ensemble.ratio 2", None),
        ("--ensemble.ratio 2", None),
    ],
)
def test_runs_are_typed_one_behind_the_other(line: str, runs: list[str] | None) -> None:
    config = parse("fit", ["--strategy", "ensemble", "--data", "digits", *line.split()])
    assert config.options["ensemble"]["runs"] == runs and config.options["ensemble"]["ratio"] == 2


def test_runs_that_were_not_finished_and_the_figure_of_one_that_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    install_blobs(monkeypatch)
    usual = "--data blobs --trainer.max_epochs 1 --model small --trainer.accelerator cpu --tracking.mode disabled"
    for seed in "01":
        assert main(["fit", *usual.split(), "--seed", seed]) == 0
    finished = sorted(map(str, Path().glob("runs/blobs/supervised/*")))
    assert main(["fit", *usual.split(), "--strategy", "ensemble", "--ensemble.runs", *finished]) == 0
    (made,) = Path().glob("runs/blobs/ensemble/*")
    ((name, figure),) = drawn(RunArtifacts(made, lambda path: Blobs(), torch.device("cpu")))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert name == "" and len(texts) == 4 and texts[0] == texts[3] == "100.0 %" and texts[1] == texts[2]
    save(figure, tmp_path, "agreement")
    metrics = Path(finished[0], "metrics.csv")
    metrics.write_text("\n".join(metrics.read_text().splitlines()[:-1]) + "\n")
    capsys.readouterr()
    assert main(["fit", *usual.split(), "--strategy", "ensemble", "--ensemble.runs", *finished]) == 2
    assert "has not finished; go on with it first" in capsys.readouterr().err
    assert len([*Path().glob("runs/blobs/ensemble/*")]) == 1
