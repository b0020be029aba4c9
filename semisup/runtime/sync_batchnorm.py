"""Batch normalisation over all ranks on the CPU, where torch's own `SyncBatchNorm` does not run.

With it, `--trainer.sync_batchnorm true` means the same on CPUs as on GPUs: two processes with half a batch each compute
what one process computes with the whole batch.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from pytorch_lightning.plugins.layer_sync import LayerSync
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class _AllReduce(torch.autograd.Function):
    """The sum over ranks; its gradient is the sum of the ranks' gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


class SyncBatchNorm(_BatchNorm):
    """Batch normalisation of (B, C, ...) whose mean and variance are those of the global batch."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, input: Tensor) -> Tensor:
        """Normalises as `nn.BatchNorm2d` with the batches of all ranks in one would."""
        if not self.training or not dist.is_initialized():
            return super().forward(input)
        channels, others = input.shape[1], [axis for axis in range(input.ndim) if axis != 1]
        shape = (1, channels, *[1] * (input.ndim - 2))
        count = _AllReduce.apply(input.new_tensor([input.numel() / channels]))
        mean = _AllReduce.apply(input.sum(others)) / count
        centred = input - mean.view(shape)
        variance = _AllReduce.apply(centred.square().sum(others)) / count
        self._remember(mean.detach(), (variance * count / (count - 1)).detach())
        normal = centred * (variance + self.eps).rsqrt().view(shape)
        return normal * self.weight.view(shape) + self.bias.view(shape) if self.affine else normal

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if not self.track_running_stats:
            return
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
            weight = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
            self.running_mean.lerp_(mean, weight)
            self.running_var.lerp_(variance, weight)


class CPUSync(LayerSync):
    """Lightning's hook for `--trainer.sync_batchnorm true`, for ranks on CPUs."""

    def apply(self, model: nn.Module) -> nn.Module:
        """Replaces every batch normalisation of a model, which keeps its parameters and buffers."""
        for name, child in model.named_children():
            if isinstance(child, _BatchNorm) and not isinstance(child, SyncBatchNorm):
                sync = SyncBatchNorm(child.num_features, child.eps, child.momentum, child.affine)
                sync.train(child.training)
                for part, value in {**child._parameters, **child._buffers}.items():
                    setattr(sync, part, value)
                setattr(model, name, sync)
            else:
                self.apply(child)
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Leaves the layers: outside of a distributed training they compute what the plain ones would."""
        return model
