"""Reads the next batch while the current one is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import TypeVar

import torch

from semisup.batch import Batch, Samples

T = TypeVar("T", Batch, Samples)


def ahead(read: Callable[[int], T], steps: range, device: torch.device) -> Iterator[T]:
    """Batches `read(step)` on `device`, each made by another thread while the one before it is used.

    To a CUDA device they are copied from pinned memory on a stream of their own, so that neither the reading nor the
    copy waits for a step, nor a step for them. At most one batch is made ahead. On the CPU there is no copy, and
    another thread would be in the way of those that compute: there each batch is read when it is asked for.

    Args:
        read: makes the batch of a step; an error that it raises is raised here, at that step.
        steps: what to read.
        device: where the batches are wanted.
    """
    if device.type == "cpu" or not steps:
        yield from map(read, steps)
        return
    copies = torch.cuda.Stream(device) if device.type == "cuda" else None

    def make(step: int) -> T:
        with nullcontext() if copies is None else torch.cuda.stream(copies):
            return read(step).to(device)

    with ThreadPoolExecutor(1, "semisup-reader") as reader:
        following = reader.submit(make, steps[0])
        for after in (*steps[1:], None):
            batch = following.result()
            if copies is not None:
                using = torch.cuda.current_stream(device)
                using.wait_stream(copies)
                batch.record_stream(using)  # else its memory could be given to a later copy while a step reads it
            if after is not None:
                following = reader.submit(make, after)
            yield batch
