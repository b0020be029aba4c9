"""What a run says to the person who started it: one line at a time, from one rank only."""

from __future__ import annotations

from pytorch_lightning.utilities.rank_zero import rank_zero_only


@rank_zero_only
def say(line: str) -> None:
    """Prints a line at once, on rank 0."""
    print(line, flush=True)
