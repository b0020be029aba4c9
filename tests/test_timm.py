"""Networks of timm: against timm itself, at other sizes and channels, and how names and sizes are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from helpers import Blobs, Photographs, classifier, trainer
from torch import Tensor

from semisup.classifier import Classifier, ModelOptions
from semisup.errors import InputError
from semisup.models import backbones


def images(channels: int, size: int) -> Tensor:
    return torch.rand(2, channels, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["test_efficientnet", "test_vit", "test_resnet.r160_in1k"])
def test_features_are_timms_of_images_that_its_configuration_asks_for(name: str) -> None:
    """Resized, normalised and sent through a network of timm's own with the same weights, step by step."""
    data = Photographs()
    module = classifier(data, model=ModelOptions(f"timm:{name}")).eval()
    reference = timm.create_model(name, num_classes=0).eval()
    reference.load_state_dict(module.network.backbone.network.state_dict())
    own, x = reference.pretrained_cfg, images(3, 48)
    mean, std = (torch.tensor(own[key])[:, None, None] for key in ("mean", "std"))
    resized = F.interpolate((x - mean) / std, own["input_size"][1:], mode=own["interpolation"])
    with torch.no_grad():
        torch.testing.assert_close(module.features(x), reference(resized), rtol=1e-4, atol=1e-5)
    assert module.network.head.in_features == reference(resized).shape[1]


def test_a_gray_image_is_one_of_three_equal_channels() -> None:
    data = Blobs()
    module = classifier(data, model=ModelOptions("timm:test_efficientnet", input_size=32)).eval()
    own = timm.get_pretrained_cfg("test_efficientnet")
    x = images(1, 8)
    mean, std = (torch.tensor(each)[:, None, None] for each in (own.mean, own.std))
    three = F.interpolate((x.expand(-1, 3, -1, -1) - mean) / std, (32, 32), mode="bicubic")
    with torch.no_grad():
        expected = module.network.backbone.network(three)
        torch.testing.assert_close(module.features(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [16, 40])
def test_any_backbone_takes_images_of_another_size(size: int) -> None:
    module = classifier(Blobs(), model=ModelOptions("small", input_size=size)).eval()
    x = images(1, 8)
    with torch.no_grad():
        expected = module.network.backbone(F.interpolate(x, (size, size), mode="bicubic"))
        torch.testing.assert_close(module.features(x), expected)


def test_large_images_are_made_smaller_without_aliasing() -> None:
    """Stripes of one pixel, of which every second one would be left, are gray."""
    module = classifier(Photographs(), model=ModelOptions("small", normalization="none", input_size=24))
    seen: list[Tensor] = []
    next(module.network.backbone.children()).register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    stripes = torch.zeros(1, 3, 48, 48)
    stripes[..., ::2] = 1
    module.eval().features(stripes)
    assert (seen[0][..., 2:-2] - 0.5).abs().max() < 0.02


def test_a_run_is_restored_at_the_size_that_it_was_trained_with(tmp_path: Path) -> None:
    data = Blobs()
    module = classifier(data, model=ModelOptions("timm:test_efficientnet", input_size=32))
    fit = trainer(1, max_steps=1)
    fit.fit(module, datamodule=data)
    own = timm.get_pretrained_cfg("test_efficientnet")
    torch.testing.assert_close(module.network.normalization.mean, torch.tensor(own.mean))  # not those of the data
    fit.save_checkpoint(tmp_path / "x.ckpt")
    restored = Classifier.from_checkpoint(tmp_path / "x.ckpt")
    assert restored.takes.size == 32
    with torch.no_grad():
        assert torch.equal(restored(images(1, 8)), module.eval()(images(1, 8)))


def test_the_seed_draws_the_weights() -> None:
    one, other = (
        torch.cat(
            [p.flatten() for p in classifier(Blobs(), model=ModelOptions("timm:test_vit"), seed=seed).parameters()]
        )
        for seed in (0, 0)
    )
    assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("timm:test_vti", {}, ["timm has no network 'test_vti'", "did you mean 'test_vit'"]),
        ("timm:test_vit.imagenet", {}, ["no weights 'imagenet' of test_vit", "there are: r160_in1k"]),
        ("timm:hf-hub:someone/network", {}, ["timm has no network 'hf-hub:someone/network'"]),
        ("timm:test_vit", {"input_size": 8}, ["can't take images of 8 pixels", "--model.input_size 160"]),
        ("small", {"input_size": 0}, ["model.input_size is 0"]),
        ("small", {"input_size": 5000}, ["model.input_size is 5000", "4096"]),
    ],
)
def test_refusals(name: str, options: dict[str, int], words: list[str]) -> None:
    with pytest.raises(InputError) as error:
        classifier(Blobs(), model=ModelOptions(name, **options))
    assert [word for word in words if word not in str(error.value)] == []
    assert "\n" not in str(error.value)


def test_images_of_other_channels_are_refused() -> None:
    with pytest.raises(InputError, match="timm:test_vit takes images of 3 channels, and these have 4"):
        backbones.expected("timm:test_vit", 4, 32)


def test_without_timm_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semisup.models.backbones.from_timm.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"timm is not installed; type pip install 'semisup\[timm\]'"):
        backbones.expected("timm:test_vit", 3, 32)
