"""What a dashboard shows, as plain data: sections of panels, each of metrics that runs log under these names.

A panel is shown as far as its metrics were logged, so that none is ever empty. Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

STEP = "trainer/global_step"  # Lightning logs it to W&B beside everything
EPOCH = "epoch"
LABELS = "labels"
FIGURES = "figures/"  # begins the names of pictures
# line: over x, a band over the runs of a group; bars: of each group; scatter: a point for each group; labels: over the
# number of labels, of all groups; pictures: images.
Kind = Literal["line", "bars", "scatter", "labels", "pictures"]


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        kind: how it shows its metrics.
        title: above it.
        metrics: names, or patterns such as `val/accuracy/*`, in the order in which they are shown.
        x: the metric on the horizontal axis, of a line or a scatter.
    """

    kind: Kind
    title: str
    metrics: tuple[str, ...]
    x: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Every metric that it shows."""
        return (*self.metrics, *([self.x] if self.x else []))


@dataclass(frozen=True)
class Section:
    """Panels under one heading."""

    name: str
    panels: tuple[Panel, ...]


def _line(title: str, *metrics: str, x: str = STEP) -> Panel:
    return Panel("line", title, metrics, x)


def _bars(title: str, *metrics: str) -> Panel:
    return Panel("bars", title, metrics)


def _labels(title: str, metric: str) -> Panel:
    return Panel("labels", title, (metric,), LABELS)


def _pictures(title: str, *names: str) -> Panel:
    return Panel("pictures", title, tuple(FIGURES + name for name in names))


BY_LABELS = Section(
    "Accuracy by number of labels",
    (
        _labels("Test accuracy, best checkpoint", "best/test_accuracy"),
        _labels("Test accuracy, last checkpoint", "last/test_accuracy"),
        _labels("Validation accuracy, best checkpoint", "best/val_accuracy"),
    ),
)
CLASSES = "Classes"
_SECTIONS = (
    Section(
        "Accuracy",
        (
            _line("Validation accuracy", "val/accuracy"),
            _bars("Test accuracy, best and last checkpoint", "best/test_accuracy", "last/test_accuracy"),
            _bars("Validation accuracy, best and last checkpoint", "best/val_accuracy", "last/val_accuracy"),
        ),
    ),
    Section(
        CLASSES,
        (
            _bars("Test accuracy of every class, best checkpoint", "best/test_accuracy/*"),
            _bars("Validation accuracy of every class, best checkpoint", "best/val_accuracy/*"),
        ),
    ),
    Section(
        "Pseudo-labels",
        (
            _line("Precision, by round", "pseudolabel/precision", x=EPOCH),
            _line("Utilisation: share of the pool, by round", "pseudolabel/utilisation", x=EPOCH),
            _line("Class balance (1 is even), by round", "pseudolabel/balance", x=EPOCH),
            _line("Images of each class, by round", "pseudolabel/count/*", x=EPOCH),
            _line("Precision of each class, by round", "pseudolabel/precision/*", x=EPOCH),
            _line("Share of confident targets", "train/confident"),
            _line("Precision of a step's targets", "train/precision"),
            _line("Utilisation: mean weight of a step's targets", "train/utilisation"),
            _line("Class balance of a step's targets (1 is even)", "train/balance"),
            _line("Confidence threshold, mean over the classes", "train/threshold"),
        ),
    ),
    Section(
        "Calibration",
        (
            _line("Expected calibration error, validation", "val/ece"),
            _bars("Expected calibration error, test", "best/test_ece", "last/test_ece"),
            _line("Negative log-likelihood, validation", "val/nll"),
        ),
    ),
    Section(
        "Training",
        (
            _line("Loss", "train/loss"),
            _line("Parts of the loss", "train/loss_*"),
            _line("Accuracy on the labeled images", "train/accuracy"),
            _line("k nearest neighbours, validation", "val/knn_accuracy"),
            _line("Pretraining: loss", "pretrain/loss"),
            _line("Pretraining: accuracy on surrogate classes", "pretrain/surrogate_accuracy"),
        ),
    ),
    Section(
        "Throughput and cost",
        (
            _bars("Images per second", "images_per_second"),
            _bars("Seconds of training", "seconds"),
            _bars("Images seen", "images"),
            Panel("scatter", "Test accuracy by seconds of training", ("best/test_accuracy",), "seconds"),
        ),
    ),
    Section(
        "Pictures",
        (
            _pictures("Filters of the first convolution", "filters"),
            _pictures("t-SNE of labeled images", "embedding*"),
            _pictures("Augmentations", "augmentations", "surrogate"),
            _pictures("Confusion, validation", "confusion"),
            _pictures("Reliability, validation", "calibration"),
            _pictures("Rounds of pseudo-labels", "pseudolabels"),
        ),
    ),
)
# What the table of runs shows, from left to right.
COLUMNS = ("best/test_accuracy", "last/test_accuracy", "best/val_accuracy", "best/test_ece", LABELS, "seconds")


def shown(logged: Iterable[str]) -> list[Section]:
    """The sections with what was logged, without panels and sections that would be empty.

    Args:
        logged: names of metrics and of pictures (`figures/...`), classes in the order of their labels.
    """
    names = list(dict.fromkeys(logged))
    return [section for every in (BY_LABELS, *_SECTIONS) if (section := _shown(every, names)).panels]


def _shown(section: Section, logged: list[str]) -> Section:
    panels = []
    for panel in section.panels:
        found = [name for pattern in panel.metrics for name in logged if fnmatchcase(name, pattern)]
        if found and (not panel.x or panel.x in (STEP, EPOCH, *logged)):
            panels.append(Panel(panel.kind, panel.title, tuple(found), panel.x))
    return Section(section.name, tuple(panels))
