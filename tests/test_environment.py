"""What a run needs to be understood later: written without secrets, and read back process by process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from semisup.runs.environment import environments, write_environment


def test_the_environment_is_written_without_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["semisup", "fit", "--tags", "two words", "--token", "abc123xyz"])
    monkeypatch.setenv("SOME_API_KEY", "secret-of-the-environment")
    write_environment(tmp_path)
    first = (tmp_path / "environment.txt").read_text()
    facts = dict(line.split(": ", 1) for line in first.splitlines())
    assert facts["command"].endswith("semisup fit --tags 'two words' --token '***'")
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["torch"][0].isdigit()
    assert facts["cpus"] == str(os.cpu_count())
    assert "abc123xyz" not in first
    assert "secret-of-the-environment" not in first
    write_environment(tmp_path)
    both = (tmp_path / "environment.txt").read_text()
    assert both.startswith(first)
    assert both.count("command: ") == 2
    (tmp_path / "environment.txt").write_bytes(b"\xff, what a disk makes of it\n")
    write_environment(tmp_path)
    assert (tmp_path / "environment.txt").read_text().startswith("\ufffd, what a disk makes of it\n\ndate: ")


def test_the_commit_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)

    def commit() -> str:
        write_environment(tmp_path)
        lines = (tmp_path / "environment.txt").read_text().splitlines()
        (tmp_path / "environment.txt").unlink()
        return next(line for line in lines if line.startswith("git: "))[5:]

    assert commit() == "no commit"
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert commit() == head
    (tmp_path / "new.txt").touch()
    assert commit() == f"{head} with uncommitted changes"


def test_every_process_of_a_resumed_run_is_read() -> None:
    facts = [{"date": "2026", "command": "semisup fit 'a\n\nb'", "torch": "2"}, {"date": "2027", "command": "x"}]
    text = "\n".join("".join(f"{name}: {value}\n" for name, value in block.items()) for block in facts)
    assert environments(text) == facts
