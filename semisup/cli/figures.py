"""`semisup figures`: the pictures of one or more runs.

python -m semisup figures runs/digits/pseudolabel/20260101-120000-s0
python -m semisup figures RUN RUN --only curves --out pictures
"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from semisup import figures, plugins
from semisup.cli import add_names, add_output
from semisup.errors import InputError, did_you_mean, require
from semisup.figures import CURVES
from semisup.runs.paths import local, output_folder
from semisup.runs.run import Run

if TYPE_CHECKING:
    from semisup.data.datamodule import DataModule
    from semisup.figures.artifacts import RunArtifacts
    from semisup.presentation import Figure


def add_options(parser: ArgumentParser) -> None:
    """The verb's options, and what each figure shows."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run directory, or a checkpoint in one")
    parser.add_argument("--ckpt_path", metavar="FILE", help="of a single RUN, another checkpoint than the best")
    add_output(parser, "DIR", "where to write (default: RUN/figures)")
    add_names(parser, "--only", "NAME,NAME", "these figures alone (default: all that there is data for)")
    parser.add_argument(
        "--data.root", dest="root", type=local, metavar="DIR", help="where the data is, if it has moved"
    )
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.epilog = "figures:\n" + "\n".join(f"  {name:15}{text}" for name, text in captions().items())


def captions() -> dict[str, str]:
    """Every figure that there can be, with the strategies that are installed, and what it shows."""
    brought = plugins.presentations(plugins.installed(plugins.STRATEGIES)).values()
    return {name: one.caption for name, one in (figures.figures_of(brought) | {CURVES.name: CURVES}).items()}


def run(request: Namespace) -> None:
    """Writes every figure as PNG and PDF, and says which were left out, and why.

    Each run's figures go into its own folder `figures`, those of all runs together into the first one's. With `--out`
    all go there, each run's into a folder of its own where there are several.

    Raises:
        InputError: an option is wrong, or there was nothing to draw.
    """
    known, several = captions(), len(request.runs) > 1
    for name in request.only:
        require(name in known, f"there is no figure {name!r}{did_you_mean(name, known)}")
    only = request.only or [*known]
    require(not (request.ckpt_path and several), "--ckpt_path names a checkpoint of one run; type one RUN with it")

    import torch

    from semisup.figures.artifacts import RunArtifacts

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    paths = [local(path) for path in ([request.ckpt_path] if request.ckpt_path else request.runs)]
    runs = [RunArtifacts(path, lambda path: open_data(path, request.root), device) for path in paths]
    names = [name for depth in ("", "*/*/")[: 1 + several] for name in patterns(depth, only)]
    drawn = 0
    with ExitStack() as stack:
        for folder in [request.out] if request.out else dict.fromkeys(one.run.directory / "figures" for one in runs):
            stack.enter_context(output_folder(folder, names, request.force, asked=bool(request.out)))
        out = local(request.out) if request.out else None
        for one in runs:
            folder = out / one.name if out and several else out or one.run.directory / "figures"
            mine = {name: figure for name, figure in figures.of_run(one).items() if name in only}
            drawn += len(draw(folder, mine, one, f"{one.name}: " if several else "")[0])
        if CURVES.name in only:
            drawn += len(draw(out or runs[0].run.directory / "figures", {CURVES.name: CURVES}, runs)[0])
    require(drawn > 0, "there was nothing to draw; the lines above say why")


def patterns(folder: str, names: Iterable[str]) -> list[str]:
    """What the files of figures are called, in a folder of that name or pattern."""
    stems = [stem for name in names for stem in (name, f"{name}-*")]
    return [f"{folder}{stem}.{kind}" for stem in stems for kind in ("png", "pdf")]


def draw(
    folder: Path, wanted: Mapping[str, Figure], of: RunArtifacts | Sequence[RunArtifacts], whose: str = ""
) -> tuple[dict[str, list[Path]], dict[str, list[str]]]:
    """Writes figures by name, and says where they are and which are left out.

    Args:
        folder: where to.
        wanted: name -> figure.
        of: the run, or for the curves all runs.
        whose: what begins the line about those left out.

    Returns:
        The PNG files by the name of the figure, and the names left out by the reason.
    """
    from semisup.figures.style import save
    from semisup.runtime.console import say

    drawn: dict[str, list[Path]] = {}
    left_out: dict[str, list[str]] = {}
    for name, figure in wanted.items():
        try:
            for stem, picture in figures.drawn(figure, of):
                paths = save(picture, folder, stem)
                drawn.setdefault(name, []).append(paths[0])
                for path in paths:
                    say(os.path.relpath(path))
        except InputError as error:
            left_out.setdefault(str(error), []).append(name)
    for reason, names in left_out.items():
        say(f"{whose}left out {', '.join(names)}: {reason}")
    return drawn, left_out


def open_data(path: Path, root: Path | None) -> DataModule:
    """The dataset that the run of a path was trained on, by its config.yaml."""
    from semisup.cli.build import build_data
    from semisup.cli.config import parse

    _ = Run.of(path).config  # which says which data
    return build_data(parse("validate", ["--ckpt_path", str(path), *(["--data.root", str(root)] if root else [])]).data)
