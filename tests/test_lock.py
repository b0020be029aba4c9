"""What belongs to one process at a time, seen from another one."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import filelock
import pytest

from semisup.errors import InputError
from semisup.escape import nearby, shell
from semisup.runs.directory import WriteError
from semisup.runs.lock import LOCK, Held, Holder, Lock

HOLD = (
    "import sys; from pathlib import Path; from semisup.runs.lock import Lock\n"
    "with Lock(Path(sys.argv[1])): print(flush=True); input()"
)


@contextmanager
def held_by_another(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds a lock until it is told to go on, or is killed."""
    command, pipe = [sys.executable, "-c", HOLD, str(path)], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "\n"
        try:
            yield process
        finally:
            process.kill()


def record(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def read(path: Path) -> Holder:
    return Holder(**json.loads(record(path).read_text()))


def write(path: Path, holder: Holder) -> None:
    record(path).write_text(json.dumps(asdict(holder)))


def refused(path: Path) -> str:
    with pytest.raises(Held) as caught, Lock(path):
        pass
    return str(caught.value)


def is_free(path: Path) -> bool:
    assert Lock(path).holder() is None
    with Lock(path):
        return read(path).pid == os.getpid()


def test_it_is_held_until_it_is_given_back(tmp_path: Path) -> None:
    path = tmp_path / LOCK
    with held_by_another(path) as process:
        holder = Lock(path).holder()
        assert holder is not None and holder.pid == process.pid
        said = f"{tmp_path} belongs to process {process.pid} on {holder.host}, since {holder.since}"
        assert refused(path) == f"{said}; wait until that ends, or end it"
        process.communicate("\n")
        assert process.returncode == 0
    assert not record(path).exists() and is_free(path)
    assert [child.name for child in tmp_path.iterdir()] == [LOCK]


def test_it_is_gone_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / LOCK
    with held_by_another(path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert read(path).pid == process.pid and is_free(path)


def test_removing_its_file_does_not_free_it(tmp_path: Path) -> None:
    path = tmp_path / LOCK
    with held_by_another(path) as process:
        path.unlink()
        assert f"belongs to process {process.pid} on " in refused(path)
        holder = Lock(path).holder()
        assert holder is not None and holder.pid == process.pid


def test_a_record_of_a_process_that_is_gone_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / LOCK
    with Lock(path):
        ours = read(path)
    with held_by_another(tmp_path / "other") as process:
        theirs = read(tmp_path / "other")
        write(path, replace(theirs, started=ours.started))  # its number has been given to a later process
        assert is_free(path)
    write(path, theirs)
    assert process.poll() is not None and is_free(path)
    write(path, replace(ours, machine="elsewhere", host="elsewhere"))  # killed there: its lock is free
    assert is_free(path)


@pytest.mark.parametrize("damage", ["empty", "no JSON", "a list", "other keys", "other types"])
def test_a_damaged_record_says_nothing(damage: str, tmp_path: Path) -> None:
    path = tmp_path / LOCK
    wrong = asdict(Holder("h", "m", 1, "s", "t")) | {"pid": "1"}
    texts = {"empty": "", "no JSON": "{", "a list": "[1]", "other keys": "{}", "other types": json.dumps(wrong)}
    record(path).write_text(texts[damage])
    assert is_free(path)


@pytest.mark.parametrize("kind", ["a pipe", "endless"])
def test_a_record_that_is_no_plain_file_is_refused_and_holds_nothing_up(kind: str, tmp_path: Path) -> None:
    path = tmp_path / LOCK
    if kind == "a pipe":
        os.mkfifo(record(path))
    else:
        record(path).symlink_to("/dev/zero")
    assert Lock(path).holder() is None
    with pytest.raises(InputError, match=r"\.lock\.json is not a plain file"), Lock(path):
        pass
    record(path).unlink()
    assert is_free(path)


def test_where_there_are_no_locks_the_record_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    path = tmp_path / LOCK
    with held_by_another(path) as process:
        monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
        assert f"belongs to process {process.pid} on " in refused(path)
        theirs = read(path)
    assert process.poll() is not None and is_free(path)
    write(path, replace(theirs, machine="elsewhere", host="elsewhere"))
    assert f"process {theirs.pid} on elsewhere, since" in refused(path)
    assert refused(path).endswith(f"or end it, or remove {shell(nearby(record(path)))} where it is gone")
    holder = Lock(path).holder()
    assert holder is not None and holder.host == "elsewhere"
    record(path).unlink()
    assert is_free(path)


def test_a_lock_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match=r"/file/\.lock can't be written"), Lock(tmp_path / "file" / LOCK):
        pass


def test_what_is_no_plain_file_is_no_lock(tmp_path: Path) -> None:
    """Some versions of filelock empty what a link leads to."""
    (tmp_path / "precious").write_text("mine")
    makers = [lambda: path.symlink_to("../precious"), lambda: os.mkfifo(path), lambda: path.mkdir()]
    for number, make in enumerate(makers):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = folder / LOCK
        make()
        with pytest.raises(InputError, match=r"\.lock is no plain file, as a lock must be; remove it"), Lock(path):
            pass
        assert [one.name for one in folder.iterdir()] == [LOCK] and (tmp_path / "precious").read_text() == "mine"
