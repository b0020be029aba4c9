"""What of a backbone is trained: LoRA against the network it changes, what moves in a step, stages and their rates."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from helpers import Blobs, SaveAt, classifier, in_two_processes, install_blobs, same, trainer, weights
from torch import Tensor, nn

from semisup.classifier import Classifier, ModelOptions, OptimizerOptions
from semisup.cli.config import parse
from semisup.data.datamodule import DataModule
from semisup.errors import InputError
from semisup.models import adapt, backbones
from semisup.models.network import Network
from semisup.models.normalization import Normalization
from strategies.comatch import CoMatch
from strategies.fixmatch import FixMatch

VIT = "timm:test_vit"
WAYS = ("head", "lora", "bitfit", "norm")
SGD = OptimizerOptions("sgd", {"lr": 0.1})


def network(name: str = VIT, size: int = 32, **options: Any) -> Network:
    torch.manual_seed(0)
    backbone = backbones.build(name, 3, size)
    made = Network(Normalization("none", 3), backbone, nn.Linear(int(backbone.num_features), 3))
    asked = {"how": "full", "freeze": 0, "rank": 4, "batchnorm": "auto", **options}
    adapt.adapt(made, *(asked[key] for key in ("how", "freeze", "rank", "batchnorm")))
    return made


def images(count: int = 4, size: int = 32) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", [VIT, "timm:test_efficientnet", "torchvision:vit_b_32"])
def test_lora_is_the_network_at_its_start_to_the_bit(name: str) -> None:
    before, after = network(name), network(name, how="lora")
    for made in (before, after):
        made.to(memory_format=torch.channels_last).eval()
    own = weights(before.backbone)
    assert all(torch.equal(x, own[key]) for key, x in adapt.merged(weights(after.backbone)).items())
    after.head.load_state_dict(before.head.state_dict())
    with torch.no_grad():
        assert torch.equal(before(images()), after(images()))


@pytest.mark.parametrize("name", [VIT, "timm:test_efficientnet"])
def test_lora_trained_is_the_merged_network(name: str) -> None:
    """The formula, weight for weight, and a plain network with these weights says the same."""
    after = network(name, how="lora").eval()
    torch.manual_seed(2)
    for key, parameter in after.named_parameters():
        if key.endswith(".up"):
            nn.init.normal_(parameter, std=0.1)
    plain = network(name).eval()
    for (key, weight), old in zip(plain.backbone.named_parameters(), list(plain.backbone.parameters()), strict=True):
        owner, _, matrix = key.rpartition(".")
        part = after.backbone.get_submodule(owner)
        if matrix in getattr(part, "parametrizations", {}):
            low = part.parametrizations[matrix][0]
            change = torch.einsum("or,ri->oi", low.up, low.down).reshape(weight.shape)
            assert not torch.equal(change, torch.zeros_like(change))
            with torch.no_grad():
                old.add_(change)
    merged = adapt.merged(weights(after.backbone))
    assert merged.keys() == weights(plain.backbone).keys()
    for key, value in weights(plain.backbone).items():
        torch.testing.assert_close(merged[key], value)
    with torch.no_grad():
        torch.testing.assert_close(after.features(images()), plain.features(images()), rtol=1e-4, atol=1e-4)


def moved(module: Classifier, before: dict[str, Tensor]) -> set[str]:
    return {name for name, x in weights(module.network.backbone).items() if not torch.equal(x, before[name])}


@pytest.mark.parametrize("name", [VIT, "timm:test_efficientnet"])
@pytest.mark.parametrize("how", WAYS)
def test_a_step_moves_what_is_to_be_trained_and_nothing_else(
    name: str, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Blobs(steps_per_epoch=2)
    model = ModelOptions(name, input_size=32, adapt=how, lora_rank=2)  # type: ignore[arg-type]
    module = classifier(data, FixMatch(ratio=1), model=model, optimizer=SGD)
    before, head = weights(module.network.backbone), weights(module.network.head)
    fit = trainer(1)
    fit.fit(module, datamodule=data)
    changed = moved(module, before)
    if how == "head":
        assert changed == set()
    elif how == "lora":
        up, down = ({key for key in before if key.endswith(end)} for end in (".up", ".down"))
        assert up <= changed <= up | down and changed & down  # `down` has no gradient before `up` has moved
    elif how == "bitfit":
        assert changed == {key for key, _ in module.network.backbone.named_parameters() if key.endswith("bias")}
    else:
        kinds = (nn.LayerNorm, nn.BatchNorm2d)
        parts = [(key, part) for key, part in module.network.backbone.named_modules() if isinstance(part, kinds)]
        assert changed == {f"{key}.{own}" for key, part in parts for own in part.state_dict()}
    assert not same(weights(module.network.head), head)
    (optimizer,) = fit.optimizers
    held = {p for group in optimizer.param_groups for p in group["params"]}
    assert held == {p for p in module.parameters() if p.requires_grad and p in set(module.network.parameters())}
    count = sum(p.numel() for p in held)
    said = capsys.readouterr()
    assert f"{count:,} of them trained" in said.out + said.err
    assert module.ema is not None  # FixMatch's, which follows what moves and keeps what doesn't
    average = weights(module.ema.average.backbone)
    assert all(torch.equal(average[key], x) for key, x in before.items() if key not in changed)
    floats = {key for key in changed if before[key].is_floating_point()}
    assert all(not torch.equal(average[key], before[key]) for key in floats)


def test_frozen_stages_stay_and_those_behind_them_move() -> None:
    data = Blobs(steps_per_epoch=2)
    model = ModelOptions("timm:test_efficientnet", input_size=32, freeze=2)
    module = classifier(data, model=model, optimizer=SGD)
    before = weights(module.network.backbone)
    trainer(1).fit(module, datamodule=data)
    still = {name for name in before if name.startswith(("network.conv_stem", "network.bn1", "network.blocks.0."))}
    assert moved(module, before) == before.keys() - still


@pytest.mark.parametrize(("batchnorm", "frozen"), [("frozen", True), ("train", False), ("auto", False)])
def test_batch_normalisation_that_is_frozen_keeps_its_statistics(batchnorm: Any, frozen: bool) -> None:
    made = network("timm:test_efficientnet", batchnorm=batchnorm).train()
    before = made.backbone.network.bn1.running_mean.clone()
    together = made.features(images())
    assert torch.equal(made.backbone.network.bn1.running_mean, before) is frozen
    alone = torch.cat([made.eval().train().features(x[None]) for x in images()]) if frozen else made.eval()(images())
    assert torch.allclose(together, alone, atol=1e-5) if frozen else together.shape[1] != alone.shape[1]


@pytest.mark.parametrize(
    ("name", "count", "first", "last"),
    [
        (VIT, 7, "network.cls_token", "network.norm.weight"),
        ("timm:test_efficientnet", 6, "network.conv_stem.weight", "network.bn2.weight"),
        ("torchvision:resnet18", 9, "network.conv1.weight", "network.layer4.1.bn2.weight"),
        ("small", 3, None, None),
    ],
)
def test_stages_hold_every_parameter_once_in_the_order_of_images(
    name: str, count: int, first: str | None, last: str | None
) -> None:
    backbone = backbones.build(name, 3, 32)
    found = adapt.stages(backbone)
    names = [each for stage in found for each in stage]
    assert sorted(names) == sorted(key for key, _ in backbone.named_parameters())
    assert len(found) == count
    assert (first is None or first in found[0]) and (last is None or last in found[-1])


def test_rates_fall_by_stages_from_the_head_to_the_input() -> None:
    data = Blobs(steps_per_epoch=1)
    options = ModelOptions(VIT, input_size=32, layer_decay=0.5)
    module = classifier(data, model=options, optimizer=OptimizerOptions("adamw", {"lr": 0.01, "weight_decay": 0.1}))
    fit = trainer(1)
    fit.fit(module, datamodule=data)
    by_parameter = {p: group for group in fit.optimizers[0].param_groups for p in group["params"]}
    backbone, head = module.network.backbone.network, module.network.head
    rate = by_parameter[head.weight]["initial_lr"]
    assert rate == 0.01
    for parameter, power in (
        (backbone.cls_token, 7),
        (backbone.patch_embed.proj.weight, 7),
        (backbone.blocks[0].attn.qkv.weight, 6),
        (backbone.blocks[5].mlp.fc2.bias, 1),
    ):
        assert by_parameter[parameter]["initial_lr"] == pytest.approx(rate * 0.5**power)
    assert by_parameter[backbone.blocks[5].mlp.fc2.bias]["weight_decay"] == 0
    assert by_parameter[backbone.blocks[5].mlp.fc2.weight]["weight_decay"] == 0.1


def test_lora_goes_on_exactly_where_it_stopped(tmp_path: Path) -> None:
    model = ModelOptions(VIT, input_size=32, adapt="lora", lora_rank=2)

    def run(**kwargs: Any) -> tuple[Classifier, pl.Trainer, DataModule]:
        data = Blobs(steps_per_epoch=4)
        module = classifier(data, CoMatch(ratio=1), model=model, optimizer=SGD)
        return module, trainer(1, **kwargs), data

    whole, fit, data = run(enable_checkpointing=True, callbacks=[SaveAt(2, tmp_path / "x.ckpt")])
    fit.fit(whole, datamodule=data)
    resumed, fit, data = run()
    fit.fit(resumed, datamodule=data, ckpt_path=tmp_path / "x.ckpt", weights_only=True)
    assert same(weights(whole), weights(resumed))
    fit.save_checkpoint(tmp_path / "end.ckpt")
    restored = Classifier.from_checkpoint(tmp_path / "end.ckpt")
    with torch.no_grad():
        assert torch.equal(restored(images(4, 8)[:, :1]), whole.eval()(images(4, 8)[:, :1]))
    # Another network begins with it, changes and weights in one.
    plain = classifier(data, model=ModelOptions(VIT, input_size=32, weights=str(tmp_path / "end.ckpt")))
    assert whole.ema is not None
    expected = adapt.merged(weights(whole.ema.average.backbone))
    assert same(weights(plain.network.backbone), expected)


def _rank(rank: int, folder: str, port: int) -> None:
    os.environ |= {"LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    fit_lora(Path(folder) / f"rank{rank}.pt", devices=2, strategy="ddp")


def fit_lora(path: Path, **kwargs: Any) -> None:
    data = Blobs(steps_per_epoch=3)
    model = ModelOptions(VIT, input_size=16, adapt="lora", lora_rank=2)
    module = classifier(data, FixMatch(ratio=1), model=model, optimizer=SGD)
    trainer(1, **kwargs).fit(module, datamodule=data)
    torch.save(weights(module), path)


@pytest.mark.slow
def test_two_processes_train_lora_as_one_does(tmp_path: Path) -> None:
    in_two_processes(_rank, tmp_path)
    fit_lora(tmp_path / "one.pt")
    one, *ranks = (torch.load(tmp_path / name, weights_only=True) for name in ("one.pt", "rank0.pt", "rank1.pt"))
    assert same(*ranks)
    assert one.keys() == ranks[0].keys()
    for name, value in one.items():
        torch.testing.assert_close(value, ranks[0][name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"how": "lora", "name": "small", "rank": 2000}, ["lora finds nothing to train", "--model.adapt"]),
        ({"freeze": 8}, ["model.freeze is 8", "7 stages"]),
        ({"freeze": -1}, ["model.freeze is -1"]),
        ({"how": "lora", "rank": 0}, ["model.lora_rank is 0"]),
    ],
)
def test_refusals(options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(InputError) as error:
        network(**options)
    assert [word for word in words if word not in str(error.value)] == []


@pytest.mark.parametrize(
    ("arguments", "optimizer", "lr", "warmup"),
    [
        (["--model", VIT], "adamw", 3e-4, 0.1),
        (["--model", VIT, "--optimizer.lr", "0.001"], "adamw", 1e-3, 0.1),
        (["--model", VIT, "--optimizer", "sgd"], "sgd", 0.03, 0),
        (["--model", "timm:test_efficientnet"], "sgd", 0.03, 0),
        (["--model", "torchvision:vit_b_32"], "adamw", 3e-4, 0.1),
        (["--model", "small", "--optimizer", "adamw"], "adamw", 1e-3, 0),
    ],
)
def test_transformers_are_trained_by_adamw_with_a_warm_up_where_nothing_else_is_asked(
    arguments: list[str], optimizer: str, lr: float, warmup: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_blobs(monkeypatch)
    config = parse("fit", ["--data", "blobs", *arguments])
    assert (config.optimizer.name, config.optimizer.parameters["lr"]) == (optimizer, lr)
    assert config.options["lr_scheduler"]["warmup_share"] == warmup
