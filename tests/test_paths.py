"""Paths that are typed: homes, addresses, and what no output is ever written over."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from semisup.cli.config import parse
from semisup.cli.front import main
from semisup.errors import InputError
from semisup.runs.directory import replacing
from semisup.runs.paths import WRITTEN, local, output_file, output_folder
from tests.test_report import make_run


def link(path: Path) -> None:
    target = path.with_name("target")
    target.write_text("mine")
    path.symlink_to(target)


def device(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root makes devices")
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))  # as /dev/null


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)  # from the working directory: an address is short


SPECIAL: dict[str, Callable[[Path], None]] = {
    "a link": link,
    "a pipe": os.mkfifo,
    "a socket": unix_socket,
    "a device": device,
}


@pytest.fixture(params=SPECIAL)
def special(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """Something that is no file, and what it is called."""
    monkeypatch.chdir(tmp_path)
    SPECIAL[request.param](tmp_path / "special")
    return tmp_path / "special", request.param


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run directory without checkpoints; a verb that begins to work on it fails otherwise."""
    monkeypatch.chdir(tmp_path)
    return make_run(tmp_path, "supervised", 0)


VERBS = {  # what each writes -> how it is called
    "predict": (["predict", "--ckpt_path", "RUN"], ""),
    "sweep": (["sweep", "--strategy", "fixmatch", "--data", "digits"], ""),
    "figures": (["figures", "RUN"], "curves.png"),
    "report": (["report", "RUN"], "report.tex"),
    "compare": (["compare", "RUN"], "page.html"),
    "compare a grid": (["compare", "--strategies", "supervised", "--seeds", "1", "--data", "digits"], "runs.csv"),
    "kmeans-features": (["kmeans-features", "--data", "digits"], "scores.csv"),
}


def call(verb: str, run: Path, *more: object) -> int:
    return main([str(run) if word == "RUN" else word for word in VERBS[verb][0]] + [*map(str, more)])


