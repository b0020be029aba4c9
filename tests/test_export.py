"""`semisup export`: a network as one file for other programs, which says what ours says."""

from __future__ import annotations

import json
import shutil
from copy import deepcopy
from pathlib import Path

import onnxruntime
import pytest
import torch
from helpers import patches
from PIL import Image
from safetensors import safe_open
from torch import Tensor, nn

from semisup import export, load, plugins
from semisup.classifier import Classifier
from semisup.cli.front import main
from semisup.data.picture import How
from semisup.data.pools import DataSpec
from semisup.data.preprocessing import Preprocessing
from semisup.errors import InputError
from semisup.export import checking, safetensors_file, torchscript_file
from semisup.models.options import ModelOptions

RUN = str(Path(__file__).parent / "old_run")  # of the digits, 8x8 pixels in grey
NAMES = ("cat", "=dog", "a,b")
SIZES = {"vgg_bn_drop": 32, "sample": 48, "solution": 13, "wrn-37-2": 16, "wrn-28-2": 8, "small": 8}


def trained(backbone: str, size: int, channels: int = 3, **model: str) -> Classifier:
    """A classifier whose statistics are not those that it begins with, and whose average is another network."""
    torch.manual_seed(0)
    classifier = Classifier(DataSpec("x", NAMES, channels, size), model=ModelOptions(backbone=backbone, **model))
    images = patches(size)[:, :channels]
    classifier.network.normalization.fit([images])
    classifier.start_ema(0.9)
    for _ in range(2):
        classifier.network(images.float() / 255)
        nn.init.normal_(classifier.network.head.bias)
        classifier.teacher.update(classifier.network)
    return classifier.eval()


def pixels(picture: Image.Image) -> Tensor:
    """A picture as a network of 24 pixels is given it, (3, 24, 24) uint8."""
    found = Preprocessing(How(24)).image(picture).pixels
    assert found is not None
    return torch.from_numpy(found.copy()).permute(2, 0, 1)


def probabilities(file: Path, images: Tensor) -> Tensor:
    if file.suffix == ".pt":
        loaded: Tensor = torch.jit.load(str(file))(images)
        return loaded
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(["probabilities"], {"images": images.numpy()})[0])


@pytest.mark.parametrize("format", [pytest.param("onnx", marks=pytest.mark.slow), "torchscript"])
def test_a_file_resizes_normalises_and_predicts_as_we_do(format: str, tmp_path: Path) -> None:
    classifier, file = (
        trained("small", 24, normalization="yuv"),
        tmp_path / f"x{'.pt' if format[0] == 't' else '.onnx'}",
    )
    found = export.write(classifier, format, file, patches(24))
    assert found.images == 12 and found.difference < 1e-5 and found.resized is not None and found.resized < 0.01
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    images = patches(24)[:5]
    with torch.no_grad():
        ours = classifier(images.float() / 255).softmax(1)
        assert not torch.allclose(ours, classifier.network(images.float() / 255).softmax(1))  # the average is scored
    torch.testing.assert_close(probabilities(file, images), ours, atol=1e-5, rtol=0)
    if format == "onnx":
        its = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"]).get_modelmeta()
        assert json.loads(its.custom_metadata_map["classes"]) == [*NAMES]
        assert its.custom_metadata_map["image_size"] == "24"
    # Of other sizes, in batches, as Pillow makes them equal. Halves of pixels are rounded to even.
    for width, height in ((48, 24), (30, 65), (96, 40), (25, 48)):
        large = patches(96)[:3, :, :height, :width].contiguous()
        pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in large]
        seen = torch.stack([pixels(picture) for picture in pictures])
        with torch.no_grad():
            expected = classifier(seen.float() / 255).softmax(1)
        torch.testing.assert_close(probabilities(file, large), expected, atol=5e-3, rtol=0)


@pytest.mark.parametrize(("width", "height"), [(24, 24), (24, 31), (48, 37), (96, 96), (10, 17), (57, 56)])
def test_pixels_are_pillows_or_a_level_beside_them(width: int, height: int) -> None:
    image = patches(96)[4, :, :height, :width].contiguous()
    expected = pixels(Image.fromarray(image.permute(1, 2, 0).numpy()))
    levels = 255 * torchscript_file.fit(image[None], 24)[0] - expected
    assert float(levels.abs().max()) < 1.01 and float((levels.abs() > 0.5).float().mean()) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("backbone", plugins.installed(plugins.BACKBONES))
def test_every_backbone_exports(backbone: str, tmp_path: Path) -> None:
    """As ONNX, one of each structure: those that differ in widths alone would take the suite a minute more."""
    size, channels = SIZES.get(backbone, 32), 1 if backbone.startswith("lenet") else 3
    classifier = trained(backbone, size, channels, normalization="local7")
    images = patches(size)[:3, :channels].contiguous()
    alike = ("sample", "vgg_bn_drop", "92c5-256c5-512c5-1024f", "lenet-relu", "lenet-tanh-3", "wrn-37-2")
    for format in ("torchscript", "safetensors", *["onnx"][backbone in alike :]):
        assert export.write(classifier, format, tmp_path / "file", images).difference < 1e-5


def test_weights_are_those_that_were_scored(tmp_path: Path) -> None:
    classifier, file = trained("small", 8), tmp_path / "x.safetensors"
    export.write(classifier, "safetensors", file, patches(8))
    with safe_open(file, "pt") as opened:
        assert json.loads(opened.metadata()["classes"]) == [*NAMES]
        held = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 it is no mapping
    expected = classifier.teacher.average.state_dict()
    assert held.keys() == expected.keys() and all(torch.equal(held[name], x) for name, x in expected.items())


