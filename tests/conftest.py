"""What every test file can ask for."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from semisup.runtime.openmp import bound_spinning

# Before torch is imported, and inherited by the processes that tests start: networks this small are slower on several
# threads, many times so while another process wants the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
bound_spinning()  # for those tests and processes that use several

# The same examples every time: a run that failed fails again, and one that passed here passes elsewhere.
slow_is_no_fault = [HealthCheck.too_slow]
settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=slow_is_no_fault)
settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with the most to do come first: a long one at the end would leave one process without work."""
    work: Counter[Path] = Counter()
    for item in items:
        work[item.path] += 10 if item.get_closest_marker("slow") else 1
    items.sort(key=lambda item: -work[item.path])


@pytest.fixture(scope="session", autouse=True)
def patience() -> Iterator[None]:
    """The program gives up on servers, W&B and git after some seconds; here it waits for them on a busy machine."""
    from helpers import HANG

    from semisup.data import download
    from semisup.runs import environment
    from semisup.tracking import guarded_wandb, login

    limits = {guarded_wandb: ("INIT_SECONDS", "FINISH_SECONDS"), login: ("PROBE_SECONDS",)}
    limits |= {download: ("_TIMEOUT",), environment: ("_GIT_SECONDS",)}
    with pytest.MonkeyPatch.context() as patch:
        for module, names in limits.items():
            for name in names:
                patch.setattr(module, name, HANG)
        yield


@pytest.fixture(scope="session", autouse=True)
def any_cpu() -> Iterator[None]:
    """Fits are in float32 unless a test says otherwise, on a CPU that multiplies bf16 as on any other."""
    from semisup.models import precision

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "CPUINFO", Path(os.devnull))
        yield


@pytest.fixture(scope="session")
def photographs() -> Path:
    """A zip of `<class>/<name>.jpg`, real photographs; tests that need it are skipped where there is none."""
    beside = Path(__file__).parents[2] / "shared" / "data" / "cifar10-train-jpeg.zip"
    path = Path(os.environ.get("SEMISUP_PHOTOGRAPHS") or beside)
    if not path.is_file():
        pytest.skip(f"no photographs in {path}; SEMISUP_PHOTOGRAPHS can name a zip of <class>/<name>.jpg")
    return path


@pytest.fixture
def without_login(tmp_path: Path) -> Iterator[None]:
    """No login, no settings and no W&B process from outside of the test."""
    from helpers import alone_with_wandb

    with alone_with_wandb(tmp_path):
        yield


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that importing `class_that_marks` makes, which must not be there in the end."""
    made = tmp_path / "imported"
    (tmp_path / "path").mkdir()
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "path" / "class_that_marks.py").write_text(
        f"import pytorch_lightning\nopen({str(made)!r}, 'w').close()\n"
        "class Marks(pytorch_lightning.Callback):\n    def __init__(self, x: int = 0) -> None: self.x = x\n"
        "def function(*_): ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "path"))
    monkeypatch.chdir(tmp_path)
    yield made
    sys.modules.pop("class_that_marks", None)
    assert not made.exists()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache, empty: no k-means of another test is found in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "semisup"


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """An empty folder for a run."""
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten pictures of cats and ten of dogs."""
    from picture_folders import cats_and_dogs

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    return cats_and_dogs(tmp_path / "data")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the pictures that were read."""
    from datamodules import folder_cache

    names: list[str] = []
    original = folder_cache.read

    def watched(path: Path, *arguments: Any) -> Any:
        names.append(path.name)
        return original(path, *arguments)

    monkeypatch.setattr(folder_cache, "read", watched)
    return names


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes a distribution of modules and entry points, in a folder of its own."""

    def make(name: str, points: dict[str, list[str]], **modules: str) -> Path:
        folder = tmp_path / name
        info = folder / f"{name}-1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        lines = [line for group, entries in points.items() for line in (f"[{group}]", *entries)]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        for module, text in modules.items():
            path = folder / f"{module}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(text))
        monkeypatch.syspath_prepend(str(folder))
        return folder

    return make


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """Three seeds of two strategies with 40 and 160 labels; one with all labels."""
    from comparable_runs import SEEDS, write_run

    for seed, base in SEEDS.items():
        write_run(tmp_path, "supervised", seed, 4, base, base - 0.01)
        write_run(tmp_path, "supervised", seed, 16, base + 0.2, base + 0.19)
        write_run(tmp_path, "pseudolabel", seed, 4, base + 0.1 + 0.01 * seed, base)
    write_run(tmp_path, "supervised", 0, None, 0.97, 0.96)
    return tmp_path


@pytest.fixture
def few_embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    """30 images are embedded in a figure, for t-SNE of all that there are takes seconds."""
    from semisup.figures.artifacts import labeled_images

    monkeypatch.setattr(labeled_images, "__defaults__", (30,))


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Writes a file into an empty working directory."""
    monkeypatch.chdir(tmp_path)

    def to_file(text: str, name: str = "x.yaml") -> str:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
        return name

    return to_file
