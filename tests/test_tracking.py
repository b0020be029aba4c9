"""What the loggers leave on disk, what W&B would upload, and that W&B is never in the way."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jsonargparse
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from helpers import HANG, alone_with_wandb
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from semisup import tracking
from semisup.cli.config import parse
from semisup.errors import InputError
from semisup.runs.reading import read_metrics
from semisup.tracking import TrackingOptions, finish, guarded_wandb, login, make_loggers
from semisup.tracking.guarded_wandb import GuardedWandb
from semisup.tracking.record import ContinueRecord, MetricsCSV

KEY = "0123456789abcdef0123456789abcdef01234567"
CLOSED = "http://127.0.0.1:9"  # the discard port: nothing listens, and connecting fails at once
CONFIG = {"seed": 3, "optimizer": {"lr": 0.03}, "views": ["weak", "strong"], "root": "data"}


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path) -> Iterator[None]:
    """No login, no settings and no W&B process from outside of the test."""
    with alone_with_wandb(tmp_path):
        yield


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def loggers_of(run_dir: Path, options: TrackingOptions) -> list[Logger]:
    return make_loggers(options, run_dir, "digits", "100", "kmeans+pseudolabel", 3, CONFIG, ["t1", "t2"])


def wandb_of(run_dir: Path, mode: tracking.Mode = "offline") -> GuardedWandb:
    logger = loggers_of(run_dir, TrackingOptions(mode))[1]
    assert isinstance(logger, GuardedWandb)
    return logger


def inspect(folder: Path) -> list[dict[str, Any]]:
    """The records of one offline run, in the order in which W&B wrote them."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, timeout=HANG)
    return [json.loads(line) for line in done.stdout.splitlines()]


def history(records: list[dict[str, Any]], *names: str) -> list[tuple[float, ...]]:
    items = [record["history"]["item"] for record in records if record["type"] == "history"]
    return [tuple(item[name] for name in names) for item in items if all(name in item for name in names)]


# The record


def test_values_come_back_exactly(run_dir: Path) -> None:
    values = [1 / 3, float(np.float32(0.1)), 1e-300, -0.0, float("inf")]
    logger = MetricsCSV(run_dir)
    for step, value in enumerate(values):
        logger.log_metrics({"epoch": 0, "loss": value}, step)
    logger.log_metrics({"epoch": 0, "loss": torch.tensor(0.1), "acc": float("nan")}, 5)
    rows = read_metrics(run_dir)
    assert [(row["epoch"], row["step"]) for row in rows] == [(0, step) for step in range(6)]
    assert [row["loss"] for row in rows] == [*values, torch.tensor(0.1).item()]
    assert str(rows[3]["loss"]) == "-0.0"
    assert np.isnan(rows[5]["acc"])
    assert "acc" not in rows[4]


def test_rows_of_one_step_are_merged_and_columns_are_added_in_order(run_dir: Path) -> None:
    logger = MetricsCSV(run_dir)
    logger.log_metrics({"lr": 0.1}, 0)  # such as LearningRateMonitor, which gives no epoch
    logger.log_metrics({"epoch": 0, "loss": 2.0}, 0)
    logger.log_metrics({"lr": 0.1}, 1)
    logger.log_metrics({"epoch": 0, "loss": 1.0}, 1)  # every column known: merged in place
    logger.log_metrics({"epoch": 0, "val, acc": 0.5}, 1)
    logger.log_metrics({"epoch": 0, "loss": 1.5}, 1)  # contradicts: a row of its own
    logger.log_metrics({"epoch": 0, "loss": 1.5}, 1)  # says the same again: nothing
    logger.log_metrics({"epoch": 1, "loss": 0.25}, 2)
    assert (run_dir / "metrics.csv").read_text() == (
        'epoch,step,lr,loss,"val, acc"\n0,0,0.1,2.0,\n0,1,0.1,1.0,0.5\n0,1,,1.5,\n1,2,,0.25,\n'
    )


def test_something_that_is_no_number_is_an_error(run_dir: Path) -> None:
    with pytest.raises(ValueError, match="could not convert"):
        MetricsCSV(run_dir).log_metrics({"loss": "high"}, 0)  # type: ignore[dict-item]


