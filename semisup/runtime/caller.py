"""What belongs to the program that trains by a function call: its process is afterwards as it was."""

from __future__ import annotations

import logging
import os
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

_LOGGERS = ("pytorch_lightning", "lightning_fabric")


@contextmanager
def kept() -> Iterator[None]:
    """Random numbers, threads, warnings, log levels, the environment and torch's switches are as before at the end.

    W&B's variables stay, which its service is found by. Meanwhile torch computes as in a process of its own: in float32
    by default, and with gradients.
    """
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    drawn, environment = (random.getstate(), np.random.get_state()), os.environ.copy()
    threads, cudnn = torch.get_num_threads(), torch.backends.cudnn
    dtype, precision = torch.get_default_dtype(), torch.get_float32_matmul_precision()
    deterministic = torch.are_deterministic_algorithms_enabled()
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    switches = cudnn.benchmark, cudnn.deterministic, cudnn.enabled
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    torch.set_default_dtype(torch.float32)
    try:
        with (
            torch.random.fork_rng(devices),
            warnings.catch_warnings(),
            torch.inference_mode(False),
            torch.enable_grad(),
        ):
            yield
    finally:
        random.setstate(drawn[0])
        np.random.set_state(drawn[1])
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        torch.set_float32_matmul_precision(precision)
        torch.use_deterministic_algorithms(deterministic, warn_only=only_warns)
        cudnn.benchmark, cudnn.deterministic, cudnn.enabled = switches
        for name in os.environ.keys() - environment.keys():
            if not name.startswith("WANDB_"):
                del os.environ[name]
        os.environ.update(environment)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
