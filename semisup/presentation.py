"""What is shown of a run, as plain data: its figures, their panels in W&B, and what a report says of a strategy.

The framework's own figures are in semisup/figures/__init__.py. A strategy names what it brings in a line of its class,
`presentation = "mymethod_figures:PRESENTATION"`, which is read from the source, so that nothing heavy is imported to
list it. That module imports what draws inside of the functions that draw:

    PRESENTATION = Presentation(
        figures=(
            Figure("bank", "The memory bank, a row for each image", "mymethod_figures:bank", when="end"),
            Figure("temperature", "The temperature", panels=(line("Temperature", "train/temperature"),)),
        ),
        summary={"train/temperature": "temperature"},
    )

    def bank(run):
        from semisup.figures.filters import filters

        yield "", filters({"memory bank": run.state("MyMethod")["bank"]})

Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pkgutil import resolve_name
from typing import Any, Literal

from semisup.errors import InputError, require

__all__ = ["Figure", "Panel", "Presentation", "line"]

STEP = "trainer/global_step"  # Lightning logs it to W&B beside everything
EPOCH = "epoch"
PICTURES = "figures/"  # begins the names of pictures in W&B
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

    def of(self, logged: Iterable[str]) -> Panel | None:
        """The panel as far as its metrics were logged, these by their full names; None where none was."""
        names = list(logged)
        metrics = [name for pattern in self.metrics for name in names if fnmatchcase(name, pattern)]
        there = bool(metrics) and (not self.x or self.x in (STEP, EPOCH, *names))
        return replace(self, metrics=tuple(metrics)) if there else None


def line(title: str, *metrics: str, x: str = STEP) -> Panel:
    """A panel of lines over the optimiser's steps, or over the epochs."""
    return Panel("line", title, metrics, x)


@dataclass(frozen=True)
class Figure:
    """One figure of a run.

    Attributes:
        name: its file's, or begins those of its parts, `embedding-0-pixels`.
        caption: what it shows.
        draw: `module:function`, called with the run (`semisup.figures.artifacts.RunArtifacts`); it yields parts, each a
            name such as `0-pixels`, empty where there is one alone, and a matplotlib Figure; where the run has nothing
            to draw, it raises an InputError that says why. By default the lines of `panels` are drawn, as far as they
            were logged.
        panels: of W&B, which show what it is drawn from.
        section: the heading that these are under.
        when: it is logged to W&B while a network trains: every few `epochs`, once at the `end`, or whenever the metric
            of this name was logged; never by default.
        title: of the panel of its pictures in W&B; the caption by default.
    """

    name: str
    caption: str
    draw: str = ""
    panels: tuple[Panel, ...] = ()
    section: str = "Training"
    when: str = ""
    title: str = ""

    def __post_init__(self) -> None:
        require(self.name.isidentifier(), f"a figure is named {self.name!r}; type letters, digits and underscores")

    @property
    def pictures(self) -> Panel:
        """The panel of its pictures in W&B."""
        names = (f"{PICTURES}{self.name}", f"{PICTURES}{self.name}-*")
        return Panel("pictures", self.title or self.caption, names)


@dataclass(frozen=True)
class Presentation:
    """What a strategy brings.

    Attributes:
        figures: of its runs; one of the name of a framework's figure is drawn in place of that.
        summary: metric -> what it is, for a table of the report: the last value that was logged of each.
        report: `module:function`, called with the runs (`RunArtifacts`) of one arm; it returns what the report says of
            them, a list of blocks (semisup/report/content.py). None by default.
    """

    figures: tuple[Figure, ...] = ()
    summary: Mapping[str, str] = field(default_factory=dict)
    report: str = ""


def resolve(target: str) -> Any:
    """What a `module:name` stands for.

    Raises:
        InputError: it can't be imported.
    """
    try:
        return resolve_name(target)
    except Exception as error:  # whatever a module raises while it is imported
        raise InputError(f"{target} can't be imported: {type(error).__name__}: {error}") from error


def load(target: str) -> Presentation:
    """The presentation that a strategy names; an empty one for an empty name.

    Raises:
        InputError: it can't be imported, or is something else.
    """
    presentation = resolve(target) if target else Presentation()
    require(
        isinstance(presentation, Presentation), f"{target} is no semisup.presentation.Presentation but {presentation!r}"
    )
    assert isinstance(presentation, Presentation)
    return presentation
