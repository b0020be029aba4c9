"""What every test file can ask for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def photographs() -> Path:
    """A zip of `<class>/<name>.jpg`, real photographs; tests that need it are skipped where there is none."""
    beside = Path(__file__).parents[2] / "shared" / "data" / "cifar10-train-jpeg.zip"
    path = Path(os.environ.get("SEMISUP_PHOTOGRAPHS") or beside)
    if not path.is_file():
        pytest.skip(f"no photographs in {path}; SEMISUP_PHOTOGRAPHS can name a zip of <class>/<name>.jpg")
    return path
