"""`python -m semisup`, and the console script `semisup`."""

from __future__ import annotations

import sys

from semisup.cli.front import main

if __name__ == "__main__":
    sys.exit(main())
