"""How many threads torch divides an operation among."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Within it torch divides no operation among threads, neither in this thread nor in those started from here.

    For many short operations in a row: the threads that share one wait for the last of them, and where other programs
    use the machine as well that takes many times as long as the operation.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
