"""Pages made from what there is: docstrings, options, error messages and measured figures. Imports no torch.

A method's page is its module's docstring, which has the rule, the equations and the paper, then its options, its cost
and the figures that were measured with it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from html import escape
from importlib.metadata import EntryPoint
from pathlib import Path
from textwrap import dedent

from results import Table

from semisup import plugins
from semisup.cli import listing
from semisup.plugins import source
from semisup.plugins.source import Option

_ROOT = Path(__file__).parents[1]
_ARXIV = re.compile(r"\barXiv (\d{4}\.\d{4,5})")
_COMMANDS = re.compile(r"(?:^    (?:python -m )?semisup .*\n(?:     +.*\n)*)+", flags=re.MULTILINE)
_MADE = "<!-- made by docs/generated.py -->\n\n"


def pages(tables: list[Table]) -> dict[str, str]:
    """Path -> text of every page that is made."""
    made = {"methods/index.md": methods(), "datasets.md": datasets(), "backbones.md": backbones()}
    made |= {"troubleshooting.md": troubleshooting(), "results.md": results_page()}
    for name in plugins.installed(plugins.STRATEGIES):
        made[f"methods/{name}.md"] = method(name, tables)
    return {path: _MADE + text for path, text in made.items()}


def methods() -> str:
    """All methods, a line each."""
    lines = ["# Methods", "", "`--strategy NAME`, or `NAME+NAME` where only one of them owns the loss.", ""]
    lines += ["| method | what it does | unlabeled images for a labeled one |", "|---|---|---|"]
    for name, point in plugins.installed(plugins.STRATEGIES).items():
        told = source.describe(point.value)
        lines.append(f"| [`{name}`]({name}.md) | {_linked(told.summary)} | {_ratio(told.options)} |")
    for name, parts in plugins.compositions().items():
        lines.append(f"| `{name}` | `{parts}`, under a name of its own. | |")
    return "\n".join(lines) + "\n"


def method(name: str, tables: list[Table]) -> str:
    """One method: the rule, the options, the cost, the figures."""
    point = plugins.find(plugins.STRATEGIES, name)
    told = source.describe(point.value)
    parts = [f"# {name}", _linked(told.summary), _linked(_module_docstring(point.module))]
    parts += [_text(point), "## Options", _options(told.options, name)]
    parts += ["## Cost", _cost(told.options)]
    shown = [_rows(table, name) for table in tables if table.of_strategies]
    none = "Nothing has been measured with it yet, or not in a table of [the figures](../results.md)."
    parts += ["## Measured here", *([text for text in shown if text] or [none])]
    return "\n\n".join(part for part in parts if part) + "\n"


def datasets() -> str:
    """All datasets, with their options beside those that every dataset has."""
    base = source.describe("semisup.data.datamodule:DataModule").options
    general = {option.name for option in base}
    parts = ["# Datasets", "`--data NAME`; `semisup data download NAME` fetches those that are not embedded."]
    for name, point in plugins.installed(plugins.DATAMODULES).items():
        told = source.describe(point.value)
        own = tuple(option for option in told.options if option.name not in general)
        parts += [f"## {name}", _linked(told.summary), _text(point), _options(own, "data")]
    shared = tuple(option for option in base if option.name != "seed")
    return "\n\n".join([*parts, "## Options of every dataset", _options(shared, "data")]) + "\n"


def backbones() -> str:
    """All backbones."""
    parts = ["# Backbones", "`--model.backbone NAME`; by itself `auto`, which goes by the size of the images."]
    for name, point in plugins.installed(plugins.BACKBONES).items():
        told = source.describe(point.value)
        parts += [f"## {name}", _linked(told.summary), _text(point)]
    for name, told in listing.OTHER_BACKBONES:
        parts += [f"## {name}", told]
    options = source.describe("semisup.models.options:ModelOptions").options
    return "\n\n".join([*parts, "## Options", _options(options, "model")]) + "\n"


def troubleshooting() -> str:
    """What is written by hand about the most frequent ones, and every message that the code can print."""
    parts = [(Path(__file__).parent / "errors.txt").read_text(encoding="utf-8").strip(), "## Every message"]
    parts.append("An ellipsis stands for what is filled in. Most messages end in what to type.")
    for folder, files in _by_folder().items():
        messages = sorted({message for file in files for message in _messages(file)})
        if messages:
            parts += [f"### In {folder}/", "\n".join(f"- {escape(message, quote=False)}" for message in messages)]
    return "\n\n".join(parts) + "\n"


def results_page() -> str:
    """experiments/RESULTS.md as it is, one heading lower, with programs in their places."""
    return (_ROOT / "experiments" / "RESULTS.md").read_text(encoding="utf-8")


# ---- parts of pages


def _module_docstring(module: str) -> str:
    tree = source.syntax_tree(module)
    return (ast.get_docstring(tree) or "") if tree else ""


def _text(point: EntryPoint) -> str:
    """A class's docstring without its first line, and without what it says of arguments and errors."""
    own = source.describe(point.value).text.removeprefix(f"{_module_docstring(point.module)}\n")
    sections = r"(?:^|\n)(?:Args|Raises|Attributes):\n(?: .*\n?|\n)*"
    return _linked(re.sub(sections, "\n", own.partition("\n\n")[2]).strip())


