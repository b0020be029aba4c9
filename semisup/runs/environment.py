"""`environment.txt`: what a run needs to be understood later, written by every process that trains it, and read back.

Standard library only.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

from semisup.escape import shell
from semisup.runs import run_files
from semisup.runs.directory import write_atomically
from semisup.runs.redaction import redacted

ENVIRONMENT_FILE = "environment.txt"
NO_GPUS = "none seen"
_GIT_SECONDS = 5.0  # that git may take on a working directory that is large or far away
_PACKAGES = ("semisup", "torch", "torchvision", "pytorch-lightning", "torchmetrics", "numpy", "scikit-learn", "wandb")


def write_environment(run_dir: Path, data: str = "") -> None:
    """Writes what a run needs to be understood later to `environment.txt`; a resumed run adds to it.

    Date, command line, Python, platform, package versions, git commit, CPUs, and GPUs where torch is loaded. Secrets
    in the command line are redacted, and environment variables are not written.

    Args:
        run_dir: the run's directory.
        data: the digest of its data (`Fingerprint.digest`), which tells runs on the same data from others.
    """
    facts = {
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "command": shell(*redacted([sys.executable, *sys.argv])),
        "python": platform.python_version(),
        "platform": platform.platform(),
        **_versions(),
        "git": _git_commit(),
        "cpus": str(os.cpu_count()),
        "gpus": ", ".join(_gpu_names()) or NO_GPUS,
        **({"data": data} if data else {}),
    }
    path = Path(run_dir) / ENVIRONMENT_FILE
    earlier = run_files.content(path).decode("utf-8", "replace") + "\n" if run_files.is_there(path) else ""
    write_atomically(path, earlier + "".join(f"{name}: {fact}\n" for name, fact in facts.items()))


def environments(text: str) -> list[dict[str, str]]:
    """Every block of `fact: value` lines in the text of an `environment.txt`: one for each process that trained."""
    blocks = []
    for block in re.split(r"(?m)^(?=date: )", text.strip()):  # an empty line may also be inside a command's quotes
        facts: dict[str, str] = {}
        for line in block.splitlines():
            name, colon, value = line.partition(": ")
            if colon and name.replace("-", "").isalnum():
                facts[name] = value
            elif facts:  # a command that goes on
                facts[next(reversed(facts))] += f"\n{line}"
        if facts:
            blocks.append({name: value.strip() for name, value in facts.items()})
    return blocks


def fit_command(command: str) -> str:
    """A command line of `environment.txt` from the program on, whatever started that: `semisup fit ...`."""
    return re.sub(r"^(?:.*?(?:semisup|__main__\.py)'?|.*?)\s+(?=fit(?:\s|$))", "semisup ", command, flags=re.DOTALL)


def _versions() -> dict[str, str]:
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def _git_commit() -> str:
    """Commit of the working directory, and whether the files differ from it."""
    try:
        commit, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain")
    except (OSError, subprocess.SubprocessError):
        return "no commit"
    return commit + (" with uncommitted changes" if changes else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=_GIT_SECONDS, check=True)
    return done.stdout.strip()


def _gpu_names() -> list[str]:
    torch = sys.modules.get("torch")
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())] if torch else []
