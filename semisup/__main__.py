"""`python -m semisup`, and the console script `semisup`."""

from __future__ import annotations

import sys

from semisup.cli import front
from semisup.runtime import streams
from semisup.runtime.openmp import bound_spinning

_TRAIN = ("fit", "compare")  # what they print is said of files that they write


def main() -> int:
    """What belongs to a process of its own, before anything heavy is imported, and then the command line.

    Returns:
        The exit code; 1 as well where a verb whose result is what it prints found no room to print it.
    """
    streams.outlast()
    bound_spinning()
    code = front.main()
    return code or int(streams.was_full() and sys.argv[1:2] not in ([verb] for verb in _TRAIN))


if __name__ == "__main__":
    sys.exit(main())
