"""The loggers of a fit, and what W&B wrote of an offline run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from helpers import HANG
from pytorch_lightning.loggers import Logger

from semisup import tracking
from semisup.tracking import TrackingOptions, make_loggers
from semisup.tracking.guarded_wandb import GuardedWandb

KEY = "0123456789abcdef0123456789abcdef01234567"
CLOSED = "http://127.0.0.1:9"  # the discard port: nothing listens, and connecting fails at once
CONFIG = {"seed": 3, "optimizer": {"lr": 0.03}, "views": ["weak", "strong"], "root": "data"}


def loggers_of(run_dir: Path, options: TrackingOptions) -> list[Logger]:
    return make_loggers(options, run_dir, "digits", "100", "kmeans+pseudolabel", 3, CONFIG, ["t1", "t2"])


def wandb_of(run_dir: Path, mode: tracking.Mode = "offline") -> GuardedWandb:
    logger = loggers_of(run_dir, TrackingOptions(mode))[1]
    assert isinstance(logger, GuardedWandb)
    return logger


def inspect(folder: Path) -> list[dict[str, Any]]:
    """The records of one offline run, in the order in which W&B wrote them."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, timeout=HANG)
    return [json.loads(line) for line in done.stdout.splitlines()]


def history(records: list[dict[str, Any]], *names: str) -> list[tuple[float, ...]]:
    items = [record["history"]["item"] for record in records if record["type"] == "history"]
    return [tuple(item[name] for name in names) for item in items if all(name in item for name in names)]
