"""Where W&B is, whether we are logged in, and whether it answers: found out without wandb, and without a prompt."""

from __future__ import annotations

import configparser
import netrc
import os
import socket
import threading
from pathlib import Path
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

PROBE_SECONDS = 3.0


def variable(name: str) -> str | None:
    """What `WANDB_<NAME>` says in the environment; None where it is not set, or empty."""
    return os.environ.get(f"WANDB_{name}") or None


def setting(name: str) -> str | None:
    """A W&B setting from `WANDB_<NAME>`, else from the files that `wandb login` and `wandb offline` write."""
    if value := variable(name.upper()):
        return value
    folder = Path(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb").expanduser()
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read([folder / "settings", Path("wandb/settings")])  # the later file wins, as with W&B
    except (configparser.Error, UnicodeDecodeError):
        return None  # W&B, too, treats a broken file as empty
    return parser.get("default", name, fallback=None)


def base_url() -> str:
    """Address of the W&B server."""
    return (setting("base_url") or "https://api.wandb.ai").rstrip("/")


def logged_in() -> bool:
    """Whether there are credentials: a key or an identity token in the environment, or the server's netrc entry."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    names = [os.environ["NETRC"]] if os.environ.get("NETRC") else ["~/.netrc", "~/_netrc"]
    path = next((file for name in names if (file := Path(name).expanduser()).is_file()), None)
    if path is None:
        return False
    try:
        entry = netrc.netrc(path).authenticators(urlsplit(base_url()).netloc)
    except (netrc.NetrcParseError, OSError, UnicodeDecodeError):
        return False
    return bool(entry and entry[2])


def reachable(url: str) -> bool:
    """Whether a server, or the proxy on the way to it, accepts a connection within `PROBE_SECONDS`."""
    answered: list[bool] = []
    # In a thread, because looking up a name has no timeout of its own.
    thread = threading.Thread(target=lambda: answered.append(_connects(url)), daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    return bool(answered and answered[0])


def _connects(url: str) -> bool:
    server = urlsplit(url)
    try:
        with socket.create_connection(_first_hop(server), timeout=PROBE_SECONDS):
            return True
    except (OSError, ValueError):
        return False


def _first_hop(server: SplitResult) -> tuple[str, int]:
    """Host and port that a request goes to first."""
    host = server.hostname or ""
    proxy = getproxies().get(server.scheme)
    if proxy and not proxy_bypass(host):
        server = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    return server.hostname or "", server.port or (443 if server.scheme == "https" else 80)
