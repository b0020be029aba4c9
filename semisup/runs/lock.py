"""What belongs to one process at a time: a run directory while it is trained, a place in the grid of a comparison.

    with Lock(run_dir / LOCK):      # raises Held where another process has it
        ...

The lock is the kernel's (`flock`, through the filelock package), so that it is gone with its process, however that
ended. Beside it lies a record of who holds it (host, process, since when), which is removed with it.

On a file system that several machines share, all depends on how it is mounted. NFS passes `flock` on to the server,
which takes it from a machine that is gone after some minutes (flock(2), nfs(5)); so do Lustre mounted with `flock`, and
GPFS. NFS mounted with `nolock` or `local_lock` keeps locks within a machine, and two machines don't see each other's.
Where there are no locks at all (Lustre without that option), the record decides: one of this machine counts as long as
its process lives, and one of another machine until somebody removes it.

Standard library, filelock and pydantic only.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

from semisup.errors import InputError, require
from semisup.escape import nearby, shell
from semisup.runs.directory import write_atomically, writing

LOCK = ".lock"  # of a run directory
_DATE = "%Y-%m-%d %H:%M:%S"
_MAX_RECORD_BYTES = 4096  # bytes of a record
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Attributes:
        host: name of the machine.
        machine: that tells two of one name, two starts of one, and two containers on one apart.
        pid: of the process.
        started: when the process was, as the machine counts; a later process may get the same number.
        since: when it took the lock, for people.
    """

    host: str
    machine: str
    pid: int
    started: str
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"

    @property
    def is_here(self) -> bool:
        """Whether it is, or was, a process of this machine."""
        return self.machine == _machine()

    @property
    def lives(self) -> bool:
        """Whether that process is still there; asked on its own machine."""
        return self.started == _started(self.pid) != ""


class Held(InputError):
    """Another process holds it.

    Attributes:
        holder: which one, where it left a record.
    """

    def __init__(self, what: Path, holder: Holder | None, advice: str = "") -> None:
        self.holder = holder
        super().__init__(f"{what} belongs to {holder or 'another process'}; wait until that ends, or end it{advice}")


class Lock:
    """A lock that this process takes or another one holds.

    Args:
        path: of its file, which stays where it is; what it locks is its folder, which must exist.
        wait: seconds; by default longer than anybody holds a lock who only looks whether it is free.
    """

    def __init__(self, path: Path, wait: float = 2.0) -> None:
        self.path, self.wait = Path(path), wait
        self._record = self.path.with_name(f"{self.path.name}.json")
        self._file = FileLock(self.path)

    def __enter__(self) -> Lock:
        """Takes it.

        Raises:
            Held: another process has it.
            InputError: the lock or its record can't be written.
        """
        locked = self._lock(self.wait)
        try:
            there = _read(self._record)
            if there and there.pid != os.getpid() and (there.lives if there.is_here else not locked):
                # The file system has no locks, or somebody has removed the file that this one was on.
                advice = "" if there.is_here else f", or remove {shell(nearby(self._record))} where it is gone"
                raise Held(self.path.parent, there, advice)
            here = Holder(socket.gethostname(), _machine(), os.getpid(), _started(os.getpid()), time.strftime(_DATE))
            write_atomically(self._record, json.dumps(asdict(here)) + "\n")
        except InputError:
            self._file.release()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        """Gives it back."""
        with suppress(OSError):
            self._record.unlink(missing_ok=True)
        self._file.release()

    def record(self) -> Holder | None:
        """Who took it and has not given it back: the process that holds it, or one that was killed."""
        return _read(self._record)

    def holder(self) -> Holder | None:
        """The process that holds it, as far as can be told from here; takes nothing, and leaves nothing behind."""
        there = _read(self._record)
        if there is None or there.is_here:
            return there if there and there.lives else None
        try:
            locked = self._lock(0)
        except Held:
            return there
        self._file.release()
        return None if locked else there

    def _lock(self, wait: float) -> bool:
        """Locks the file, and returns whether the file system has locks.

        Args:
            wait: seconds.

        Raises:
            Held: another process has locked it.
            InputError: there can be no such file, or something else is in its place.
        """
        plain = self.path.is_file() and not self.path.is_symlink()
        require(plain or not os.path.lexists(self.path), f"{self.path} is no plain file, as a lock must be; remove it")
        try:
            self._file.acquire(timeout=wait)
        except Timeout as error:
            raise Held(self.path.parent, _read(self._record)) from error
        except NotImplementedError:  # filelock's word for it
            return False
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return False
            with writing(self.path):
                raise
        return True


def _read(path: Path) -> Holder | None:
    """What a record says; None where there is none that can be read."""
    from pydantic import TypeAdapter

    try:
        if not path.is_file():  # nor a pipe, which would not end
            return None
        with path.open("rb") as file:
            return TypeAdapter(Holder).validate_json(file.read(_MAX_RECORD_BYTES), strict=True)
    except (OSError, ValueError):
        return None


@cache
def _machine() -> str:
    """What tells this machine, since it was started, and this container on it, from others."""
    parts = []
    with suppress(OSError):
        parts = [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]
    return " ".join([socket.gethostname(), *parts])


def _started(pid: int) -> str:
    """When a process of this machine was started, in the kernel's ticks; "" where there is none, or it has ended."""
    try:
        facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if facts[0] in "ZX" else facts[19]
