"""What the page's charts draw: the statistics of a comparison as series of points, ready to be written as JSON.

A chart is `{"kind", "x", "y", "series", ...}`, read by `charts.js`. A series belongs to an arm, and to a number of
labels, a checkpoint or a quantity where these can be chosen; its points are columns: `x`, `y`, and where there are any
`low` and `high` (an interval or a spread), `dots` (single seeds) and `at` (the number of labels of each point).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from semisup.compare.page.classes import Gain
from semisup.compare.record import Cell, Comparison, Network, RunRecord
from semisup.runs.statistics import mean

Chart = dict[str, Any]
_POINTS = 150  # of a curve; more can't be told apart on a screen
_DIGITS = 5
FLOPS = "floating-point operations, at least"


def key(labels: int | None) -> str:
    """A number of labels as the page's filter knows it."""
    return "all" if labels is None else str(labels)


def charts(comparison: Comparison, gains: Sequence[Gain]) -> dict[str, Chart]:
    """All charts by name, those without anything to draw left out.

    Args:
        comparison: what was found.
        gains: of the classes, as `classes.gains` gives them.
    """
    made = {
        "gain": _gain(comparison),
        "accuracy": _accuracy(comparison),
        "classes": _classes(gains),
        "curves": _curves(comparison),
        "rounds": _rounds(comparison),
        "balance": _balance(comparison),
        "confidence": _confidence(comparison),
        "calibration": _calibration(comparison),
        "cost": _cost(comparison),
    }
    return {name: chart for name, chart in made.items() if chart["series"]}


def groups(comparison: Comparison) -> list[tuple[str, int | None, list[RunRecord]]]:
    """Arm, labels and the runs of both, in the order in which all is shown."""
    every = [
        (arm.name, labels, [run for run in comparison.runs if (run.arm, run.labels) == (arm.name, labels)])
        for labels in comparison.labels
        for arm in comparison.arms
    ]
    return [group for group in every if group[2]]


def _gain(comparison: Comparison) -> Chart:
    series = []
    for cell in sorted(comparison.cells, key=lambda cell: comparison.labels.index(cell.labels)):
        if d := cell.difference:
            one = _of(cell) | {"x": [_row(cell.arm, cell.labels)], "y": [d.mean], "dots": [d.values]}
            one |= {"low": [d.t.low], "high": [d.t.high]} if d.t.low is not None else {"note": d.t.reason}
            series.append(one)
    return {"kind": "rows", "y": _axis("difference in accuracy, percentage points", "points"), "series": series}


def _accuracy(comparison: Comparison) -> Chart:
    series: dict[tuple[str, str], dict[str, Any]] = {}
    for cell in sorted(comparison.cells, key=lambda cell: comparison.labels.index(cell.labels)):
        if cell.labels is None:  # has no place on the axis
            continue
        one = series.setdefault(
            (cell.arm, cell.checkpoint),
            {"arm": cell.arm, "checkpoint": cell.checkpoint, "x": [], "y": [], "low": [], "high": [], "at": []},
        )
        sd = cell.sd or 0.0
        point = {
            "x": cell.labels,
            "y": cell.mean,
            "low": cell.mean - sd,
            "high": cell.mean + sd,
            "at": key(cell.labels),
        }
        for name, value in point.items():
            one[name].append(value)
    y = _axis(f"accuracy on {comparison.score.removesuffix('_accuracy')}", "percent")
    return {"kind": "lines", "x": _axis("labels", "count", log=True), "y": y, "series": [*series.values()]}


def _classes(gains: Sequence[Gain]) -> Chart:
    series: dict[tuple[str, int | None], dict[str, Any]] = {}
    for gain in gains:
        one = series.setdefault((gain.arm, gain.labels), _tags(gain.arm, gain.labels) | {"x": [], "y": [], "dots": []})
        one["x"].append(gain.name)
        one["y"].append(gain.mean)
        one["dots"].append(gain.values)
    y = _axis("difference in accuracy of the class, percentage points", "points")
    return {"kind": "rows", "y": y, "choose": ["labels"], "order": "value", "series": [*series.values()]}


def _curves(comparison: Comparison) -> Chart:
    """Every curve as the mean over seeds, and the lowest and the highest seed."""
    series = []
    for arm, labels, runs in groups(comparison):
        for name in dict.fromkeys(name for run in runs for name in run.curves if name not in ("epoch", "step")):
            by_epoch: dict[float, list[float]] = {}
            for run in runs:
                values = run.curves.get(name, [])
                for epoch, value in zip(run.curves["epoch"][: len(values)], values, strict=True):
                    if epoch is not None and value is not None:
                        by_epoch.setdefault(epoch, []).append(value)
            if points := _thinned(sorted(by_epoch.items())):
                one = _tags(arm, labels) | {"quantity": name, "x": [epoch for epoch, _ in points]}
                one |= {"y": [mean(values) for _, values in points]}
                one |= {"low": [min(values) for _, values in points], "high": [max(values) for _, values in points]}
                series.append(one)
    series.sort(key=lambda one: (one["quantity"] != "val/accuracy", not one["quantity"].startswith("val/")))
    formats = {one["quantity"]: "percent" for one in series if one["quantity"] in ("val/accuracy", "val/ece")}
    return {
        "kind": "lines",
        "x": _axis("epochs", "count"),
        "y": _axis("", "number") | {"formats": formats},
        "choose": ["quantity", "labels"],
        "series": series,
    }


