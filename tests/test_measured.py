"""What `semisup list` says of a strategy was counted and measured: the installed file is what its command makes now."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import methods
import pytest

ROOT = Path(__file__).parents[1]
COUNTED = {"supervised": 1, "fixmatch": 15, "saw": 15, "meanteacher": 2.3, "metapseudolabels": 22.7}


@pytest.fixture(scope="module")
def command() -> ModuleType:
    """experiments/measured.py."""
    spec = importlib.util.spec_from_file_location("measured", ROOT / "experiments" / "measured.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def kept(command: ModuleType) -> dict[str, Any]:
    """The installed file."""
    found: dict[str, Any] = json.loads(command.FILE.read_text(encoding="utf-8"))
    return found


def test_every_strategy_is_there_and_its_figures_are_those_of_the_table(
    command: ModuleType, kept: dict[str, Any]
) -> None:
    assert sorted(kept) == methods.STRATEGIES, "run experiments/measured.py again"
    assert [name for name, of in kept.items() if of["cost"] is None] == ["ensemble"]  # which needs finished runs
    for name, of in kept.items():
        assert of["measured_as"] == command.whole(name)
        assert (of["accuracy"], of["difference"]) == command.shown(name), "run experiments/measured.py again"


@pytest.mark.parametrize("name", COUNTED)
def test_a_steps_cost_is_what_is_counted_now(name: str, command: ModuleType, kept: dict[str, Any]) -> None:
    """By hand: of FixMatch 1 + 2 * 7 images there and back; of Meta Pseudo Labels 1 + 14, and 7, and 2 / 3."""
    assert kept[name]["cost"] == command.cost(name) == COUNTED[name]


def test_the_figures_of_a_table_are_found_by_name_and_by_composition(command: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    rows = "| fixmatch | 91.0 ± 1.2 | +4.0 [1.0, 7.0] |\n| `fixmatch+abc` | 92.5 ± 0.4 | +5.5 [4.1, 6.9] |\n"
    rows += "| kmeans+supervised | 88.0 ± 0.1 | +1.0 [0.9, 1.1] |\n"
    head = "| strategy | accuracy | difference |\n|---|---|---|\n"
    path.write_text(f"# Figures\n\n## Every strategy on digits\n\n2026-11-30\n\n{head}{rows}\n## More\n\ntext\n")
    assert command.shown("fixmatch", path) == ("91.0 ± 1.2", "+4.0 [1.0, 7.0]")
    assert command.shown("abc", path) == ("92.5 ± 0.4", "+5.5 [4.1, 6.9]")
    assert command.shown("kmeans", path)[0] == "88.0 ± 0.1" and command.shown("uda", path) == ("", "")
