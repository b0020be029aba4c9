"""Backbones of strangers that break the contract: each is one line that names the backbone and what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers import install, same, weights
from torch import Tensor, nn

from semisup.errors import InputError
from semisup.models import backbones
from semisup.models.backbones.small import Small


class Kept(nn.Module):
    """A convolution and the mean of its maps; subclasses change what they give."""

    num_features: Any = 4

    def __init__(self, in_channels: int, image_size: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, 4, 3)

    def forward(self, x: Tensor) -> Any:
        return self.changed(self.convolution(x))

    def changed(self, maps: Tensor) -> Any:
        return maps.mean((2, 3))


def gives(change: Callable[[Tensor], Any], **attributes: Any) -> type[Kept]:
    return type("Theirs", (Kept,), {"changed": lambda self, maps: change(maps), **attributes})


class NoArguments(nn.Module):
    def __init__(self) -> None:
        super().__init__()


class Raises(Kept):
    def forward(self, x: Tensor) -> Any:
        raise RuntimeError("weights are missing")


class NoGradient(Kept):
    @torch.no_grad()
    def forward(self, x: Tensor) -> Any:
        return super().forward(x)


class Unused(Kept):
    def forward(self, x: Tensor) -> Any:
        return x.requires_grad_().mean((2, 3)).expand(-1, 4) * 1.0


class RootOfZero(Kept):
    def changed(self, maps: Tensor) -> Any:
        return (maps * 0).mean((2, 3)).sqrt()


@pytest.mark.parametrize(
    ("cls", "words"),
    [
        (NoArguments, "can't be made with in_channels=1 and image_size=8.*TypeError"),
        (dict, r"is no nn\.Module but a dict"),
        (gives(lambda maps: maps, num_features=None), "has no integer attribute num_features"),
        (gives(lambda maps: maps, num_features=4.0), r"num_features of 1 or more \(found 4\.0\)"),
        (gives(lambda maps: maps, num_features=0), r"num_features of 1 or more \(found 0\)"),
        (gives(lambda maps: maps), r"gives \(1, 4, 6, 6\) for 1 image of 1 channel and 8 pixels.* must give \(1, 4\)"),
        (gives(lambda maps: maps.mean((2, 3)), num_features=5), r"gives \(1, 4\) .* must give \(1, 5\)"),
        (gives(lambda maps: maps.mean((2, 3)).squeeze()), r"gives \(4,\) for 1 image"),
        (gives(lambda maps: maps.mean((0, 2, 3), keepdim=True)[..., 0, 0]), r"gives \(1, 4\) for 2 images"),
        (gives(lambda maps: (maps.mean((2, 3)), maps)), "gives a tuple, but must give a tensor"),
        (gives(lambda maps: {"features": maps}), "gives a dict, but must give a tensor"),
        (gives(lambda maps: maps.mean((2, 3)) / 0), "gives features that are not finite"),
        (gives(lambda maps: maps.mean((2, 3)).long()), "gives features of torch.int64"),
        (gives(lambda maps: maps.mean((2, 3)).detach()), "gives features without a gradient"),
        (
            gives(lambda maps: maps.view(len(maps), -1)),
            r"can't take images of 1 channel and 8.*RuntimeError: view size",
        ),
        (NoGradient, "gives features without a gradient"),
        (Unused, "depend on none of its weights"),
        (RootOfZero, "has a gradient that is not finite"),
        (Raises, "can't take images .*RuntimeError: weights are missing"),
    ],
)
def test_a_backbone_that_breaks_the_contract(cls: type, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semisup.plugins.load", lambda group, name: cls)
    install(monkeypatch, theirs=("semisup.backbones", "m:A"))
    with pytest.raises(InputError, match=f"^the backbone 'theirs' .*{words}"):
        backbones.build("theirs", 1, 8)


class Frozen(Kept):
    def __init__(self, in_channels: int, image_size: int) -> None:
        super().__init__(in_channels, image_size)
        self.requires_grad_(False)


@pytest.mark.parametrize("cls", [Kept, Frozen, Small])
def test_the_check_changes_nothing(cls: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither weights, statistics, gradients and modes, nor the random numbers that are drawn next."""
    monkeypatch.setattr("semisup.plugins.load", lambda group, name: cls)
    install(monkeypatch, theirs=("semisup.backbones", "m:A"))
    torch.manual_seed(1)
    plain = cls(1, 8)
    after = torch.rand(3)
    torch.manual_seed(1)
    checked = backbones.build("theirs", 1, 8)
    assert torch.equal(torch.rand(3), after)
    assert same(weights(plain), weights(checked))
    assert all(module.training for module in checked.modules())
    assert all(weight.grad is None for weight in checked.parameters())
