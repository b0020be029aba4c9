"""The program in a process of its own, and verbs that do nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from helpers import HANG


def semisup(*argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "semisup", *argv]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, timeout=HANG)


def stub(monkeypatch: pytest.MonkeyPatch, verb: str, error: BaseException | None = None) -> list[object]:
    """Puts a module in the place of a verb's, which raises `error` or keeps what it was given."""
    got: list[object] = []

    def run(config: object) -> None:
        got.append(config)
        if error:
            raise error

    monkeypatch.setitem(sys.modules, f"semisup.cli.{verb}", SimpleNamespace(run=run))  # type: ignore[arg-type]
    return got
