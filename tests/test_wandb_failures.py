"""W&B is never in the way: whatever is wrong with it, the run goes on and says so in a line."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from helpers import HANG
from wandb_runs import CLOSED, KEY, history, inspect, loggers_of, wandb_of

from semisup import tracking
from semisup.errors import InputError
from semisup.runs.reading import read_metrics
from semisup.tracking import TrackingOptions, finish, guarded_wandb

pytestmark = pytest.mark.usefixtures("without_login")


# W&B


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
