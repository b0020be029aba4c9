"""Where compiled code is kept."""

from __future__ import annotations

import os
from pathlib import Path

_FOLDER = "TORCHINDUCTOR_CACHE_DIR"  # torch's own variable


def keep_compiled(folder: Path) -> None:
    """Lets what `torch.compile` makes lie in a folder, where the next run finds it and need not compile again.

    torch's own choice is the system's folder for temporary files, which other users share and a restart empties. What
    the user chose, by torch's variable `TORCHINDUCTOR_CACHE_DIR`, stays.
    """
    os.environ.setdefault(_FOLDER, str(folder))
