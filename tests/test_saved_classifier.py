"""A classifier in a checkpoint: it predicts as it did, and what is none is one error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Blobs, SaveAt, classifier, same, trainer, weights
from torch import nn

from semisup.classifier import Classifier
from semisup.errors import InputError
from semisup.predict import predict
from strategies.fixmatch import FixMatch
from strategies.pseudolabel import PseudoLabel

HALF = pytest.param("16-true", marks=pytest.mark.slow)  # CPUs without it take fifty times as long


def test_a_checkpoint_predicts_as_the_run_did(tmp_path: Path) -> None:
    data = Blobs()
    module, fit = classifier(data, PseudoLabel()), trainer(2)
    fit.fit(module, data)
    fit.save_checkpoint(tmp_path / "x.ckpt")
    restored = Classifier.from_checkpoint(tmp_path / "x.ckpt")
    assert restored.spec == data.spec and restored.backbone_name == "small"
    assert data.pools.test is not None
    ours, theirs = (torch.cat([p for _, p in predict(m, data.pools.test, 30)]) for m in (module, restored))
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("content", [b"", b"nothing", "truncated", "foreign"])
def test_what_is_not_our_checkpoint_is_one_error(content: bytes | str, tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "foreign":
        torch.save({"state_dict": nn.Linear(2, 2).state_dict()}, path)
    else:
        data = Blobs()
        module, fit = classifier(data), trainer(1)
        fit.fit(module, data)
        fit.save_checkpoint(path)
        path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(InputError, match=r"x.ckpt (is not a checkpoint|was not written by this version)"):
        Classifier.from_checkpoint(path)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"semisup": Evil()}, tmp_path / "x.ckpt")
    with pytest.raises(InputError, match="is not a checkpoint"):
        Classifier.from_checkpoint(tmp_path / "x.ckpt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("precision", ["64-true", "32-true", HALF, "bf16-true", "bf16-mixed"])
def test_weights_keep_their_precision_on_resume_and_to_predict(precision: Any, tmp_path: Path) -> None:
    data, path = Blobs(), tmp_path / "x.ckpt"
    saving: dict[str, Any] = {"enable_checkpointing": True, "callbacks": [SaveAt(3, path)]}

    def fit(point: Path | None = None, **options: Any) -> Classifier:
        module = classifier(data, FixMatch(ratio=1, ema_decay=0.9))
        trainer(2, precision=precision, **options).fit(module, data, ckpt_path=point, weights_only=True)
        return module

    whole, pool = fit(**saving), data.pools.test
    assert pool is not None
    assert same(weights(whole), weights(fit(path)))
    whole.trainer.save_checkpoint(path)
    kept = Classifier.from_checkpoint(path)
    assert {x.dtype for x in kept.parameters()} == {x.dtype for x in whole.parameters()}
    if "mixed" not in precision:  # there a checkpoint says nothing of the precision that it was trained in
        for (_, expected), (_, found) in zip(predict(whole, pool, 8), predict(kept, pool, 8), strict=True):
            assert torch.equal(expected, found)
