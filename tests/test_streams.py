"""What can't be printed ends the printing, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import HANG, run_python

from semisup.runs.reading import read_metrics
from semisup.runtime import streams

FIT = [  # with all that Lightning prints
    *("fit", "--data", "digits", "--data.steps_per_epoch", "3", "--trainer.max_epochs", "2"),
    *("--trainer.enable_progress_bar", "true", "--trainer.enable_model_summary", "true"),
    *("--tracking.mode", "disabled", "--trainer.accelerator", "cpu", "--trainer.devices", "1"),
]


def fit(folder: Path, stdout: int, stderr: int, before: Callable[[], object] | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "semisup", *FIT]
    return subprocess.Popen(command, cwd=folder, stdout=stdout, stderr=stderr, text=True, preexec_fn=before)


def is_whole(folder: Path, process: subprocess.Popen[str]) -> None:
    """Asserts that a training came to its end, and all of its report with it."""
    assert process.wait(HANG) == 0
    (run,) = folder.glob("runs/*/*/*")
    assert "best/test_accuracy" in read_metrics(run)[-1] and (run / "confusion.csv").is_file()


def test_a_reader_who_has_enough_and_a_full_standard_error(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        process = fit(tmp_path, subprocess.PIPE, full.fileno())
    assert process.stdout is not None
    assert process.stdout.readline() == "semisup fit: supervised on digits, seed 0\n"
    process.stdout.close()
    is_whole(tmp_path, process)


def test_a_full_standard_output_and_a_closed_standard_error(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        process = fit(tmp_path, full.fileno(), subprocess.DEVNULL, lambda: os.close(2))
    is_whole(tmp_path, process)


def test_all_streams_closed(tmp_path: Path) -> None:
    """The files that are opened then do not get what is written to the numbers of the streams."""
    code = (
        "import sys, os; from semisup.runtime.streams import outlast; outlast()\n"
        f"file = open({str(tmp_path / 'file')!r}, 'w'); print(file.fileno(), file=file, flush=True)\n"
        "print('to output'); print('to error', file=sys.stderr); os.write(1, b'x'); os.write(2, b'y')"
    )
    process = subprocess.Popen([sys.executable, "-c", code], preexec_fn=lambda: os.closerange(0, 3))
    assert process.wait(HANG) == 0
    assert int((tmp_path / "file").read_text()) > 2


@pytest.mark.parametrize("argv", [["list"], ["--help"]])
def test_a_verb_that_prints_says_that_it_could_not(argv: list[str]) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "semisup", *argv]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=HANG)
    expected = "semisup: standard output takes no more (No space left on device): what is said from here on is lost\n"
    assert done.stderr == expected
    assert done.returncode == 1


def test_a_verb_that_prints_is_silent_where_the_reader_has_enough() -> None:
    shell = f"{sys.executable} -m semisup list | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=HANG)
    assert done.stdout.splitlines()[-1] == "0" and len(done.stdout.splitlines()) == 2
    assert done.stderr == ""


def test_a_stream_that_would_block_is_waited_for() -> None:
    """A megabyte into a pipe that takes some kilobytes and does not wait by itself."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    got = bytearray()

    def read() -> None:
        while part := os.read(reading, 5000):
            got.extend(part)

    reader = threading.Thread(target=read)
    reader.start()
    sent = bytes(range(256)) * 4096
    with open(writing, "wb", buffering=0) as file:
        lasting = streams._Lasting(file.fileno(), "w", closefd=False)
        assert lasting.write(sent) == len(sent)
    reader.join(HANG)
    os.close(reading)
    assert bytes(got) == sent


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_streams_are_as_they_were(unbuffered: str) -> None:
    code = (
        "import sys, os; from semisup.runtime.streams import outlast; both = lambda: (sys.stdout, sys.stderr)\n"
        "look = lambda: [(s.encoding, s.errors, s.line_buffering, s.isatty(), s.fileno()) for s in both()]\n"
        "before = look(); print('first', end=' '); outlast(); print(before == look(), 'ü'); os.write(1, b'last\\n')"
    )
    environment = {"PYTHONIOENCODING": "latin-1:replace", "PYTHONUNBUFFERED": unbuffered}
    done = run_python("-c", code, env=os.environ | environment, encoding="latin-1")
    expected = ["first True ü\n", "last\n"]  # the second overtakes what waits in a buffer
    assert done.stdout == "".join(expected if unbuffered else ["first ", "last\n", "True ü\n"]), done.stderr
