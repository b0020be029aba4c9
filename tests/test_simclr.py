"""SimCLR: its loss, its views, the images that it sees, and that its phase is what it says."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from helpers import Blobs, patches, trainer
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from semisup.augment import color, geometry, views
from semisup.augment.jitter import color_jitter
from semisup.classifier import Classifier, ModelOptions
from semisup.composition import Composition
from semisup.data.pools import Pools
from semisup.embeddings import nt_xent
from semisup.errors import InputError
from semisup.randomness import Draw
from semisup.training.probe import nearest_votes, pool_features
from strategies.curriculum import CurriculumLabeling
from strategies.exemplar import Exemplar
from strategies.fixmatch import FixMatch
from strategies.simclr import SimCLR


def slow(z: Tensor, temperature: float) -> Tensor:
    """Equation 1 of the paper, term by term, and its mean over both directions of every pair; z (2, N, F)."""
    flat, count = z.flatten(0, 1), z.shape[1]
    total = z.new_zeros(())
    for i in range(2 * count):
        j = (i + count) % (2 * count)
        s = [flat[i] @ flat[k] / (flat[i].norm() * flat[k].norm()) for k in range(2 * count)]
        total = (
            total
            - (s[j] / temperature).exp().div(sum((s[k] / temperature).exp() for k in range(2 * count) if k != i)).log()
        )
    return total / (2 * count)


def test_the_loss_and_its_gradient_are_those_of_the_paper() -> None:
    z = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ours, theirs = z.clone().requires_grad_(), z.clone().requires_grad_()
    found, expected = nt_xent(ours, ours, torch.arange(5), 0.3), slow(theirs, 0.3)
    torch.testing.assert_close(found, expected)
    for loss in (found, expected):
        loss.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_the_loss_in_closed_form() -> None:
    """Equal views at right angles to all others: -log(e^(1/t) / (e^(1/t) + 2 N - 2)); all views equal: log(2 N - 1)."""
    z = torch.eye(6)[None].expand(2, -1, -1)
    assert float(nt_xent(z, z, torch.arange(6), 0.5)) == pytest.approx(math.log1p(10 * math.exp(-2)))
    assert float(nt_xent(z + 1e6, z + 1e6, torch.arange(6), 0.5)) == pytest.approx(math.log(11), rel=1e-4)
    one = torch.randn(2, 1, 3)
    assert float(nt_xent(one, one, torch.arange(1), 0.1)) == 0  # no other image to be told from


def test_ranks_share_the_loss() -> None:
    z = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(1))
    parts = [nt_xent(z[:, here], z, here, 0.5) for here in torch.arange(6).split(3)]
    torch.testing.assert_close(sum(parts) / 2, nt_xent(z, z, torch.arange(6), 0.5))


# ---- the views


def draw(count: int, step: int = 0) -> Draw:
    return Draw(0, step, "labeled/one", torch.arange(count), count)


def test_a_resized_crop_is_torchvisions_but_for_its_edge() -> None:
    images = patches(32).float()[:3]
    cut = [(4, 8, 16, 12), (0, 0, 32, 32), (20, 3, 8, 10)]
    found = geometry.resized_crop(images, *torch.tensor(cut).float().T)
    for image, ours, (top, left, height, width) in zip(images, found, cut, strict=True):
        theirs = tv.resized_crop(image, top, left, height, width, [32, 32], antialias=False)
        y, x = (-(-32 // side) for side in (height, width))  # half a pixel of the rectangle, enlarged, and more
        torch.testing.assert_close(ours[:, y:-y, x:-x], theirs[:, y:-y, x:-x], atol=1e-3, rtol=0)
    assert torch.equal(found[1], images[1])


def test_beyond_the_image_its_edge_goes_on() -> None:
    image = torch.full((1, 1, 8, 8), 200.0)
    assert torch.equal(geometry.resized_crop(image, *torch.tensor([[0.0], [0.0], [1.0], [3.5]])), image)


@pytest.mark.parametrize("mirrors", [True, False])
def test_a_contrastive_view_is_a_part_in_other_colours(mirrors: bool) -> None:
    images, where = patches(32), draw(12, step=3)
    name = "contrastive" if mirrors else "contrastive_shift"
    found, grey = views.find_view(name)(images, where), 0
    flipped = where.uniform("flip")[:, 0] < 0.5 if mirrors else torch.zeros(12, dtype=torch.bool)
    area, ratio = where.uniform("area", low=0.08, high=1)[:, 0], where.uniform("ratio", low=-1, high=1)[:, 0]
    place, recoloured = where.uniform("place", 2), where.uniform("recoloured", 2)
    parts = []
    for k, image in enumerate(images):
        image = tv.horizontal_flip(image) if flipped[k] else image
        r = (4 / 3) ** float(ratio[k])
        height, width = (min(32.0, 32 * math.sqrt(float(area[k]) * by)) for by in (1 / r, r))
        box = (float(place[k, 0]) * (32 - height), float(place[k, 1]) * (32 - width), height, width)
        assert height / width == pytest.approx(1 / r, rel=1e-5) or 32 in (height, width)
        parts.append(geometry.resized_crop(image[None].float(), *torch.tensor([box]).T)[0].round().to(torch.uint8))
    jittered = color_jitter(torch.stack(parts), where, 0.4, 0.4, 0.4, 0.1)
    for k, part in enumerate(parts):
        expected = jittered[k] if recoloured[k, 0] < 0.8 else part
        if recoloured[k, 1] < 0.2:
            expected, grey = color.grey(expected[None])[0].expand_as(expected), grey + 1
        assert ((found[k] * 255 - expected.float()).abs() <= 1.01).float().mean() > 0.99  # a rounding may tip
    assert 0 < grey < 12 and 0 < int((recoloured[:, 0] < 0.8).sum()) < 12


# ---- the phase


class Watch(pl.Callback):
    """What every step of the pretraining is given, and k-NN accuracy as a slow version of it has it."""

    def __init__(self) -> None:
        self.rows: list[Tensor] = []
        self.expected: list[float] = []
        self.shown: list[float] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, idx: int) -> None:
        if pl_module.phase.name == "simclr":
            assert batch.unlabeled is None and batch.labeled.views.keys() == {"one", "other"}
            assert not torch.equal(batch.labeled.views["one"], batch.labeled.views["other"])
            self.rows.append(batch.labeled.index)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if pl_module.phase.name != "simclr":
            return
        pools = pl_module.datamodule.pools
        (_, bank), (_, x) = (pool_features(pl_module, pool, "") for pool in (pools.labeled, pools.val))
        cosine = F.normalize(x) @ F.normalize(bank).T
        votes = (cosine / 0.07).exp() @ F.one_hot(pools.labeled.labels, 3).float()
        self.expected.append(float((votes.argmax(1) == pools.val.labels).float().mean()))


def pretrained(strategy: SimCLR, data: Blobs, *callbacks: pl.Callback, **others: Any) -> Classifier:
    module = Classifier(data.spec, Composition({"simclr": strategy, **others}), ModelOptions("small"))
    trainer(1, callbacks=[*callbacks], limit_val_batches=0).fit(module, data)
    return module


def test_it_sees_all_images_once_an_epoch_and_shows_what_they_taught(capsys: pytest.CaptureFixture[str]) -> None:
    watch, strategy, data = Watch(), SimCLR(epochs=3, batch_size=34, projection=8), Blobs(augmentation="shift")
    logged: list[dict[str, float]] = []

    class Keep(pl.Callback):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            logged.append({name: float(x) for name, x in trainer.callback_metrics.items()})

    module = pretrained(strategy, data, watch, Keep(), fixmatch=FixMatch(ratio=2))
    assert len(watch.rows) == 9
    for epoch in range(3):
        assert torch.cat(watch.rows[3 * epoch : 3 * epoch + 3]).sort().values.tolist() == [*range(102)]
    shown = [each["pretrain/knn_accuracy"] for each in logged[1:4]]
    assert shown == pytest.approx(watch.expected) and strategy.knn_["val_accuracy"] == pytest.approx(shown[-1])
    said = f"after pretraining, nearest labeled neighbours classify {100 * shown[-1]:.1f} % of the validation images"
    assert strategy.summary() == f"{said} rightly" and f"simclr: {said}" in capsys.readouterr().out
    assert module.network.head.weight.requires_grad and "contrast" not in module.network.extra


def test_it_tells_views_apart_and_labels_no_image() -> None:
    """The loss falls below that of chance, log(2 N - 1), whatever the labels are."""
    found = []

    class Losses(pl.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *args: Any) -> None:
            if module.phase.name == "simclr":
                losses.append(float(outputs["loss"]))

    class Relabeled(Blobs):
        def read(self) -> Pools:
            pools = super().read()
            pools.labeled.labels = (pools.labeled.labels + 1) % 3
            return pools

    for data in (Blobs(), Relabeled()):
        losses: list[float] = []
        pretrained(SimCLR(epochs=12, batch_size=51, projection=8, lr=0.01), data, Losses())
        found.append(losses)
    assert found[0] == found[1]
    assert found[0][0] < 1.2 * math.log(101) and sum(found[0][-4:]) / 4 < 0.97 * math.log(101)


def test_a_phase_that_restarts_begins_with_the_pretrained_backbone() -> None:
    begun: list[Tensor] = []

    class Begun(pl.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, idx: int) -> None:
            if pl_module.epoch == 0 and idx == 0:
                begun.append(torch.cat([x.detach().flatten().clone() for x in pl_module.network.backbone.parameters()]))

    strategy = SimCLR(epochs=1, batch_size=34, projection=8)
    pretrained(strategy, Blobs(), Begun(), curriculum=CurriculumLabeling(step=100))
    first, training, cycle = begun
    assert torch.equal(training, cycle) and not torch.equal(first, training)
    alone = SimCLR(epochs=1, batch_size=34, projection=8)
    pretrained(alone, Blobs())
    assert strategy.backbone_ and not alone.backbone_


def test_few_images_are_one_batch_and_a_single_one_is_refused() -> None:
    watch = Watch()
    pretrained(SimCLR(epochs=1, projection=8), Blobs(), watch)
    assert [len(rows) for rows in watch.rows] == [102]

    class One(Blobs):
        def read(self) -> Pools:
            pools = super().read()
            return replace(pools, labeled=pools.labeled.first(1), unlabeled=None, hidden_labels=None)

    with pytest.raises(InputError, match="there are 1 for 1 devices"):
        pretrained(SimCLR(epochs=1), One(labeled_in_unlabeled=False))


@pytest.mark.parametrize("options", [{"adapt": "head"}, {"adapt": "head", "draws": 0}, {"freeze": 3}])
@pytest.mark.parametrize("strategy", [SimCLR(epochs=1), Exemplar(epochs=1)])
def test_a_backbone_that_is_not_trained_is_refused(strategy: SimCLR | Exemplar, options: dict[str, Any]) -> None:
    data = Blobs()
    module = Classifier(data.spec, strategy, ModelOptions("small", **options))
    name = type(strategy).__name__.lower()
    with pytest.raises(
        InputError, match=rf"{name} trains the backbone, and --model.adapt \w+ --model.freeze \d leaves"
    ):
        trainer(1).fit(module, data)


@pytest.mark.parametrize(
    "options", [{"epochs": 0}, {"batch_size": 1}, {"lr": 0}, {"temperature": 0}, {"temperature": -1}, {"projection": 0}]
)
def test_options_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"simclr.*{next(iter(options))}"):
        SimCLR(**options)


def test_no_validation_images_no_accuracy() -> None:
    class Blind(Blobs):
        def read(self) -> Pools:
            return replace(super().read(), val=None)

    pretrained(strategy := SimCLR(epochs=1, batch_size=34, projection=8), Blind())
    assert strategy.summary() == "" and strategy.knn_ == {}
    assert nearest_votes(torch.ones(1, 2), torch.ones(1, 2), torch.tensor([1]), 3).tolist() == [[0, 1, 0]]
