"""Which loggers a run has: by its options, by what is installed, and by who is logged in."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import jsonargparse
import pytest
from pytorch_lightning.loggers import TensorBoardLogger
from wandb_runs import CLOSED, KEY, loggers_of

from semisup import tracking
from semisup.errors import InputError
from semisup.runs.reading import read_metrics
from semisup.tracking import TrackingOptions, login
from semisup.tracking.guarded_wandb import GuardedWandb
from semisup.tracking.record import MetricsCSV

pytestmark = pytest.mark.usefixtures("without_login")


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