def _rounds(comparison: Comparison) -> Chart:
    """Images that were given a label in each round, and the share of them that is right."""
    series = []
    for arm, labels, runs in groups(comparison):
        numbers = range(max(len(run.rounds) for run in runs))
        for quantity in ("precision", "images given a label"):
            points = []
            for number in numbers:
                there = [run.rounds[number] for run in runs if number < len(run.rounds)]
                quantities = (one.precision if quantity == "precision" else sum(one.images.values()) for one in there)
                if values := [value for value in quantities if value is not None]:
                    points.append((number + 1, values))
            if points:
                one = _tags(arm, labels) | {"quantity": quantity, "x": [x for x, _ in points]}
                one |= {"y": [mean(values) for _, values in points]}
                one |= {"low": [min(values) for _, values in points], "high": [max(values) for _, values in points]}
                series.append(one)
    series.sort(key=lambda one: one["quantity"] != "precision")
    return {
        "kind": "lines",
        "x": _axis("round", "count"),
        "y": _axis("", "count") | {"formats": {"precision": "percent"}},
        "choose": ["quantity", "labels"],
        "series": series,
    }


def _balance(comparison: Comparison) -> Chart:
    """The share of each class in the last round's labels."""
    series = []
    for arm, labels, runs in groups(comparison):
        last = [run.rounds[-1].images for run in runs if run.rounds and sum(run.rounds[-1].images.values())]
        if last:
            names = list(last[0])
            shares = [[images.get(name, 0) / sum(images.values()) for images in last] for name in names]
            means = [mean(values) for values in shares]
            series.append(_tags(arm, labels) | {"x": names, "y": means, "dots": shares})
    y = _axis("share of the last round's labels", "percent") | {"line": 1 / max(1, len(comparison.class_names))}
    return {"kind": "rows", "mark": "bar", "y": y, "choose": ["labels"], "order": "given", "series": series}


def _confidence(comparison: Comparison) -> Chart:
    """The share of the unlabeled pool in each bin of confidence, in the last round."""
    series = []
    for arm, labels, runs in groups(comparison):
        last = [run.rounds[-1].confidence for run in runs if run.rounds and run.rounds[-1].confidence]
        if last:
            bins = len(last[0])
            names = [f"{100 * k // bins} to {100 * (k + 1) // bins} %" for k in range(bins)]
            shares = [[one[k] for one in last if len(one) == bins] for k in range(bins)]
            means = [mean(values) for values in shares]
            series.append(_tags(arm, labels) | {"x": names, "y": means, "dots": shares})
    y = _axis("share of the unlabeled images", "percent")
    return {"kind": "rows", "mark": "bar", "y": y, "choose": ["labels"], "order": "given", "series": series}


def _calibration(comparison: Comparison) -> Chart:
    series = []
    for arm, labels, runs in groups(comparison):
        for checkpoint in ("best", "last"):
            values = [run.calibration[name] for run in runs if (name := f"{checkpoint}/val") in run.calibration]
            if values:
                one = _tags(arm, labels) | {"checkpoint": checkpoint, "x": [_row(arm, labels)]}
                series.append(one | {"y": [mean(values)], "dots": [values]})
    y = _axis("expected calibration error on validation images", "percent") | {"zero": True}
    return {"kind": "rows", "y": y, "series": series}


def _cost(comparison: Comparison) -> Chart:
    """Accuracy against what a run cost: seconds, images and, of one view an image, floating-point operations."""
    series = []
    for cell in comparison.cells:
        runs = [run for run in comparison.runs if (run.arm, run.labels) == (cell.arm, cell.labels)]
        costs = {"seconds": mean(run.seconds for run in runs)}
        images = [run.images for run in runs if run.images is not None]
        if images:
            costs["images seen"] = mean(images)
            if comparison.network:
                costs[FLOPS] = training_flops(comparison.network, costs["images seen"])
        for quantity, cost in costs.items():
            one = _of(cell) | {"quantity": quantity, "x": [cost], "y": [cell.mean], "dots": [cell.values]}
            sd = cell.sd or 0.0
            series.append(one | {"low": [cell.mean - sd], "high": [cell.mean + sd]})
    y = _axis(f"accuracy on {comparison.score.removesuffix('_accuracy')}", "percent")
    x = _axis("", "count") | {"zero": True}
    return {"kind": "lines", "mark": "scatter", "x": x, "y": y, "choose": ["quantity"], "series": series}


def training_flops(network: Network, images: float) -> float:
    """Floating-point operations of training on so many images, one view of each: forward once, backward twice that."""
    return 3.0 * network.forward_flops * images


def _axis(title: str, form: str, log: bool = False) -> dict[str, Any]:
    return {"title": title, "format": form} | ({"log": True} if log else {})


def _tags(arm: str, labels: int | None) -> dict[str, Any]:
    return {"arm": arm, "labels": key(labels)}


def _of(cell: Cell) -> dict[str, Any]:
    return _tags(cell.arm, cell.labels) | {"checkpoint": cell.checkpoint}


def _row(arm: str, labels: int | None) -> str:
    return f"{arm}, {'all' if labels is None else f'{labels:,}'}"


def _thinned(points: list[tuple[float, list[float]]]) -> list[tuple[float, list[float]]]:
    """Every second point, or every third, and so on, up to the last."""
    return points[::-1][:: -(-len(points) // _POINTS)][::-1] if points else []


def rounded(value: Any) -> Any:
    """The same, every fraction to five significant digits: what a screen can show."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, dict):
        return {name: rounded(inner) for name, inner in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [rounded(inner) for inner in value]
    return value
