"""What a dashboard shows, as plain data: sections of panels, each of metrics that runs log under these names.

The panels of figures, and those that strategies bring, are described with the figures (semisup/presentation.py). Each
is shown as far as its metrics were logged, so that none is ever empty. Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from semisup.figures import FIGURES, figures_of
from semisup.presentation import Panel, Presentation, line

LABELS = "labels"


@dataclass(frozen=True)
class Section:
    """Panels under one heading."""

    name: str
    panels: tuple[Panel, ...]


def _bars(title: str, *metrics: str) -> Panel:
    return Panel("bars", title, metrics)


def _labels(title: str, metric: str) -> Panel:
    return Panel("labels", title, (metric,), LABELS)


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
            line("Validation accuracy", "val/accuracy"),
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
    Section("Pseudo-labels", ()),
    Section(
        "Calibration",
        (
            line("Expected calibration error, validation", "val/ece"),
            _bars("Expected calibration error, test", "best/test_ece", "last/test_ece"),
            line("Negative log-likelihood, validation", "val/nll"),
        ),
    ),
    Section(
        "Training",
        (
            line("Loss", "train/loss"),
            line("Accuracy on the labeled images", "train/accuracy"),
            line("k nearest neighbours, validation", "val/knn_accuracy"),
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
)
# What the table of runs shows, from left to right.
COLUMNS = ("best/test_accuracy", "last/test_accuracy", "best/val_accuracy", "best/test_ece", LABELS, "seconds")


def shown(logged: Iterable[str], brought: Iterable[Presentation] = ()) -> list[Section]:
    """The sections with what was logged, without panels and sections that would be empty.

    Args:
        logged: names of metrics and of pictures (`figures/...`), classes in the order of their labels.
        brought: by the strategies of the runs.
    """
    names, theirs = [*dict.fromkeys(logged)], [figure for each in brought for figure in each.figures]
    described: dict[str, list[Panel]] = {section.name: [*section.panels] for section in (BY_LABELS, *_SECTIONS)}
    for figure in (*theirs, *FIGURES):
        described.setdefault(figure.section, []).extend(figure.panels)
    pictures = [figure.pictures for figure in figures_of([Presentation(tuple(theirs))]).values()]
    by_section = {
        name: tuple(there for panel in dict.fromkeys(panels) if (there := panel.of(names)))
        for name, panels in (described | {"Pictures": pictures}).items()
    }
    return [Section(name, panels) for name, panels in by_section.items() if panels]
