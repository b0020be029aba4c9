"""The course's work as one: its three networks against slow ones, and its training recipe.

Layer by layer the networks are tested in test_backbones.py and test_exemplar_backbones.py, image by image the
augmentations in test_views.py, and what they draw in test_course_draws.py.
"""

from __future__ import annotations

import lzma
from collections import Counter
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from helpers import Blobs, classifier, trainer
from test_stl10 import write_stl10
from torch import Tensor, nn

from semisup.batch import Batch
from semisup.classifier import Classifier, ModelOptions
from semisup.cli.config import Config, parse
from semisup.data.pool import Pool
from semisup.data.pools import DataSpec, Pools
from semisup.models.backbones.course import Sample, Solution, VGGBNDrop

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
BASELINE, RECIPE = EXPERIMENTS / "ladder" / "1-baseline.yaml", EXPERIMENTS / "stl10_course.yaml"


# ---- the networks
GROUPS = {  # (convolutions, pool) of every group
    Sample: [((64,), 4), ((128,), 3), ((256, 256), 2), ((256, 256, 256), 2)],
    VGGBNDrop: [((64, 64), 2), ((128, 128), 2), ((256, 256, 256), 2), ((512, 512, 512), 2), ((512, 512, 512), 2)],
    Solution: [((64, 64), 3), ((128, 128), 4), ((256, 256), 4)],
}
SIZES = [(cls, size) for cls in GROUPS for size in (32, 48, 96)] + [(Solution, 13), (Solution, 50)]


