"""`semisup dashboard`: a W&B workspace and a report of what the runs of a dataset logged.

python -m semisup dashboard
python -m semisup dashboard runs/digits --project semisup --mode offline
"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from semisup import plugins
from semisup.cli import add_output
from semisup.errors import require
from semisup.escape import nearby, shell

if TYPE_CHECKING:
    from semisup.dashboard.build import Dashboard
    from semisup.dashboard.panels import Section
    from semisup.dashboard.runs import Logged

_OUT = Path("runs/dashboard")


def add_options(parser: ArgumentParser) -> None:
    """The verb's options."""
    add = parser.add_argument
    add("runs", nargs="*", metavar="RUN", help="run directories, or folders that hold some (default: runs)")
    add("--project", metavar="NAME", help="W&B project (default: that of the runs)")
    add("--entity", metavar="NAME", help="W&B user or team (default: that of the runs, or your own)")
    add(
        "--mode",
        choices=("auto", "online", "offline"),
        default="auto",
        help="auto saves on the server where you are logged in and it answers; offline only writes files",
    )
    add_output(parser, "DIR", f"where to write workspace.json and report.json (default: {_OUT}/DATA)")


def run(request: Namespace) -> None:
    """Writes the workspace and the report as JSON, and saves them on the server, or says how to do so later.

    Raises:
        InputError: there is nothing to show, a package is missing, or the server fails that `--mode online` asked for.
    """
    needed = "semisup dashboard needs wandb-workspaces; type: pip install 'semisup[dashboard]'"
    require(find_spec("wandb_workspaces") is not None, needed)
    why_offline = _why_offline(request.mode)

    from semisup.dashboard import build, runs, upload
    from semisup.runs.directory import find_runs, write_atomically
    from semisup.runs.paths import local, output_folder
    from semisup.runtime.console import say
    from semisup.tracking import login

    logged = runs.read(find_runs([local(path) for path in request.runs or ["runs"]]))
    dashboard = _dashboard(request, logged)
    view, document = build.workspace(dashboard), build.report(dashboard)
    written = {"workspace.json": build.as_json(view), "report.json": build.as_json(document)}
    with output_folder(request.out or _OUT / dashboard.data, [*written], request.force, bool(request.out)) as out:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in written.items():
            write_atomically(out / name, text)
            say(os.path.relpath(out / name))
    if not why_offline:
        try:
            for name, url in zip(("workspace", "report"), upload.save(view, document), strict=True):
                say(f"{name}: {url}")
        except Exception as error:  # whatever W&B raises
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            why_offline = f"{login.base_url()} fails ({reason})"
            require(request.mode != "online", f"--mode online: {why_offline}")
    _advise(request, logged, why_offline)


def _why_offline(mode: str) -> str:
    """Why nothing can be saved on the server, or nothing.

    Raises:
        InputError: it must be.
    """
    from semisup.tracking import login

    url, reason = login.base_url(), ""
    if mode == "offline":
        return "--mode offline"
    if not login.logged_in():
        reason = f"not logged in to {url}"
    elif not login.reachable(url):
        reason = f"{url} can't be reached"
    require(not reason or mode != "online", f"--mode online: {reason}; type: wandb login, or --mode auto")
    return reason


def _dashboard(request: Namespace, logged: Sequence[Logged]) -> Dashboard:
    from semisup.dashboard.build import Dashboard, Group
    from semisup.dashboard.differences import differences
    from semisup.dashboard.runs import only

    groups: dict[str, list[Logged]] = {}
    for one in logged:
        groups.setdefault(one.group, []).append(one)
    return Dashboard(
        project=request.project or only((one.project for one in logged), "W&B projects", "type --project {}"),
        entity=request.entity or only((one.entity or "" for one in logged), "W&B users or teams", "type --entity NAME"),
        data=only((one.run.data for one in logged), "datasets", "type the runs of one of them, such as runs/{}"),
        sections=_sections(logged),
        groups={name: Group(_sections(runs), differences(runs)) for name, runs in groups.items()},
    )


def _sections(runs: Sequence[Logged]) -> list[Section]:
    """What is shown of what runs logged, and of what their strategies bring."""
    from semisup.dashboard.panels import shown

    brought = plugins.presentations(name for one in runs for name in plugins.split_names(one.run.strategy))
    return shown((name for one in runs for name in one.names), brought.values())


def _advise(request: Namespace, logged: Sequence[Logged], why_offline: str) -> None:
    """What to type so that the server has the runs, and the dashboard of them."""
    from semisup.runtime.console import say, typed
    from semisup.tracking import login

    offline = [nearby(folder) for one in logged for folder in one.not_uploaded]
    steps = [] if login.logged_in() else ["wandb login"]
    steps += [f"wandb sync {shell(*offline)}"] if offline else []
    if why_offline:
        options = [f"--{name}={value}" for name in ("project", "entity", "out") if (value := getattr(request, name))]
        steps += [typed("dashboard", *map(Path, request.runs), *options)]
        say(f"W&B: {why_offline}, so nothing is saved there; later:")
    elif offline:
        say(f"W&B: {len(offline)} of the runs were logged offline, and show when they are uploaded:")
    for step in steps if why_offline or offline else []:
        say(f"  {step}")
