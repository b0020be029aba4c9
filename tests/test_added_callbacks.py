"""Lightning's own callbacks and flags, all that it ships: each trains, or is one line that leaves no run behind."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import yaml
from helpers import Blobs, install_blobs, same, trainer, weights
from pytorch_lightning import callbacks, profilers
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from torch import nn

from semisup.classifier import Classifier
from semisup.cli.front import main
from semisup.errors import InputError
from semisup.metrics import Evaluation
from semisup.runs.reading import read_metrics
from semisup.training.added_callbacks import Watched, prepare
from semisup.training.checkpoints import Checkpoints

BASE = (
    "fit --data blobs --tracking.mode disabled --trainer.accelerator cpu --trainer.devices 1 --trainer.max_epochs 2 "
    "--trainer.log_every_n_steps 1"
)
CALLBACK = "--trainer.callbacks pytorch_lightning.callbacks."
# What a callback can't be made without; `length` is a function that a throughput's batch size can't be asked of.
NEEDED = {
    "EarlyStopping": "monitor val/loss",
    "GradientAccumulationScheduler": "scheduling '{1: 2}'",
    "ModelPruning": "pruning_fn l1_unstructured",
    "OnExceptionCheckpoint": "dirpath there",
    "StochasticWeightAveraging": "swa_lrs .01",
    "ThroughputMonitor": "batch_size_fn operator.length_hint",
    "Timer": "duration 00:01:00:00",
}
REFUSED = {
    "BackboneFinetuning": "has no attribute 'backbone'",
    "BaseFinetuning": "NotImplementedError",
    "BatchSizeFinder": "type --data.batch_size N",
    "LearningRateFinder": "type --optimizer.lr X",
    "ModelPruning": "view size",
    "OnExceptionCheckpoint": "--resume goes on with one",
    "SpikeDetection": "could not be resumed",
}


@pytest.fixture(autouse=True)
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_blobs(monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NETRC", str(tmp_path / "no login"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)


def fit(options: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code of a short fit, and the last line that it wrote to stderr."""
    code = main([*BASE.split(), *shlex.split(options)])
    return code, (capsys.readouterr().err.strip().splitlines() or [""])[-1]


def run_dir() -> Path:
    (run,) = Path("runs").glob("*/*/*")
    return run


