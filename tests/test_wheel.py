"""The wheel, installed into an empty environment without a network, outside of the checkout, beside a stranger's
packages called `strategies` and `datamodules`."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from base64 import urlsafe_b64encode
from hashlib import sha256
from pathlib import Path

import pytest
from helpers import HANG

from semisup import __version__, plugins
from semisup.cli.front import main

ROOT = Path(__file__).parents[1]
PIP = [sys.executable, "-m", "pip", "--quiet", "--no-input"]
JOB = """
import importlib, pkgutil, sys
import strategies, datamodules  # the stranger's
assert (strategies.WHOSE, datamodules.WHOSE) == ("a stranger's", "a stranger's")
import semisup, semisup.strategies, semisup.datamodules
for package in (semisup, semisup.strategies, semisup.datamodules):
    assert package.__file__.startswith(sys.prefix), package
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
from semisup import plugins
for group in (plugins.STRATEGIES, plugins.DATAMODULES, plugins.BACKBONES):
    for name in plugins.installed(group):
        print("found", group, name, plugins.load(group, name).__qualname__)
shown = plugins.presentations(["exemplar", "kmeans", "pseudolabel"])
print("figures", *(figure.name for presentation in shown.values() for figure in presentation.figures))
from semisup.cli.front import main
small = "--trainer.max_epochs 1 --data.steps_per_epoch 3 --tracking.mode disabled --kmeans.images 100"
assert main(["fit", "--strategy", "kmeans+fixmatch", *small.split()]) == 0
"""


def run(*command: object, **options: object) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=HANG, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of what the checkout holds, as whoever publishes it would."""
    folder = tmp_path_factory.mktemp("wheel")
    (folder / "source").mkdir()
    for name in ("semisup", "strategies", "datamodules"):
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "wheel_backend.py"):
        shutil.copy(ROOT / name, folder / "source")
    before = sorted(path.name for path in (folder / "source").iterdir())
    run(*PIP, "wheel", "--no-build-isolation", "--no-deps", "--no-index", "-w", folder, folder / "source")
    assert sorted(path.name for path in (folder / "source").iterdir()) == before
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_it_holds_one_package_and_a_true_record(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
        names = [name for name in archive.namelist() if not name.endswith("/")]
        assert {name.partition("/")[0] for name in names} == {"semisup", f"semisup-{__version__}.dist-info"}
        record = next(name for name in names if name.endswith("/RECORD"))
        rows = list(csv.reader(archive.read(record).decode().splitlines()))
        assert sorted(row[0] for row in rows) == sorted(names)
        for name, digest, size in rows[:-1]:
            content = archive.read(name)
            assert digest == "sha256=" + urlsafe_b64encode(sha256(content).digest()).rstrip(b"=").decode()
            assert int(size) == len(content)
        there = [*ROOT.glob("[sd][ta]*s/*.py"), ROOT / "strategies" / "measured.json"]
        ours = {f"semisup/{path.relative_to(ROOT)}" for path in there}
        assert {name for name in names if name.startswith(("semisup/strategies/", "semisup/datamodules/"))} == ours
        assert len(ours) > 40


@pytest.mark.slow
def test_it_runs_the_main_job_outside_of_the_checkout(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    site = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    run(*PIP, "install", "--no-deps", "--no-index", "--target", site, wheel)
    # What it depends on is that of this environment; a path in a .pth file brings no editable install along.
    paths = dict.fromkeys([*(path for path in sys.path if "site-packages" in path), sysconfig.get_path("purelib")])
    (site / "dependencies.pth").write_text("\n".join(paths))
    stranger = tmp_path / "stranger"
    (stranger / "datamodules").mkdir(parents=True)
    (stranger / "strategies.py").write_text('WHOSE = "a stranger\'s"\n')
    (stranger / "datamodules" / "__init__.py").write_text('WHOSE = "a stranger\'s"\n')

    monkeypatch.setenv("PYTHONPATH", str(stranger))
    monkeypatch.chdir(tmp_path)
    told = run(python, "-c", JOB).splitlines()
    for group in (plugins.STRATEGIES, plugins.DATAMODULES, plugins.BACKBONES):
        ours = [f"found {group} {name} {point.attr}" for name, point in plugins.installed(group).items()]
        assert [line for line in told if line.startswith(f"found {group} ")] == ours
    shown = plugins.presentations(["exemplar", "kmeans", "pseudolabel"]).values()
    assert ["figures", *(figure.name for one in shown for figure in one.figures)] in [line.split() for line in told]

    (made,) = tmp_path.glob("runs/*/*/*")  # is read where the packages have their short names, as in this checkout
    capsys.readouterr()
    assert main(["test", str(made), "--tracking.mode", "disabled"]) == 0
    accuracy = capsys.readouterr().out
    (told_then,) = [line for line in told if line.startswith("best (epoch")]
    assert told_then.split()[-1] in accuracy
