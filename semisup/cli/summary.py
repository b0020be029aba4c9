"""The table at the end of a run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """What a checkpoint came to.

    Attributes:
        epoch: epochs of training that it has had.
        scores: `val_accuracy`, `test_accuracy` and every other score of `semisup.metrics.Evaluation`, those that there
            are.
    """

    epoch: int
    scores: dict[str, float]


def table(results: dict[str, Result], notes: Iterable[str], seconds: float, images_per_second: float) -> str:
    """The accuracy of the best and the last checkpoint in percent, and what the training cost.

    Args:
        results: `"best"` and `"last"`, those that there are.
        notes: what the strategies add, a line each; empty ones are left out.
        seconds: of training, validation included.
        images_per_second: training images over those seconds.
    """
    lines = [f"{'accuracy in %':<24}{'validation':>12}{'test':>8}"]
    for which in ("best", "last"):
        if which in results:
            result = results[which]
            cells = [result.scores.get(name) for name in ("val_accuracy", "test_accuracy")]
            val, test = ("-" if cell is None else f"{100 * cell:.1f}" for cell in cells)
            lines.append(f"{f'{which} (epoch {result.epoch})':<24}{val:>12}{test:>8}")
    lines += [note for note in notes if note]
    lines.append(f"{seconds:.1f} s of training, {images_per_second:,.0f} images/s")
    width = max(map(len, lines))
    return "\n".join(["-" * width, *lines, "-" * width])