@pytest.mark.parametrize("name", sorted(callbacks.__all__))
def test_each_of_lightnings_callbacks_trains_or_is_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    needed = f" --trainer.callbacks.{NEEDED[name]}" if name in NEEDED else ""
    code, error = fit(CALLBACK + name + needed, capsys)
    if code == 0:
        assert name not in REFUSED
        assert (run_dir() / "checkpoints" / "last.ckpt").exists()
    else:
        assert code == 2 and error.startswith("semisup: error: ") and name in error
        assert REFUSED.get(name, "install") in error or name == "ThroughputMonitor"
        assert not any(Path().iterdir())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--trainer.val_check_interval 100", "must be less than or equal to the number of the training batches (4)"),
        ("--trainer.val_check_interval 0:0:1", "DD:HH:MM:SS"),
        ("--trainer.barebones true", "--trainer.barebones leaves out the record"),
        ("--trainer.profiler xla", "needs torch_xla"),
        ("--trainer.strategy nope", "invalid strategy name"),
        ("--trainer.accelerator nope", "nope"),
        ("--trainer.max_epochs 0", "--trainer.max_epochs N"),
        ("--tracking.mode online", "not logged in"),
        (f"{CALLBACK}ModelCheckpoint --trainer.callbacks.dirpath memory://x", "a folder of this machine"),
        (f"{CALLBACK}EMAWeightAveraging --strategy fixmatch", "averages the weights"),
        (f"{CALLBACK}StochasticWeightAveraging --trainer.callbacks.swa_lrs .1 --strategy fixmatch", "averages"),
        (f"{CALLBACK}StochasticWeightAveraging --trainer.callbacks.swa_lrs .1 --strategy curriculum", "of all of them"),
        (f"{CALLBACK}EMAWeightAveraging --strategy exemplar", "trains in phases"),
        (
            f"{CALLBACK}GradientAccumulationScheduler --trainer.callbacks.scheduling '{{1: 2}}' "
            "--strategy metapseudolabels --metapseudolabels.ratio 1",
            "of several batches",
        ),
        ("--optimizer muon", "only supports 2D parameters"),
        (f"{CALLBACK}EarlyStopping --trainer.callbacks.monitor train/los", "train/loss"),
    ],
)
def test_a_flag_that_can_not_be_had_is_one_line_and_leaves_nothing(
    options: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, error = fit(options, capsys)
    assert code == 2 and error.startswith("semisup: error: ") and words in error
    assert not any(Path().iterdir())


@pytest.mark.parametrize("name", ["simple", "advanced", "pytorch"])
def test_profilers_profile_the_training_and_leave_its_scores_alone(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(f"--trainer.profiler {name}", capsys)[0] == 0
    assert {"best/test_accuracy", "last/test_accuracy"} <= read_metrics(run_dir())[-1].keys()


def test_every_profiler_that_lightning_ships_is_tried() -> None:
    there = {
        name for name, cls in inspect.getmembers(profilers, inspect.isclass) if issubclass(cls, profilers.Profiler)
    }
    tried = {"SimpleProfiler", "AdvancedProfiler", "PyTorchProfiler", "XLAProfiler"}
    assert there == tried | {"Profiler", "PassThroughProfiler"}


def test_no_callback_of_lightning_is_missing_from_the_list() -> None:
    modules = [
        importlib.import_module(found.name)
        for found in pkgutil.walk_packages(callbacks.__path__, "pytorch_lightning.callbacks.")
    ]
    shipped = {
        name
        for module in modules
        for name, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, pl.Callback) and cls.__module__ == module.__name__ and not name.startswith("_")
    }
    assert shipped - set(callbacks.__all__) <= {"OnExceptionCheckpoint"}


def test_a_metric_in_the_name_of_an_own_checkpoint_makes_no_folders(capsys: pytest.CaptureFixture[str]) -> None:
    own = f"{CALLBACK}ModelCheckpoint --trainer.callbacks.save_top_k -1 --trainer.callbacks.save_last true "
    assert fit(own + "--trainer.callbacks.filename '{epoch:02d}-{val/accuracy:.2f}-{val/loss}'", capsys)[0] == 0
    left = sorted(path.name for path in (run_dir() / "model_checkpoints").iterdir())
    accuracy = [f"{row['val/accuracy']:.2f}" for row in read_metrics(run_dir()) if "val/accuracy" in row]
    assert len(left) == 3 and left[2] == "last.ckpt"
    for epoch, name in enumerate(left[:2]):
        assert re.fullmatch(rf"epoch=0{epoch}-val_accuracy={accuracy[epoch]}-val_loss=[\d.]+\.ckpt", name)
    ours = {path.name for path in (run_dir() / "checkpoints").iterdir()}
    assert ours == {"best.ckpt", "last.ckpt"}
    for name in left:
        assert Classifier.saved(run_dir() / "model_checkpoints" / name, sealed=True)["epochs"] in (1, 2)
    assert main(["test", "--ckpt_path", str(run_dir() / "model_checkpoints" / left[0])]) == 0


@pytest.mark.parametrize("monitor", ["", " --trainer.callbacks.monitor train/loss"])
def test_own_checkpoints_of_a_run_that_was_killed_are_those_of_one_that_was_not(
    monitor: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed after the user's callback has written, and before the run has: it writes the same files again."""
    own = f"{CALLBACK}ModelCheckpoint --trainer.callbacks.save_top_k -1 --trainer.callbacks.save_last true{monitor}"
    saved = Checkpoints.on_train_epoch_end

    def copies(self: Checkpoints, trainer: pl.Trainer, *rest: Any) -> None:
        if trainer.current_epoch == 1:
            shutil.copytree(self.folder.parent, "killed", dirs_exist_ok=True)
            Path("killed/model_checkpoints/.last.ckpt.1.tmp").touch()
            Path("killed/model_checkpoints/mine.ckpt").write_text("no checkpoint")
        saved(self, trainer, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "on_train_epoch_end", copies)
        assert fit(own, capsys)[0] == 0
    run = run_dir()
    expected = sorted(path.name for path in (run / "model_checkpoints").iterdir())
    shutil.rmtree(run)
    Path("killed").rename(run)
    assert main(["fit", "--resume", str(run), "--trust"]) == 0
    assert sorted(path.name for path in (run / "model_checkpoints").iterdir()) == [*expected, "mine.ckpt"]


@pytest.mark.parametrize("where", ["", "there", "checkpoints"])
def test_an_own_checkpoint_never_takes_the_place_of_the_runs(where: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    folder = str(run / where) if where == "checkpoints" else where
    own = ModelCheckpoint(dirpath=folder or None, filename="best")
    prepare([own], run, averages=False)
    expected = tmp_path / where if where == "there" else run / "model_checkpoints"
    assert own.dirpath is not None and Path(own.dirpath) == expected


def test_a_name_with_its_own_slash_keeps_it() -> None:
    own = ModelCheckpoint(filename="{val/loss:.1f}", auto_insert_metric_name=False)
    prepare([own], Path("run"), averages=False)
    assert own.format_checkpoint_name({"val/loss": torch.tensor(0.25)}).endswith("model_checkpoints/0.2.ckpt")


def test_a_checkpoint_that_the_disk_refuses_is_one_line_and_costs_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("file").touch()
    code, error = fit(f"{CALLBACK}ModelCheckpoint --trainer.callbacks.dirpath file/x", capsys)
    assert code == 2 and "can't be written" in error


@pytest.mark.parametrize("monitor", ["val_loss", "val_acc", "loss", "val/acuracy", "test/accuracy", "val/accuracy/up"])
@pytest.mark.parametrize("kind", [EarlyStopping, ModelCheckpoint])
def test_a_metric_that_is_not_there_is_one_line_before_the_training(kind: Any, monitor: str) -> None:
    data = Blobs()
    module, watching = Classifier(data.spec), Watched([kind(monitor=monitor)])
    with pytest.raises(
        InputError, match=rf"{kind.__name__} watches '{monitor}'.*there are: val/accuracy, .*train/loss"
    ):
        trainer(1, callbacks=[watching]).fit(module, data)
    assert module.trainer.global_step == 0


def test_metrics_that_may_be_there_are_left_to_lightning() -> None:
    class Logs(pl.Callback):
        """Somebody's own, which may log whatever it likes."""

        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            pl_module.log("mine", 1.0)

    data = Blobs()
    for added in (
        [EarlyStopping(monitor="mine"), Logs()],
        [EarlyStopping(monitor="train/loss")],
        [EarlyStopping(monitor="val/accuracy/left")],
        [EarlyStopping(monitor="pseudolabel/count", strict=False)],
    ):
        trainer(1, callbacks=[Watched(added), *added]).fit(Classifier(data.spec), data)


def test_where_nothing_is_validated_no_score_is_promised() -> None:
    data, added = Blobs(), [EarlyStopping(monitor="val/loss")]
    with pytest.raises(InputError, match=r"not logged \(no image is validated\).*there are: train/loss$"):
        trainer(1, limit_val_batches=0, callbacks=[Watched(added)]).fit(Classifier(data.spec), data)


def test_the_names_of_the_scores_are_those_of_an_evaluation() -> None:
    target = torch.tensor([2, 0, 2])
    evaluation = Evaluation(("a", "b", "c", "d"))
    evaluation.group(torch.tensor([0, 0, 1, 2]))  # no image of the few-shot class 3
    evaluation.update(torch.randn(3, 4), target)
    assert sorted(evaluation.names(target)) == sorted(evaluation.compute().scalars)


def test_what_can_not_be_written_stays_out_of_the_file_and_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    averaging = f"{CALLBACK}StochasticWeightAveraging --trainer.callbacks.swa_lrs .01"
    assert main([*BASE.split(), *averaging.split()]) == 0
    captured = capsys.readouterr()
    told = "left out, because it can't be written as YAML: trainer.callbacks.0.init_args.device, cpu"
    assert f"config.yaml: {told}" in captured.out and "Unable to serialize" not in captured.out + captured.err
    text = (run_dir() / "config.yaml").read_text()
    assert text.startswith(f"# {told}\n") and "Unable" not in text
    (callback,) = yaml.safe_load(text)["trainer"]["callbacks"]
    assert callback["init_args"]["swa_lrs"] == 0.01 and "device" not in callback["init_args"]
    assert main(["fit", "--resume", str(run_dir()), "--trust"]) == 0


def test_the_weights_that_lightning_averages_are_those_that_are_kept_and_scored(
    capsys: pytest.CaptureFixture[str],
) -> None:
    averaging = f"{CALLBACK}EMAWeightAveraging --trainer.callbacks.decay .5"
    assert fit(averaging, capsys)[0] == 0
    last = torch.load(run_dir() / "checkpoints" / "last.ckpt", weights_only=True)
    name = "network.head.weight"
    assert not torch.equal(last["state_dict"][name], last["current_model_state"][name])
    assert main(["test", "--ckpt_path", str(run_dir() / "checkpoints" / "last.ckpt")]) == 0
    said = re.search(r"test/loss +([\d.]+)", capsys.readouterr().out)
    assert said and float(said[1]) == pytest.approx(read_metrics(run_dir())[-1]["last/test_loss"], abs=1e-4)


def test_an_average_that_is_put_in_place_at_the_very_end_is_kept(tmp_path: Path) -> None:
    data = Blobs()
    module = Classifier(data.spec)
    features = module.network.head.in_features
    module.network.backbone = nn.Sequential(nn.Flatten(), nn.Linear(64, features))  # no batch norm: no further epoch
    averaging = callbacks.StochasticWeightAveraging(swa_lrs=0.1, swa_epoch_start=1)
    saving = Checkpoints(tmp_path / "checkpoints")
    trainer(3, callbacks=[averaging, saving], enable_checkpointing=True).fit(module, data)
    kept = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert same(kept, {name: x for name, x in weights(module).items() if name in kept})
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
