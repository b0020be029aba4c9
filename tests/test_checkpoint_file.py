"""The seal of a checkpoint: it survives saving and reading, and no part can be changed under it."""

from __future__ import annotations

import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from semisup.classifier import Classifier
from semisup.cli.resume import restoring
from semisup.errors import InputError
from semisup.runs import checkpoint_file
from semisup.runs.checkpoint_file import read_sealed
from tests.helpers import Blobs, classifier, same, trainer, weights

KINDS = {
    "empty": torch.zeros(0, 3),
    "scalar": torch.tensor(2.5),
    "bool": torch.tensor([True, False]),
    "half": torch.tensor([1.0, -2.0], dtype=torch.bfloat16),
    "transposed": torch.arange(6).view(2, 3).t(),
    "channels last": torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last),
    "part": torch.arange(10)[2:4],
    "nan": torch.tensor([float("nan"), 0.0, -0.0]),
    "plain": [1, 2.5, float("nan"), None, True, "x", (1, (2,)), OrderedDict(a={"b": []}), "\ud800"],
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a training of one epoch."""
    path = tmp_path_factory.mktemp("trained") / "x.ckpt"
    data, fitting = Blobs(), trainer(1)
    fitting.fit(classifier(data), data)
    fitting.save_checkpoint(path)
    return path


def test_the_seal_is_of_the_content_and_not_of_how_it_lies_in_the_memory(path: Path, tmp_path: Path) -> None:
    content = {**torch.load(path, weights_only=True), "kinds": KINDS}
    checkpoint_file.seal(content)
    torch.save(content, tmp_path / "x.ckpt")
    found = read_sealed(tmp_path / "x.ckpt")
    content["kinds"] = {name: x.contiguous().clone() if isinstance(x, torch.Tensor) else x for name, x in KINDS.items()}
    once = content["digest"]
    checkpoint_file.seal(content)
    assert content["digest"] == once
    assert found["kinds"]["plain"][3:] == KINDS["plain"][3:]


CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a weight": lambda saved: saved["state_dict"]["network.head.weight"].view(-1)[:1].mul_(1 + 1e-6),
    "a buffer": lambda saved: saved["state_dict"]["network.normalization.mean"].copy_(torch.tensor(-0.0)),
    "a shape": lambda saved: saved["state_dict"].update({"network.head.weight": torch.zeros(1)}),
    "a weight less": lambda saved: saved["state_dict"].pop("network.head.bias"),
    "no optimiser": lambda saved: saved["optimizer_states"].clear(),
    "no momentum": lambda saved: saved["optimizer_states"][0]["state"].clear(),
    "the learning rate": lambda saved: saved["optimizer_states"][0]["param_groups"][0].update(lr="0.03"),
    "no callbacks": lambda saved: saved.pop("callbacks"),
    "no loops": lambda saved: saved.pop("loops"),
    "the step": lambda saved: saved.update(global_step=True),
    "the order": lambda saved: saved.update(state_dict=dict(reversed(saved["state_dict"].items()))),
    "the version": lambda saved: saved.update({"pytorch-lightning_version": "?"}),
    "no seal": lambda saved: saved.pop("digest"),
    "another seal": lambda saved: saved.update(digest=torch.zeros(())),
}


@pytest.mark.parametrize("what", CHANGES)
def test_whatever_is_changed_is_noticed(what: str, path: Path, tmp_path: Path) -> None:
    saved = torch.load(path, weights_only=True)
    CHANGES[what](saved)
    torch.save(saved, tmp_path / "x.ckpt")
    with pytest.raises(InputError, match=r"x\.ckpt was changed after it was written, .* remove it"):
        Classifier.saved(tmp_path / "x.ckpt", sealed=True)


def test_to_predict_no_seal_is_asked_for(path: Path, tmp_path: Path) -> None:
    saved = torch.load(path, weights_only=True)
    del saved["optimizer_states"], saved["loops"], saved["callbacks"], saved["digest"]
    torch.save(saved, tmp_path / "x.ckpt")
    assert same(
        weights(Classifier.from_checkpoint(tmp_path / "x.ckpt").network),
        weights(Classifier.from_checkpoint(path).network),
    )


DAMAGED: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], str]] = {
    "complex": (lambda x: x.to(torch.complex64), "holds torch.complex64, and not torch.float32"),
    "whole": (lambda x: x.long(), "holds torch.int64, and not torch.float32"),
    "nan": (lambda x: x.index_fill(0, torch.tensor([0]), float("nan")), "holds numbers that are not finite"),
    "infinite": (lambda x: x / 0, "holds numbers that are not finite"),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_weights_that_can_only_be_damaged_are_refused(what: str, path: Path, tmp_path: Path) -> None:
    saved, (change, said) = torch.load(path, weights_only=True), DAMAGED[what]
    saved["state_dict"]["network.head.weight"] = change(saved["state_dict"]["network.head.weight"])
    torch.save(saved, tmp_path / "x.ckpt")
    with pytest.raises(InputError, match=rf"x\.ckpt contradicts itself .*network\.head\.weight {said}"):
        Classifier.from_checkpoint(tmp_path / "x.ckpt")


def test_files_are_counted_before_they_are_listed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(path) as archive:
        count = len(archive.namelist())
    monkeypatch.setattr(checkpoint_file, "_MAX_ENTRIES", count)
    assert "epoch" in checkpoint_file.read(path)
    monkeypatch.setattr(checkpoint_file, "_MAX_ENTRIES", count - 1)
    monkeypatch.delattr(zipfile, "ZipFile")
    with pytest.raises(InputError, match=f"it holds {count} files, and no checkpoint has as many tensors"):
        checkpoint_file.read(path)


@pytest.mark.parametrize("phase", ["", True, None, {}, {"index": 0, "first_epoch": "0", "first_step": 0}])
def test_a_damaged_phase_is_one_clear_error(phase: Any, path: Path, tmp_path: Path) -> None:
    saved = torch.load(path, weights_only=True)
    saved["semisup"]["phase"] = phase
    torch.save(saved, tmp_path / "x.ckpt")
    with pytest.raises(InputError, match=r"x\.ckpt does not say all that semisup writes"):
        Classifier.saved(tmp_path / "x.ckpt")


def test_a_network_that_has_changed_since_is_one_clear_error(path: Path) -> None:
    data = Blobs()
    module = classifier(data)
    module.network.head = nn.Linear(module.network.head.in_features, 7)
    said = r"x\.ckpt can't be restored \(.*size mismatch.*\); a resumed run must go on as it began"
    with pytest.raises(InputError, match=said), restoring(path):
        trainer(2).fit(module, data, ckpt_path=path, weights_only=True)


class Unhappy(Blobs):
    """Fails in the first step."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        raise KeyError("not of the checkpoint")


def test_an_error_of_the_training_is_not_taken_for_one_of_the_checkpoint(path: Path) -> None:
    data = Unhappy()
    with pytest.raises(KeyError, match="not of the checkpoint"), restoring(path):
        trainer(2).fit(classifier(data), data, ckpt_path=path, weights_only=True)
    with pytest.raises(KeyError, match="without one"), restoring(None):
        raise KeyError("without one")
