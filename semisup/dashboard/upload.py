"""The only part of the dashboard that speaks to W&B's server."""

from __future__ import annotations

import wandb
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

from semisup.errors import require


def save(view: ws.Workspace, document: wr.Report) -> tuple[str, str]:
    """Saves both as new ones, for W&B's default user or team where they name none, and makes the project if need be.

    Returns:
        The addresses of the workspace and of the report.

    Raises:
        InputError: the server names no default user or team.
        Exception: whatever else W&B raises where the server is not there or refuses.
    """
    wandb.setup(wandb.Settings(silent=True))  # else it says the addresses as well
    entity = view.entity or wandb.Api().default_entity
    require(bool(entity), "W&B names no default user or team; type --entity NAME")
    view.entity = document.entity = str(entity)
    document.save()  # makes the project
    view.save()
    return view.url, document.url
