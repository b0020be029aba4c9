"""What a case is, and how it is judged: right, refused by one clear error, or failed."""

from __future__ import annotations

import io
import os
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

from helpers import HANG
from hypothesis.strategies import SearchStrategy

from semisup.errors import InputError

LIMIT = 60.0  # seconds of computing after which a case hangs; they take milliseconds
_LONGEST = 2000  # characters of an error that can still be read


@dataclass(frozen=True)
class Case:
    """What comes in.

    Attributes:
        files: name -> content, written into an empty folder, which is also the working directory.
        given: what is asked of the reader, or what must come out.
        valid: nothing is wrong, so that it must not be refused.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    given: Any = None
    valid: bool = False


@dataclass(frozen=True)
class Property:
    """What must hold of every case.

    Attributes:
        name: in words.
        cases: of which some are drawn.
        check: calls the reader by relative paths, and compares what comes out with an independent expectation.
        names: what an error must name one of, such as the file; empty where that is the check's own matter.
        keeps: patterns of the names of files that the reader may leave: its caches.
        share: how many of its cases are drawn for one of another property; less where one takes long.
    """

    name: str
    cases: SearchStrategy[Case]
    check: Callable[[Case], None]
    names: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ()
    share: float = 1.0


@dataclass(frozen=True)
class Outcome:
    """How a case ended.

    Attributes:
        kind: accepted (right), refused (one clear error), traceback, wrong (a false result or an unclear error), hang.
        seconds: that it took.
        said: the error.
        left: files left behind that are no cache.
    """

    kind: Literal["accepted", "refused", "traceback", "wrong", "hang"]
    seconds: float
    said: str = ""
    left: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        """Whether the property holds of the case."""
        return self.kind in ("accepted", "refused") and not self.left


class _Hang(BaseException):
    """Not an `Exception`: readers turn those into errors of theirs."""


def judge(prop: Property, case: Case) -> Outcome:
    """Tries a case in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name, chdir(name), _surroundings(Path(name)):
        for path, content in case.files.items():
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_bytes(content)
        before, start = _there(), time.monotonic()
        kind, said = _tried(prop, case)
        seconds = time.monotonic() - start
        new = sorted(_there() - before)
    left = tuple(path for path in new if not any(fnmatch(path, pattern) for pattern in prop.keeps))
    return Outcome(kind, seconds, said, left)


def _tried(prop: Property, case: Case) -> tuple[Any, str]:
    try:
        with _limited(LIMIT):
            prop.check(case)
    except InputError as error:
        said = str(error)
        if case.valid:
            return "wrong", f"refused what is right: {said}"
        return ("wrong" if (fault := _unclear(said, prop.names, len(str(case.given)))) else "refused"), fault + said
    except AssertionError:
        return "wrong", traceback.format_exc(limit=-4)
    except _Hang:
        return "hang", traceback.format_exc(limit=-4)
    except Exception:
        return "traceback", traceback.format_exc(limit=-6)
    return "accepted", ""


def _unclear(said: str, names: tuple[str, ...], given: int) -> str:
    """What is wrong with an error's words, which may repeat what was given; empty where nothing is."""
    if not said.strip() or "Traceback" in said:
        return "an error without words, or with a traceback: "
    if len(said) > _LONGEST + given:
        return f"an error of {len(said):,} characters: "
    return "" if not names or any(name in said for name in names) else f"an error that names none of {names}: "


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    def ring(number: int, frame: Any) -> None:
        raise _Hang

    # What waits for something that never comes does not compute; how long others keep the machine busy does not count.
    timers = {signal.ITIMER_PROF: (signal.SIGPROF, seconds), signal.ITIMER_REAL: (signal.SIGALRM, HANG)}
    former = {number: signal.signal(number, ring) for number, _ in timers.values()}
    for timer, (_, limit) in timers.items():
        signal.setitimer(timer, limit)
    try:
        yield
    finally:
        for timer in timers:
            signal.setitimer(timer, 0)
        for number, handler in former.items():
            signal.signal(number, handler)


@contextmanager
def _surroundings(folder: Path) -> Iterator[None]:
    """Temporary files and the user's cache lie in the folder, where they are seen; the console takes UTF-8 alone."""
    former, cache = tempfile.tempdir, os.environ.get("XDG_CACHE_HOME")
    tempfile.tempdir, os.environ["XDG_CACHE_HOME"] = str(folder), str(folder / "xdg")
    try:
        with redirect_stdout(console()), redirect_stderr(console()):
            yield
    finally:
        tempfile.tempdir = former
        del os.environ["XDG_CACHE_HOME"]
        if cache is not None:
            os.environ["XDG_CACHE_HOME"] = cache


def console() -> io.TextIOWrapper:
    """A file that what is printed can go to; as strict as a terminal's stdout."""
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8")


def _there() -> set[str]:
    return {path.as_posix() for path in Path().rglob("*")}
