"""Writes `predictions.csv`, what a model says of every image of a pool, and `confusion.csv`, how often it is right."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Literal

from torch import Tensor

from semisup.classifier import Classifier
from semisup.data.pool import Pool
from semisup.escape import csv_cell
from semisup.predict import predict
from semisup.runs.directory import write_atomically

Format = Literal["csv", "kaggle"]
HEAD, KAGGLE_HEAD = b"id,class,confidence\n", b"id,class\n"  # which a file of each format begins with


def write_predictions(path: Path, module: Classifier, pool: Pool, batch_size: int, format: Format = "csv") -> None:
    """One line per image, in the pool's order: its id, the most probable class, and that class's probability.

    Args:
        path: the file; appears only when it is complete.
        module: the classifier.
        pool: the images.
        batch_size: images predicted at once.
        format: `"csv"` with the columns id, class, confidence, and no cell that a spreadsheet takes for a formula
            (`semisup.escape.csv_cell`); `"kaggle"` with id and class alone, exactly as the competition has them.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((KAGGLE_HEAD if format == "kaggle" else HEAD).decode().strip().split(","))
    for index, p in predict(module, pool, batch_size):
        for row, confidence, k in zip(index.tolist(), *(x.tolist() for x in p.max(1)), strict=True):
            line = [pool.name(row), module.spec.class_names[k]]
            writer.writerow(line if format == "kaggle" else [*map(csv_cell, line), f"{confidence:.6f}"])
    write_atomically(path, text.getvalue())


def write_confusion(path: Path, confusion: Tensor, class_names: tuple[str, ...]) -> None:
    """A line per true class: its name, and how many of its images were predicted as each class.

    Args:
        path: the file; appears only when it is complete.
        confusion: (classes, classes) int64; row is the true class, column the predicted one.
        class_names: in the order of the labels; as `semisup.escape.csv_cell` has them.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    names = [*map(csv_cell, class_names)]
    writer.writerow(["true class", *names])
    writer.writerows([name, *row] for name, row in zip(names, confusion.tolist(), strict=True))
    write_atomically(path, text.getvalue())