def _linked(text: str) -> str:
    """With links to papers, and commands as the written pages have them."""
    text = _ARXIV.sub(r"[arXiv \1](https://arxiv.org/abs/\1)", text)
    return _COMMANDS.sub(lambda block: f"```bash\n{dedent(block[0]).strip()}\n```\n", text)


def _options(options: Iterable[Option], prefix: str) -> str:
    rows = [
        f"| `--{prefix}.{option.name}` | {_cell(option.type)} | {_cell(option.default)} | {_prose(option.help)} |"
        for option in options
    ]
    head = ["| option | type | default | meaning |", "|---|---|---|---|"]
    if not rows:
        return "It has no options of its own."
    return "\n".join(['<div class="options" markdown>\n', *head, *rows, "\n</div>"])


def _cell(text: str) -> str:
    return "`" + text.strip("'\"").replace("|", "\\|") + "`" if text else ""


def _prose(text: str) -> str:
    return _linked(text.replace("|", "\\|").replace("<", "&lt;"))


def _ratio(options: Iterable[Option]) -> str:
    return next((option.default for option in options if option.name == "ratio"), "")


def _cost(options: Iterable[Option]) -> str:
    ratio = _ratio(options)
    if not ratio:
        return "A step passes no more images than its rule above says; seconds stand beside the figures below."
    return (
        f"A step passes {ratio} unlabeled images for every labeled one (`ratio`), each once for every view that the "
        f"rule names: that is what a step costs over supervised training. Seconds stand beside the figures below."
    )


def _rows(table: Table, name: str) -> str:
    """The rows of a method and its compositions, under supervised training's; empty where there are none."""
    mine = [row for row in table.rows if name in row[0].split("+")]
    if not mine:
        return ""
    others = [row for row in table.rows if row[0] == "supervised" and row not in mine]
    return f"**[{table.section}](../{table.link})**, {table.date}\n\n{table.markdown((*others, *mine))}"


# ---- messages


def _by_folder() -> dict[str, list[Path]]:
    folders: dict[str, list[Path]] = {}
    for top in ("semisup", "strategies", "datamodules"):
        for path in sorted((_ROOT / top).rglob("*.py")):
            place = path.relative_to(_ROOT).parent
            folders.setdefault("/".join(place.parts[:2]), []).append(path)
    return folders


def _messages(path: Path) -> list[str]:
    """What a file's `InputError`s and `require`s say."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            place = {"InputError": 0, "require": 1}.get(node.func.id)
            if place is not None and len(node.args) > place:
                found.append(_template(node.args[place]))
    return [message for message in found if len(re.findall(r"[a-z]{2,}", message)) >= 4]


def _template(node: ast.expr) -> str:
    """A message with an ellipsis in place of what is filled in."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(_template(value) for value in values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _template(left) + _template(right)
    return "…"
