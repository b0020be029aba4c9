"""The figure of `ensemble`: how far its runs agree, two by two."""

from __future__ import annotations

from typing import TYPE_CHECKING

from semisup.presentation import Figure, Presentation

if TYPE_CHECKING:
    from semisup.figures.artifacts import Parts, RunArtifacts

PRESENTATION = Presentation(
    figures=(Figure("agreement", "How far the runs agree", "strategies.ensemble_figures:agreement", when="end"),),
    summary={
        "ensemble/unanimous": "share of the unlabeled images of which all runs say the same",
        "ensemble/agreement": "share of which two runs say the same, the mean of all pairs",
        "ensemble/precision": "share of the targets that are right",
    },
)


def agreement(run: RunArtifacts) -> Parts:
    """A square for every two runs, which are numbered as they were typed; what each is called stands beside it."""
    from semisup.figures.names import labels
    from semisup.figures.style import WIDTH, figure, styled

    shares = run.state("Ensemble")["agreement"].cpu()
    with styled():
        drawn = figure(WIDTH * 0.85)
        axes = drawn.subplots()
        axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
        numbers = range(len(shares))
        runs = run.config["ensemble"]["runs"]
        names = labels(f"{k}: {'/'.join(name.split('/')[-2:])}" for k, name in enumerate(runs, 1))
        axes.set_xticks(numbers, [str(k + 1) for k in numbers])
        axes.set_yticks(numbers, names)
        axes.tick_params(length=0)
        axes.set_title("Share of the unlabeled images of which two runs say the same")
        for row in numbers:
            for column in numbers:
                share = float(shares[row, column])
                color = "white" if share > 0.5 else "black"
                axes.text(column, row, f"{100 * share:.1f} %", ha="center", va="center", color=color, fontsize=8)
    yield "", drawn
