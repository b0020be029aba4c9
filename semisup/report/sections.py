"""The content of a report, from runs and the pictures that were drawn of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from semisup import plugins
from semisup.errors import InputError
from semisup.models.adapt import trained_parameters
from semisup.plugins import source
from semisup.report.appendix import configuration, environment, missing
from semisup.report.arms import Arm
from semisup.report.content import NONE, Block, Code, Picture, Report, Section, listed, paragraph, table
from semisup.report.layers import layers, times
from semisup.report.results import results, summary
from semisup.report.strategies import strategies
from semisup.runs.run import Run
from semisup.runs.statistics import over_seeds


@dataclass(frozen=True)
class Pictures:
    """What was drawn.

    Attributes:
        curves: of all runs; None where they could not be drawn.
        of_arms: name of the arm -> its figures, which are of `Arm.example`.
        left_out: name of the arm -> figure -> why it is missing; the curves are those of `all runs`.
    """

    curves: Picture | None
    of_arms: dict[str, list[Picture]]
    left_out: dict[str, dict[str, str]]


def report(arms: Sequence[Arm], pictures: Pictures) -> Report:
    """The report of some arms.

    Args:
        arms: as `semisup.report.arms.arms` groups them.
        pictures: what was drawn of them.
    """
    runs = [run for arm in arms for run in arm.runs]
    dates = sorted(block["date"][:10] for run in runs for block in run.environment if "date" in block)
    names = list(dict.fromkeys(arm.strategy for arm in arms))
    left_out = {name: dict(reasons) for name, reasons in pictures.left_out.items()}
    sections = [
        _summary(arms, runs),
        _data(arms, left_out),
        _model(arms, left_out),
        _training(arms, pictures.curves),
        results(arms),
        strategies(arms, left_out),
        _pictures(arms, pictures),
        configuration(arms),
        environment(runs),
        missing(left_out),
    ]
    title = f"Semi-supervised image classification on {runs[0].data}: {listed(names)}"
    return Report(title, dates[-1] if dates else "", tuple(section for section in sections if section.blocks))


def _summary(arms: Sequence[Arm], runs: Sequence[Run]) -> Section:
    told = listed(f"{arm.name} (seed{'s' * (len(arm.runs) > 1)} {listed(_seeds(arm))})" for arm in arms)
    text = f"This report is of {len(runs)} run{'s' * (len(runs) > 1)} on {runs[0].data}: {told}."
    return Section("Summary", (paragraph(text), *summary(arms)))


def _data(arms: Sequence[Arm], left_out: dict[str, dict[str, str]]) -> Section:
    blocks: list[Block] = [paragraph(_described(plugins.DATAMODULES, arms[0].runs[0].data))]
    by_rows: dict[tuple[tuple[str, str], ...], list[str]] = {}
    classes: tuple[str, ...] = ()
    for arm in arms:
        try:
            data = arm.example.data
            pools, spec, classes = data.pools, data.spec, data.spec.class_names
        except InputError as error:
            left_out.setdefault(arm.name, {})["numbers of images"] = str(error)
            continue
        sizes = {
            "labeled": pools.labeled,
            "unlabeled": pools.without_label,
            "validation": pools.val,
            "test": pools.test,
        }
        rows = [(name, f"{len(pool):,}" if pool else "0") for name, pool in sizes.items()]
        if pools.labeled_in_unlabeled:
            rows.append(("labeled, served among the unlabeled ones too", f"{pools.labeled_in_unlabeled:,}"))
        if pools.left_out:
            rows.append(("unlabeled, left out as they are validation or test images too", f"{pools.left_out:,}"))
        rows += [("classes", str(len(classes))), ("channels", str(spec.channels))]
        rows.append(("height and width in pixels", str(spec.image_size)))
        by_rows.setdefault(tuple(rows), []).append(arm.name)
    if classes:
        blocks.append(paragraph(f"The classes are {listed(classes)}."))
    if any(arm.options.get("data.labels_per_class") is not None for arm in arms):
        blocks.append(paragraph("The seed of a run chooses which images are labeled."))
    for numbers, names in by_rows.items():
        blocks.append(table(f"Images of {arms[0].runs[0].data}{_of(names, arms)}", ("", "number"), numbers))
    return Section("Data and splits", tuple(blocks))


def _model(arms: Sequence[Arm], left_out: dict[str, dict[str, str]]) -> Section:
    blocks: list[Block] = []
    tables: dict[tuple[str, tuple[tuple[str, ...], ...]], list[str]] = {}
    for arm in arms:
        try:
            module = arm.example.module
        except InputError as error:
            left_out.setdefault(arm.name, {})["model"] = str(error)
            continue
        rows_of = layers(module)
        rows = [(Code(x.name), x.kind, times(x.shape), f"{x.parameters:,}") for x in rows_of]
        rows.append((Code(""), "in all", "", f"{sum(x.parameters for x in rows_of):,}"))
        if module.network.frozen:
            rows.append((Code(""), "trained", "", f"{trained_parameters(module.network):,}"))
        average = f" A moving average of its weights, of decay {module.ema.decay:g}, evaluates." if module.ema else ""
        normalization = module.network.normalization.kind
        backbone = _described(plugins.BACKBONES, module.backbone_name)
        text = (
            f"{module.backbone_name}: {backbone} A linear layer follows. Normalisation of the input: {normalization}."
        )
        tables.setdefault((f"{text}{average}", tuple(rows)), []).append(arm.name)
    for (text, listing), names in tables.items():
        header = ("layer", "kind", "output", "parameters")
        caption = f"Layers in the order that an image passes them, and parameters{_of(names, arms)}"
        blocks += [paragraph(text), table(caption, header, listing)]
    return Section("Model", tuple(blocks))


def _training(arms: Sequence[Arm], curves: Picture | None) -> Section:
    blocks: list[Block] = []
    for name in dict.fromkeys(name for arm in arms for name in plugins.split_names(arm.strategy)):
        blocks.append(paragraph(Code(name), f": {_described(plugins.STRATEGIES, name)}"))
    by_text: dict[str, list[str]] = {}
    for arm in arms:
        by_text.setdefault(_recipe(arm), []).append(arm.name)
    for text, names in by_text.items():
        blocks.append(paragraph(f"{listed(names)}: {text}" if len(by_text) > 1 else text))
    header = ("strategy", "epochs", "optimiser steps", "seconds a run")
    rows = [
        (arm.name, _range(r.epochs for r in arm.runs), _range(r.steps for r in arm.runs), _time(arm)) for arm in arms
    ]
    blocks.append(table("Length of the training; seconds are those of training and validation", header, rows))
    return Section("Training", (*blocks, *([curves] if curves else [])))


def _recipe(arm: Arm) -> str:
    """Optimiser, schedule and batch of an arm, from its options."""

    def group(name: str) -> dict[str, Any]:
        own = {key.removeprefix(f"{name}."): x for key, x in arm.options.items() if key.startswith(f"{name}.")}
        return {key: x for key, x in own.items() if key != "name" and x not in (None, False, 0)}

    def settings(name: str) -> str:
        told = [key if x is True else f"{key} {x}" for key, x in group(name).items()]
        return f"{arm.options.get(f'{name}.name', NONE)}{f' ({listed(told)})' if told else ''}"

    batch = arm.options.get("data.batch_size", NONE)
    augmentation = arm.options.get("data.augmentation", NONE)
    with suppress(InputError):  # without the data, what `auto` comes to is not known
        augmentation = arm.example.data.augmentation
    return (
        f"The optimiser is {settings('optimizer')}, the schedule of its learning rate {settings('lr_scheduler')}. "
        f"The loss of labeled images is {arm.options.get('model.loss', 'nll')}, {batch} of which are in a batch; "
        f"their light augmentation is {augmentation}."
    )


def _pictures(arms: Sequence[Arm], pictures: Pictures) -> Section:
    sections = []
    for arm in arms:
        if figures := pictures.of_arms.get(arm.name):
            run = arm.example.run
            text = paragraph("Of the run ", Code(run.name), f", seed {run.seed}, and its best checkpoint.")
            sections.append(Section(arm.name, (text, *figures)))
    again = paragraph("Pictures that are the same as one further above, such as those of the data, are not repeated.")
    return Section("Pictures", (*([again] if len(sections) > 1 else []), *sections))


def _described(group: str, name: str) -> str:
    """The first line of a plugin's documentation; empty where it isn't installed any more."""
    try:
        told = source.describe(plugins.find(group, name).value).summary
    except InputError:
        return ""
    return told if told.endswith(".") else f"{told}."


def _of(names: Sequence[str], arms: Sequence[Arm]) -> str:
    return "" if len(names) == len(arms) else f": {listed(names)}"


def _range(values: Iterable[int | None]) -> str:
    distinct = sorted({value for value in values if value is not None})
    return (
        NONE if not distinct else f"{distinct[0]:,}" if len(distinct) == 1 else f"{distinct[0]:,} to {distinct[-1]:,}"
    )


def _time(arm: Arm) -> str:
    return over_seeds([run.seconds for run in arm.runs if run.seconds is not None], ",.1f", NONE)


def _seeds(arm: Arm) -> list[str]:
    return [str(run.seed) for run in arm.runs]
