"""K-means initialisation: what is in the network before the first step, and that a run goes on with it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Blobs, SaveAt, classifier, in_two_processes, same, trainer, weights
from helpers import patches as crops
from kmeans_data import Photographs
from torch import nn

from semisup.classifier import Classifier, ModelOptions
from semisup.composition import Composition
from semisup.errors import InputError
from semisup.features.dictionary import learn
from semisup.features.patches import contrast_normalize, random_patches
from strategies.kmeans import KMeans, first_convolution
from strategies.pseudolabel import PseudoLabel

pytestmark = pytest.mark.usefixtures("cache")


def started(strategy: KMeans | None, data: Blobs | None = None, backbone: str = "small", **model: Any) -> Classifier:
    """A classifier as it is before the first step."""
    data = data or Photographs()
    module = classifier(data, strategy, model=ModelOptions(backbone, **model))
    trainer(1, limit_train_batches=0, limit_val_batches=0).fit(module, data)
    return module


@pytest.mark.parametrize("whitening", [True, False])
@pytest.mark.parametrize("normalization", ["channel", "none", "bytes"])
def test_the_filters_are_the_centroids_of_converged_k_means(normalization: Any, whitening: bool) -> None:
    """To the bit and at their own scale, whatever the network's input is divided by: no patch would change its centroid
    any more, and every centroid is the mean of its patches, which were preprocessed as the source says."""
    strategy, data = KMeans(images=60, patches_per_image=50, whitening=whitening), Photographs()
    module = started(strategy, data, normalization=normalization)
    convolution = first_convolution(module)
    filters = convolution.weight.detach()
    assert torch.equal(filters, strategy.centroids_) and torch.equal(strategy.filters_, strategy.centroids_)
    assert convolution.bias is None or not convolution.bias.any()
    assert data.pools.without_label is not None
    x = random_patches(data.pools.without_label, 60, 50, (3, 3), 0).double()
    x = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True) + 10).sqrt()
    if whitening:
        values, vectors = torch.linalg.eigh(x.T.cov())
        x = (x - x.mean(0)) @ vectors @ torch.diag((values.clamp(min=0) + 0.1).rsqrt()) @ vectors.T
    centroids = filters.double().flatten(1)
    nearest = torch.cdist(x, centroids).argmin(1)
    means = torch.stack([x[nearest == k].mean(0) for k in range(32)])
    torch.testing.assert_close(means, centroids, atol=1e-4, rtol=0)


def test_iterations_are_the_most_that_k_means_takes() -> None:
    data = Photographs()
    assert data.pools.without_label is not None
    options = {"images": 60, "patches_per_image": 50, "method": "lloyd"}
    for iterations in (1, 2):
        strategy = KMeans(patches_per_image=50, iterations=iterations)
        started(strategy, Photographs())
        found = learn(data.pools.without_label, 32, (3, 3), 0, steps=iterations, **options)
        assert torch.equal(strategy.filters_, found.centroids.unflatten(1, (3, 3, 3)))


@pytest.mark.parametrize("normalization", ["channel", "none", "bytes"])
def test_filters_that_are_mapped_back_answer_to_pixels_as_centroids_to_whitened_patches(normalization: Any) -> None:
    options: dict[str, Any] = {"images": 60, "patches_per_image": 50, "method": "lloyd"}
    strategy, data = KMeans(**options, scale="initial", mapped_back=True), Photographs()
    module = started(strategy, data, normalization=normalization)
    filters = first_convolution(module).weight.detach()
    assert data.pools.without_label is not None
    found = learn(data.pools.without_label, 32, (3, 3), 0, **options, steps=3000)
    assert found.whitening is not None
    assert torch.equal(strategy.centroids_, found.centroids.unflatten(1, (3, 3, 3)))
    assert torch.equal(strategy.filters_, filters)

    # What a filter answers to an image as the network sees it, against the centroid times the whitened patch.
    x = crops(3, (100, 200, 300)).flatten(1).float()  # (12, 27), from 0 to 255
    images = torch.cat([x.unflatten(1, (3, 3, 3)) / 255, torch.full((1, 3, 3, 3), 0.5)])
    answers = nn.functional.conv2d(module.network.normalization(images), filters)[:, :, 0, 0]  # (13, 32)
    whitened = found.whitening.apply(contrast_normalize(x)) - found.whitening.apply(torch.zeros(1, 27))
    expected = (x.var(1, keepdim=True) + 10).sqrt() * whitened @ found.centroids.T  # (12, 32)
    answers = answers[:12] - answers[12:]
    factor = (answers * expected).sum() / expected.square().sum()
    assert torch.allclose(answers, factor * expected, atol=1e-4 * float(answers.abs().max()))


@pytest.mark.parametrize("whitening", [True, False])
def test_flat_grey_gets_the_same_answer_whatever_its_brightness(whitening: bool) -> None:
    module = started(KMeans(whitening=whitening, mapped_back=True))
    dark, bright = torch.full((2, 1, 3, 3, 3), 0.1) * torch.tensor([1.0, 9.0])[:, None, None, None, None]
    convolution, normalization = first_convolution(module), module.network.normalization
    one, other = (convolution(normalization(x))[:, :, 1, 1] for x in (dark, bright))  # away from the zero padding
    assert torch.allclose(one, other, atol=1e-5)
    assert one.std() > 0.01


@pytest.mark.parametrize("mapped_back", [True, False])
def test_the_scale_is_that_of_the_random_initialisation_where_asked_and_other_weights_stay(mapped_back: bool) -> None:
    plain = weights(started(None))
    ours, own = (weights(started(KMeans(scale=x, mapped_back=mapped_back))) for x in ("initial", "own"))  # type: ignore[arg-type]
    changed = [name for name in plain if not torch.equal(plain[name], ours[name])]
    assert changed == ["network.backbone.body.0.weight"]
    (name,) = changed
    assert ours[name].std().item() == pytest.approx(plain[name].std().item(), rel=1e-5)
    torch.testing.assert_close(ours[name], own[name] * (plain[name].std() / own[name].std()))


@pytest.mark.parametrize(
    ("backbone", "side", "shape"),
    [
        ("wrn-28-2", 32, (16, 3, 3, 3)),
        ("torchvision:resnet18", 32, (64, 3, 7, 7)),
        ("torchvision:alexnet", 96, (64, 3, 11, 11)),
    ],
)
def test_size_and_number_are_the_convolutions_and_the_bias_is_zero(backbone: str, side: int, shape: Any) -> None:
    strategy = KMeans(patches_per_image=20)
    convolution = first_convolution(started(strategy, Photographs(side), backbone))
    assert strategy.centroids_.shape == convolution.weight.shape == shape
    assert torch.equal(convolution.weight, strategy.filters_)
    assert convolution.bias is None or not convolution.bias.any()


def test_without_unlabeled_images_labeled_ones_serve(capsys: pytest.CaptureFixture[str]) -> None:
    strategy, data = KMeans(patches_per_image=20), Photographs(unlabeled=False)
    started(strategy, data)
    options: dict[str, Any] = {"images": 12, "patches_per_image": 20, "steps": 3000, "method": "lloyd"}
    found = learn(data.pools.labeled, 32, (3, 3), 0, **options)
    assert torch.equal(strategy.centroids_, found.centroids.unflatten(1, (3, 3, 3)))
    assert "kmeans: 32 filters of 3x3 from 240 whitened patches of labeled images" in capsys.readouterr().out


def test_filters_depend_on_the_seed_alone() -> None:
    data = Photographs()
    filters = []
    for seed in (0, 0, 1):
        strategy = KMeans(patches_per_image=20)
        module = Classifier(data.spec, Composition({"kmeans": strategy}), ModelOptions("small"), seed=seed)
        trainer(1, limit_train_batches=0).fit(module, data)
        filters.append(strategy.centroids_)
    assert torch.equal(filters[0], filters[1]) and not torch.equal(filters[0], filters[2])


def test_a_resumed_run_goes_on_with_the_filters_it_had(tmp_path: Path) -> None:
    data, strategy = Blobs(), KMeans(patches_per_image=20, scale="initial", mapped_back=True, method="minibatch")
    whole = classifier(data, strategy)
    trainer(2, callbacks=[SaveAt(3, tmp_path / "a.ckpt")], enable_checkpointing=True).fit(whole, data)
    resumed, other = Blobs(), KMeans(images=30)  # which alone would have found other centroids
    module = classifier(resumed, other)
    trainer(2).fit(module, resumed, ckpt_path=tmp_path / "a.ckpt", weights_only=True)
    assert same(weights(module), weights(whole))
    assert torch.equal(other.centroids_, strategy.centroids_) and torch.equal(other.filters_, strategy.filters_)
    assert not torch.equal(first_convolution(module).weight, other.filters_)  # trained since


def test_it_composes_with_a_strategy_that_owns_the_loss() -> None:
    trained = {}
    for names in ("pseudolabel", "kmeans+pseudolabel"):
        pseudolabel = PseudoLabel(threshold=0.4, warmup_epochs=2, every_n_epochs=2)
        known = {"kmeans": KMeans(), "pseudolabel": pseudolabel}
        data = Blobs()
        module = Classifier(data.spec, Composition({name: known[name] for name in names.split("+")}))
        trainer(4).fit(module, data)
        assert module.strategy.name == names and module.strategy.owner is pseudolabel
        assert len(pseudolabel.rows_) > 0
        trained[names] = weights(module)
    assert not same(*trained.values())


class OneByOne(nn.Module):
    num_features = 4

    def __init__(self, channels: int = 1, size: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 4, size)


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        (
            nn.Flatten(),
            "kmeans initialises the first convolution, and the backbone small has none; type --model.backbo",
        ),
        (OneByOne(), "the first convolution of the backbone small is 1x1; type --model.backbone small"),
        (OneByOne(2, 3), "over all 1 channels of the images, and that of the backbone small takes 2"),
        (OneByOne(1, 9), "patches of 9x9 pixels don't fit into images of 8x8"),
    ],
)
def test_a_backbone_without_filters_to_start_from_is_refused(backbone: nn.Module, message: str) -> None:
    data = Blobs()
    module = classifier(data, KMeans())
    module.network.backbone = backbone
    with pytest.raises(InputError, match=message):
        trainer(1).fit(module, data)


def test_more_filters_than_patches_are_refused() -> None:
    with pytest.raises(InputError, match="can't place 32 centroids on 20 patches, 10 of each of 2 images; take more"):
        started(KMeans(images=2, patches_per_image=10), Photographs())


@pytest.mark.parametrize("kind", ["yuv", "local7", "local15"])
def test_images_that_are_no_longer_pixels_are_refused(kind: str) -> None:
    with pytest.raises(InputError, match=rf"learns filters of pixels.* {kind} the.*type --model.normalization channel"):
        started(KMeans(), normalization=kind)


@pytest.mark.parametrize("option", [{"images": 0}, {"patches_per_image": 0}, {"eps": 0.0}, {"iterations": 0}])
def test_options_out_of_range_are_refused(option: Any) -> None:
    (name,) = option
    with pytest.raises(InputError, match=rf"kmeans\.{name} is 0"):
        KMeans(**option)


def rank(number: int, folder: str, port: int) -> None:
    os.environ |= {"LOCAL_RANK": str(number), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ["XDG_CACHE_HOME"] = f"{folder}/{number}"
    error = ""
    for images in (1, 90):
        data, strategy = Blobs(), KMeans(images=images, patches_per_image=20)
        module = classifier(data, strategy)
        try:
            trainer(1, devices=2, strategy="ddp", limit_train_batches=0, limit_val_batches=0).fit(module, data)
        except InputError as refused:
            error = str(refused)
    torch.save([error, first_convolution(module).weight.detach(), strategy.centroids_], f"{folder}/{number}.pt")


@pytest.mark.slow
def test_rank_zero_clusters_for_all_and_its_error_is_everyones(tmp_path: Path) -> None:
    in_two_processes(rank, tmp_path)
    alone = KMeans(patches_per_image=20)
    expected = first_convolution(started(alone, Blobs())).weight
    for number in range(2):
        error, filters, centroids = torch.load(tmp_path / f"{number}.pt", weights_only=True)
        assert re.search(r"can't place 32 centroids on \d+ ", error)  # how many differ is a matter of rounding
        assert torch.equal(filters, expected) and torch.equal(centroids, alone.centroids_)
    assert (tmp_path / "0").exists() and not (tmp_path / "1").exists()  # the cache of the rank that clustered
