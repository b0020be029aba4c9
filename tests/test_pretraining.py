"""Pretraining on surrogate classes: its samples, its steps, and what it measures."""

from __future__ import annotations

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from helpers import Blobs, Photographs, classifier, trainer
from torch import Tensor, nn

from semisup.augment.patch_sampling import seed_patches
from semisup.augment.surrogate import COURSE, PAPER, Components, fit_components, surrogate_crops
from semisup.classifier import Classifier
from semisup.data.loader import order
from semisup.models.backbones.course import Solution, VGGBNDrop
from semisup.models.backbones.exemplar import ExemplarSmall
from semisup.models.backbones.small import Small
from semisup.randomness import Draw
from semisup.runtime.finite import Diverged
from semisup.training.pretraining import Pretraining, SurrogateClasses, falling
from strategies.exemplar import Exemplar

CPU = torch.device("cpu")
FAST: dict[str, Any] = {"images": 20, "samples_per_class": 4, "epochs": 3, "batch_size": 8, "svm": False}  # 30 steps


class Begun(Exemplar):
    """Stops before the first step of the pretraining, which is left to the test."""

    running: Pretraining

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        self.running = self._begin(trainer, pl_module)


def begun(data: Blobs | None = None, backbone: nn.Module | None = None, **options: Any) -> Pretraining:
    data, strategy = data or Blobs(), Begun(**{**FAST, **options})
    module = classifier(data, strategy)
    if backbone is not None:
        module.network.backbone = backbone
    trainer(1, limit_train_batches=0, limit_val_batches=0).fit(module, data)
    return strategy.running


# ---- the samples


@pytest.mark.parametrize(("recipe", "ranges", "by"), [("course", COURSE, "uniform"), ("paper", PAPER, "gradient")])
def test_samples_are_the_crops_of_their_recipe(recipe: Any, ranges: Any, by: Any) -> None:
    pool = Photographs().pools.labeled
    classes = SurrogateClasses.choose(pool, 7, 5, 16, recipe, 3, CPU)
    assert len(set(classes.rows.tolist())) == 7 and classes.count == 35
    images = pool.gather(classes.rows)
    assert torch.equal(classes.images, images)
    middles = seed_patches(images, 16, Draw(3, 0, "exemplar patches", torch.arange(7), 7), by)
    assert torch.equal(classes.centres, middles)

    number = torch.tensor([34, 0, 17, 4, 5])
    crops, target = classes.samples(number)
    assert target.tolist() == [6, 0, 3, 0, 1]
    components = fit_components([images]) if recipe == "paper" else None
    draw = Draw(3, 0, "exemplar", number, 35)
    assert torch.equal(crops, surrogate_crops(images[target], middles[target], draw, ranges, components, 16))
    assert not torch.equal(crops[1], crops[3])  # two samples of one class


def test_a_sample_is_itself_in_every_batch() -> None:
    classes = SurrogateClasses.choose(Photographs().pools.labeled, 12, 3, 16, "paper", 0, CPU)
    whole, _ = classes.samples(torch.arange(36))
    for part in torch.arange(36).split(7):
        assert torch.equal(classes.samples(part)[0], whole[part])
    another = SurrogateClasses.choose(Photographs().pools.labeled, 12, 3, 16, "paper", 1, CPU)
    assert not torch.equal(another.samples(torch.arange(36))[0], whole)