def snapshot(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """All that is below a folder: its kind and number, and what is in it."""
    return {
        str(path): (path.lstat().st_mode, path.lstat().st_ino, path.read_bytes() if path.is_file() else b"")
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_writes_onto_what_is_no_file(
    verb: str, special: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, kind = special
    run = make_run(tmp_path, "supervised", 0)
    before = snapshot(tmp_path)
    for force in ([], ["--force"]):
        assert call(verb, run, "--out", path, *force) == 2
        said = capsys.readouterr()
        assert f"special is {kind}" in said.err and said.err.count("\n") == 1 and said.out == ""
        assert snapshot(tmp_path) == before


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_writes_over_a_file_of_the_users(verb: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, name = VERBS[verb]
    out = Path("mine") / name if name else Path("mine.txt")
    out.parent.mkdir(exist_ok=True)
    out.write_text("precious")
    before = snapshot(Path())
    assert call(verb, run, "--out", "mine" if name else out) == 2
    said = capsys.readouterr()
    assert out.name in said.err and "--force to replace" in said.err and said.err.count("\n") == 1 and said.out == ""
    assert snapshot(Path()) == before


@pytest.mark.parametrize("name", ["config.yaml", "metrics.csv", "environment.txt", "checkpoints/best.ckpt"])
@pytest.mark.parametrize("verb", ["predict", "sweep"])
def test_no_verb_writes_over_a_runs_own_files(
    verb: str, name: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "checkpoints" / "best.ckpt").write_bytes(b"weights")
    before = snapshot(run)
    for force in ([], ["--force"]):
        assert call(verb, run, "--out", run / name, *force) == 2
        said = capsys.readouterr().err
        assert ("a checkpoint" if "ckpt" in name else "a file of the run") in said and snapshot(run) == before


def test_the_standard_output_is_no_file(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("predict", run, "--out", "-") == 2
    assert "--out - would be the standard output" in capsys.readouterr().err and not Path("-").exists()


@pytest.mark.parametrize(("verb", "wrong"), [("predict", "folder"), ("sweep", "folder"), ("report", "file")])
def test_files_and_folders_are_told_apart(verb: str, wrong: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("folder").mkdir()
    Path("file").touch()
    assert call(verb, run, "--out", wrong) == 2
    assert f"{wrong} is a {wrong}; type --out with the name of a" in capsys.readouterr().err
    assert call(verb, run, "--out", "file/below") == 2
    assert "file is no folder" in capsys.readouterr().err


def test_a_sweep_is_written_again_over_itself_and_with_force_over_anything(run: Path) -> None:
    assert call("sweep", run, "--out", "s.yaml") == 0
    first = Path("s.yaml").read_text()
    assert call("sweep", run, "--out", "s.yaml") == 0 and Path("s.yaml").read_text() == first
    Path("s.yaml").write_text("mine")
    assert call("sweep", run, "--out", "s.yaml") == 2 and Path("s.yaml").read_text() == "mine"
    assert call("sweep", run, "--out", "s.yaml", "--force") == 0 and Path("s.yaml").read_text() == first


def test_a_folder_remembers_what_was_written_to_it(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("figures", run, "--only", "curves", "--out", "out") == 0
    listed = (Path("out") / WRITTEN).read_text().splitlines()
    assert [line.partition("  ")[2] for line in listed] == ["curves.pdf", "curves.png"]
    (Path("out") / "holiday.png").write_text("mine")
    assert call("figures", run, "--only", "curves", "--out", "out") == 0  # over its own
    (Path("out") / "curves.png").write_text("edited")
    assert call("figures", run, "--only", "curves", "--out", "out") == 2
    assert (
        "out holds curves.png, a file that semisup didn't write, or that was changed since" in capsys.readouterr().err
    )
    assert (Path("out") / "curves.png").read_text() == "edited"
    assert call("figures", run, "--only", "curves", "--out", "out", "--force") == 0
    assert (Path("out") / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert call("figures", run, "--only", "curves", "--out", "out") == 0
    assert (Path("out") / "holiday.png").read_text() == "mine"


def test_what_was_written_before_a_failure_is_remembered(tmp_path: Path) -> None:
    with pytest.raises(KeyError), output_folder(tmp_path / "o", ["a*"]) as folder:
        folder.mkdir()
        (folder / "a1").write_text("half")
        raise KeyError
    with output_folder(tmp_path / "o", ["a*"]) as folder:
        (folder / "a2").write_text("rest")
    assert len((tmp_path / "o" / WRITTEN).read_text().splitlines()) == 2


def test_a_verbs_own_folder_holds_outputs_alone(run: Path) -> None:
    assert call("figures", run, "--only", "curves") == 0
    (run / "figures" / "curves.png").write_text("old")
    assert call("figures", run, "--only", "curves") == 0
    assert {path.name for path in (run / "figures").iterdir()} == {"curves.png", "curves.pdf"}


def test_what_is_no_file_is_never_replaced(special: tuple[Path, str]) -> None:
    path, kind = special
    if kind == "a link":
        return
    with pytest.raises(InputError, match="is not a plain file"), replacing(path) as temporary:
        temporary.write_text("x")
    assert not path.is_file() and not [*path.parent.glob(".*.tmp")]


def test_predictions_are_known_by_their_first_line(tmp_path: Path) -> None:
    def ours(head: bytes) -> bool:
        return head.startswith(b"id,class,confidence\n")

    path = tmp_path / "p.csv"
    for content, written in ((b"id,class,confidence\n1,a,.5\n", True), (b"", True), (b"id,class\n1,a\n", False)):
        path.write_bytes(content)
        if written:
            assert output_file(path, ours=ours) == path
        else:
            with pytest.raises(InputError, match="--force to replace it"):
                output_file(path, ours=ours)
            assert output_file(path, force=True, ours=ours) == path


# ---- homes and addresses


def test_a_home_is_written_out_and_a_name_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert local("~/a") == tmp_path / "home" / "a" and local("~") == tmp_path / "home"
    assert local("./~b") == tmp_path / "~b" and local("a/~b") == Path("a/~b") and local("./-x") == tmp_path / "-x"


LONG = {"a long name": "x" * 300, "a long path": "x/" * 2100, "bytes, not letters": "猫" * 100}


@pytest.mark.parametrize("what", LONG)
def test_what_no_file_can_be_called_is_refused_by_every_verb(
    what: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for line in with_path(LONG[what], run):
        assert main(line) == 2, line
        said = capsys.readouterr().err
        assert "is no path: a name in one has at most 255 bytes" in said and said.count("\n") == 1, line


@pytest.mark.parametrize("address", ["s3://bucket/a", "gs://b", "https://x.org/a", "file:///tmp/a", "hdfs://h/a"])
def test_addresses_are_refused_by_every_verb(address: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in with_path(address, run):
        assert main(line) == 2, line
        said = capsys.readouterr().err
        assert f"{address} is an address" in said and said.count("\n") == 1, line
    assert not [path for path in Path().iterdir() if ":" in path.name]


def with_path(address: str, run: Path) -> list[list[str]]:
    """What may be typed of each verb, with a path in each of its options."""
    digits = ["--data", "digits"]
    return [
        ["fit", *digits, "--data.root", address],
        ["fit", *digits, "--trainer.default_root_dir", address],
        ["fit", *digits, "--resume", address],
        ["fit", *digits, "--config", address],
        ["fit", "--data.root", address],
        ["test", "--ckpt_path", address],
        ["predict", "--ckpt_path", str(run), "--out", address],
        *(["figures", *more] for more in ([address], [str(run), "--out", address], [str(run), "--data.root", address])),
        *(["report", *more] for more in ([address], [str(run), "--out", address], [str(run), "--data.root", address])),
        *(["compare", *more] for more in ([address], [str(run), "--out", address])),
        ["sweep", "--strategy", "fixmatch", *digits, "--out", address],
        ["kmeans-features", *digits, "--out", address],
        ["data", "download", "mnist", "--root", address],
    ]


def test_a_home_in_every_option_of_a_fit(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "c.yaml").write_text("seed: 7\n")
    monkeypatch.setenv("HOME", str(home))
    config = parse(
        "fit",
        ["--data=folder", "--data.root=~/d", "--trainer.default_root_dir=~/r", "--config=~/c.yaml", "--resume=~/x"],
    )
    assert config.data.arguments["root"] == str(home / "d") and config.trainer["default_root_dir"] == str(home / "r")
    assert config.seed == 7 and config.own.resume == str(home / "x")
    (home / "run").symlink_to(run)
    assert main(["figures", "~/run", "--only=curves", "--out=~/out"]) == 0 and (home / "out" / "curves.png").is_file()
