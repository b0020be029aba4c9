"""No file that names a class has it imported: every option of every verb is tried with a module that leaves a mark.

What is typed may name classes in the trainer's group, and a file that is trusted may.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from semisup import plugins
from semisup.cli import parsing
from semisup.cli.config import parse
from semisup.cli.front import main
from semisup.cli.plain import plain
from semisup.errors import InputError
from semisup.models.optim import SCHEDULES

MARK = "class_that_marks.Marks"
NAMED = {"class_path": MARK, "init_args": {"x": {"class_path": MARK}}}
FORMS: dict[str, Any] = {
    "class path": {"class_path": MARK},
    "init_args": {"class_path": "torch.nn.Linear", "init_args": {"in_features": NAMED, "out_features": 1}},
    "list": [NAMED, MARK],
    "mapping": {"a": NAMED, "b": [NAMED]},
    "text": MARK,
}
USUAL = {"strategy": "supervised", "data.name": "digits", "optimizer.name": "sgd", "lr_scheduler.name": "cosine"}


@pytest.fixture(autouse=True)
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that is made when the module is imported; not there in the end unless a test has taken it away."""
    made = tmp_path / "imported"
    (tmp_path / "path").mkdir()
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "path" / "class_that_marks.py").write_text(
        f"import pytorch_lightning\nopen({str(made)!r}, 'w').close()\n"
        "class Marks(pytorch_lightning.Callback):\n    def __init__(self, x: int = 0) -> None: self.x = x\n"
        "def function(*_): ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "path"))
    monkeypatch.chdir(tmp_path)
    yield made
    sys.modules.pop("class_that_marks", None)
    assert not made.exists()


def was_imported(mark: Path) -> bool:
    """Whether the module was imported since the last time."""
    found = mark.exists()
    mark.unlink(missing_ok=True)
    sys.modules.pop("class_that_marks", None)
    return found


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


def written(chosen: dict[str, str], option: str, value: Any, path: Path) -> Path:
    """A YAML file that names classes, and gives one option a value."""
    path.write_text(yaml.safe_dump({**chosen, option: value}))
    return path


def refused(verb: str, *argv: str) -> str:
    """What a verb says of arguments that it may refuse, and empty where it takes them."""
    try:
        parse(verb, [*argv])
    except InputError as error:
        return str(error)
    return ""


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


# ---- verbs, on a run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("finished")
    options = [
        *("--data", "digits", "--data.steps_per_epoch", "2", "--data.eval_batch_size", "2000", "--model", "small"),
        *("--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--trainer.devices", "1"),
        *("--tracking.mode", "disabled", "--trainer.default_root_dir", str(folder / "runs")),
    ]
    assert main(["fit", *options]) == 0
    (run,) = (folder / "runs/digits/supervised").iterdir()
    return run


VERBS = ("predict --ckpt_path", "test --ckpt_path", "figures --only augmentations", "compare", "fit --resume")


def changed(finished: Path, tmp_path: Path, **options: Any) -> Path:
    """The run with other options in its config.yaml."""
    run = Path(shutil.copytree(finished, tmp_path / "runs" / "digits" / "supervised" / finished.name))
    tree = yaml.safe_load((run / "config.yaml").read_text())
    for option, value in options.items():
        group, _, name = option.partition("__")
        tree[group][name] = value
    (run / "config.yaml").write_text(yaml.safe_dump(tree))
    return run


@pytest.mark.parametrize("verb", VERBS)
def test_verbs_refuse_a_run_whose_options_are_classes(verb: str, finished: Path, mark: Path, tmp_path: Path) -> None:
    run = changed(finished, tmp_path, optimizer__lr=NAMED, data__root=NAMED)
    assert main([*verb.split(), str(run)]) == (0 if verb == "compare" else 2)  # it builds no data and no optimiser
    assert not mark.exists()


@pytest.mark.parametrize("verb", VERBS)
def test_verbs_that_only_read_take_nothing_from_the_trainer(
    verb: str, finished: Path, mark: Path, tmp_path: Path
) -> None:
    run = changed(finished, tmp_path, trainer__callbacks=[NAMED], trainer__logger=NAMED)
    (run / "config.yaml").write_text((run / "config.yaml").read_text() + f"trainer.profiler: {{class_path: {MARK}}}\n")
    assert main([*verb.split(), str(run)]) == (2 if verb == "fit --resume" else 0)
    assert not mark.exists()


def test_a_run_with_a_callback_of_its_own_goes_on_where_it_is_trusted(
    finished: Path, mark: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = changed(finished, tmp_path, trainer__callbacks=[{"class_path": MARK, "init_args": {"x": 1}}])
    assert main(["fit", "--resume", str(run)]) == 2
    said = capsys.readouterr().err
    assert f"asks to import {MARK}; type --trust" in said and not mark.exists()
    assert main(["fit", "--resume", str(run), "--trust"]) == 0
    assert was_imported(mark)


# ---- where a file lets things be written


@pytest.mark.parametrize(
    ("option", "value", "place"),
    [
        (
            "profiler",
            {"class_path": "SimpleProfiler", "init_args": {"dirpath": "/etc", "filename": "x"}},
            "dirpath /etc",
        ),
        ("profiler", {"class_path": "SimpleProfiler", "init_args": {"dirpath": "/etc"}}, "dirpath /etc"),
        ("profiler", {"class_path": "SimpleProfiler", "init_args": {"filename": "../../x"}}, "filename ../../x"),
        ("profiler", {"class_path": "AdvancedProfiler", "init_args": {"dirpath": "here"}}, "dirpath here"),
        ("logger", {"class_path": "CSVLogger", "init_args": {"save_dir": "~/x"}}, "save_dir ~/x"),
        ("logger", [{"class_path": "CSVLogger", "init_args": {"save_dir": "/tmp"}}], "save_dir /tmp"),
        ("logger", {"class_path": "CSVLogger", "init_args": {"save_dir": ".", "name": "/x"}}, "save_dir ."),
    ],
)
def test_a_file_sends_no_logger_and_no_profiler_out_of_the_run(
    option: str, value: Any, place: str, tmp_path: Path
) -> None:
    path = written({}, f"trainer.{option}", value, tmp_path / "x.yaml")
    said = refused("fit", "--config", str(path), "--trust")
    assert "outside the run" in said and f"type --trainer.{option}.{place}" in said


def test_their_places_can_be_typed_and_be_within_the_run(tmp_path: Path) -> None:
    csv = {"class_path": "CSVLogger", "init_args": {"save_dir": "/elsewhere"}}
    path = written({}, "trainer.logger", csv, tmp_path / "x.yaml")
    typed = ["--config", str(path), "--trust", "--trainer.logger.save_dir", str(tmp_path / "mine")]
    assert parse("fit", typed).trainer["logger"].save_dir == str(tmp_path / "mine")
    run = tmp_path / "run"
    csv["init_args"]["save_dir"] = str(run / "csv")  # type: ignore[index]
    written({}, "trainer.logger", csv, run / "config.yaml")
    assert parse("fit", ["--resume", str(run), "--trust"]).trainer["logger"].save_dir == str(run / "csv")


def test_what_a_profiler_writes_lies_in_the_run(finished: Path, tmp_path: Path) -> None:
    path = written({}, "trainer.profiler", "advanced", tmp_path / "x.yaml")
    words = "--data digits --data.steps_per_epoch 2 --model small --trainer.max_epochs 1 --tracking.mode disabled"
    csv = {"class_path": "AdvancedProfiler", "init_args": {"filename": "profile"}}
    written({}, "trainer.profiler", csv, path)
    before = {*tmp_path.iterdir()}
    cpu = ["--trainer.accelerator", "cpu", "--trainer.logger", "false"]
    assert main(["fit", "--config", str(path), "--trust", *words.split(), *cpu]) == 0
    (run,) = (tmp_path / "runs/digits/supervised").iterdir()
    assert {*tmp_path.iterdir()} - before == {tmp_path / "runs"}
    assert [*run.glob("fit-profile*.txt")]


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
