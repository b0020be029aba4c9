"""OpenMP's threads spin for a bounded time, whichever way a process was started; OpenMP itself says so."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

import pytest
import torch
from helpers import run_python, spins, unbounded

from semisup.runtime.openmp import SPINS, bound_spinning

WAYS = {"module": ["-m", "semisup"], "script": [str(Path(sysconfig.get_path("scripts")) / "semisup")]}
(OPENMP,) = (Path(torch.__file__).parent / "lib").glob("libgomp*.so*")
LOAD = f"import ctypes; ctypes.CDLL({str(OPENMP)!r})"  # what importing torch does, in a hundredth of the time


@pytest.mark.parametrize("way", WAYS)
def test_the_entry_point_bounds_it_before_torch_is_loaded(way: str, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text(f"{LOAD}\nraise SystemExit(7)")
    done = run_python(*WAYS[way], "fit", "--data", "digits", env=unbounded() | {"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 7
    assert spins(done.stderr) == {str(SPINS)}


@pytest.mark.parametrize("program", ["import semisup", "from semisup.batch import Needs"])
def test_a_program_that_imports_semisup_first_is_bounded(program: str) -> None:
    assert spins(run_python("-c", f"{program}; {LOAD}", env=unbounded()).stderr) == {str(SPINS)}


@pytest.mark.parametrize(
    ("name", "value", "expected"), [("GOMP_SPINCOUNT", "77", "77"), ("OMP_WAIT_POLICY", "PASSIVE", "0")]
)
def test_the_users_word_holds(name: str, value: str, expected: str) -> None:
    program = f"from semisup.runtime.openmp import bound_spinning; bound_spinning(); {LOAD}"
    done = run_python("-c", program, env=unbounded() | {name: value})
    assert spins(done.stderr) == {expected}


def test_it_says_whether_it_had_to_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert [bound_spinning() for _ in range(2)] == [True, False]
    assert os.environ["GOMP_SPINCOUNT"] == str(SPINS)
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert not bound_spinning() and "GOMP_SPINCOUNT" not in os.environ


def test_a_script_that_has_imported_torch_begins_once_more(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys, torch\nfrom semisup.runtime.openmp import restart_bounded\n"
        "print(os.getpid())\nrestart_bounded()\nprint('done', sys.argv[1:])\n"
    )
    done = run_python(str(script), "a b", "--c", env=unbounded())
    first, second, last = done.stdout.splitlines()
    assert first == second and last == "done ['a b', '--c']"
    assert spins(done.stderr) == {"300000", str(SPINS)}  # libgomp's own, and then ours