def log_steps(logger: MetricsCSV, start: int, stop: int) -> None:
    for step in range(start, stop):
        logger.log_metrics({"epoch": step // 4, "loss": 1 / (step + 1)}, step)
        if step % 4 == 3:
            logger.log_metrics({"epoch": step // 4, "val": step / 7}, step)
        if step > 8:
            logger.log_metrics({"late": float(step)}, step)


@pytest.mark.parametrize("restored", [0, 2, 4, 8, 10])
def test_a_resumed_record_equals_an_uninterrupted_one(tmp_path: Path, restored: int) -> None:
    for name in ("whole", "broken", "short"):
        (tmp_path / name).mkdir()
    log_steps(MetricsCSV(tmp_path / "whole"), 0, 12)
    log_steps(MetricsCSV(tmp_path / "short"), 0, restored)
    log_steps(MetricsCSV(tmp_path / "broken"), 0, 11)
    path = tmp_path / "broken" / "metrics.csv"
    path.write_bytes(path.read_bytes()[:-3])  # killed in the middle of a line
    resumed = MetricsCSV(tmp_path / "broken")
    resumed.truncate(restored)
    if restored:
        assert path.read_bytes() == (tmp_path / "short" / "metrics.csv").read_bytes()
    else:
        assert path.read_text() == "epoch,step\n"
    log_steps(resumed, restored, 12)
    assert path.read_bytes() == (tmp_path / "whole" / "metrics.csv").read_bytes()


def test_a_line_cut_short_is_dropped_without_a_truncation_too(run_dir: Path) -> None:
    log_steps(MetricsCSV(run_dir), 0, 2)
    with (run_dir / "metrics.csv").open("a") as file:
        file.write("0,2,0.33")
    log_steps(MetricsCSV(run_dir), 2, 3)
    assert [row["loss"] for row in read_metrics(run_dir)] == [1.0, 1 / 2, 1 / 3]


class Net(pl.LightningModule):
    """A weight, and metrics that depend on it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(1.0))

    def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
        loss = (self.weight * batch - 2).square().mean()
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: torch.Tensor, index: int) -> None:
        self.log("val", self.weight * batch.mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.01)


class Killed(Exception):
    """Stands for whatever ends a run."""


class Kill(pl.Callback):
    """Ends a run after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.global_step == self.step:
            raise Killed


def fit(folder: Path, kill: int | None = None, resume: bool = False) -> None:
    """Trains 4 epochs of 5 steps with a checkpoint after every epoch."""
    folder.mkdir(exist_ok=True)
    save = pl.callbacks.ModelCheckpoint(folder / "checkpoints", "last", enable_version_counter=False)
    trainer = pl.Trainer(
        max_epochs=4,
        accelerator="cpu",
        logger=MetricsCSV(folder),
        log_every_n_steps=2,
        callbacks=[ContinueRecord(), pl.callbacks.LearningRateMonitor("step"), save, *([Kill(kill)] if kill else [])],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data: Any = torch.utils.data.DataLoader(list(torch.arange(1.0, 6.0)))  # type: ignore[arg-type]
    trainer.fit(Net(), data, data, ckpt_path=folder / "checkpoints" / "last.ckpt" if resume else None)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_lightning_interrupted_and_resumed_leaves_the_same_file(tmp_path: Path) -> None:
    fit(tmp_path / "whole")
    with pytest.raises(Killed):
        fit(tmp_path / "broken", kill=13)
    assert read_metrics(tmp_path / "broken")[-1]["step"] > 9  # it had gone beyond its last checkpoint, after step 9
    fit(tmp_path / "broken", resume=True)
    whole = (tmp_path / "whole" / "metrics.csv").read_bytes()
    assert (tmp_path / "broken" / "metrics.csv").read_bytes() == whole
    rows = read_metrics(tmp_path / "whole")
    assert [row["step"] for row in rows if "val" in row] == [4, 9, 14, 19]
    assert [row["step"] for row in rows if "loss_step" in row] == list(range(1, 20, 2))


def test_other_ranks_write_nothing(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    loggers = loggers_of(run_dir, TrackingOptions("offline"))
    assert [type(logger) for logger in loggers] == [MetricsCSV, GuardedWandb]
    for logger in loggers:
        logger.log_hyperparams({"a": 1})
        logger.log_metrics({"loss": 1.0}, 0)
    loggers[1].experiment.summary["test/acc"] = 0.5  # type: ignore[attr-defined]
    finish(loggers)
    assert list(run_dir.iterdir()) == []


# What is made of the options


def options_parser() -> jsonargparse.ArgumentParser:
    parser = jsonargparse.ArgumentParser()
    parser.add_class_arguments(TrackingOptions, "tracking")
    return parser


def test_the_command_line_gets_its_options() -> None:
    parsed = options_parser().parse_args(["--tracking.mode", "offline", "--tracking.entity", "me"])
    assert TrackingOptions(**parsed.tracking.as_dict()) == TrackingOptions("offline", entity="me")
    assert TrackingOptions() == TrackingOptions("auto", "semisup", None, False)


def test_the_command_line_shows_their_help() -> None:
    pytest.importorskip("docstring_parser")
    shown = " ".join(options_parser().format_help().split())
    assert "`wandb sync` uploads later" in shown
    assert "W&B user or team; by default your own" in shown


def modes(run_dir: Path, options: TrackingOptions) -> list[type]:
    return [type(logger) for logger in loggers_of(run_dir, options)]


@pytest.mark.parametrize("variable", ["WANDB_MODE=disabled", "WANDB_DISABLED=true"])
def test_auto_obeys_the_variables_that_switch_wandb_off(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(*variable.split("="))
    assert modes(run_dir, TrackingOptions("auto")) == [MetricsCSV]
    assert modes(run_dir, TrackingOptions("offline")) == [MetricsCSV, GuardedWandb]  # said explicitly


def test_online_without_a_login_is_an_error_and_no_prompt(run_dir: Path) -> None:
    with pytest.raises(InputError, match=r"not logged in to https://api\.wandb\.ai; type: wandb login"):
        loggers_of(run_dir, TrackingOptions("online"))


def test_without_wandb_installed(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tracking, "_installed", lambda name: name != "wandb")
    assert modes(run_dir, TrackingOptions("auto")) == [MetricsCSV]
    assert "W&B is not installed" in capsys.readouterr().out
    with pytest.raises(InputError, match="pip install wandb"):
        loggers_of(run_dir, TrackingOptions("offline"))


def test_a_folder_called_wandb_is_not_an_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nosuchthing").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not tracking._installed("nosuchthing")
    assert tracking._installed("torch")


def test_disabled_works_where_wandb_can_not_be_imported(run_dir: Path) -> None:
    code = (
        "import sys; sys.modules['wandb'] = None\n"
        "from pathlib import Path; from semisup.tracking import *; from semisup.tracking import finish\n"
        f"loggers = make_loggers(TrackingOptions('disabled'), Path({str(run_dir)!r}), 'd', '1', 's', 0, {{}}, [])\n"
        "loggers[0].log_metrics({'loss': 0.5}, 0); finish(loggers); print(len(loggers))"
    )
    source = str(Path(tracking.__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
    assert read_metrics(run_dir) == [{"step": 0, "loss": 0.5}]


def test_tensorboard_on_request(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loggers = loggers_of(run_dir, TrackingOptions("disabled", tensorboard=True))
    assert isinstance(loggers[1], TensorBoardLogger)
    loggers[1].log_metrics({"loss": 0.5}, 0)
    loggers[1].finalize("success")
    assert len(list((run_dir / "tensorboard").glob("events.out.tfevents.*"))) == 1
    monkeypatch.setattr(tracking, "_installed", lambda name: False)
    with pytest.raises(InputError, match="pip install tensorboard"):
        loggers_of(run_dir, TrackingOptions("disabled", tensorboard=True))


# Login and server


def test_who_is_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not login.logged_in()
    (tmp_path / "netrc").write_text("machine api.wandb.ai\n  login user\n  password x\n")
    assert login.logged_in()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert not login.logged_in()  # the entry is another server's
    (tmp_path / "netrc").write_text("not a netrc file\n")
    assert not login.logged_in()
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert login.logged_in()


def test_settings_come_from_the_environment_before_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert login.base_url() == "https://api.wandb.ai"
    (tmp_path / "home" / "CONFIG").mkdir(parents=True)
    (tmp_path / "home" / "CONFIG" / "settings").write_text("[default]\nbase_url = https://own.org/\nmode = offline\n")
    assert login.base_url() == "https://own.org"
    assert tracking._resolve("auto") == "offline"
    monkeypatch.setenv("WANDB_BASE_URL", CLOSED)
    monkeypatch.setenv("WANDB_MODE", "online")
    assert login.base_url() == CLOSED
    assert tracking._resolve("auto") == "auto"


def test_a_server_or_its_proxy_is_reachable_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert login.reachable(url)
        assert not login.reachable(CLOSED)
        monkeypatch.setenv("https_proxy", url)
        assert login.reachable("https://no.such.host.invalid")  # only the proxy looks the name up
        monkeypatch.setenv("no_proxy", "no.such.host.invalid")
        assert not login.reachable("https://no.such.host.invalid")
    assert not login.reachable(url)


# W&B


def test_an_offline_run_says_what_was_logged_and_a_resume_goes_on(
    run_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for steps in ([0, 1], [2]):  # the second time, the run is resumed
        loggers = loggers_of(run_dir, TrackingOptions("offline", project="demo"))
        for step in steps:
            for logger in loggers:
                logger.log_metrics({"epoch": 0, "loss": 1 / (step + 3)}, step)
        loggers[1].log_image("samples", [np.zeros((8, 8, 3), np.uint8)], step=steps[-1])  # type: ignore[attr-defined]
        loggers[1].experiment.summary["test/acc"] = 0.75  # type: ignore[attr-defined]
        finish(loggers)
    assert capfd.readouterr() == ("", "")

    first, second = (inspect(folder) for folder in sorted((run_dir / "wandb").glob("offline-run-*")))
    for records in (first, second):
        run = next(record["run"] for record in records if record["type"] == "run")
        assert run["project"] == "demo"
        assert run["run_group"] == "digits-100"
        assert run["job_type"] == "kmeans+pseudolabel"
        assert run["display_name"] == "kmeans+pseudolabel-s3"
        assert run["tags"] == ["t1", "t2"]
        assert run["resume"] is True
        assert run["run_id"] == (run_dir / "wandb_id.txt").read_text().strip()
        config = run["config"]["update"]
        assert {name: config[name] for name in CONFIG} == CONFIG
        summary: dict[str, Any] = {}
        for record in records:
            summary |= record.get("summary", {}).get("update", {})
        assert summary["test/acc"] == 0.75
        assert [record["exit"]["exit_code"] for record in records if record["type"] == "exit"] == [0]
    assert history(first, "trainer/global_step", "loss") == [(0, 1 / 3), (1, 1 / 4)]
    assert history(second, "trainer/global_step", "loss") == [(2, 1 / 5)]
    assert [row["loss"] for row in read_metrics(run_dir)] == [1 / 3, 1 / 4, 1 / 5]
    assert len(list((run_dir / "wandb").glob("offline-run-*/files/media/images/samples*.png"))) == 2


def started(run_dir: Path, options: TrackingOptions) -> dict[str, Any]:
    """What W&B is told of a run when it starts."""
    loggers = loggers_of(run_dir, options)
    loggers[1].log_metrics({"loss": 1.0}, 0)
    finish(loggers)
    records = inspect(max((run_dir / "wandb").glob("offline-run-*")))
    return dict(next(record["run"] for record in records if record["type"] == "run"))


NAMED = {
    "project": "p",
    "entity": "e",
    "display_name": "n",
    "notes": "x y",
    "run_group": "g",
    "tags": ["a", "b c"],
}
VARIABLES = {"PROJECT": "p", "ENTITY": "e", "NAME": "n", "NOTES": "x y", "RUN_GROUP": "g", "TAGS": "a, b c"}


def test_wandbs_variables_win_over_our_defaults(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    said = started(run_dir, TrackingOptions("offline"))
    assert {name: said[name] for name in NAMED} == NAMED


def test_options_win_over_wandbs_variables(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(f"WANDB_{name}", "of the environment")
    flags = [f"--tracking.{name}={value}" for name, value in (("project", "p"), ("entity", "e"), ("name", "n"))]
    flags += ["--tracking.notes=x y", "--tracking.group=g", "--tracking.tags=a, b c", "--tracking.mode=offline"]
    parsed = parse("fit", ["--data", "digits", *flags])
    said = started(run_dir, parsed.tracking)
    assert {name: said[name] for name in NAMED} == NAMED
    assert parse("fit", ["--data", "digits", "--tracking.tags=[a, b c]"]).tracking.tag_list == ["a", "b c"]


def test_a_resumed_run_stays_where_it_began(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "first")
    (run_dir / "config.yaml").write_text(parse("fit", ["--data", "digits"]).yaml)
    (run_dir / "checkpoints").mkdir()
    monkeypatch.setenv("WANDB_PROJECT", "second")
    assert parse("fit", ["--data", "digits"]).tracking.project == "second"
    assert parse("fit", ["--resume", str(run_dir)]).tracking.project == "first"


def test_a_tag_that_wandb_refuses_is_told_and_none_of_ours_is_one(run_dir: Path) -> None:
    with pytest.raises(InputError, match=r"tracking\.tags: W&B takes tags of at most 64 characters, not 'xxx"):
        TrackingOptions(tags="a," + "x" * 65)
    logger = make_loggers(TrackingOptions("offline"), run_dir, "d", "1", "s", 0, {}, ["x" * 65, "", "y" * 64])[1]
    assert logger._wandb_init["tags"] == ["y" * 64]  # type: ignore[attr-defined]


def test_two_runs_have_two_ids_whatever_the_seed(tmp_path: Path) -> None:
    ids = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        torch.manual_seed(0)
        ids.add(wandb_of(tmp_path / name).version)
    assert len(ids) == 2


def test_a_failed_run_is_marked_as_failed(run_dir: Path) -> None:
    logger = wandb_of(run_dir)
    logger.log_metrics({"loss": 1.0}, 0)
    finish([logger], exit_code=1)
    records = inspect(next((run_dir / "wandb").glob("offline-run-*")))
    assert [record["exit"]["exit_code"] for record in records if record["type"] == "exit"] == [1]


def test_a_run_left_over_from_a_failure_gets_nothing_of_the_next_one(tmp_path: Path, run_dir: Path) -> None:
    (tmp_path / "failed").mkdir()
    failed = make_loggers(TrackingOptions("offline"), tmp_path / "failed", "digits", "all", "supervised", 0, {}, [])[1]
    failed.log_metrics({"loss": 9.0}, 0)
    logger = wandb_of(run_dir)
    logger.log_metrics({"loss": 1.0}, 0)
    finish([logger])
    assert history(inspect(next((run_dir / "wandb").glob("offline-run-*"))), "loss") == [(1.0,)]
    assert history(inspect(next((tmp_path / "failed" / "wandb").glob("offline-run-*"))), "loss") == [(9.0,)]


def test_what_is_logged_after_the_end_goes_nowhere(run_dir: Path) -> None:
    logger = wandb_of(run_dir)
    finish([logger])  # nothing was logged, so nothing was started
    logger.log_metrics({"loss": 1.0}, 0)
    assert not (run_dir / "wandb").exists()


def test_auto_without_a_login_is_offline_and_says_so(run_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    logger = wandb_of(run_dir, "auto")
    logger.log_metrics({"loss": 1.0}, 0)
    finish([logger])
    out, err = capfd.readouterr()
    assert out == (
        f"W&B: not logged in to https://api.wandb.ai, going on offline; later: wandb login, then wandb sync "
        f"{run_dir / 'wandb'}\n"
    )
    assert err == ""
    assert history(inspect(next((run_dir / "wandb").glob("offline-run-*"))), "loss") == [(1.0,)]


@pytest.mark.parametrize("mode", ["auto", "online"])
def test_a_server_out_of_reach_means_offline_and_one_line(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], mode: tracking.Mode
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", CLOSED)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    logger = wandb_of(run_dir, mode)
    logger.log_metrics({"loss": 0.5}, 0)
    finish([logger])
    out, err = capfd.readouterr()
    folder = run_dir / "wandb"
    assert out == f"W&B: {CLOSED} can't be reached, going on offline; later: wandb sync {folder}\n"
    assert err == ""
    assert history(inspect(next(folder.glob("offline-run-*"))), "loss") == [(0.5,)]
    files = [path for path in run_dir.rglob("*") if path.is_file()]
    assert len(files) > 3
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def test_a_server_that_accepts_and_never_answers_means_offline(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    init = guarded_wandb.GuardedWandb._init

    def impatient(self: guarded_wandb.GuardedWandb, mode: str) -> Any:
        """Waits for nothing in vain for long, and as long as it takes for what comes."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(guarded_wandb, "INIT_SECONDS", 1.0 if mode == "online" else HANG)
            return init(self, mode)

    monkeypatch.setattr(guarded_wandb.GuardedWandb, "_init", impatient)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("WANDB_BASE_URL", url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        logger = wandb_of(run_dir, "auto")
        logger.log_metrics({"loss": 0.5}, 0)
        finish([logger])
    said = [line for line in capfd.readouterr().out.splitlines() if line.startswith("W&B")]
    assert len(said) == 1
    assert said[0].startswith(f"W&B: {url} fails (")
    assert history(inspect(next((run_dir / "wandb").glob("offline-run-*"))), "loss") == [(0.5,)]
    assert logger.version == (run_dir / "wandb_id.txt").read_text().strip()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"two words\n", b"../other\n", b"x" * 65])
def test_what_is_no_id_is_refused_by_the_name_of_its_file(content: bytes, run_dir: Path) -> None:
    (run_dir / "wandb_id.txt").write_bytes(content)
    with pytest.raises(InputError, match=r"wandb_id\.txt holds b'.*', which is no id of W&B; remove it"):
        wandb_of(run_dir, "offline")


class Refuse(BaseHTTPRequestHandler):
    """A server to which the key means nothing."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_error(401)

    def log_message(self, *args: Any) -> None:
        """Says nothing."""


def test_a_key_that_the_server_refuses_means_offline(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Refuse) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        logger = wandb_of(run_dir, "online")
        logger.log_metrics({"loss": 0.5}, 0)
        finish([logger])
        server.shutdown()
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert "401" in out
    assert out.endswith(f"going on offline; later: wandb sync {run_dir / 'wandb'}\n")
    assert err == ""
    assert history(inspect(next((run_dir / "wandb").glob("offline-run-*"))), "loss") == [(0.5,)]
    assert [path for path in run_dir.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()] == []


def test_a_wandb_that_never_finishes_does_not_hold_the_run_back(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import wandb

    logger = wandb_of(run_dir)
    logger.log_metrics({"loss": 0.5}, 0)
    end = threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(type(wandb.run), "finish", lambda *args, **kwargs: end.wait())
        patch.setattr(guarded_wandb, "FINISH_SECONDS", 0.0)
        patch.setattr(guarded_wandb, "GRACE_SECONDS", 0.1)
        finish([logger])
        end.set()
    assert "W&B failed (TimeoutError: it did not finish in time)" in capsys.readouterr().out


@pytest.mark.parametrize("call", ["log", "finish", "init"])
def test_a_wandb_that_breaks_does_not_stop_the_run(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], call: str
) -> None:
    import wandb

    def breaks(*args: Any, **kwargs: Any) -> None:
        raise BrokenPipeError("the service is gone\nwith details")

    loggers = loggers_of(run_dir, TrackingOptions("offline"))
    for step in range(4):
        if step == (0 if call == "init" else 2):
            monkeypatch.setattr(wandb if call == "init" else type(wandb.run), call, breaks)
        for logger in loggers:
            logger.log_metrics({"loss": float(step)}, step)
            logger.log_hyperparams({"step": step})
    finish(loggers)
    assert capsys.readouterr().out == (
        "W&B failed (BrokenPipeError: the service is gone); the run goes on, metrics.csv is complete; "
        f"later: wandb sync {run_dir / 'wandb'}\n"
    )
    assert [row["loss"] for row in read_metrics(run_dir)] == [0.0, 1.0, 2.0, 3.0]
    monkeypatch.undo()


def test_a_picture_that_can_not_be_drawn_does_not_stop_the_run(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = wandb_of(run_dir)
    logger.log_image("figure", [object()], step=0)
    logger.log_metrics({"loss": 0.5}, 1)
    finish([logger])
    assert capsys.readouterr().out.count("W&B failed") == 1
    assert history(inspect(next((run_dir / "wandb").glob("offline-run-*"))), "loss") == [(0.5,)]
