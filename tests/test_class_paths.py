"""No file that names a class has it imported: every option of every verb is tried with a module that leaves a mark.

What is typed may name classes in the trainer's group, and a file that is trusted may.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from class_paths import FORMS, MARK, NAMED, refused, was_imported, written

from semisup import plugins
from semisup.cli import parsing
from semisup.cli.config import parse
from semisup.cli.plain import plain
from semisup.models.optim import SCHEDULES

USUAL = {"strategy": "supervised", "data.name": "digits", "optimizer.name": "sgd", "lr_scheduler.name": "cosine"}
pytestmark = pytest.mark.usefixtures("mark")


def every_option() -> dict[str, dict[str, str]]:
    """Every option there is -> the classes that bring it."""
    found: dict[str, dict[str, str]] = {}
    combinations = [{**USUAL, "strategy": name} for name in plugins.installed(plugins.STRATEGIES)]
    combinations += [{**USUAL, "data.name": name} for name in plugins.installed(plugins.DATAMODULES)]
    combinations += [{**USUAL, "optimizer.name": name} for name in parsing.OPTIMIZERS]
    combinations += [{**USUAL, "lr_scheduler.name": name} for name in SCHEDULES]
    for chosen in combinations:
        for action in parsing.option_parser(chosen)._actions:
            if (hint := parsing.type_of(action)) is not None:
                # The same option of another optimiser may be of another type.
                key = f"{action.dest} {hint}" if plain(hint) != hint else action.dest
                found.setdefault(key, chosen)
    return found


OPTIONS = every_option()
HOLD_CLASSES = [option for option in OPTIONS if " " in option]


def test_the_walk_meets_every_kind_of_option() -> None:
    groups = {option.partition(".")[0] for option in OPTIONS}
    assert groups >= {"strategy", "seed", "data", "model", "optimizer", "lr_scheduler", "tracking", "trainer", "kmeans"}
    assert {option.partition(" ")[0] for option in HOLD_CLASSES} >= {
        *("optimizer.lr", "optimizer.betas", "trainer.callbacks", "trainer.logger", "trainer.plugins"),
        *("trainer.profiler", "trainer.strategy", "trainer.accelerator"),
    }
    assert len(OPTIONS) > 130


@pytest.mark.parametrize("option", HOLD_CLASSES, ids=lambda option: option.partition(" ")[0])
def test_an_option_whose_type_holds_classes_has_none_imported(option: str, mark: Path, tmp_path: Path) -> None:
    """In a file that is typed, whatever it is given, and in a run's own, which is read by the same function."""
    name, chosen, run = option.partition(" ")[0], OPTIONS[option], tmp_path / "run"
    for form, value in FORMS.items():
        file = written(chosen, name, value, tmp_path / "x.yaml")
        said = refused("fit", "--config", str(file))
        assert not mark.exists() and "class_that_marks" not in sys.modules, form
        if form == "text":  # which may be the name of a folder
            continue
        assert said, form
        if name.startswith("trainer."):
            assert f"asks to import {MARK}" in said.replace("torch.nn.Linear, ", "") and "--trust" in said
        if form == "init_args":
            (run / "config.yaml").write_bytes(file.read_bytes())
            assert refused("fit", "--resume", str(run))
            refused("predict", "--ckpt_path", str(run))
            assert not mark.exists() and "class_that_marks" not in sys.modules


@pytest.mark.slow
def test_no_other_option_takes_a_class_of_a_file(mark: Path, tmp_path: Path) -> None:
    for option, chosen in OPTIONS.items():
        if option not in HOLD_CLASSES:
            assert refused("fit", "--config", str(written(chosen, option, NAMED, tmp_path / "x.yaml"))), option
            assert not mark.exists() and "class_that_marks" not in sys.modules, option


@pytest.mark.parametrize("group", ["strategy", "data", "optimizer", "lr_scheduler", "tracking", "trainer", "x"])
def test_no_group_has_a_class_imported(group: str, mark: Path, tmp_path: Path) -> None:
    for value in FORMS.values():
        assert refused("fit", "--config", str(written({}, group, value, tmp_path / "x.yaml")))
        assert not mark.exists()


@pytest.mark.parametrize(
    "words",
    [
        f"--optimizer.lr {MARK}",
        f"--optimizer.lr={{class_path: {MARK}}}",
        f"--optimizer.lr.class_path {MARK}",
        f"--optimizer.lr.help {MARK}",
        f"--optimizer.weight_decay {MARK}",
        f"--optimizer adamw --optimizer.betas [{MARK},0.9]",
        f"--strategy {MARK}",
        f"--data {MARK}",
        f"--model {MARK} --model.loss {MARK}",
        f"--optimizer {MARK}",
        f"--tracking.entity.class_path {MARK}",
    ],
)
def test_what_is_typed_names_classes_in_the_trainers_group_alone(words: str, mark: Path) -> None:
    assert refused("fit", *words.replace(": ", ":").split())
    assert not mark.exists()


