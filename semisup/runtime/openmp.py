"""How long OpenMP's threads wait at full speed for each other: briefly, so that a busy machine stays usable.

A thread that is done with its share of an operation looks for the others' end again and again before it sleeps,
300,000 times unless it is told otherwise. Where another process has the core that the last of them needs, the waiting
takes the time that the work should have: two threads beside two busy processes train 20 times slower than one does.
A bound of 1,000 costs a few percent of an idle machine's speed (experiments/bench/spinning.py).

GNU's OpenMP (libgomp, which PyTorch and scikit-learn bring along on Linux) reads its environment once, when torch is
imported: importing `semisup` before torch sets the bound, for the command line and for any program. Processes that are
started from there on inherit it. Standard library only.
"""

from __future__ import annotations

import os
import sys

SPINS = 1_000  # looks at what is waited for, some microseconds
_VARIABLE = "GOMP_SPINCOUNT"
_THEIRS = (_VARIABLE, "OMP_WAIT_POLICY")  # by which a user says how to wait


def bound_spinning() -> bool:
    """Bounds the waiting of this process, unless the user's environment says how to wait.

    Returns:
        Whether it was not bounded before; where torch is imported already, that comes too late for this process.
    """
    unsaid = not any(name in os.environ for name in _THEIRS)
    if unsaid:
        os.environ[_VARIABLE] = str(SPINS)
    return unsaid


def restart_bounded() -> None:
    """Begins a script that has imported torch already once more, bounded; returns where nothing is to be bounded.

    It keeps its process id, arguments and open standard streams.
    """
    if bound_spinning():
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
