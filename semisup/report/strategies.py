"""What a report says of single strategies, as far as these bring it (semisup/presentation.py)."""

from __future__ import annotations

from collections.abc import Sequence

from semisup import plugins
from semisup.errors import InputError
from semisup.presentation import Presentation, resolve
from semisup.report.arms import Arm
from semisup.report.content import Block, Section, table
from semisup.runs.statistics import over_seeds


def strategies(arms: Sequence[Arm], left_out: dict[str, dict[str, str]]) -> Section:
    """A section for every arm whose strategies have something to tell.

    Args:
        arms: all of the report.
        left_out: name of the arm -> what is missing -> why; what can't be told is added.
    """
    names = {arm.name: plugins.split_names(arm.strategy) for arm in arms}
    brought = plugins.presentations(name for parts in names.values() for name in parts)
    sections = []
    for arm in arms:
        blocks: list[Block] = []
        for name in names[arm.name]:
            try:
                blocks += _told(arm, brought.get(name, Presentation()))
            except InputError as error:
                left_out.setdefault(arm.name, {})[f"what {name} tells"] = str(error)
        if blocks:
            sections.append(Section(arm.name, tuple(blocks)))
    return Section("Strategies", tuple(sections))


def _told(arm: Arm, brought: Presentation) -> list[Block]:
    rows = []
    for metric, what in brought.summary.items():
        values = [run.last(metric) for run in arm.runs if run.finished]
        if known := [value for value in values if value is not None]:
            rows.append((what, over_seeds(known, ".4g")))
    several = ", mean ± standard deviation over seeds" * (len(arm.runs) > 1)
    summary = [table(f"What {arm.name} logged last{several}", ("", "value"), rows)] if rows else []
    own = resolve(brought.report)([*arm.artifacts]) if brought.report else []
    return [*summary, *own]
