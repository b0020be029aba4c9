"""Checkpoints: what torch saves, damaged, distorted, or with code in it."""

from __future__ import annotations

import io
import math
import pickle
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any

import helpers
import pytorch_lightning as pl
import torch
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from fuzzing.damage import VALUES, damaged, distorted
from fuzzing.judging import Case, Property
from semisup.classifier import Classifier


class Opens:
    """What Python's pickle would build by opening a file to be written."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, ("executed", "w")


class _SavesAfterOneStep(pl.Callback):
    """Keeps the checkpoint of a training's first step in memory."""

    content = b""

    def on_train_batch_end(self, trainer: pl.Trainer, *rest: Any) -> None:
        if not self.content:
            with tempfile.TemporaryDirectory() as folder:
                trainer.save_checkpoint(Path(folder) / "x.ckpt")
                self.content = (Path(folder) / "x.ckpt").read_bytes()


@cache
def _fit() -> tuple[bytes, dict[str, torch.Tensor]]:
    """A checkpoint after the first of two steps, and the weights that the second one ends with."""
    data, saving = helpers.Blobs(), _SavesAfterOneStep()
    module = helpers.classifier(data)
    with redirect_stdout(io.StringIO()):
        helpers.trainer(1, max_steps=2, callbacks=[saving]).fit(module, data)
    return saving.content, helpers.weights(module)


def trained() -> bytes:
    """A checkpoint of a training's first step."""
    return _fit()[0]


@cache
def _content() -> dict[str, Any]:
    content: dict[str, Any] = torch.load(io.BytesIO(trained()), weights_only=True)
    return content


def packed(content: Any, legacy: bool = False) -> bytes:
    """What torch saves."""
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


_TENSORS = st.sampled_from(
    (
        *(
            torch.zeros(()),
            torch.zeros(1),
            torch.zeros(0),
            torch.full((3,), math.nan),
            torch.zeros(1).expand(10**6, 10**6),
        ),
        *(torch.zeros(3, dtype=kind) for kind in (torch.int64, torch.bool, torch.complex64, torch.bfloat16)),
        *(torch.eye(3).to_sparse(), torch.empty(2, device="meta")),
    )
)


@st.composite
def checkpoint_cases(draw: DrawFn) -> Case:
    match draw(st.sampled_from(("whole", "bytes", "bytes", "tree", "tree", "tree", "known", "known", "code", "other"))):
        case "whole":
            return Case({"x.ckpt": trained()}, valid=True)
        case "bytes":
            return Case({"x.ckpt": draw(damaged(trained()))})
        case "tree":
            return Case({"x.ckpt": _saved(draw(distorted(_content(), st.one_of(VALUES, _TENSORS))))})
        case "known":
            known = draw(distorted(_content()["semisup"], st.one_of(VALUES, _TENSORS)))
            return Case({"x.ckpt": _saved({**_content(), "semisup": known})})
        case "code":
            content = {**_content(), draw(st.sampled_from(tuple(_content()))): Opens()}
            kinds = (packed(content), packed(content, legacy=True), pickle.dumps(content), pickle.dumps(Opens()))
            return Case({"x.ckpt": draw(st.sampled_from(kinds))})
    return Case({"x.ckpt": draw(st.one_of(st.binary(), VALUES.map(_saved), _TENSORS.map(packed)))})


def _saved(content: Any) -> bytes:
    try:
        return packed(content)
    except (RuntimeError, NotImplementedError, UnicodeEncodeError):  # what can't be saved can't come in
        return b""


def check_checkpoint(case: Case) -> None:
    """Nothing runs; what is accepted predicts, and what is whole predicts as it did."""
    try:
        known, module = Classifier.saved(Path("x.ckpt")), Classifier.from_checkpoint(Path("x.ckpt"))
    finally:
        assert not Path("executed").exists()
    spec = module.spec
    assert type(known["epochs"]) is int
    images = torch.linspace(0, 1, 2 * spec.channels * spec.image_size**2)
    with torch.no_grad():
        logits = module.eval().evaluate(images.reshape(2, spec.channels, spec.image_size, spec.image_size))
    assert logits.shape == (2, len(spec.class_names))
    if case.valid:
        expected = _content()["state_dict"]
        assert helpers.same({k: v for k, v in module.state_dict().items() if k in expected}, expected)


def check_resumed_fit(case: Case) -> None:
    """A training goes on from a checkpoint as if it had not stopped, or not at all."""
    Classifier.saved(Path("x.ckpt"), sealed=True)
    data = helpers.Blobs()
    module = helpers.classifier(data)
    helpers.trainer(1, max_steps=2).fit(module, data, ckpt_path="x.ckpt", weights_only=True)
    assert helpers.same(helpers.weights(module), _fit()[1])


PROPERTIES = (
    Property("checkpoints", checkpoint_cases(), check_checkpoint, ("x.ckpt",)),
    Property("a checkpoint to go on from", checkpoint_cases(), check_resumed_fit, ("x.ckpt",), share=0.5),
)
