"""Compiled views: one graph each, for every step and batch, with the bytes of the views that run one by one."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch._dynamo
from helpers import patches
from torch._dynamo.testing import CompileCounter
from torch._inductor import config, metrics
from torch._inductor.utils import get_code

from semisup.augment import color, randaugment, views
from semisup.augment.compiled import compiled_view
from semisup.randomness import Draw

COUNT = 12


def draw(count: int = COUNT, *, seed: int = 0, step: int = 0, stream: str = "labeled/test") -> Draw:
    return Draw(seed, step, stream, torch.arange(count), count)


@pytest.fixture(autouse=True)
def _nothing_compiled() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in ("strong", "strong_shift", "course_copies") else ())
        for name in sorted(views.VIEWS)
    ],
)
def test_a_view_is_one_graph_for_every_step_seed_stream_and_batch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`fullgraph` raises where a graph breaks; a second graph is one that was compiled again."""
    counter, compile_ = CompileCounter(), torch.compile

    def counting(view: views.View, fullgraph: bool, options: dict[str, bool]) -> views.View:
        assert fullgraph and options
        return compile_(view, fullgraph=True, backend=counter)

    monkeypatch.setattr(torch, "compile", counting)
    images, view, compiled = patches(32), views.find_view(name), compiled_view(name)
    for where in (draw(), draw(step=1), draw(step=2), draw(seed=7, step=10**6), draw(stream="unlabeled/test")):
        assert torch.equal(compiled(images, where), view(images, where))
    part = replace(draw(), position=torch.arange(3, 8))  # a rank's share, or the last batch
    assert torch.equal(compiled(images[3:8], part), view(images[3:8], part))
    for few in (0, 1):
        place = replace(draw(), position=torch.arange(few))
        assert torch.equal(compiled(images[:few], place), view(images[:few], place))
    assert counter.frame_count == 1


@pytest.mark.slow
def test_the_strong_view_is_at_most_forty_kernels() -> None:
    """Loops that the compiler writes, and calls of what it finds ready-made; 698 operations where none is compiled."""
    metrics.reset()
    view, images = views.find_view("strong"), torch.zeros(COUNT, 3, 32, 32, dtype=torch.uint8)
    compiled_view("strong")  # names become constants
    with config.patch({"cpp.simdlen": 1, "fx_graph_cache": False}):  # the code is written, and not compiled
        code, *_ = get_code(torch.compile(view, fullgraph=True), images, draw().as_tensors())
    ready_made = re.findall(r"(?:extern_kernels|aten)\.\w+(?:\.\w+)?\(", code.split("def call")[1])
    assert 10 < metrics.generated_kernel_count + len(ready_made) <= 40


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++"))), reason="the compiler needs one for C++")
def test_what_is_said_of_whole_images_is_the_same_in_the_compilers_own_code() -> None:
    """The only reductions over bytes: of noise, drawings of few levels, and flat channels."""
    images = patches(16)
    images[::2] = images[::2] // 64 * 64 + 3
    images[::4, 0] = 7

    def tables(images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return color.autocontrast_table(images), color.equalize_table(images)

    for found, one_by_one in zip(torch.compile(tables, fullgraph=True)(images), tables(images), strict=True):
        assert torch.equal(found, one_by_one)


@pytest.mark.parametrize("channels", [1, 3])
def test_operations_are_the_same_on_the_way_that_is_compiled(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every operation with every other before it, without the compiler's help."""
    images = patches(33)[:1, :channels].repeat(14 * 14, 1, 1, 1)
    pairs = torch.cartesian_prod(torch.arange(14), torch.arange(14)).T
    spans = torch.tensor([each.high - each.low for each in randaugment.OPERATIONS])
    lows = torch.tensor([each.low for each in randaugment.OPERATIONS])
    magnitude = lows[pairs] + spans[pairs] * draw(14 * 14).uniform("magnitude", 2).T
    apply = partial(randaugment.apply, images, pairs, magnitude)
    one_by_one = apply()
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert torch.equal(apply(), one_by_one)
