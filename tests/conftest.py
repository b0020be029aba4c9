"""What every test file can ask for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before torch is imported, and inherited by the processes that tests start: networks this small are slower on several
# threads, many times so while another process wants the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def photographs() -> Path:
    """A zip of `<class>/<name>.jpg`, real photographs; tests that need it are skipped where there is none."""
    beside = Path(__file__).parents[2] / "shared" / "data" / "cifar10-train-jpeg.zip"
    path = Path(os.environ.get("SEMISUP_PHOTOGRAPHS") or beside)
    if not path.is_file():
        pytest.skip(f"no photographs in {path}; SEMISUP_PHOTOGRAPHS can name a zip of <class>/<name>.jpg")
    return path
