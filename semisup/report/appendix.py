"""The end of a report: how it can be done again, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from semisup.report.arms import Arm
from semisup.report.content import Block, Code, Listing, Section, paragraph, table
from semisup.runs.run import Run


def configuration(arms: Sequence[Arm]) -> Section:
    """The options that all arms share, and those of each arm by itself."""
    everyone = [arm.options for arm in arms]
    first, *others = everyone
    shared = {name: x for name, x in first.items() if all(name in o and o[name] == x for o in others)}
    blocks: list[Block] = [
        paragraph("Options that are not set are left out, and so are those that change no result."),
        Listing(_as_yaml(shared)),
    ]
    for arm, options in zip(arms, everyone, strict=True):
        own = {name: x for name, x in options.items() if name not in shared}
        if own:
            blocks += [paragraph(f"In addition, {arm.name}:"), Listing(_as_yaml(own))]
    return Section("Configuration", tuple(blocks))


def _as_yaml(options: dict[str, Any]) -> str:
    tree: dict[str, Any] = {}
    for dotted, value in options.items():
        *groups, name = dotted.split(".")
        if value is not None:
            inner = tree
            for group in groups:
                inner = inner.setdefault(group, {})
            inner[name] = value
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=100).rstrip()


def environment(runs: Sequence[Run]) -> Section:
    """Packages and machine, every value that a run had, and the command lines."""
    facts: dict[str, dict[str, None]] = {}
    commands: dict[str, None] = {}
    for run in runs:
        for block in run.environment:
            for name, value in block.items():
                if name == "command":
                    commands[value] = None
                elif name != "date":
                    facts.setdefault(name, {})[value] = None
    blocks: list[Block] = []
    if facts:
        rows = [(name, "; ".join(values)) for name, values in facts.items()]
        blocks += [table("Where the runs were made", ("", "value"), rows), paragraph("The command lines:")]
        blocks.append(Listing("\n".join(commands)))
    return Section("Environment", tuple(blocks))


def missing(left_out: dict[str, dict[str, str]]) -> Section:
    """What the report would have if there were data for it.

    Args:
        left_out: name of the arm -> what is missing -> why.
    """
    rows = []
    for arm, reasons in left_out.items():
        by_reason: dict[str, list[str]] = {}
        for what, why in reasons.items():
            by_reason.setdefault(why, []).append(what)
        rows += [(arm, ", ".join(whats), why) for why, whats in by_reason.items()]
    text = paragraph("What needs the data can be had with ", Code("--data.root DIR"), " where the data has moved.")
    header = ("strategy", "missing", "because")
    return Section("What is missing", (table("Left out of this report", header, rows), text) if rows else ())
