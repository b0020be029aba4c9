"""What every test file can ask for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from semisup.runtime.openmp import bound_spinning

# Before torch is imported, and inherited by the processes that tests start: networks this small are slower on several
# threads, many times so while another process wants the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
bound_spinning()  # for those tests and processes that use several

# The same examples every time: a run that failed fails again, and one that passed here passes elsewhere.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def photographs() -> Path:
    """A zip of `<class>/<name>.jpg`, real photographs; tests that need it are skipped where there is none."""
    beside = Path(__file__).parents[2] / "shared" / "data" / "cifar10-train-jpeg.zip"
    path = Path(os.environ.get("SEMISUP_PHOTOGRAPHS") or beside)
    if not path.is_file():
        pytest.skip(f"no photographs in {path}; SEMISUP_PHOTOGRAPHS can name a zip of <class>/<name>.jpg")
    return path
