"""Surrogate classes: their samples, the pretraining step by step, stopping and going on, and what comes after."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from helpers import Blobs, Photographs, SaveAt, classifier, in_two_processes, install_blobs, same, trainer, weights
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import Tensor, nn

from semisup.augment.patch_sampling import seed_patches
from semisup.augment.surrogate import COURSE, PAPER, Components, fit_components, surrogate_crops
from semisup.batch import Batch, Samples
from semisup.classifier import Classifier
from semisup.cli.front import main
from semisup.composition import Composition
from semisup.errors import InputError
from semisup.features.pooling import pooled_features
from semisup.models.backbones.course import Solution, VGGBNDrop
from semisup.models.backbones.exemplar import ExemplarSmall
from semisup.models.backbones.small import Small
from semisup.randomness import Draw, key
from semisup.runs.reading import read_metrics
from semisup.runtime.finite import Diverged
from semisup.runtime.sync_batchnorm import CPUSync
from semisup.tracking.record import ContinueRecord, MetricsCSV
from semisup.training import checkpoints
from semisup.training.checkpoints import Checkpoints
from strategies.exemplar import Exemplar, Falling, SurrogateClasses
from strategies.fixmatch import FixMatch
from strategies.kmeans import KMeans
from strategies.pseudolabel import PseudoLabel

CPU = torch.device("cpu")
FAST: dict[str, Any] = {"images": 20, "samples_per_class": 4, "epochs": 3, "batch_size": 8, "svm": False}  # 30 steps


def fitted(ours: Exemplar, data: Blobs | None = None, epochs: int = 1, **kwargs: Any) -> Classifier:
    data = data or Blobs()
    module = classifier(data, ours)
    trainer(epochs, **kwargs).fit(module, data)
    return module


def test_the_weights_depend_on_the_seed_alone() -> None:
    found = []
    for seed in (0, 0, 1):
        data, strategy = Blobs(), Exemplar(**FAST)
        module = Classifier(data.spec, Composition({"exemplar": strategy}), seed=seed)
        trainer(1).fit(module, data)
        found.append({**weights(module), **strategy.backbone_})
    assert same(found[0], found[1]) and not same(found[0], found[2])


def test_the_truth_about_unlabeled_images_does_not_reach_training() -> None:
    right, permuted, unknown = (
        weights(fitted(Exemplar(**FAST), Blobs(truth))) for truth in ("right", "permuted", "unknown")
    )
    assert same(right, permuted) and same(right, unknown)


# ---- the samples


def samples(classes: SurrogateClasses, number: Tensor) -> Tensor:
    return classes.samples(classes.pool.gather(number // classes.per_class), number)


@pytest.mark.parametrize(("recipe", "ranges", "by"), [("course", COURSE, "uniform"), ("paper", PAPER, "gradient")])
def test_samples_are_the_crops_of_their_recipe(recipe: Any, ranges: Any, by: Any) -> None:
    pool = Photographs().pools.labeled
    classes = SurrogateClasses.choose(pool, 7, 5, 16, recipe, 3, CPU)
    assert len(set(classes.rows.tolist())) == 7 and classes.count == 35
    images = pool.gather(classes.rows)
    assert torch.equal(classes.pool.gather(torch.arange(7)), images)
    middles = seed_patches(images, 16, Draw(3, 0, "exemplar patches", torch.arange(7), 7), by)
    assert torch.equal(classes.centres, middles)

    number, target = torch.tensor([34, 0, 17, 4, 5]), torch.tensor([6, 0, 3, 0, 1])
    crops = samples(classes, number)
    components = fit_components([images]) if recipe == "paper" else None
    draw = Draw(3, 0, "exemplar", number, 35)
    assert torch.equal(crops, surrogate_crops(images[target], middles[target], draw, ranges, components, 16))
    assert not torch.equal(crops[1], crops[3])  # two samples of one class


def test_a_sample_is_itself_in_every_batch() -> None:
    classes = SurrogateClasses.choose(Photographs().pools.labeled, 12, 3, 16, "paper", 0, CPU)
    whole = samples(classes, torch.arange(36))
    for part in torch.arange(36).split(7):
        assert torch.equal(samples(classes, part), whole[part])
    another = SurrogateClasses.choose(Photographs().pools.labeled, 12, 3, 16, "paper", 1, CPU)
    assert not torch.equal(samples(another, torch.arange(36)), whole)


# ---- the steps


class Steps(pl.Callback):
    """Keeps what every step of the pretraining was given and had trained by then."""

    def __init__(self) -> None:
        self.batches: list[Samples] = []
        self.before: list[dict[str, Tensor]] = []
        self.accuracy: list[float] = []

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Batch, idx: int) -> None:
        if pl_module.phase.name == "exemplar":
            self.batches.append(batch.labeled)
            self.before.append({name: x.detach().clone() for name, x in pl_module.network.named_parameters()})

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.accuracy.append(pl_module.strategy.parts["strategy"].accuracy_)


def pretrained(
    backbone: nn.Module | None = None, data: Blobs | None = None, **options: Any
) -> tuple[Steps, Classifier]:
    data, steps, strategy = data or Blobs(), Steps(), Exemplar(**{**FAST, **options})
    module = classifier(data, strategy)
    if backbone is not None:
        module.network.backbone = backbone
        module.network.head = nn.Linear(int(backbone.num_features), 3)  # type: ignore[arg-type]
    trainer(1, limit_val_batches=0, callbacks=[steps]).fit(module, data)
    return steps, module


def test_every_epoch_goes_once_through_all_samples_in_an_order_of_its_own() -> None:
    steps, _ = pretrained()
    first, second, third = torch.cat([batch.index for batch in steps.batches]).view(3, 80)
    for each in (first, second, third):
        assert each.sort().values.tolist() == list(range(80))
    assert not torch.equal(first, second) and not torch.equal(second, third)
    assert all(torch.equal(batch.target, batch.index // 4) for batch in steps.batches)


def test_a_step_is_that_of_the_authors_optimiser() -> None:
    """Momentum .9, a decay of .004 on the weights of linear layers alone, at the rate of the step."""
    backbone = ExemplarSmall(1, 8)
    for layer in backbone.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    steps, module = pretrained(backbone, lr=0.05)
    strategy = module.strategy.parts["strategy"]
    assert isinstance(strategy, Exemplar) and strategy._classes is not None
    ours = {name: x.double() for name, x in steps.before[0].items()}
    trained = [name for name in ours if not name.startswith("head.")]
    speed = {name: torch.zeros_like(ours[name]) for name in trained}
    module.eval()
    for step, (batch, there) in enumerate(zip(steps.batches, steps.before, strict=True)):
        for name, x in ours.items():
            torch.testing.assert_close(there[name].double(), x, rtol=1e-4, atol=1e-6)
        crops = samples(strategy._classes, batch.index)
        now = {name.removeprefix("backbone."): x.requires_grad_() for name, x in there.items() if "backbone" in name}
        features = torch.func.functional_call(module.network.backbone, now, module.network.normalization(crops))
        head = [there[f"extra.surrogate.{name}"].requires_grad_() for name in ("weight", "bias")]
        loss = F.cross_entropy(F.linear(features, *head), batch.target)
        gradients = torch.autograd.grad(loss, [there[name] for name in trained])
        for name, gradient in zip(trained, gradients, strict=True):
            decayed = name in ("extra.surrogate.weight", "backbone.body.6.weight")
            speed[name] = 0.9 * speed[name] + gradient + (0.004 * ours[name] if decayed else 0)
            ours[name] = ours[name] - 0.05 * Falling().factor(step, 30, 10) * speed[name]


def test_the_rate_falls_as_in_the_authors_five_runs() -> None:
    runs = [(1_200_000, 0.01), (120_000, 0.004), (120_000, 0.001), (60_000, 0.0004), (60_000, 0.0001)]
    end = 0
    for length, rate in runs:
        for step in (end, end + length - 1):
            assert 0.01 * Falling().factor(step, 1_560_000, 10) == pytest.approx(rate)
        end += length
    assert end == 1_560_000


def test_accuracies_are_those_of_a_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right: list[Tensor] = []
    loss = Exemplar._loss

    def watched(self: Exemplar, module: Classifier, batch: Batch) -> Any:
        found = loss(self, module, batch)
        right.append(found[1]["surrogate_accuracy"] * len(batch.labeled))
        return found

    monkeypatch.setattr(Exemplar, "_loss", watched)
    recorded(tmp_path, strategy := Exemplar(**FAST), log_every_n_steps=1)
    rows = [row for row in read_metrics(tmp_path) if "pretrain/surrogate_accuracy" in row]
    assert [row["pretrain/surrogate_accuracy"] for row in rows] == pytest.approx([float(x) / 8 for x in right])
    assert strategy.accuracy_ == pytest.approx(float(sum(right[20:])) / 80)


def test_nothing_in_a_step_reads_a_value() -> None:
    """On the meta device reading one raises."""
    strategy = Exemplar(**{**FAST, "recipe": "paper"})
    module = classifier(data := Blobs(), strategy)
    trainer(1, limit_train_batches=0, limit_val_batches=0).fit(module, data)
    meta = torch.device("meta")
    components = Components(torch.empty(1, device=meta), torch.empty(1, 1, device=meta))
    strategy._classes = SurrogateClasses(
        data.pools.labeled, torch.arange(20), torch.empty(20, 2, device=meta), 4, 8, PAPER, components, 0
    )
    module.to(meta)
    strategy.passed_ = strategy.passed_.to(meta)
    number = torch.zeros(8, dtype=torch.int64, device=meta)
    images = torch.zeros(8, 1, 8, 8, dtype=torch.uint8, device=meta)
    batch = Batch(0, Samples(number, number, images, number))
    strategy.on_train_batch_start(module.trainer, module, batch, 0)
    value, metrics = strategy._loss(module, batch)[:2]
    assert value.device == metrics["surrogate_accuracy"].device == meta


def test_crops_of_photographs_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    data = Photographs(steps_per_epoch=1)
    _, module = pretrained(Small(3, 48), data, samples_per_class=40, batch_size=24, epochs=3, lr=0.02)
    said = capsys.readouterr().out
    assert "exemplar: 12 surrogate classes (20 were asked for) of 40 crops, 32x32 pixels of unlabeled images" in said
    strategy = module.strategy.parts["strategy"]
    assert isinstance(strategy, Exemplar) and strategy.accuracy_ > 0.4  # one in twelve by chance


@pytest.mark.parametrize(
    ("cls", "crop", "side"),
    [(Small, 16, 16), (ExemplarSmall, 32, 32), (ExemplarSmall, 16, 48), (VGGBNDrop, 16, 48), (Solution, 16, 16)],
)
def test_a_backbone_of_one_size_sees_enlarged_crops(cls: type[nn.Module], crop: int, side: int) -> None:
    backbone: nn.Module = cls(3, 48)  # type: ignore[call-arg]
    seen: list[Tensor] = []
    data = Photographs(steps_per_epoch=1)
    backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    steps, module = pretrained(backbone, data, crop=crop, samples_per_class=1, epochs=1)
    strategy = module.strategy.parts["strategy"]
    assert isinstance(strategy, Exemplar) and strategy._classes is not None
    expected = samples(strategy._classes, steps.batches[0].index)
    if side > crop:
        expected = F.interpolate(expected, (side, side), mode="bilinear", align_corners=False)
    normalised = module.network.normalization(expected)
    assert any(x.shape == normalised.shape and torch.equal(x, normalised) for x in seen)


def test_a_loss_that_is_not_finite_ends_it_and_names_the_option() -> None:
    class Breaks(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, *args: Any) -> None:
            if trainer.global_step == 3:
                torch.nn.init.constant_(pl_module.extra["surrogate"].bias, float("nan"))

    with pytest.raises(Diverged, match=r"the loss is nan at step 3 of epoch 0, .* learning rate \(--exemplar\.lr\)"):
        fitted(Exemplar(**FAST), callbacks=[Breaks()])


# ---- stopping and going on


class Dies(pl.Callback):
    """Ends the process, as far as the run can tell, before a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.global_step == self.step:
            raise RuntimeError("dies")


