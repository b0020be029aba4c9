"""The front door: verbs, help, and that nothing heavy is imported before it must be."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from front_door import stub
from helpers import HANG

from semisup import __version__
from semisup.cli import front, listing
from semisup.cli.config import Config
from semisup.cli.verbs import VERBS

HEAVY = ("torch", "torchvision", "pytorch_lightning", "jsonargparse", "numpy", "yaml", "sklearn", "wandb")


# ---- light verbs


@pytest.mark.parametrize(
    "argv",
    [
        ["--help"],
        ["--version"],
        ["fit", "--help"],
        ["test", "--help", "--strategy", "pseudolabel", "--optimizer", "adamw", "--lr_scheduler", "halving"],
        ["fit", "--help", "trainer"],
        ["list"],
        ["data", "--help"],
        ["fitt"],
    ],
)
def test_light_verbs_import_nothing_heavy(argv: list[str]) -> None:
    code = (
        "import sys\nimport semisup.__main__\nfrom semisup.cli.front import main\n"
        f"try: main({argv!r})\nexcept SystemExit: pass\n"
        f"print('heavy:', [m for m in sys.modules if m.partition('.')[0] in {HEAVY!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG)
    assert done.stdout.endswith("heavy: []\n"), done.stdout[-500:] + done.stderr


def test_python_m_semisup_imports_nothing_heavy_either() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "semisup", "fit", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "semisup.cli.front" in imported
    assert not imported & set(HEAVY)
    assert done.returncode == 0 and done.stdout.startswith("usage: semisup fit ")


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert front.main(["--help"]) == front.main([]) == 0
    text = capsys.readouterr().out
    for verb in ("fit", "validate", "test", "predict", "list", "data"):
        assert f"\n  {verb} " in text
    assert front.main(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


def test_main_leaves_the_process_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    # Lightning starts the other ranks with them.
    monkeypatch.setattr(sys, "argv", ["semisup", "fit", "--data", "digits", "--trainer.devices", "2"])
    got = stub(monkeypatch, "fit")
    assert front.main() == 0
    assert sys.argv == ["semisup", "fit", "--data", "digits", "--trainer.devices", "2"]
    (config,) = got
    assert isinstance(config, Config) and config.data.name == "digits"


def test_help_of_fit(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "110")
    assert front.main(["fit", "--strategy", "pseudolabel", "--help"]) == 0
    text = capsys.readouterr().out
    for words in (
        "usage: semisup fit ",
        "examples:\n  semisup fit\n",
        "main options:\n",
        "  --strategy NAME[+NAME]                  ",
        "[supervised]",
        "strategy pseudolabel: Pseudo-labels in rounds",
        "  --pseudolabel.top_k int                 images that a round selects",
        "data digits (there is no STL-10 in ./data): 1,797 real handwritten digits",
        "  --data.batch_size int                   labeled images in a global batch, over all devices; 24",
        "a pass over the 1,257 images. [24]\n",
        "  --model.normalization none|channel|yuv|",
        "  --optimizer.lr float                    [0.03]",
        "  --optimizer.nesterov bool               [True]",
        "lr_scheduler cosine (--lr_scheduler cosine|halving|constant)",
        "  --tracking.mode auto|online|offline|disabled\n",
        "[runs]",
        "  --trainer.max_epochs int | None         Stop training once this number of epochs is reached. [30]",
        "semisup fit --help trainer ",
    ):
        assert words in text, words
    assert "--data.seed" not in text and "--trainer.barebones" not in text
    assert max(map(len, text.splitlines())) <= 110


@pytest.mark.parametrize(
    ("argv", "words", "absent"),
    [
        (["trainer"], "--trainer.barebones bool", "--model.backbone"),
        (["trainer"], "--trainer.max_epochs int | None", "Default: ``"),
        (["pseudolabel"], "--pseudolabel.top_k int", "--trainer"),
        (["supervised"], "--supervised.view weak|strong", "--trainer"),
        (["digits"], "--data.labels_per_class int", "--data.seed"),
        (["data", "--data", "digits"], "--data.labels_per_class int", "--model"),
        (["model"], "--model.backbone str", "--data"),
        (["optimizer", "--optimizer", "AdamW"], "--optimizer.amsgrad bool", "--optimizer.params"),
        (["lr_scheduler", "--lr_scheduler=halving"], "--lr_scheduler.every_epochs int", "warmup"),
        (["tracking"], "--tracking.tensorboard bool", "--data"),
    ],
)
def test_help_on_one_group(argv: list[str], words: str, absent: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert front.main(["fit", "--help", *argv]) == 0
    text = capsys.readouterr().out
    assert words in text and absent not in text


def test_every_verb_that_works_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for verb, option in {
        "fit": "resume",
        "validate": "(required)",
        "test": "(required)",
        "predict": "csv|kaggle",
    }.items():
        assert front.main([verb, "-h"]) == 0
        text = capsys.readouterr().out
        assert text.startswith(f"usage: semisup {verb} ") and option in text


def test_every_verb_of_the_table_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    front.main(["--help"])
    overview = capsys.readouterr().out
    for name, verb in VERBS.items():
        with suppress(SystemExit):
            front.main([name, "--help"])
        assert verb.sentence in " ".join(capsys.readouterr().out.split()), name
        assert f"  {name:17}{verb.help}\n" in overview


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert front.main(["list"]) == 0
    everything = capsys.readouterr().out
    lines = everything.splitlines()
    assert [line.partition(" ")[0] for line in lines if line[:1].isalpha()] == [
        "strategies",
        "datamodules",
        "backbones",
    ]
    ours = ("  supervised .* Cross-entropy on the labeled", "  digits ", "  small ")
    for words in (*ours, "  torchvision:NAME ", "  timm:NAME "):
        assert sum(bool(re.match(words, line)) for line in lines) == 1, words
    columns = {line.split()[0]: line.split()[1:4] for line in lines if line[:3].strip() and line.startswith("  ")}
    assert columns["fixmatch"] == ["2020", "2001.07685", "7"] and columns["mixmatch"][:2] == ["2019", "1905.02249"]
    assert columns["pseudolabel"][:2] == ["2013", "1"] and columns["kmeans"][0] == "2011"
    measured = json.loads(Path(__file__).parents[1].joinpath("strategies", "measured.json").read_text())
    for name, of in measured.items():
        (line,) = (line for line in lines if line.startswith(f"  {name} "))
        assert not of["cost"] or f" {of['cost']:g} " in line, name
        assert (f"{of['accuracy']} ({of['difference']})" if of["accuracy"] else "not measured") in line, name
    assert columns["abc"][:3] == ["2021", "2110.10368", "NAME+"]
    assert not any(line.endswith("...") for line in lines)
    assert front.main(["list", "backbones"]) == 0
    assert capsys.readouterr().out.splitlines() == lines[lines.index(listing.lines("backbones")[0]) :]


# ---- what the verbs are given


def test_print_config_runs_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    got = stub(monkeypatch, "fit")
    assert front.main(["fit", "--print_config", "--data", "digits", "--seed", "4"]) == 0
    assert got == []
    assert capsys.readouterr().out.startswith("strategy: supervised\nseed: 4\n")


@pytest.mark.parametrize(("verb", "module"), [("validate", "evaluate"), ("test", "evaluate"), ("predict", "predict")])
def test_a_verb_gets_its_config(verb: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    got = stub(monkeypatch, module)
    assert front.main([verb, "--ckpt_path", "x", "--data", "digits"]) == 0
    (config,) = got
    assert isinstance(config, Config) and (config.verb, config.own.ckpt_path) == (verb, "x")


def test_data_gets_its_request(monkeypatch: pytest.MonkeyPatch) -> None:
    got = []
    monkeypatch.setattr("semisup.cli.data.run", got.append)
    for argv in (["download", "stl10"], ["download", "stl10", "--root", "elsewhere"], ["clean", "--all"]):
        assert front.main(["data", *argv]) == 0
    assert got == [
        argparse.Namespace(action="download", name="stl10", root="./data", all=False, list=False),
        argparse.Namespace(action="download", name="stl10", root="elsewhere", all=False, list=False),
        argparse.Namespace(action="clean", name=None, root="./data", all=True, list=False),
    ]


def test_the_help_of_verbs_that_train_nothing_has_no_options_of_a_training(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("validate", "test", "predict"):
        assert front.main([verb, "--help"]) == 0
        said = capsys.readouterr().out
        assert f"usage: semisup {verb} RUN" in said and "--data.eval_batch_size" in said and "--trainer.devices" in said
        of_training = ("--strategy", "--optimizer.", "--lr_scheduler.", "--model.", "--trainer.max_epochs", "--seed")
        of_training += ("--data.batch_size", "--data.sampler", "--data.steps_per_epoch", "--data.augmentation")
        assert not [option for option in of_training if option in said]
