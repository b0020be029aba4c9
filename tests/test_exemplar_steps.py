"""The pretraining on surrogate classes step by step: its samples, its order, its optimiser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from exemplar_runs import CPU, FAST, fitted, recorded, samples
from helpers import Blobs, Photographs, classifier, trainer
from torch import Tensor, nn

from semisup.augment.patch_sampling import seed_patches
from semisup.augment.surrogate import COURSE, PAPER, Components, fit_components, surrogate_crops
from semisup.batch import Batch, Samples
from semisup.classifier import Classifier
from semisup.models.backbones.course import Solution, VGGBNDrop
from semisup.models.backbones.exemplar import ExemplarSmall
from semisup.models.backbones.small import Small
from semisup.randomness import Draw
from semisup.runs.reading import read_metrics
from semisup.runtime.finite import Diverged
from strategies.exemplar import Exemplar, Falling, SurrogateClasses

# ---- the samples


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
