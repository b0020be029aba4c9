"""Batch normalisation over two real processes against torch's own on the whole batch."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.distributed as dist
from helpers import in_two_processes
from torch import nn

from semisup.runtime.sync_batchnorm import CPUSync, SyncBatchNorm


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, eps=1e-3, momentum=0.3), nn.ReLU()).double()


def images() -> torch.Tensor:
    return torch.randn(10, 2, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def rank(number: int, folder: str, port: int) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=number, world_size=2)
    model = CPUSync().apply(network())
    part = images()[:7] if number == 0 else images()[7:]  # ranks need not have the same number of images
    output = model(part)
    output.square().sum().backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    for gradient in gradients:
        dist.all_reduce(gradient)
    torch.save({"output": output.detach(), "gradients": gradients, "state": model.state_dict()}, f"{folder}/{number}")
    dist.destroy_process_group()


def test_two_processes_compute_what_one_does_with_the_whole_batch(tmp_path: Path) -> None:
    in_two_processes(rank, tmp_path)
    parts = [torch.load(tmp_path / str(number), weights_only=True) for number in range(2)]
    model = network()
    output = model(images())
    output.square().sum().backward()
    assert torch.allclose(torch.cat([part["output"] for part in parts]), output.detach(), rtol=1e-10)
    for part in parts:
        for gradient, parameter in zip(part["gradients"], model.parameters(), strict=True):
            assert torch.allclose(gradient, parameter.grad, rtol=1e-9, atol=1e-12)
        for name, value in model.state_dict().items():
            assert torch.allclose(part["state"][name].double(), value.double(), rtol=1e-10), name


def test_every_layer_is_replaced_and_alone_computes_what_it_did() -> None:
    model = CPUSync().apply(nn.Sequential(network(), nn.Linear(3, 3)))
    assert [type(module) for module in model.modules() if isinstance(module, nn.BatchNorm2d)] == []
    (layer,) = (module for module in model.modules() if isinstance(module, SyncBatchNorm))
    assert layer.eps == 1e-3 and layer.momentum == 0.3
    assert torch.equal(model[0](images()), network()(images()))
