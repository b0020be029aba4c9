"""`python -m semisup`, and the console script `semisup`."""

from __future__ import annotations

import sys

from semisup.cli import front
from semisup.runtime.openmp import bound_spinning


def main(argv: list[str] | None = None) -> int:
    """What belongs to a process of its own, before anything heavy is imported, and then the command line.

    Args:
        argv: what follows the program's name; the process's own by default.

    Returns:
        The exit code.
    """
    bound_spinning()
    return front.main(argv)


if __name__ == "__main__":
    sys.exit(main())