def test_every_epoch_goes_once_through_all_samples_in_an_order_of_its_own() -> None:
    running, seen = begun(), []
    samples = SurrogateClasses.samples

    def watched(classes: SurrogateClasses, number: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(number)
        return samples(classes, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SurrogateClasses, "samples", watched)
        for _ in range(running.steps):
            running.advance()
    first, second, third = torch.cat(seen).view(3, 80)
    for each in (first, second, third):
        assert each.sort().values.tolist() == list(range(80))
    assert not torch.equal(first, second) and not torch.equal(second, third)


def test_nothing_in_a_step_reads_a_value() -> None:
    """On the meta device reading one raises."""
    running = begun()
    module = running.module.to("meta")
    classes = SurrogateClasses(
        *(running.classes.rows, running.classes.images.to("meta"), running.classes.centres.to("meta")),
        *(4, 8, PAPER, Components(torch.empty(1, device="meta"), torch.empty(1, 1, device="meta")), 0),
    )
    step = Pretraining(module, classes, 8, 0.01, 10)
    step.advance()
    step.advance()
    assert step.step == 2 and step.head.weight.device.type == "meta"


# ---- the training


def test_a_step_is_that_of_the_authors_optimiser() -> None:
    """Momentum .9, a decay of .004 on the weights of linear layers alone, at the rate of the step."""
    running = begun(backbone=ExemplarSmall(1, 8).eval(), lr=0.05)
    backbone, head = running.module.network.backbone.eval(), running.head
    named = {f"backbone.{name}": x for name, x in backbone.named_parameters()} | dict(
        head.named_parameters(prefix="head")
    )
    ours = {name: x.detach().clone().double() for name, x in named.items()}
    speed = {name: torch.zeros_like(x) for name, x in ours.items()}
    for step in range(running.steps):
        number = order(0, "exemplar", 0, 80, 8 * step, 8)
        crops, target = running.classes.samples(number)
        logits = head(backbone(running.module.network.normalization(crops)))
        gradients = torch.autograd.grad(F.cross_entropy(logits, target), list(named.values()))
        running.advance()
        for (name, x), gradient in zip(ours.items(), gradients, strict=True):
            decayed = name in ("head.weight", "backbone.body.6.weight")
            speed[name] = 0.9 * speed[name] + gradient + (0.004 * x if decayed else 0)
            x -= 0.05 * falling(step, 30) * speed[name]
            torch.testing.assert_close(named[name].detach().double(), x, rtol=1e-4, atol=1e-6)


def test_the_rate_falls_as_in_the_authors_five_runs() -> None:
    runs = [(1_200_000, 0.01), (120_000, 0.004), (120_000, 0.001), (60_000, 0.0004), (60_000, 0.0001)]
    end = 0
    for length, rate in runs:
        for step in (end, end + length - 1):
            assert 0.01 * falling(step, 1_560_000) == pytest.approx(rate)
        end += length
    assert end == 1_560_000


def test_loss_and_accuracies_are_those_of_the_steps_since() -> None:
    running, record = begun(batch_size=10), []
    forward, samples = running.forward, running.classes.samples
    losses: list[float] = []
    for _ in range(8):
        number = order(0, "exemplar", 0, 80, 10 * running.step, 10)
        running.forward = lambda crops: record.append(forward(crops)) or record[-1]  # type: ignore[func-returns-value]
        running.advance()
        target = samples(number)[1]
        losses.append(F.cross_entropy(record[-1], target).item())
        record[-1] = torch.stack([target, record[-1].argmax(1) == target])
        if running.step == 5:
            right = torch.cat(record, 1)[1].sum().item()
            assert running.recent() == pytest.approx({"loss": sum(losses) / 5, "surrogate_accuracy": right / 50})
    classes, right = torch.cat(record, 1)  # one pass
    assert running.recent()["loss"] == pytest.approx(sum(losses[5:]) / 3)
    accuracy, per_class = running.passed()
    assert accuracy == pytest.approx(right.float().mean().item())
    assert per_class.tolist() == [right[classes == c].float().mean().item() for c in range(20)]


def test_crops_of_photographs_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    running = begun(Photographs(), Small(3, 48), samples_per_class=40, batch_size=24, epochs=3, lr=0.02)
    for _ in range(running.steps):
        running.advance()
    running.passed()
    said = capsys.readouterr().out
    assert "exemplar: 12 surrogate classes (20 were asked for) of 40 crops, 32x32 pixels of unlabeled images" in said
    fresh, target = running.classes.samples(torch.arange(480))
    network = nn.Sequential(running.module.network.normalization, running.module.network.backbone, running.head).eval()
    assert (network(fresh).argmax(1) == target).float().mean() > 0.5  # one in twelve by chance


@pytest.mark.parametrize(
    ("cls", "crop", "side"),
    [(Small, 16, 16), (ExemplarSmall, 32, 32), (ExemplarSmall, 16, 48), (VGGBNDrop, 16, 48), (Solution, 16, 16)],
)
def test_a_backbone_of_one_size_sees_enlarged_crops(cls: type[nn.Module], crop: int, side: int) -> None:
    backbone, seen = cls(3, 48), []
    running = begun(Photographs(), backbone, crop=crop)
    backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    running.advance()
    expected = running.classes.samples(order(0, "exemplar", 0, 48, 0, 8))[0]
    if side > crop:
        expected = F.interpolate(expected, (side, side), mode="bilinear", align_corners=False)
    assert running.side == side and torch.equal(seen[-1], running.module.network.normalization(expected))


def test_a_loss_that_is_not_finite_ends_it_and_names_the_steps() -> None:
    running = begun()
    running.advance()
    running.recent()
    with torch.no_grad():
        running.head.bias[0] = float("nan")
    running.advance()
    running.advance()
    with pytest.raises(Diverged, match=r"the loss became nan between the steps 1 and 2, .* --exemplar\.lr than 0\.01"):
        running.recent()
