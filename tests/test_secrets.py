"""What is secret stays out of all that is written and said."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pytorch_lightning.loggers import Logger

from semisup.cli.front import main

SECRETS = {
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY77",
    "HF_TOKEN": "hf_planted0Token1That2Nobody3May4See",
    "DATABASE_PASSWORD": "correct horse battery",
}
TYPED = {"api_key": "typedKeyOfALogger77", "password": "hunter2hunter2"}


class Keyed(Logger):
    """A logger as others write them, which is given a key."""

    def __init__(self, api_key: str = "") -> None:
        super().__init__()
        self.api_key = api_key

    @property
    def name(self) -> str:
        return "keyed"

    @property
    def version(self) -> str:
        return "0"

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        assert self.api_key in (TYPED["api_key"], "")  # never the stars; a resumed run must be given it again

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        pass


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with all that a fit, a report, a prediction and a comparison write, and what they print."""
    folder = tmp_path_factory.mktemp("secrets")
    with pytest.MonkeyPatch.context() as patch, io.StringIO() as printed:
        patch.chdir(folder)
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        for name in ("WANDB_MODE", "WANDB_DISABLED"):
            patch.delenv(name, raising=False)
        patch.setenv("WANDB_DIR", str(folder / "wandb-elsewhere"))
        patch.setattr(sys, "stdout", printed)
        patch.setattr(sys, "stderr", printed)
        fit = [
            *("fit", "--data", "digits", "--data.steps_per_epoch", "2", "--trainer.max_epochs", "1"),
            *("--trainer.accelerator", "cpu", "--trainer.devices", "1", "--tracking.mode", "offline"),
            *("--trainer.logger", f"{__name__}.Keyed", "--trainer.logger.api_key", TYPED["api_key"]),
            f"--trainer.model_registry=https://someone:{TYPED['password']}@host/{SECRETS['HF_TOKEN']}",
        ]
        assert semisup(patch, fit) == 0
        (run,) = map(str, Path("runs/digits/supervised").iterdir())
        shutil.copy(Path(run) / "config.yaml", "first.yaml")  # a resumed run takes what is hidden for not given
        assert semisup(patch, ["predict", "--ckpt_path", run, "--out", "predictions.csv"]) == 0
        assert semisup(patch, ["report", run]) == 0
        assert semisup(patch, ["compare", run]) == 0
        assert semisup(patch, ["fit", "--resume", run, "--trust"]) == 0  # with the logger that its config.yaml names
        Path("printed.txt").write_text(printed.getvalue(), encoding="utf-8")
    yield folder


def semisup(patch: pytest.MonkeyPatch, argv: list[str]) -> int:
    patch.setattr(sys, "argv", ["semisup", *argv])
    return main(argv)


@pytest.mark.slow
def test_no_file_and_no_line_holds_a_secret(written: Path) -> None:
    files = {path: path.read_bytes() for path in written.rglob("*") if path.is_file()}
    kinds = {path.suffix for path in files}
    assert {".wandb", ".yaml", ".csv", ".ckpt", ".html", ".tex", ".md", ".json", ".png", ".txt"} <= kinds
    for name, secret in (SECRETS | TYPED).items():
        for part in (secret, secret[: len(secret) // 2], secret[len(secret) // 2 :]):  # a file may cut it in two
            assert [str(path) for path, content in files.items() if part.encode() in content] == [], name


@pytest.mark.slow
def test_what_is_hidden_was_there_to_be_hidden(written: Path) -> None:
    trainer = yaml.safe_load((written / "first.yaml").read_text())["trainer"]
    assert trainer["logger"]["init_args"]["api_key"] == "***"
    assert trainer["model_registry"] == "https://***@host/***"
    (environment,) = written.glob("runs/digits/supervised/*/environment.txt")
    assert "--trainer.logger.api_key '***'" in environment.read_text()