@pytest.mark.parametrize(
    "words",
    [
        *("", "--trainer.callbacks.x 3", f"--trainer.callbacks.class_path {MARK}"),
        "--trainer.callbacks+=LearningRateMonitor",
    ],
)
def test_typing_a_part_does_not_make_a_file_trusted(words: str, mark: Path, tmp_path: Path) -> None:
    for value in ([NAMED], NAMED, MARK, [MARK]):
        path = written({}, "trainer.callbacks", value, tmp_path / "x.yaml")
        assert "--trust" in refused("fit", "--config", str(path), *words.split())
        assert not mark.exists()


def test_what_is_typed_or_trusted_is_imported(mark: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (typed,) = parse("fit", [f"--trainer.callbacks+={MARK}", "--trainer.callbacks.x", "3"]).trainer["callbacks"]
    assert was_imported(mark) and typed.x == 3
    for value in ({"class_path": MARK, "init_args": {"x": 4}}, [{"class_path": MARK, "init_args": {"x": 4}}]):
        path = written({}, "trainer.callbacks", value, tmp_path / "x.yaml")
        trusted = parse("fit", ["--config", str(path), "--trust"]).trainer["callbacks"]
        assert was_imported(mark) and (trusted[0] if isinstance(trusted, list) else trusted).x == 4
        assert f"trainer.callbacks imports {MARK}" in capsys.readouterr().err
    # What is typed in the place of a file's need not be trusted.
    assert parse("fit", ["--config", str(path), "--trainer.callbacks", "null"]).trainer["callbacks"] is None
    assert not mark.exists()


def test_text_of_a_trusted_file_is_text_where_text_is_taken(mark: Path, tmp_path: Path) -> None:
    path = written({}, "trainer.profiler", MARK, tmp_path / "x.yaml")
    assert parse("fit", ["--config", str(path), "--trust"]).trainer["profiler"] == MARK
    assert not mark.exists()


# ---- a stranger's options


STRANGER = """
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
import torch
from semisup.strategy import Strategy
@dataclass
class Inner:
    size: int = 1
    net: torch.nn.Module | None = None
class A(Strategy):
    def __init__(self, anything: Any = 1, untyped=2, net: torch.nn.Module | None = None, make: Callable = print,
        kind: type = int, act: Callable[[int], int] | str = 'relu', some: dict = {}, more: dict[str, Any] = {},
        rows: list = [], nested: list[dict[str, torch.nn.Module | int]] = [], inner: Inner = Inner()) -> None:
        self.got = locals()
class Needy(Strategy):
    def __init__(self, net: torch.nn.Module) -> None: ...
"""


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[None]:
    info = tmp_path / "path" / "stranger-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1\n")
    points = "stranger = stranger_options:A\nneedy = stranger_options:Needy\n"
    (info / "entry_points.txt").write_text(f"[{plugins.STRATEGIES}]\n{points}")
    (tmp_path / "path" / "stranger_options.py").write_text(STRANGER)
    yield
    sys.modules.pop("stranger_options", None)


@pytest.mark.parametrize(
    "name",
    [
        *("anything", "untyped", "net", "make", "kind", "act", "some", "more", "rows", "nested", "inner"),
        *("inner.size", "inner.net"),
    ],
)
def test_a_strangers_options_take_no_classes_either(name: str, stranger: None, mark: Path, tmp_path: Path) -> None:
    for value in (FORMS["init_args"], FORMS["list"], "class_that_marks.function"):
        path = written({"strategy": "stranger"}, f"stranger.{name}", value, tmp_path / "x.yaml")
        refused("fit", "--config", str(path), "--trust")  # which is of the trainer's group alone
        assert not mark.exists(), value
    refused("fit", "--strategy", "stranger", f"--stranger.{name}", MARK)
    refused("fit", "--strategy", "stranger", f"--stranger.{name}.class_path", MARK)
    assert not mark.exists()


def test_a_strangers_plain_options_are_taken(stranger: None) -> None:
    words = "--stranger.anything 3 --stranger.untyped x --stranger.act gelu --stranger.inner.size 4"
    strategy: Any = parse("fit", ["--strategy", "stranger", *words.split()]).plugins["stranger"]
    assert (strategy.got["anything"], strategy.got["untyped"], strategy.got["act"]) == (3, "x", "gelu")
    assert strategy.got["make"] is print and strategy.got["kind"] is int
    assert "Needy needs a net of type" in refused("fit", "--strategy", "needy")


def test_plain_types() -> None:
    assert plain(float | Any) is not None and None.__class__ in get_args(plain(int | None))
    assert [plain(hint) for hint in (Path, bytes, list[Path], set[bytes])] == [Path, None, list[Path], None]
