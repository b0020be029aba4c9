"""What a reader wants to know first, in sentences: what was gained, by which classes, at what cost, and how surely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from semisup.compare.page.classes import Gain, measured_on
from semisup.compare.page.series import training_flops
from semisup.compare.record import Cell, Checkpoint, Comparison, RunRecord
from semisup.runs.statistics import Interval, mean

_NAMED = 3  # classes in a sentence
_LEAST_GAIN = 0.005  # of a class, below which it neither gains nor loses


@dataclass(frozen=True)
class Answer:
    """One question, its answer in a few words, and what must be said with it."""

    question: str
    answer: str
    more: list[str]


@dataclass(frozen=True)
class Answers:
    """The top of the page.

    Attributes:
        headline: one sentence with the number.
        interval: the sentence about how sure it is.
        chosen: why this strategy and this number of labels stand here.
        answers: to the four questions; fewer where nothing can be said.
    """

    headline: str
    interval: str
    chosen: str
    answers: list[Answer]


def answers(comparison: Comparison, gains: Sequence[Gain]) -> Answers:
    """The answers of a comparison, about the most labels for which something was gained or lost: those that there are.

    The strategy is the one with the highest validation accuracy there: chosen by test accuracy, the best of several
    would flatter itself.

    Args:
        comparison: what was found.
        gains: of the classes, as `classes.gains` gives them.
    """
    checkpoint: Checkpoint = "best" if any(cell.checkpoint == "best" for cell in comparison.cells) else "last"
    paired = [cell for cell in comparison.cells if cell.difference and cell.checkpoint == checkpoint]
    if not paired:
        return _without_reference(comparison, checkpoint)
    labels = max((cell.labels for cell in paired), key=comparison.labels.index)
    rivals = [cell for cell in paired if cell.labels == labels]
    cell, chosen = _choose(comparison, rivals)
    return Answers(
        _headline(comparison, cell),
        _interval(cell),
        chosen,
        [
            _worth(comparison, cell),
            *_classes(comparison, cell, gains),
            _cost(comparison, cell),
            _belief(comparison, cell, len(paired)),
        ],
    )


def _without_reference(comparison: Comparison, checkpoint: Checkpoint) -> Answers:
    cells = [cell for cell in comparison.cells if cell.checkpoint == checkpoint]
    labels = max((cell.labels for cell in cells), key=comparison.labels.index)
    cell, chosen = _choose(comparison, [cell for cell in cells if cell.labels == labels])
    headline = f"{cell.arm} reaches {_percent(cell.mean)} with {count(cell.labels)} labels."
    missing = (
        "there is no supervised arm" if comparison.reference is None else "nothing stands beside the supervised arm"
    )
    why = f"What the unlabeled images bought can't be said: {missing} with the same labels and seeds."
    return Answers(headline, why, chosen, [_cost(comparison, cell)])


def _choose(comparison: Comparison, cells: Sequence[Cell]) -> tuple[Cell, str]:
    """The arm that stands for all, and why it does."""
    if len(cells) == 1:
        return cells[0], ""
    name = f"{cells[0].checkpoint}/val_accuracy"
    scores = [[run.scores[name] for run in _runs(comparison, cell) if name in run.scores] for cell in cells]
    if all(scores):
        best = max(range(len(cells)), key=lambda k: mean(scores[k]))
        by = "by validation accuracy" + (", not by test" if comparison.score == "test_accuracy" else "")
        return cells[best], f"Chosen from {len(cells)} strategies {by}."
    chosen = max(cells, key=lambda cell: cell.mean)
    return chosen, f"The highest of {len(cells)} strategies, and so flattered by chance."


def _headline(comparison: Comparison, cell: Cell) -> str:
    d, other = cell.difference, comparison.cell(str(comparison.reference), cell.labels, cell.checkpoint)
    assert d and other
    pool = comparison.score.removesuffix("_accuracy")
    with_labels = f"With {count(cell.labels)} labels, {cell.arm}"
    levels = f"{_percent(cell.mean)} instead of {_percent(other.mean)} accuracy on {pool}"
    if abs(d.mean) < 0.0005:
        return f"{with_labels} is as accurate as {comparison.reference}: {levels}."
    if d.mean < 0 and (d.t.low is None or _sign(d.t) == 0):
        return f"{with_labels} has no proven gain over {comparison.reference} yet: {levels}."
    verb = "gains" if d.mean > 0 else "loses"
    return f"{with_labels} {verb} {100 * abs(d.mean):.1f} points over {comparison.reference}: {levels}."


def _interval(cell: Cell) -> str:
    d = cell.difference
    assert d
    seeds = f"{len(d.seeds)} seed{'s' * (len(d.seeds) > 1)}"
    if d.t.low is None or d.t.high is None:
        return f"There is no interval for this difference: {d.t.reason}."
    verdict = {1: "all of it above zero", -1: "all of it below zero", 0: "zero lies inside, so it may be chance"}[
        _sign(d.t)
    ]
    return f"95 % interval of the difference: {_ends(d.t)} points, paired over {seeds}; {verdict}."


def _worth(comparison: Comparison, cell: Cell) -> Answer:
    d, worth = cell.difference, cell.efficiency
    assert d
    question, said = "What did the unlabeled images buy?", f"{signed(d.mean)} points"
    if worth is None or worth.labels is None or worth.factor is None:
        return Answer(
            question, said, [f"In labels it can't be said: {worth.reason}."] if worth and worth.reason else []
        )
    if worth.relation == "<":  # than the fewest that were compared, whose factor says nothing
        labels = f"fewer than {worth.labels:,.0f} labels"
        return Answer(question, said, [f"{comparison.reference} is as accurate with {labels}."])
    about, times = ("more than ", "more than ") if worth.relation == ">" else ("about ", "")
    labels = f"{comparison.reference} would need {about}{worth.labels:,.0f} labels for the same accuracy"
    return Answer(question, said, [f"{labels}, {times}{worth.factor:.1f} times as many."])


def _classes(comparison: Comparison, cell: Cell, gains: Sequence[Gain]) -> list[Answer]:
    mine = sorted((g for g in gains if (g.arm, g.labels) == (cell.arm, cell.labels)), key=lambda gain: -gain.mean)
    if not mine:
        return []
    up = [gain for gain in mine if gain.mean >= _LEAST_GAIN]
    down = [gain for gain in reversed(mine) if gain.mean <= -_LEAST_GAIN]
    more = [f"{verb} most: {_named(gains)}." for verb, gains in (("Gain", up), ("Lose", down)) if gains]
    said = f"{len(up)} of {len(mine)} gain, {len(down)} lose"
    return [Answer("For which classes?", said, [*more, f"Means over seeds; {measured_on(comparison)}."])]


def _named(gains: Sequence[Gain]) -> str:
    return ", ".join(f"{gain.name} ({signed(gain.mean)})" for gain in gains[:_NAMED])


def _cost(comparison: Comparison, cell: Cell) -> Answer:
    runs, question = _runs(comparison, cell), "At what cost?"
    seconds, images = mean(run.seconds for run in runs), _images(runs)
    more = []
    if images is not None and comparison.network:
        flops = _with_prefix(training_flops(comparison.network, images))
        more.append(f"{images:,.0f} images a run, at least {flops} of computation.")
    its = [run for run in comparison.runs if (run.arm, run.labels) == (comparison.reference, cell.labels)]
    if not its or cell.arm == comparison.reference:
        return Answer(question, f"{seconds:,.0f} seconds a run", more)
    base, base_images = mean(run.seconds for run in its), _images(its)
    said = f"{seconds / base:.1f} times the training time" if base else f"{seconds:,.0f} seconds a run"
    more.insert(0, f"{seconds:,.1f} seconds a run instead of {base:,.1f}.")
    if images and base_images:
        more.insert(1, f"{images / base_images:.1f} times the images in {runs[0].steps:,} steps.")
    return Answer(question, said, more)


def _images(runs: Sequence[RunRecord]) -> float | None:
    images = [run.images for run in runs if run.images is not None]
    return mean(images) if images else None


def _belief(comparison: Comparison, cell: Cell, compared: int) -> Answer:
    d = cell.difference
    assert d
    n, more = len(d.seeds), []
    if d.t.low is None:
        said = "Not yet: no interval"
    else:
        said = {1: "The interval excludes zero", -1: "The loss is beyond chance", 0: "Not yet: zero is inside"}[
            _sign(d.t)
        ]
    better = sum(value > 0 for value in d.values)
    more.append(
        f"{better} of {n} seed{'s' * (n > 1)} {'is' if better == 1 else 'are'} better than {comparison.reference}."
    )
    if cell.checkpoint == "best":
        last = comparison.cell(cell.arm, cell.labels, "last")
        if last and last.difference:
            ends = f" [{_ends(last.difference.t)}]" if last.difference.t.low is not None else ""
            more.append(f"At the last checkpoint: {signed(last.difference.mean)} points{ends}.")
    if compared > 1:
        more.append(f"{compared} differences stand on this page; one in 20 such intervals misses the truth by chance.")
    return Answer("Can I believe it?", said, more)


def _runs(comparison: Comparison, cell: Cell) -> list[RunRecord]:
    return [run for run in comparison.runs if (run.arm, run.labels) == (cell.arm, cell.labels)]


def _sign(interval: Interval) -> int:
    """1 where an interval lies above zero, -1 below, 0 around it."""
    assert interval.low is not None and interval.high is not None
    return 1 if interval.low > 0 else -1 if interval.high < 0 else 0


def _ends(interval: Interval) -> str:
    assert interval.low is not None and interval.high is not None
    return f"{signed(interval.low)} to {signed(interval.high)}"


def _with_prefix(flops: float) -> str:
    exponent, prefix = next(((e, p) for e, p in ((18, "E"), (15, "P"), (12, "T")) if flops >= 10**e), (9, "G"))
    return f"{float(f'{flops / 10**exponent:.2g}'):,g} {prefix}FLOP"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def signed(difference: float) -> str:
    """A difference of accuracies in percentage points, with a sign."""
    return f"{100 * difference:+.1f}".replace("-", "−")  # noqa: RUF001 - a minus


def count(labels: int | None) -> str:
    """A number of labels in a sentence."""
    return "all" if labels is None else f"{labels:,}"
