"""`semisup new strategy|dataset|backbone NAME`: a package of your own that works, to begin from. Free of torch."""

from __future__ import annotations

import keyword
import os
import re
from argparse import ArgumentParser, Namespace
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory

from semisup import plugins
from semisup.errors import require
from semisup.escape import shell
from semisup.runs.directory import writing
from semisup.runs.paths import local

_TEMPLATES = Path(__file__).with_name("templates")
# Kind -> its entry-point group, what `semisup fit` takes it by, and what its run then logs.
_KINDS = {
    "strategy": (plugins.STRATEGIES, "--strategy", "train/entropy"),
    "dataset": (plugins.DATAMODULES, "--data", "val/accuracy"),
    "backbone": (plugins.BACKBONES, "--model.backbone", "val/accuracy"),
}


def add_options(parser: ArgumentParser) -> None:
    """The options of `semisup new`."""
    parser.add_argument("kind", choices=_KINDS)
    parser.add_argument("name", help="what it will be called on the command line; small letters, digits and -")
    parser.add_argument("--out", metavar="FOLDER", help="where to write; a new folder (default: semisup-NAME)")


def run(request: Namespace) -> None:
    """Writes the package, whole or not at all.

    Raises:
        InputError: the name can't be one or is taken, or the folder is there or can't be written.
    """
    kind, name = request.kind, request.name
    group, option, logged = _KINDS[kind]
    # A strategy's name is that of its group of options as well.
    blank = "_" if kind == "strategy" else "-"
    class_name = "".join(word.capitalize() for word in re.split("[-_]", name))
    require(
        re.fullmatch(rf"[a-z][a-z0-9]*({blank}[a-z0-9]+)*", name) is not None and not keyword.iskeyword(class_name),
        f"{name!r} can't be the name of a {kind}; type small letters and digits, with {blank!r} between words",
    )
    require(
        name not in plugins.RESERVED or kind != "strategy",
        f"{name!r} can't be the name of a strategy, since it is that of a group of options; type another one",
    )
    taken = plugins.installed(group).keys() | (plugins.compositions() if kind == "strategy" else {}).keys()
    require(name not in taken, f"there is a {kind} {name!r} already; type another name")
    package = f"semisup-{name.replace('_', '-')}"
    module = package.replace("-", "_")
    folder = local(request.out or package)
    require(not os.path.lexists(folder), f"{folder} is there already; type --out with the name of a new folder")

    words = {"kind": kind, "name": name, "group": group, "package": package, "module": module, "logged": logged}
    words |= {"class_name": class_name, "arguments": f'"{option}", "{name}"'}
    files = {"pyproject.toml": "pyproject.toml", f"{module}.py": kind, f"test_{module}.py": "test"}
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent, prefix=".semisup-new-") as temporary:
            begun = Path(temporary) / package
            begun.mkdir()
            for file, template in files.items():
                text = (_TEMPLATES / f"{template}.template").read_text(encoding="utf-8")
                (begun / file).write_text(Template(text).substitute(words), encoding="utf-8")
            begun.rename(folder)
    print(f"wrote {folder}: {', '.join(files)}")
    print(f"next: pip install -e {shell(folder)} && semisup fit {option} {name}")
