"""From what is to be shown to wandb-workspaces' own workspace and report, and these as JSON or to the server.

Both are built without a server. The JSON is what would be sent; the package has no public way to ask for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from pydantic import BaseModel

from semisup.dashboard.panels import BY_LABELS, CLASSES, COLUMNS, Section
from semisup.presentation import Panel

_GROUP, _JOB_TYPE = "Group", "JobType"  # W&B's names for what runs are grouped by
_Drawn = wr.LinePlot | wr.BarPlot | wr.ScatterPlot | wr.MediaBrowser
_MAX_RUNS = 50  # lines in a panel of the workspace, where W&B draws 10
_COLUMNS, _WIDTH, _HEIGHT = 3, 24, 8  # of a report's panels; W&B's width of a report, and the height of a row


@dataclass(frozen=True)
class Group:
    """The runs of one number of labels.

    Attributes:
        sections: of what they logged.
        differences: of every class to the supervised arm, as Markdown; empty where there is none.
    """

    sections: Sequence[Section]
    differences: str


@dataclass(frozen=True)
class Dashboard:
    """Everything that is to be shown.

    Attributes:
        project: W&B's.
        entity: W&B's user or team; empty where it isn't known yet.
        data: the dataset.
        sections: of what all runs logged.
        groups: W&B's group, data and labels -> what its runs show.
    """

    project: str
    entity: str
    data: str
    sections: Sequence[Section]
    groups: Mapping[str, Group]


def workspace(dashboard: Dashboard) -> ws.Workspace:
    """A saved view of the project: runs by data and labels, and in them by strategy."""
    sections = []
    for section in dashboard.sections:
        panels: list[wr.interface.PanelTypes] = [_panel(panel) for panel in section.panels]
        if section.name == CLASSES:
            panels += [
                wr.MarkdownPanel(markdown=f"**{name}**\n\n{group.differences}")
                for name, group in dashboard.groups.items()
                if group.differences
            ]
        sections.append(ws.Section(name=section.name, panels=panels, is_open=True))
    there = {name for section in dashboard.sections for panel in section.panels for name in panel.names}
    return ws.Workspace(
        entity=dashboard.entity,
        project=dashboard.project,
        name=f"semisup {dashboard.data}",
        sections=sections,
        settings=ws.WorkspaceSettings(max_runs=_MAX_RUNS),
        runset_settings=ws.RunsetSettings(
            filters=ws.And(ws.Metric(_GROUP).isin([*dashboard.groups])),
            groupby=[ws.Metric(_GROUP), ws.Metric(_JOB_TYPE)],
            pinned_columns=[f"summary:{name}" for name in COLUMNS if name in there],
        ),
    )


def report(dashboard: Dashboard) -> wr.Report:
    """A report: all numbers of labels together, then every group by itself, strategies side by side."""
    blocks: list[wr.interface.BlockTypes] = [wr.TableOfContents()]
    for section in dashboard.sections:
        if section.name == BY_LABELS.name:
            blocks += [wr.H1(section.name), _grid(section, [*dashboard.groups])]
    for name, group in dashboard.groups.items():
        blocks.append(wr.H1(name))
        for section in group.sections:
            if section.name == BY_LABELS.name:
                continue
            blocks += [wr.H2(section.name), _grid(section, [name])]
            if section.name == CLASSES and group.differences:
                blocks.append(wr.MarkdownBlock(group.differences))
    return wr.Report(
        project=dashboard.project,
        entity=dashboard.entity,
        title=f"semisup {dashboard.data}",
        description="Bands and bars are over the seeds of a strategy: mean and standard deviation.",
        blocks=blocks,
        width="fluid",
    )


def as_json(built: ws.Workspace | wr.Report) -> str:
    """What saving it sends: a `View` or a `ReportViewspec` of wandb-workspaces."""
    model: BaseModel = built._to_model()
    return model.model_dump_json(by_alias=True, exclude_none=True, indent=1) + "\n"


def _grid(section: Section, groups: Sequence[str]) -> wr.PanelGrid:
    """The panels of a section, of the runs of some groups, by strategy; pictures are of every run."""
    pictures = all(panel.kind == "pictures" for panel in section.panels)
    runs = wr.Runset(
        name=", ".join(groups),
        filters=ws.And(ws.Metric(_GROUP).isin([*groups])),
        groupby=[] if pictures else [_JOB_TYPE],
    )
    width, panels = _WIDTH // _COLUMNS, []
    for place, panel in enumerate(section.panels):
        row, column = divmod(place, _COLUMNS)
        panels.append(_panel(panel))
        panels[-1].layout = wr.Layout(x=column * width, y=row * _HEIGHT, w=width, h=_HEIGHT)
    return wr.PanelGrid(runsets=[runs], panels=[*panels])


def _panel(panel: Panel) -> _Drawn:
    """One of wandb-workspaces' panels. Lines, bars and points are of what the runs are grouped by."""
    title, names = panel.title, [*panel.metrics]
    y: list[wr.interface.MetricType] = [*names]
    match panel.kind:
        case "line" | "labels":
            pooled = panel.kind == "labels"  # a run is one point: strategies are lines across all groups
            return wr.LinePlot(
                title=title,
                x=panel.x,
                y=y,
                log_x=pooled or None,
                groupby=_JOB_TYPE if pooled else None,
                groupby_aggfunc="mean",
                groupby_rangefunc="stddev",
                smoothing_type="none",
            )
        case "bars":
            return wr.BarPlot(
                title=title, metrics=y, orientation="v", groupby_aggfunc="mean", groupby_rangefunc="stddev"
            )
        case "scatter":
            return wr.ScatterPlot(title=title, x=wr.SummaryMetric(panel.x), y=wr.SummaryMetric(names[0]))
        case "pictures":
            return wr.MediaBrowser(title=title, media_keys=names)
        case _:
            assert_never(panel.kind)
