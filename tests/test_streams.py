"""What can't be printed ends the printing, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from forked import Forked
from helpers import HANG, run_python

from semisup.__main__ import main as semisup
from semisup.runs.reading import read_metrics
from semisup.runtime import streams

FIT = [  # with all that Lightning prints
    *("fit", "--data", "digits", "--data.steps_per_epoch", "3", "--trainer.max_epochs", "2"),
    *("--trainer.enable_progress_bar", "true", "--trainer.enable_model_summary", "true"),
    *("--tracking.mode", "disabled", "--trainer.accelerator", "cpu", "--trainer.devices", "1"),
]


def fit(folder: Path, stdout: int, stderr: int | None, close: int | None = None) -> Forked:
    """Trains in a process with these streams, of which standard error may be closed, and without another descriptor."""

    def run() -> int:
        os.dup2(stdout, 1)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        if stderr is None:
            os.close(2)
            sys.stderr = None  # type: ignore[assignment]
        else:
            os.dup2(stderr, 2)
            sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        if close is not None:
            os.close(close)
        return semisup()

    return Forked(run, ["semisup", *FIT], folder)


def is_whole(folder: Path, process: Forked) -> None:
    """Asserts that a training came to its end, and all of its report with it."""
    process.communicate()
    assert process.returncode == 0
    (run,) = folder.glob("runs/*/*/*")
    assert "best/test_accuracy" in read_metrics(run)[-1] and (run / "confusion.csv").is_file()


def test_a_reader_who_has_enough_and_a_full_standard_error(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    with open("/dev/full", "w") as full, fit(tmp_path, writing, full.fileno(), close=reading) as process:
        os.close(writing)
        with open(reading) as reader:
            assert reader.readline() == "semisup fit: supervised on digits, seed 0\n"
        is_whole(tmp_path, process)


def test_a_full_standard_output_and_a_closed_standard_error(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full, fit(tmp_path, full.fileno(), None) as process:
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


def test_a_name_that_the_encoding_does_not_have_is_escaped() -> None:
    code = "from semisup.runtime.streams import outlast; outlast(); print('猫 ü')"
    done = run_python("-c", code, env=os.environ | {"PYTHONIOENCODING": "latin-1"}, encoding="latin-1")
    assert done.stdout == "\\u732b ü\n", done.stderr
