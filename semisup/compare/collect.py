"""What a comparison takes from a run: its scores and its cost, how it got there, and what must be as in the others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from semisup.compare.record import BALANCE, Checkpoint, RunRecord
from semisup.errors import require
from semisup.runs.options import own_options
from semisup.runs.reading import METRICS_FILE
from semisup.runs.rounds import of_classes
from semisup.runs.run import Run
from semisup.runs.statistics import mean


@dataclass(frozen=True)
class Candidate:
    """A finished run that may take part.

    Attributes:
        run: the run itself.
        record: what it did. Its arm is the strategy, its number of labels is open; `assemble` puts both there.
        splits: what must be the same in all runs besides the options: classes, test images and steps.
    """

    run: Run
    record: RunRecord
    splits: dict[str, Any]


def candidate(run: Run) -> Candidate:
    """A finished run, and what it did.

    Raises:
        InputError: it isn't finished, or lacks what a comparison needs; the message continues "run: ".
    """
    options, final, scores = run.options, run.final, run.scores
    require(run.finished, "it has not finished")
    require(bool(scores), "it was scored on nothing: there are neither validation nor test images with labels")
    whole = all(0 <= score <= 1 for score in scores.values()) and 0 <= final.get("images", 0) < math.inf
    require(whole and 0 <= final["seconds"] < math.inf, f"the last line of its {METRICS_FILE} is damaged")
    kept: tuple[Checkpoint, ...] = ("last", "best") if any(name.startswith("best/") for name in scores) else ("last",)
    chosen = {which: row for which in kept if (row := run.validation(which))}
    class_accuracy = {f"{which}/val": of_classes(row, "val/accuracy/") for which, row in chosen.items()}
    if run.confusion:
        class_accuracy["best/test" if "best" in chosen else "last/test"] = {
            name: row[k] / sum(row) for k, (name, row) in enumerate(run.confusion.items()) if sum(row)
        }
    record = RunRecord(
        path=str(run.directory),
        arm=run.strategy,
        strategy=run.strategy,
        seed=run.seed,
        labels=None,
        all_labels=run.labels_per_class is None,
        scores=scores,
        epochs={which: int(row["epoch"]) + 1 for which, row in sorted(chosen.items())},
        class_accuracy=class_accuracy,
        calibration={
            f"{which}/val": row["val/ece"]
            for which, row in sorted(chosen.items())
            if math.isfinite(row.get("val/ece", math.nan))
        },
        curves=_curves(run.history),
        rounds=run.rounds,
        steps=run.steps,
        images=int(final["images"]) if "images" in final else None,
        seconds=final["seconds"],
        command=run.began.get("command", ""),
        environment={name: fact for name, fact in run.began.items() if name != "command"},
        options=own_options(options),
        balance=_balance(final),
    )
    splits = {"classes": ", ".join(run.class_names), "test images": run.test_images, "steps trained": run.steps}
    return Candidate(run, record, splits)


def _balance(final: dict[str, float]) -> dict[str, dict[str, float]]:
    """Scores of imbalanced data, as `RunRecord.balance` says, of a run's last row."""
    balance = {}
    for place in (f"{which}/{split}" for which in ("best", "last") for split in ("val", "test")):
        scores = {name: final[key] for name in BALANCE if math.isfinite(final.get(key := f"{place}_{name}", math.nan))}
        if len(scores) == len(BALANCE):
            balance[place] = scores
    return balance


def _curves(history: list[dict[str, float]]) -> dict[str, list[int | float | None]]:
    """Every epoch's values, as `RunRecord.curves` says."""
    epochs: dict[int, list[dict[str, float]]] = {}
    for row in history:
        epochs.setdefault(int(row["epoch"]), []).append(row)
    names = dict.fromkeys(name for row in history for name in row)
    wanted = [name for name in names if name in ("val/accuracy", "val/ece") or name.startswith("train/")]
    curves: dict[str, list[int | float | None]] = {
        "epoch": [epoch + 1 for epoch in epochs],
        "step": [max(row["step"] for row in rows) + 1 for rows in epochs.values()],
    }
    for name in wanted:
        curves[name] = [_mean([row[name] for row in rows if name in row]) for rows in epochs.values()]
    return curves


def _mean(values: list[float]) -> float | None:
    average = mean(values) if values else math.nan
    return float(f"{average:.6g}") if math.isfinite(average) else None
