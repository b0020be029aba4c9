"""The picture of the rooms of `semisup/`, drawn from the table that tests/test_rooms.py holds the imports to."""

from __future__ import annotations

import ast
from html import escape
from pathlib import Path

_WIDTH, _LINE, _PAD = 400, 19, 10
_LETTERS = 44  # of a line of names


def floors(root: Path) -> list[set[str]]:
    """The rooms of each floor, the lowest first."""
    for node in ast.parse((root / "tests" / "test_rooms.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FLOORS":
            table: list[set[str]] = ast.literal_eval(node.value)
            return table
    raise LookupError("tests/test_rooms.py has no FLOORS")


def picture(root: Path) -> str:
    """An SVG of the floors, the highest on top, in the colours of the page."""
    boxes, y = [], 0
    for number, rooms in reversed(list(enumerate(floors(root)))):
        names = [f"{name}/" if (root / "semisup" / name).is_dir() else f"{name}.py" for name in sorted(rooms)]
        lines = _wrapped([name for name in names if name != ".py"])
        height = len(lines) * _LINE + 2 * _PAD
        boxes.append(f'<rect x="1" y="{y + 1}" width="{_WIDTH - 2}" height="{height - 2}" rx="4"/>')
        boxes.append(f'<text class="what" x="{_PAD}" y="{y + _PAD + 14}" font-size="13">{number}</text>')
        for k, line in enumerate(lines):
            boxes.append(f'<text x="34" y="{y + _PAD + 14 + k * _LINE}" font-size="14">{escape(line)}</text>')
        y += height + 6
    title = "<title>The rooms of semisup; each imports from those below it alone</title>"
    return f'<svg class="rooms" viewBox="0 0 {_WIDTH} {y}" role="img">{title}{"".join(boxes)}</svg>'


def _wrapped(names: list[str]) -> list[str]:
    lines = [""]
    for name in names:
        joined = f"{lines[-1]}  {name}".strip()
        lines[-1:] = [joined] if len(joined) <= _LETTERS else [lines[-1], name]
    return lines
