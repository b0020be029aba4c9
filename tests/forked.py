"""Programs that run in a process forked from this one, which has imported everything: five seconds less for each.

A process that has a GPU can't be forked; there, scripts and command lines are processes of their own.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from helpers import HANG, run_python

from semisup.__main__ import main
from semisup.compare.processes import Task
from semisup.runtime.signals import STOPPING


class Forked:
    """A function that runs in a process of its own, with what `subprocess.Popen` can do.

    Args:
        run: the function; the number that it returns or leaves with is the exit code.
        argv: what it finds in `sys.argv`.
        cwd: its working directory; this process's by default.
        environment: all its variables; this process's by default.
    """

    def __init__(
        self,
        run: Callable[[], object],
        argv: list[str],
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._written = [Path(self._folder.name, name) for name in ("stdout", "stderr")]

        def child() -> None:
            for number, file in enumerate(self._written, 1):
                os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
            sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1, closefd=False) for n in (1, 2))
            for number in STOPPING:
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell runs in the background ignores it
            os.chdir(cwd or ".")
            if environment is not None:
                os.environ.clear()
                os.environ.update(environment)
            sys.argv = argv
            code: object = 0
            try:
                code = run()
            except SystemExit as leaving:
                code = leaving.code
                if isinstance(code, str):
                    print(code, file=sys.stderr)
                    code = 1
            except BaseException:
                traceback.print_exc()
                code = 1
            sys.stdout.flush()
            os._exit(code if isinstance(code, int) else 0)

        self._process = multiprocessing.get_context("fork").Process(target=child)
        self._process.start()
        assert self._process.pid
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        """Its exit code, and None while it runs."""
        return self._process.exitcode

    @property
    def returncode(self) -> int | None:
        """The same."""
        return self.poll()

    @property
    def said(self) -> str:
        """What it has written to standard output so far."""
        return self._written[0].read_text() if self._written[0].exists() else ""

    def send_signal(self, number: int) -> None:
        """Sends it a signal."""
        os.kill(self.pid, number)

    def wait(self) -> None:
        """Waits until it has ended."""
        self._process.join(HANG)

    def communicate(self, timeout: float = HANG) -> tuple[str, str]:
        """What it has written to standard output and standard error when it has ended."""
        self._process.join(timeout)
        assert self.poll() is not None, "it does not end"
        return self.said, self._written[1].read_text() if self._written[1].exists() else ""

    def __enter__(self) -> Forked:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()
        self._folder.cleanup()


def task(begun: Task, environment: Mapping[str, str]) -> Forked:
    """In place of `semisup.compare.processes._start`: the fit of a grid, in a process group of its own."""

    def run() -> int:
        log = os.open(begun.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        return main()

    begun.log.parent.mkdir(parents=True, exist_ok=True)
    process = Forked(run, ["semisup", *begun.command[3:]], environment=environment)
    os.setpgid(process.pid, process.pid)
    return process


def script(path: Path, *arguments: str, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """What `python path arguments` does in a folder, with these environment variables beside those of this process."""

    def run() -> None:
        sys.path.insert(0, str(path.parent))
        runpy.run_path(str(path), run_name="__main__")

    return _ended(run, [str(path)], arguments, cwd, variables)


def semisup(*arguments: str, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """What `python -m semisup arguments` does in a folder, with these environment variables beside those of now."""

    def run() -> None:
        runpy.run_module("semisup", run_name="__main__", alter_sys=True)

    return _ended(run, ["-m", "semisup"], arguments, cwd, variables)


def _ended(
    run: Callable[[], object],
    program: list[str],
    arguments: tuple[str, ...],
    cwd: Path | None,
    variables: dict[str, str],
) -> subprocess.CompletedProcess[str]:
    argv, environment = [*program, *arguments], {**os.environ, **variables}
    if torch.cuda.is_initialized():
        return run_python(*argv, cwd=cwd, env=environment)
    with Forked(run, argv[len(program) - 1 :], cwd, environment) as process:
        out, error = process.communicate()
        return subprocess.CompletedProcess(argv, process.returncode or 0, out, error)