def test_changes_of_low_rank_are_merged_into_the_weights(tmp_path: Path) -> None:
    model = ModelOptions(backbone="timm:test_vit", adapt="lora", input_size=32)
    classifier, file = Classifier(DataSpec("x", NAMES, 3, 32), model=model).eval(), tmp_path / "x.safetensors"
    for name, parameter in classifier.network.named_parameters():
        if name.endswith("up"):
            nn.init.normal_(parameter, std=0.1)
    export.write(classifier, "safetensors", file, patches(32)[:3])
    names = {"backbone.network.blocks.0.attn.qkv.weight", "backbone.network.blocks.0.attn.qkv.bias"}
    with safe_open(file, "pt") as opened:
        assert names <= {*opened.keys()} and not [name for name in opened.keys() if "parametriz" in name]  # noqa: SIM118
        merged = opened.get_tensor("backbone.network.blocks.0.attn.qkv.weight")
    layer = classifier.network.backbone.get_submodule("network.blocks.0.attn.qkv")
    torch.testing.assert_close(merged, layer.weight)
    assert not torch.allclose(merged, layer.parametrizations["weight"].original)


@pytest.mark.parametrize("format", ["torchscript", "safetensors"])
def test_a_file_that_says_something_else_is_not_kept(
    format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = trained("small", 8)
    other = deepcopy(classifier)
    with torch.no_grad():
        other.scored.head.bias += torch.tensor([0.0, 0.01, 0.0])
    file = {"torchscript": torchscript_file, "safetensors": safetensors_file}[format]
    original = file.write
    monkeypatch.setattr(file, "write", lambda _, path: original(other, path))
    with pytest.raises(InputError, match="differ by up to"):
        export.write(classifier, format, tmp_path / "file", patches(8))
    assert not list(tmp_path.iterdir())


def _inverted(images: Tensor, size: int) -> Tensor:
    pixels = images[:, :, :size, :size].float() / 255
    return pixels if images.shape[-1] == size else 1 - pixels


def test_a_file_that_resizes_pictures_otherwise_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchscript_file, "fit", _inverted)
    monkeypatch.setattr(checking, "RESIZED_TOLERANCE", 0.01)  # this small a network sees little of a picture
    classifier = trained("small", 8)
    with torch.no_grad():
        classifier.scored.head.weight.mul_(100)  # a network that is sure of what it sees
    with pytest.raises(InputError, match="differ by up to"):
        export.write(classifier, "torchscript", tmp_path / "file", patches(8))
    assert not list(tmp_path.iterdir())


def test_the_verb_says_what_the_file_takes_and_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["export", RUN, "--format", "torchscript"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "checked by 32 pictures: probabilities differ by at most" in said and "uint8 (N, 1, H, W), grey" in said
    digits = torch.arange(3 * 64, dtype=torch.uint8).view(3, 1, 8, 8)
    model = load(RUN, "cpu")
    torch.testing.assert_close(
        probabilities(Path("model.pt"), digits), model.predict(digits).probabilities, atol=1e-5, rtol=0
    )
    extra = {"semisup.json": ""}
    torch.jit.load("model.pt", _extra_files=extra)
    its = json.loads(extra["semisup.json"])
    assert json.loads(its["classes"]) == [*model.class_names] and its["output"] == "probabilities, float32 (N, 10)"
    before = Path("model.pt").read_bytes()
    assert main(words) == 2
    assert "--force to replace it" in capsys.readouterr().err and Path("model.pt").read_bytes() == before
    Path("model.pt").write_text("mine")
    assert main([*words, "--force"]) == 0 and len(Path("model.pt").read_bytes()) > 1000


def test_pictures_to_check_by_are_named_where_the_data_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(next(Path(RUN).glob("checkpoints/*.ckpt")), "x.ckpt")
    words = ["export", "x.ckpt", "--format", "safetensors"]
    assert main(words) == 2
    assert "type --pictures with some" in capsys.readouterr().err
    Path("new").mkdir()
    Path("new/notes.txt").write_text("no picture")
    assert main([*words, "--pictures", "new"]) == 2
    assert "none of --pictures can be read" in capsys.readouterr().err
    Image.new("RGB", (20, 9), "red").save("new/red.png")
    assert main([*words, "--pictures", "new"]) == 0
    assert "checked by 1 pictures" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", "new", "x.ckpt"]


@pytest.mark.slow
def test_a_network_that_onnx_does_not_know_is_one_clear_error(tmp_path: Path) -> None:
    class Sorted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.linalg.eigvals(x.mean(1)).real.repeat(1, 16)

    classifier = trained("small", 8)
    classifier.scored.backbone = Sorted()
    with pytest.raises(InputError, match=r"torch can.t write small as ONNX .*; type --format torchscript"):
        export.write(classifier, "onnx", tmp_path / "file", patches(8))
    assert not list(tmp_path.iterdir())


def test_a_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = trained("small", 8)
    for format, module, advice in (("onnx", "onnxruntime", "onnx"), ("safetensors", "safetensors", "safetensors")):
        monkeypatch.setitem(__import__("sys").modules, module, None)
        with pytest.raises(InputError, match=rf"type pip install .*{advice}"):
            export.write(classifier, format, tmp_path / "file", patches(8))
    assert not list(tmp_path.iterdir())
