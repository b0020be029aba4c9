"""Where what is computed from a dataset once is kept when it can't lie beside the dataset."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache() -> Path:
    """The user's own folder for it: `$XDG_CACHE_HOME/semisup`, by default `~/.cache/semisup`; it need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "semisup"