def recorded(
    folder: Path, ours: Exemplar, epochs: int = 2, ckpt: Path | None = None, dies: int = -1, **kwargs: Any
) -> Classifier:
    """A fit that leaves checkpoints and metrics as `semisup fit` does."""
    folder.mkdir(exist_ok=True)
    data = Blobs()
    module = classifier(data, ours)
    options = {"logger": MetricsCSV(folder), "enable_checkpointing": True, "log_every_n_steps": 4, **kwargs}
    fit = trainer(epochs, callbacks=[ContinueRecord(), Dies(dies), Checkpoints(folder)], **options)
    fit.fit(module, data, ckpt_path=ckpt, weights_only=True)
    return module


def state(strategy: Exemplar) -> dict[str, Tensor]:
    plain = {"rows": strategy.rows_, "centres": strategy.centres_, "accuracy": torch.tensor(strategy.accuracy_)}
    return strategy.backbone_ | plain | {name: torch.tensor(x) for name, x in strategy.svm_.items()}


@pytest.mark.parametrize("step", [5, 10, 11])
def test_a_run_that_dies_goes_on_to_the_bit(step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the pretraining, where it ends, and after it; with a checkpoint after every step."""
    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)
    options = {**FAST, "epochs": 1, "svm": True}
    whole = recorded(tmp_path / "whole", ours := Exemplar(**options))
    with pytest.raises(RuntimeError, match="dies"):
        recorded(tmp_path / "cut", Exemplar(**options), dies=step)
    module = recorded(tmp_path / "cut", theirs := Exemplar(**options), ckpt=tmp_path / "cut" / "last.ckpt")
    assert same(weights(module), weights(whole)) and same(state(theirs), state(ours))
    assert read_metrics(tmp_path / "cut") == read_metrics(tmp_path / "whole")
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == ["best.ckpt", "last.ckpt", "metrics.csv"]


@pytest.mark.parametrize("step", [33, 34])
def test_a_run_of_an_earlier_version_goes_on(step: int, tmp_path: Path) -> None:
    """Whose loop began after the pretraining, which is not begun again."""
    data, strategy = Blobs(), Exemplar(**FAST)
    whole = classifier(data, strategy)
    trainer(2, callbacks=[SaveAt(step, tmp_path / "a.ckpt")], enable_checkpointing=True).fit(whole, data)
    saved = torch.load(tmp_path / "a.ckpt", weights_only=True)
    del saved["semisup"]["phase"]
    state_then = saved["callbacks"]["Exemplar"]
    saved["callbacks"]["Exemplar"] = {name: x for name, x in state_then.items() if name != "passed"} | {
        "pretraining": None
    }
    # In that loop nothing was counted before the training.
    loops = saved["loops"]["fit_loop"]
    for counts in (loops["epoch_progress"]["total"], loops["epoch_progress"]["current"]):
        counts |= {name: count - 3 for name, count in counts.items()}
    steps = loops["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]["total"]
    steps |= {name: count - 30 for name, count in steps.items()}
    saved["epoch"] -= 3
    loops["state_dict"]["combined_loader"][0]["epoch"] -= 3
    torch.save(saved, tmp_path / "old.ckpt")
    resumed, other = Blobs(), Exemplar(**FAST)
    module = classifier(resumed, other)
    trainer(2).fit(module, resumed, ckpt_path=tmp_path / "old.ckpt", weights_only=True)
    assert module.trainer.global_step == 8
    assert same(weights(module), weights(whole)) and same(state(other), state(strategy))


def test_a_run_that_an_earlier_version_left_in_its_pretraining_is_refused() -> None:
    with pytest.raises(InputError, match="in the middle of a pretraining by an earlier version"):
        Exemplar().load_state_dict({"rows": torch.arange(2), "pretraining": {"step": 3}})


# ---- what is logged


def test_pretraining_is_logged_before_step_zero(tmp_path: Path) -> None:
    recorded(tmp_path, strategy := Exemplar(**{**FAST, "svm": True}))
    rows = read_metrics(tmp_path)
    steps = [row["step"] for row in rows if "pretrain/loss" in row]
    assert steps == [-27, -23, -19, -15, -11, -7, -3]  # every fourth of 30
    passes = [row for row in rows if "pretrain/class_accuracy_median" in row]
    assert [row["step"] for row in passes] == [-21, -11, -1]  # ten steps a pass
    for row in passes:
        low, middle, high = (row[f"pretrain/class_accuracy_{name}"] for name in ("min", "median", "max"))
        assert 0 <= low <= middle <= high <= 1
        assert sum(row[f"pretrain/class_accuracy/0.{i}"] for i in range(10)) == pytest.approx(1)
    (svm,) = (row for row in rows if "exemplar/svm_val_accuracy" in row)
    assert svm["step"] == -1 and svm["exemplar/svm_val_accuracy"] == strategy.svm_["val_accuracy"]
    assert rows[-1]["exemplar/svm_test_accuracy"] == strategy.svm_["test_accuracy"]


# ---- what comes after


def test_the_linear_svm_is_scikit_learns_on_the_pretrained_features() -> None:
    data, strategy = Blobs(), Exemplar(**{**FAST, "svm": True})
    module = fitted(strategy, data, epochs=2)
    backbone = Small(1, 8)
    assert not same(strategy.backbone_, weights(module.network.backbone))  # fine-tuned since
    backbone.load_state_dict(strategy.backbone_)
    network, pools = nn.Sequential(module.network.normalization, backbone), data.pools
    assert pools.val is not None and pools.test is not None
    (x, y), val, test = (
        (pooled_features(network, pool, 16, CPU).numpy(), pool.labels.numpy())
        for pool in (pools.labeled, pools.val, pools.test)
    )
    svm = LinearSVC(C=strategy.svm_["c"], dual="auto", random_state=key(0, "linear svm") % 2**32)
    pipeline = make_pipeline(StandardScaler(), svm).fit(x, y)
    scores = {"val": pipeline.score(*val), "test": pipeline.score(*test)}
    assert (strategy.svm_["val_accuracy"], strategy.svm_["test_accuracy"]) == (scores["val"], scores["test"])
    said = f"val {100 * scores['val']:.1f} %, test {100 * scores['test']:.1f} %"
    assert strategy.summary() == f"a linear SVM on the features of 20 surrogate classes: {said}"


def test_the_labels_of_test_change_nothing_but_the_last_score() -> None:
    results = []
    for shift in (0, 1):
        data, strategy = Blobs(), Exemplar(**{**FAST, "svm": True})
        assert data.pools.test is not None
        data.pools.test.labels = (data.pools.test.labels + shift) % 3
        module = fitted(strategy, data)
        results.append((weights(module.network), strategy.svm_))
    (one, scores), (other, others) = results
    assert same(one, other)
    assert scores["c"] == others["c"] and scores["val_accuracy"] == others["val_accuracy"]
    assert scores["test_accuracy"] != others["test_accuracy"]


def test_without_validation_images_there_is_no_svm() -> None:
    data, strategy = Blobs(), Exemplar(**{**FAST, "svm": True})
    data.pools.val = None
    fitted(strategy, data)
    assert strategy.svm_ == {} and strategy.summary() == ""


@pytest.mark.parametrize("freeze", [True, False])
def test_a_frozen_backbone_stays_as_it_is(freeze: bool) -> None:
    strategy = Exemplar(**FAST, freeze=freeze)
    module = fitted(strategy, epochs=2)
    assert same(strategy.backbone_, weights(module.network.backbone)) == freeze
    assert all(p.requires_grad != freeze for p in module.network.backbone.parameters())
    head = classifier(Blobs()).network.head.weight
    assert not torch.equal(module.network.head.weight, head)


def test_the_moving_average_starts_from_the_pretrained_network() -> None:
    class Watch(pl.Callback):
        equal = False

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            assert (pl_module.ema is None) == (trainer.current_epoch < 3)
            if trainer.current_epoch == 3:
                self.equal = same(weights(pl_module.ema.average), weights(pl_module.network))

    data, watch, strategy = Blobs(), Watch(), Exemplar(**FAST)
    module = Classifier(data.spec, Composition({"exemplar": strategy, "fixmatch": FixMatch()}))
    trainer(1, callbacks=[watch]).fit(module, data)
    assert watch.equal and not same(strategy.backbone_, weights(Classifier(data.spec).network.backbone))


def test_it_composes_and_hooks_run_in_the_order_of_the_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    called: list[str] = []
    pseudolabel = PseudoLabel(threshold=0.4, warmup_epochs=2, every_n_epochs=2)
    parts = {"exemplar": Exemplar(**FAST), "kmeans": KMeans(patches_per_image=20), "pseudolabel": pseudolabel}
    for name, part in parts.items():
        monkeypatch.setattr(part, "on_train_epoch_start", lambda *args, name=name: called.append(name))
    data = Blobs()
    module = Classifier(data.spec, Composition(parts))
    trainer(4).fit(module, data)
    assert called == ["exemplar", "kmeans"] * 3 + ["exemplar", "kmeans", "pseudolabel"] * 4
    assert len(pseudolabel.rows_) > 0 and module.strategy.owner is pseudolabel


def test_without_unlabeled_images_labeled_ones_serve(capsys: pytest.CaptureFixture[str]) -> None:
    data = Blobs()
    data.pools.unlabeled = None
    strategy = Exemplar(**FAST)
    fitted(strategy, data)
    assert strategy.rows_.tolist() == list(range(12))
    assert "12 surrogate classes (20 were asked for) of 4 crops, 8x8 pixels of labeled" in capsys.readouterr().out


# ---- what is refused


@pytest.mark.parametrize("name", ["images", "samples_per_class", "epochs", "batch_size", "lr", "crop"])
def test_options_out_of_range_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=rf"exemplar\.{name} is 0, but must be"):
        Exemplar(**{name: 0})


def test_a_pretraining_that_began_on_other_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="dies"):
        recorded(tmp_path, Exemplar(**FAST), dies=11)
    data = Blobs()
    data.pools.labeled_in_unlabeled -= 1  # another one of the images may make a class
    with pytest.raises(InputError, match="was pretraining on 20 surrogate classes, and now there are others"):
        module = classifier(data, Exemplar(**FAST))
        trainer(2).fit(module, data, ckpt_path=tmp_path / "last.ckpt", weights_only=True)


def test_a_crop_larger_than_the_images_is_refused() -> None:
    with pytest.raises(InputError, match=r"exemplar\.crop is 9, but the images have 8 pixels a side; type --exempl"):
        fitted(Exemplar(crop=9))


# ---- two processes


def rank(number: int, folder: str, port: int) -> None:
    os.environ |= {"LOCAL_RANK": str(number), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    two: dict[str, Any] = {"devices": 2, "strategy": "ddp", "precision": "64-true", "plugins": [CPUSync()]}
    with pytest.raises(InputError, match=re.escape("type --exemplar.batch_size 8")):
        fitted(Exemplar(**{**FAST, "batch_size": 7}), **two)
    results = {}
    for freeze in (False, True):
        strategy = Exemplar(**{**FAST, "svm": True}, freeze=freeze)
        module = recorded(Path(folder) / str(freeze), strategy, **two)
        results |= {f"{freeze}/{name}": x for name, x in (state(strategy) | weights(module.network)).items()}
    torch.save(results, f"{folder}/{number}.pt")


def without_train(row: dict[str, float]) -> dict[str, float]:
    return {name: x for name, x in row.items() if not name.startswith("train/")}  # of rank 0 alone


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    in_two_processes(rank, tmp_path)
    one, other = (torch.load(tmp_path / f"{number}.pt", weights_only=True) for number in range(2))
    assert same(one, other)
    for freeze in (False, True):
        strategy = Exemplar(**{**FAST, "svm": True}, freeze=freeze)
        module = recorded(tmp_path / f"alone {freeze}", strategy, precision="64-true")
        for name, x in (state(strategy) | weights(module.network)).items():
            torch.testing.assert_close(one[f"{freeze}/{name}"], x, rtol=1e-9, atol=1e-12)
        together, alone = read_metrics(tmp_path / str(freeze)), read_metrics(tmp_path / f"alone {freeze}")
        for row, expected in zip(together, alone, strict=True):
            assert without_train(row) == pytest.approx(without_train(expected), rel=1e-5)


def test_a_run_of_an_earlier_version_may_have_an_option_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    install_blobs(monkeypatch)
    options = [x for name, value in FAST.items() for x in (f"--exemplar.{name}", str(value))]
    local = "--data blobs --tracking.mode disabled --trainer.accelerator cpu --trainer.devices 1 --trainer.max_epochs 1"
    assert main(["fit", "--strategy", "exemplar", *options, *local.split()]) == 0
    (run,) = tmp_path.glob("runs/*/*/*")
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("exemplar:\n", "exemplar:\n  save_every: 1000\n"))
    for verb in (["fit", "--resume", str(run)], ["test", "--ckpt_path", str(run)]):
        assert main(verb) == 0
    assert main(["fit", "--strategy", "exemplar", "--exemplar.save_every", "5"]) == 2
    assert "no option exemplar.save_every" in capsys.readouterr().err.replace("--", "")
