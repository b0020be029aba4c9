"""Comparisons made up of random scores, without a training and without torch."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from semisup.compare.record import Arm, Cell, Comparison, Network, RunRecord
from semisup.runs.rounds import Round
from semisup.runs.statistics import Difference, Efficiency, Interval, spread, t_interval

COST = {"supervised": 10.0}
HOSTILE = "</script><img src=x onerror=hacked=1>\"'&"


def comparison(
    arms: Sequence[str] = ("supervised", "pseudolabel", "fixmatch"),
    labels: Sequence[int | None] = (40, 100),
    seeds: int = 3,
    classes: Sequence[str] = ("cat", "dog", "owl"),
    epochs: int = 5,
    **changed: Any,
) -> Comparison:
    """Runs of every arm with every number of labels and every seed; the first arm is the reference if supervised.

    All but the first arm log two rounds of pseudo-labels.
    """
    rng = random.Random(0)
    runs = [
        _run(rng, arm, number, count, seed, classes, epochs)
        for number, arm in enumerate(arms)
        for count in labels
        for seed in range(seeds)
    ]
    found = Comparison(
        created="2026-01-02 03:04:05 +0000",
        command="semisup compare --strategies " + ",".join(arms),
        data="animals",
        class_names=list(classes),
        score="test_accuracy",
        reference=arms[0] if arms[0] == "supervised" else None,
        arms=[Arm(name, name, {}) for name in arms],
        labels=list(labels),
        runs=runs,
        cells=[],
        options={"trainer.max_epochs": epochs, "trainer.max_time": None},
        network=Network("small", 94_186, 1, 8, 1_000_000),
        left_out=[],
        failures=[],
        notes=[],
    )
    return with_cells(Comparison(**{**vars(found), **changed}))


def with_cells(found: Comparison) -> Comparison:
    """The same, its statistics made anew of its runs."""
    cells = []
    for checkpoint in ("best", "last"):
        scores = {(run.arm, run.labels, run.seed): run.scores[f"{checkpoint}/{found.score}"] for run in found.runs}
        for arm in found.arms:
            for labels in found.labels:
                mine = {s: score for (a, n, s), score in scores.items() if (a, n) == (arm.name, labels)}
                if not mine:
                    continue
                mean, sd = spread([*mine.values()])
                difference = worth = None
                if found.reference not in (None, arm.name):
                    gains = [score - scores[found.reference, labels, seed] for seed, score in mine.items()]
                    none = Interval(None, None, "the bootstrap needs 10 seeds or more")
                    difference = Difference([*mine], gains, spread(gains)[0], t_interval(gains), none)
                    worth = Efficiency("=", 2.0 * (labels or 1), 2.0)
                cells.append(Cell(arm.name, labels, checkpoint, [*mine], [*mine.values()], mean, sd, difference, worth))
    return Comparison(**{**vars(found), "cells": cells})


def _run(
    rng: random.Random, arm: str, number: int, labels: int | None, seed: int, classes: Sequence[str], epochs: int
) -> RunRecord:
    base = 0.6 + 0.03 * number + 0.0002 * (labels or 1000) + rng.uniform(-0.02, 0.02)
    scores = {
        f"{checkpoint}/{pool}_accuracy": base + rng.uniform(-0.01, 0.01)
        for checkpoint in ("best", "last")
        for pool in ("val", "test")
    }
    own = {name: min(1.0, base + rng.uniform(-0.2, 0.2)) for name in classes}
    curves: dict[str, list[int | float | None]] = {
        "epoch": [float(epoch) for epoch in range(1, epochs + 1)],
        "step": [30.0 * epoch for epoch in range(1, epochs + 1)],
        "val/accuracy": [base * epoch / epochs for epoch in range(1, epochs + 1)],
        "train/loss": [1 / epoch + rng.random() for epoch in range(1, epochs + 1)],
    }
    rounds = [
        Round(
            epoch,
            {name: rng.randrange(1, 200) for name in classes},
            0.9 - 0.01 * epoch,
            dict.fromkeys(classes, 0.8),
            [0.1] * 10,
        )
        for epoch in (2, 4)
    ]
    return RunRecord(
        path=f"../runs/animals/{arm}/2026 #{labels}-s{seed}",
        arm=arm,
        strategy=arm,
        seed=seed,
        labels=labels,
        all_labels=labels is None,
        scores=scores,
        epochs={"best": epochs, "last": epochs},
        class_accuracy={"best/test": own, "last/val": own},
        calibration={"best/val": rng.uniform(0.01, 0.1), "last/val": rng.uniform(0.01, 0.1)},
        curves=curves,
        rounds=rounds if number else [],
        steps=150,
        images=9600 * (1 + number),
        seconds=COST.get(arm, 20.0) + seed,
        command=f"semisup fit --strategy {arm} --seed {seed}",
        environment={"date": f"2026-01-0{1 + seed % 9}", "python": "3.11.7", "torch": "2.15.0"},
        options={},
    )
