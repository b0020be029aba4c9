"""Reading ahead: the same batches in the same order, one ahead and no more, and errors where they belong."""

from __future__ import annotations

import threading

import pytest
import torch
from helpers import HANG

from semisup.batch import Batch, Samples
from semisup.data.prefetch import ahead

CPU = torch.device("cpu")
META = torch.device("meta")  # not the CPU, and always there


def numbered(number: int) -> Batch:
    rows = torch.tensor([number])
    return Batch(number, Samples(rows, rows, torch.zeros((1, 1, 2, 2), dtype=torch.uint8), rows))


@pytest.mark.parametrize("device", [CPU, META], ids=str)
def test_batches_come_in_order_where_they_are_wanted(device: torch.device) -> None:
    batches = list(ahead(numbered, range(3, 8), device))
    assert [batch.step for batch in batches] == [3, 4, 5, 6, 7]
    assert all(batch.labeled.image.device == device for batch in batches)
    assert list(ahead(numbered, range(5, 5), device)) == []


def test_the_next_batch_and_no_other_is_read_while_one_is_used() -> None:
    read, begun = [], [threading.Event() for _ in range(4)]

    def record(number: int) -> Batch:
        assert threading.current_thread() is not threading.main_thread()
        read.append(number)
        begun[number].set()
        return numbered(number)

    batches = ahead(record, range(4), META)
    for number in range(3):
        assert next(batches).step == number
        assert begun[number + 1].wait(HANG)
        assert read == list(range(number + 2))


def test_on_the_cpu_a_batch_is_read_when_it_is_asked_for() -> None:
    read: list[int] = []

    def record(number: int) -> Batch:
        assert threading.current_thread() is threading.main_thread()
        read.append(number)
        return numbered(number)

    batches = ahead(record, range(4), CPU)
    assert next(batches).step == 0 and read == [0]


@pytest.mark.parametrize("device", [CPU, META], ids=str)
def test_an_error_is_raised_at_its_step(device: torch.device) -> None:
    def fail(number: int) -> Batch:
        if number == 2:
            raise OSError("the disk is gone")
        return numbered(number)

    batches = ahead(fail, range(4), device)
    assert [next(batches).step for _ in range(2)] == [0, 1]
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)


def test_a_loop_that_is_left_early_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    batches = ahead(numbered, range(100), META)
    next(batches)
    assert threading.active_count() == before + 1
    batches.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_copies_to_a_gpu_are_whole() -> None:
    """Many batches, each large enough for its copy to take time, while the GPU is kept busy."""
    device = torch.device("cuda")

    def large(number: int) -> Samples:
        rows = torch.tensor([number])
        return Samples(rows, rows, torch.full((64, 3, 96, 96), number, dtype=torch.uint8), rows)

    work = torch.rand(2048, 2048, device=device)
    for number, batch in enumerate(ahead(large, range(100), device)):
        work = (work @ work).clamp(0, 1)
        assert batch.image.device.type == "cuda" and bool((batch.image == number).all())
