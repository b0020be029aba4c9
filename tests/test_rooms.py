"""The package's rooms: each imports only from floors below its own or beside it, and no import runs in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = [
    {"errors", "escape", "batch", "presentation", "ranges", "selection", "randomness"},
    {
        "learned_state",
        "phase",
        "strategy",
        "composition",
        "embeddings",
        "losses",
        "targets",
        "mixup",
        "metrics",
        "augment",
        "runs",
        "runtime",
        "plugins",
        "page",
    },
    {"data", "models", "features"},
    {
        "classifier",
        "compiled",
        "export",
        "frozen",
        "learner",
        "logged",
        "model",
        "phases",
        "predict",
        "predictor",
        "said",
        "saved_classifier",
        "second_step",
        "tracking",
    },
    {"training"},
    {"figures", "report", "compare", "dashboard", "labeling"},
    {"cli"},
    {"api"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for folder in ("semisup", "strategies", "datamodules")
    for path in sorted((ROOT / folder).rglob("*.py"))
}


@cache
def imported(path: Path) -> tuple[str, ...]:
    """The modules of ours that a file imports: at once, in a function, or for a type checker alone."""
    return tuple(_imported(path))


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module in MODULES:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in inner)


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_every_room_has_a_floor() -> None:
    rooms = {room(module) for module in MODULES if module.startswith("semisup.")}
    assert rooms - {"__main__"} == FLOOR.keys()


@pytest.mark.parametrize("name", sorted(FLOOR))
def test_a_room_imports_from_no_floor_above(name: str) -> None:
    upwards = [
        f"{module} imports {other}"
        for module, path in MODULES.items()
        if module.startswith("semisup.") and room(module) == name
        for other in imported(path)
        if other != "semisup" and FLOOR.get(room(other), -1) > FLOOR[name]
    ]
    assert not upwards


def test_the_framework_imports_no_strategy_and_no_datamodule() -> None:
    for module, path in MODULES.items():
        if module.startswith("semisup"):
            assert not [other for other in imported(path) if other.split(".")[0] in ("strategies", "datamodules")]


def test_no_import_runs_in_a_circle() -> None:
    graph = {module: set(imported(path)) - {module} for module, path in MODULES.items()}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"imports run in a circle: {' -> '.join(error.args[1])}")
    assert set(order) >= graph.keys()


def test_a_configuration_is_taken_apart_at_the_door_of_its_verb() -> None:
    """Every other function is given the parts that it needs."""
    takers = {
        module
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.arg) and node.annotation is not None and ast.unparse(node.annotation) == "Config"
    }
    assert takers == {f"semisup.cli.{verb}" for verb in ("fit", "evaluate", "predict")}
