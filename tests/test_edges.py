"""Every strategy at the edges: bf16 and compiled, labels of one class, one labeled image in a batch, soft labels."""

from __future__ import annotations

from functools import partial
from typing import Any

import methods
import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from helpers import Blobs, trainer, weights

from semisup.batch import Batch
from semisup.classifier import Classifier, ModelOptions
from semisup.composition import Composition
from semisup.data.pools import Pools
from semisup.errors import InputError


class OneClass(Blobs):
    """All labels are of one class of the three."""

    def read(self) -> Pools:
        pools = super().read()
        pools.labeled.labels = torch.zeros_like(pools.labeled.labels)
        return pools


pytestmark = pytest.mark.usefixtures("cache")


def fitted(name: str, data: Blobs, model: ModelOptions | None = None, **flags: Any) -> Classifier:
    module = Classifier(data.spec, Composition(methods.parts(name)), model or ModelOptions("small"))
    trainer(2, limit_val_batches=0, **flags).fit(module, data)
    assert all(x.isfinite().all() for x in weights(module).values() if x.is_floating_point())
    return module


@pytest.mark.parametrize("name", methods.NAMES)
def test_in_bf16_and_compiled_it_trains(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))  # no C++ compiler is needed
    torch._dynamo.reset()
    data = Blobs(augmentation="weak", steps_per_epoch=2)
    module = fitted(name, data, ModelOptions("small", compile=True), precision="bf16-mixed")
    fresh = Classifier(data.spec, Composition({}), ModelOptions("small"))
    assert not torch.equal(module.network.head.weight, fresh.network.head.weight)


# An ensemble's runs know the labels that its own training has.
@pytest.mark.parametrize("name", [name for name in methods.NAMES if name != "ensemble"])
def test_with_labels_of_one_class_it_trains(name: str) -> None:
    fitted(name, OneClass(augmentation="weak", steps_per_epoch=2))


@pytest.mark.parametrize("name", methods.NAMES)
def test_with_one_labeled_image_in_a_batch_it_trains_or_says_what_it_needs(name: str) -> None:
    """Which batch normalisation can't do, and so every strategy that sees labeled images alone in a pass."""
    try:
        fitted(name, Blobs(augmentation="weak", steps_per_epoch=2, batch_size=1))
    except InputError as error:
        assert "no variance over one image" in str(error)


class OneHot(pl.Callback):
    """Every label of the training is the probabilities of all classes, as what mixes or smooths labels makes them."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Batch, batch_idx: int) -> None:
        if pl_module.phase.loss is None:
            batch.labeled.target = F.one_hot(batch.labeled.target, len(pl_module.spec.class_names)).float()


@pytest.mark.parametrize("name", methods.NAMES)
def test_a_label_that_is_a_sure_probability_is_as_one_that_is_a_class(name: str) -> None:
    hard = fitted(name, Blobs(augmentation="weak", steps_per_epoch=2))
    soft = fitted(name, Blobs(augmentation="weak", steps_per_epoch=2), callbacks=[OneHot()])
    for key, x in weights(hard).items():
        torch.testing.assert_close(weights(soft)[key], x, rtol=1e-4, atol=1e-6)
