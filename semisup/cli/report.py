"""`semisup report`: what runs came to, to be handed in: LaTeX, HTML and Markdown of the same content.

python -m semisup report runs/digits/supervised/* runs/digits/pseudolabel/*
python -m semisup report RUN --out hand-in
"""

from __future__ import annotations

import os
import re
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from semisup.cli import add_may_differ, add_output
from semisup.errors import require
from semisup.escape import shell
from semisup.runs.paths import local

if TYPE_CHECKING:
    from collections.abc import Sequence

    from semisup.presentation import Figure
    from semisup.report.arms import Arm
    from semisup.report.content import Picture
    from semisup.report.sections import Pictures


def add_options(parser: ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run directory; those of other seeds are averaged")
    add_output(parser, "DIR", "where to write (default: RUN/report; report, of several runs)")
    add_may_differ(parser)
    parser.add_argument(
        "--data.root", dest="root", type=local, metavar="DIR", help="where the data is, if it has moved"
    )


def run(request: Namespace) -> None:
    """Writes `report.tex`, `report.html`, `report.md` and the figures, and says where.

    Raises:
        InputError: something is not a run, has no metrics, or several runs can't be compared with each other.
    """
    import torch

    from semisup.cli.figures import captions, open_data, patterns
    from semisup.compare.choose import choose
    from semisup.figures.artifacts import RunArtifacts
    from semisup.report.arms import arms
    from semisup.report.html import html
    from semisup.report.latex import latex
    from semisup.report.markdown import markdown
    from semisup.report.sections import report
    from semisup.runs.directory import write_atomically
    from semisup.runs.paths import output_folder
    from semisup.runtime.console import say

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    given = [RunArtifacts(local(path), lambda path: open_data(path, request.root), device) for path in request.runs]
    for one in given:
        named, directory = one.path.resolve(), one.run.directory
        require(named == directory.resolve(), f"{one.path} is a part of a run; type {shell(directory)}")
    artifacts = list({one.run.directory.resolve(): one for one in given}.values())  # a run named twice is one
    if len(artifacts) > 1:
        kept, _ = choose({one.run.directory: True for one in artifacts}, Path(), request.may_differ)
        compared = {one.run.directory for one in kept}
        artifacts = [one for one in artifacts if one.run.directory in compared]
    usual = artifacts[0].run.directory / "report" if len(artifacts) == 1 else "report"
    names = [f"report.{kind}" for kind in ("tex", "html", "md")]
    names += [name for folder in ("figures/", "figures/*/") for name in patterns(folder, captions())]
    with output_folder(request.out or usual, names, request.force, asked=bool(request.out)) as out:
        groups = arms(artifacts)
        content = report(groups, _draw(groups, out))
        for name, text in (("tex", latex(content)), ("html", html(content, out)), ("md", markdown(content))):
            path = out / f"report.{name}"
            write_atomically(path, text)
            say(os.path.relpath(path))


def _draw(arms: Sequence[Arm], out: Path) -> Pictures:
    """Draws the curves of all runs, and every other figure of an example of each arm.

    Of figures that are the same for several arms, such as those of the data, only the first one is kept.
    """
    from semisup import figures
    from semisup.cli.figures import draw
    from semisup.report.sections import Pictures

    out.mkdir(parents=True, exist_ok=True)
    for arm in arms:
        for one in arm.artifacts:
            one.title = arm.name if len(arm.artifacts) == 1 else f"{arm.name}, seed {one.run.seed}"
    curves = figures.CURVES
    drawn, left_out = draw(out / "figures", {curves.name: curves}, [one for arm in arms for one in arm.artifacts])
    reasons = {"all runs": {name: why for why, names in left_out.items() for name in names}} if left_out else {}
    together = [_picture(path, curves, out) for path in drawn.get(curves.name, [])]
    pictures: dict[str, list[Picture]] = {}
    seen: set[bytes] = set()
    for number, arm in enumerate(arms, 1):
        slug = re.sub(r"\W+", "-", arm.name, flags=re.ASCII).strip("-")
        folder, run = out / "figures" / f"{number}-{slug}", arm.example
        mine = figures.of_run(run)
        drawn, left_out = draw(folder, mine, run, f"{arm.name}: " if len(arms) > 1 else "")
        for name, paths in drawn.items():
            for path in paths:
                image = path.read_bytes()
                if image not in seen:
                    seen.add(image)
                    pictures.setdefault(arm.name, []).append(_picture(path, mine[name], out, arm.name))
        reasons[arm.name] = {name: why for why, names in left_out.items() for name in names}
    return Pictures(together[0] if together else None, pictures, reasons)


def _picture(path: Path, figure: Figure, out: Path, whose: str = "") -> Picture:
    """The figure in a PNG file, with what it shows as caption."""
    from semisup.report.content import Picture

    part = re.sub(r"^-(\d+-)?|(?<=[a-z])(?=\d+$)", " ", path.stem.removeprefix(figure.name))  # embedding-1-pooling1
    caption = f"{figure.caption},{part}" if part else figure.caption
    return Picture(f"{caption} ({whose})" if whose else caption, path.relative_to(out).with_suffix("").as_posix())