def pooled(side: int, pool: int, up: bool = True) -> int:
    return -(-side // pool) if up else side // pool


@pytest.mark.parametrize(("cls", "size"), SIZES)
def test_the_maps_of_every_layer(cls: type[nn.Module], size: int) -> None:
    """Convolutions, batch normalisations, ReLUs and dropouts keep the size, pools divide it, and it ends in a vector.

    Pools give what their group's last convolution gives; a pool below which the side is odd tells up from down.
    """
    groups = GROUPS[cls]
    kinds = (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d)
    expected, side = [], size
    for widths, pool in groups:
        expected += [(width, side, side) for width in widths for _ in range(2)]
        side = pooled(side, pool)
        expected.append((widths[-1], side, side))
    with torch.device("meta"):
        backbone, shapes = cls(3, size), []
    for module in backbone.modules():
        if isinstance(module, kinds):
            module.register_forward_hook(lambda module, args, output: shapes.append(tuple(output.shape[1:])))
    assert backbone(torch.empty(2, 3, size, size, device="meta")).shape == (2, backbone.num_features)
    assert shapes == expected
    linear = [module for module in backbone.modules() if isinstance(module, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == [(expected[-1][0] * side**2, backbone.num_features)]


def naive(cls: type[nn.Module], queue: list[Tensor], x: Tensor, up: bool = True, eps: float = 1e-5) -> Tensor:
    """The network as the course's code has it, over its weights in the order in which they are used."""
    weights = iter(queue)

    def normalized(x: Tensor, eps: float) -> Tensor:
        scale, shift, mean, variance = (next(weights).view(-1, *(1,) * (x.ndim - 2)) for _ in range(4))
        return ((x - mean) / (variance + eps).sqrt() * scale + shift).clamp(min=0)

    for widths, pool in GROUPS[cls]:
        for _ in widths:
            weight, bias = next(weights), next(weights)
            x = normalized(F.conv2d(x, weight, bias, stride=1, padding=1), 1e-3)
        side = pooled(x.shape[-1], pool, up)
        cuts = [slice(pool * place, pool * (place + 1)) for place in range(side)]
        x = torch.stack([x[:, :, rows, columns].amax((2, 3)) for rows in cuts for columns in cuts], 2)
        x = x.unflatten(2, (side, side))
    weight, bias = next(weights), next(weights)
    x = normalized(x.flatten(1) @ weight.T + bias, eps)
    assert next(weights, None) is None
    return x


ODD = [(Sample, 33), (VGGBNDrop, 33), (Solution, 32), (Solution, 50)]  # sizes whose pools have something to round


def trained(backbone: nn.Module) -> list[Tensor]:
    """Gives a network statistics at which the eps counts; its weights, in the order in which they are used."""
    for name, tensor in backbone.state_dict().items():
        if "running_var" in name:
            tensor.uniform_(0.0001, 0.001) if "neck" in name else tensor.uniform_(0.01, 0.1)
        elif "num_batches" not in name and tensor.ndim == 1:
            tensor.normal_(1 if name.endswith("weight") else 0, 0.3)
    return [value for name, value in backbone.state_dict().items() if "num_batches" not in name]


@pytest.mark.parametrize(("cls", "size"), ODD)
def test_a_network_is_the_slow_one(cls: type[nn.Module], size: int) -> None:
    torch.manual_seed(0)
    backbone = cls(1, size).double().eval()
    queue, x = trained(backbone), torch.rand(2, 1, size, size, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(backbone(x), naive(cls, queue, x))


# ---- networks that were trained before the neck's eps and the pools of `solution` were the course's


@pytest.mark.parametrize(("cls", "size"), [(Sample, 33), (VGGBNDrop, 33), (Solution, 48), (Solution, 64)])
def test_weights_of_the_first_version_bring_its_network_back(cls: type[nn.Module], size: int) -> None:
    """Also where its linear layer was smaller, and whatever is made of it afterwards: a copy, another checkpoint."""
    torch.manual_seed(0)
    old = cls(1, size).double()
    down = cls is not Solution
    if not down:
        old.neck[2] = nn.Linear(256 * (size // 3 // 4 // 4) ** 2, 256).double()
    queue, x = trained(old), torch.rand(2, 1, size, size, dtype=torch.float64)
    weights = old.state_dict()
    weights._metadata[""]["version"] = 1
    expected = naive(cls, queue, x, up=down, eps=1e-3)
    backbone = cls(1, size).double().requires_grad_(False)
    backbone.load_state_dict(weights)
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    again = cls(1, size).double()
    again.load_state_dict(deepcopy(backbone).state_dict())
    with torch.no_grad():
        for network in (backbone, again):
            torch.testing.assert_close(network.eval()(x), expected)
        new = cls(1, size).double()
        backbone.load_state_dict(new.state_dict())  # and back
        assert torch.equal(backbone(x), new.eval()(x))


PACKED = Path(__file__).parent / "checkpoints" / "solution-64-pixels.ckpt.xz"
# What the code that wrote it gave for the two pictures below.
LOGITS = [
    [4.497593879699707, -1.6561765670776367, -0.9077684879302979],
    [4.497166156768799, -1.657191276550293, -0.9108025431632996],
]


class Pictures(Blobs):
    """Those that the checkpoint is of: three classes, 64 pixels."""

    @property
    def spec(self) -> DataSpec:
        return DataSpec("pictures", ("one", "two", "three"), channels=3, image_size=64)

    def read(self) -> Pools:
        rows = np.arange(6)
        images = np.random.default_rng(0).integers(0, 256, (6, 3, 64, 64)).astype(np.uint8)
        return Pools(Pool(images, rows % 3, rows), None, None, None, train_size=6)


def test_an_old_checkpoint_of_solution_predicts_as_it_did_and_goes_on_as_it_began(tmp_path: Path) -> None:
    old, new = tmp_path / "old.ckpt", tmp_path / "new.ckpt"
    old.write_bytes(lzma.decompress(PACKED.read_bytes()))
    ramp = torch.arange(64) / 63
    down = (ramp * torch.tensor([1, 0.5, 0])[:, None, None]).mT
    images = torch.stack([ramp.expand(3, 64, 64), down.expand(3, 64, 64)])
    with torch.no_grad():
        logits = Classifier.from_checkpoint(old).eval().evaluate(images)
    torch.testing.assert_close(logits, torch.tensor(LOGITS), rtol=1e-5, atol=1e-5)

    data = Pictures(batch_size=6)
    module = classifier(data, model=ModelOptions("solution", normalization="none"))
    run = trainer(1, limit_train_batches=1, limit_val_batches=0)
    run.fit(module, data, ckpt_path=old, weights_only=True)
    assert run.global_step == 1 and module.network.backbone.neck[2].in_features == 256
    run.save_checkpoint(new)
    with torch.no_grad():
        expected = module.eval().evaluate(images)
        assert torch.equal(Classifier.from_checkpoint(new).eval().evaluate(images), expected)
    assert not torch.allclose(expected, logits)


# ---- the training recipe


@pytest.fixture
def baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """The first rung of the ladder, as a user would train it."""
    write_stl10(tmp_path / "data", side=96)
    monkeypatch.chdir(tmp_path)
    return parse("fit", ["--config", str(BASELINE)])


class Watch(pl.Callback):
    """Writes down the learning rate of every step and what it was given."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.sizes: list[int] = []
        self.mirrored: list[int] = []
        self.rows: list[int] = []

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, idx: int) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        labeled = batch.labeled
        self.sizes.append(len(labeled))
        self.rows += labeled.index.tolist()
        self.mirrored.append(int((labeled.views["weak"] == labeled.image.flip(-1) / 255).flatten(1).all(1).sum()))


def test_half_of_every_batch_is_mirrored_the_last_one_dropped_and_the_rate_halved(baseline: Config) -> None:
    """60 epochs of the recipe, on 30 images instead of 4,000: three batches of 8 each, and 6 images are left over."""
    watch = Watch()

    class Thirty(Blobs):
        def read(self):  # type: ignore[no-untyped-def]
            pools = super().read()
            pools.labeled, pools.train_size = pools.val, 30
            return pools

    augmentation = baseline.data.arguments["augmentation"]
    assert augmentation == "flip_half"
    data = Thirty(batch_size=8, steps_per_epoch=30 // 8, augmentation=augmentation)
    module = Classifier(data.spec, optimizer=baseline.optimizer, lr_scheduler=baseline.lr_scheduler)
    trainer(60, callbacks=[watch], limit_val_batches=0).fit(module, data)
    assert watch.sizes == [8] * 180 and watch.mirrored == [4] * 180
    assert max(Counter(watch.rows[:24]).values()) == 1  # no image twice before all others
    expected = [0.5 ** ((step // 3 + 1) // 25) / (1 + step * 1e-7) for step in range(180)]
    assert watch.rates == pytest.approx(expected, rel=1e-12)


def test_an_epoch_of_the_courses_4000_images_has_62_batches(baseline: Config) -> None:
    data = Blobs(batch_size=baseline.data.arguments["batch_size"], steps_per_epoch=None)
    data.pools.train_size = 4000
    assert (baseline.data.arguments["batch_size"], baseline.data.arguments["steps_per_epoch"], data.steps) == (
        64,
        None,
        62,
    )
    assert baseline.trainer["max_epochs"] == 130


@pytest.mark.parametrize("path", [BASELINE, RECIPE], ids=lambda path: path.name)
def test_the_optimiser_is_torch7s(path: Path, baseline: Config) -> None:
    """`optim.sgd` by its published code, whose momentum dampens by itself: a rate of 1 is one with it, and ten without.

    Step by step on a quadratic form in double precision.
    """
    config = parse("fit", ["--config", str(path)])
    name, parameters = config.optimizer.name, config.optimizer.parameters
    assert name == "sgd" and config.model.decay_norm_and_bias and config.lr_scheduler == baseline.lr_scheduler
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, dtype=torch.float64, generator=generator)
    root = torch.randn(5, 5, dtype=torch.float64, generator=generator) / 5
    theirs, speed = x.clone(), torch.zeros(5, dtype=torch.float64)
    ours = nn.Parameter(x.clone())
    optimizer = torch.optim.SGD([ours], **parameters)
    for step in range(200):
        rate = 1.0 * 0.5 ** (step // 50) / (1 + step * 1e-7)
        gradient = root @ root.T @ theirs + 5e-4 * theirs
        speed = gradient if step == 0 else 0.9 * speed + (1 - 0.9) * gradient
        theirs = theirs - rate * speed
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        (0.5 * (root.T @ ours).square().sum()).backward()
        optimizer.step()
        torch.testing.assert_close(ours.detach(), theirs, rtol=1e-12, atol=1e-14)
