"""Faults of W&B, which a run does without."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from semisup.tracking import guarded_wandb

from .outcome import Outcome, ended_well, variables
from .runs import ALONE, SIX_STEPS, Ended, disk, fit, same_end, shell

_KEY = "0123456789abcdef0123456789abcdef01234567"  # as long as W&B wants one


class WandbServer(BaseHTTPRequestHandler):
    """Answers as much of what W&B asks as lets a run go online, until it is `lost`, which the run decides."""

    protocol_version = "HTTP/1.1"
    lost: Callable[[], bool]

    def do_POST(self) -> None:
        if self.lost():
            self.close_connection = True
            return
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        project = {"id": "p", "name": "semisup", "entity": {"id": "e", "name": "me"}}
        bucket = {"id": "b", "name": "run", "displayName": "run", "config": "{}", "project": project}
        known: dict[str, Any] = {
            "viewer": {"id": "v", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}},
            "serverInfo": {"cliVersionInfo": {}, "latestLocalVersionInfo": None, "features": []},
            "upsertBucket": {"bucket": bucket, "inserted": True},
            "createRunFiles": {"runID": "b", "uploadHeaders": [], "files": []},
            "model": {"bucket": None},
        }
        asked = self.path.endswith("/graphql")
        answer = json.dumps({"data": known} if asked else {"exitcode": None, "limits": {}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


def wandb_unreachable(folder: Path, whole: Path) -> Outcome:
    """W&B is asked for, and nothing listens at its address."""
    with variables(WANDB_BASE_URL="http://127.0.0.1:9", WANDB_API_KEY=_KEY):
        ended = fit(folder / "runs", "--tracking.mode", "online")
    return _without_wandb(folder, whole, ended, "can't be reached, going on offline; later: wandb sync")


def wandb_lost(folder: Path, whole: Path) -> Outcome:
    """Before step 4 W&B's server ends, which a run is online with; W&B is waited for 5 s instead of 60."""
    with ThreadingHTTPServer(("127.0.0.1", 0), WandbServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        before, guarded_wandb.FINISH_SECONDS = guarded_wandb.FINISH_SECONDS, 5.0  # as the fork will have it
        gone = folder / "gone"
        WandbServer.lost = staticmethod(gone.exists)
        with variables(WANDB_BASE_URL=f"http://127.0.0.1:{server.server_port}", WANDB_API_KEY=_KEY):
            ended = fit(folder / "runs", "--tracking.mode", "online", act=lambda *_: gone.touch())
        guarded_wandb.FINISH_SECONDS = before
        server.shutdown()
    return _without_wandb(folder, whole, ended, "W&B failed (TimeoutError")


class KillsWandb(pl.Callback):
    """Kills the process that writes W&B's files before step 4."""

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
            if trainer.global_step == 4 and b"wandb-core" in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(int(child), signal.SIGKILL)


def wandb_killed(folder: Path, whole: Path) -> Outcome:
    """Before step 4 the process that writes W&B's files is killed."""
    place = ["--trainer.default_root_dir", str(folder / "runs"), "--trainer.callbacks+=faults.tracking.KillsWandb"]
    ended, _ = shell("semisup", "fit", *ALONE, *SIX_STEPS, *place, "--tracking.mode", "offline")
    return _without_wandb(folder, whole, ended, "W&B failed (")


def full_disk_for_wandb(folder: Path, whole: Path) -> Outcome:
    """W&B's folder alone lies on a disk of 8 kB."""
    with disk(folder / "small", 8) as small:
        run = folder / "runs" / "digits" / "supervised" / "20260101-000000-s0"
        (run / "checkpoints").mkdir(parents=True)
        (run / "wandb").symlink_to(small)
        ended = fit(folder / "runs", "--tracking.mode", "offline", "--resume", str(run))
        return _without_wandb(folder, whole, ended, "W&B failed (OSError: [Errno 28]")


def _without_wandb(folder: Path, whole: Path, ended: Ended, words: str) -> Outcome:
    """The outcome of a run that W&B must not disturb, whatever its own log and exit handlers print besides."""
    met = {"exit code 0": ended.code == 0, f"says {words!r}": words in ended.said, "same end": same_end(folder, whole)}
    outcome, traces = ended_well(ended, words, folder, met), ended.said.count("Traceback")
    outcome.left += f"; tracebacks on the console, of W&B's own: {traces}" if traces else ""
    return outcome


FAULTS = [wandb_unreachable, wandb_lost, wandb_killed, full_disk_for_wandb]
