"""What is computed from a dataset once and kept: where it lies, and what of it could be removed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cache:
    """Files that can be made anew.

    A distribution lists those of its datamodules through the entry-point group `semisup.caches`: functions from the
    root folder of a dataset to a list of them.

    Attributes:
        files: that belong together.
        what: they are, for people.
        old: why no run will use them again; empty where one may.
        lock: held by a process that writes them; None where none is ever.
    """

    files: tuple[Path, ...]
    what: str
    old: str = ""
    lock: Path | None = None

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return sum(path.stat().st_blocks * 512 for path in self.files if path.exists())


def user_cache() -> Path:
    """The user's own folder for it: `$XDG_CACHE_HOME/semisup`, by default `~/.cache/semisup`; it need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "semisup"
