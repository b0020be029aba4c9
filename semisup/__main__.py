"""`python -m semisup`, and the console script `semisup`."""

from __future__ import annotations

import sys

from semisup.cli import front
from semisup.cli.verbs import VERBS
from semisup.runtime import streams


def main() -> int:
    """What belongs to a process of its own, before anything heavy is imported, and then the command line.

    Returns:
        The exit code; 1 as well where a verb whose result is what it prints found no room to print it.
    """
    streams.outlast()
    code, verb = front.main(), VERBS.get("".join(sys.argv[1:2]))
    return code or int(streams.was_full() and not (verb and not verb.prints))


if __name__ == "__main__":
    sys.exit(main())
