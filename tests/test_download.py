"""Downloads from a real server that breaks off, and archives that try to get out of their folder."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from datamodules import stl10_files
from semisup.cli.front import main
from semisup.data import download
from semisup.errors import InputError

CONTENT = bytes(range(256)) * 5000  # 1.28 MB
MD5 = hashlib.md5(CONTENT).hexdigest()
OPENER = urllib.request.build_opener()  # the server has no certificate, so it is asked by http


class Server(ThreadingHTTPServer):
    """Serves CONTENT, with ranges if `ranges`; closes a connection after `limit` bytes while `breaks` lasts."""

    ranges = True
    limit = 500_000
    breaks = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        if self.path != "/file":
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.ranges else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        body = CONTENT[start:]
        if self.server.breaks:
            self.server.breaks -= 1
            body = body[: self.server.limit]
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def url(server: Server, path: str = "file") -> str:
    return f"http://127.0.0.1:{server.server_port}/{path}"


def test_a_file_arrives(server: Server, tmp_path: Path) -> None:
    download.fetch(url(server), tmp_path / "a" / "x", len(CONTENT), MD5, OPENER)
    assert (tmp_path / "a" / "x").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["x"]


def test_a_broken_connection_is_taken_up_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.breaks = 2
    download.fetch(url(server), tmp_path / "x", len(CONTENT), MD5, OPENER)
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=500000-", "bytes=1000000-"]


def test_an_earlier_attempt_is_continued(server: Server, tmp_path: Path) -> None:
    (tmp_path / "x.part").write_bytes(CONTENT[:700_000])
    download.fetch(url(server), tmp_path / "x", len(CONTENT), MD5, OPENER)
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert server.asked == ["bytes=700000-"]


def test_a_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / "x.part").write_bytes(CONTENT[:700_000])
    download.fetch(url(server), tmp_path / "x", len(CONTENT), MD5, OPENER)
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_a_connection_that_keeps_breaking_leaves_what_arrived(server: Server, tmp_path: Path) -> None:
    server.breaks, server.limit = 99, 1000
    with pytest.raises(InputError, match=r"broke off after \d,000 of 1,280,000 bytes.* type the same command to go on"):
        download.fetch(url(server), tmp_path / "x", len(CONTENT), MD5, OPENER)
    assert not (tmp_path / "x").exists()
    assert (tmp_path / "x.part").read_bytes() == CONTENT[: len((tmp_path / "x.part").read_bytes())]


def test_a_wrong_checksum_leaves_nothing(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"brought 1,280,000 bytes with md5 {MD5}, not 1,280,000 with {'0' * 32}"):
        download.fetch(url(server), tmp_path / "x", len(CONTENT), "0" * 32, OPENER)
    assert list(tmp_path.iterdir()) == []


def test_a_larger_file_than_expected_is_not_read_to_its_end(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not 1,000 with"):
        download.fetch(url(server), tmp_path / "x", 1000, MD5, OPENER)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_and_a_missing_server_are_one_error(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="404"):
        download.fetch(url(server, "nothing"), tmp_path / "x", len(CONTENT), MD5, OPENER)
    with pytest.raises(InputError, match="broke off after 0 of"):
        download.fetch("http://127.0.0.1:9/file", tmp_path / "x", len(CONTENT), MD5, OPENER)


def test_only_https_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not an https address"):
        download.download("http://127.0.0.1/file", tmp_path / "x", 1, MD5)
    assert stl10_files.URL.startswith("https://")


def archive(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_an_archive_is_unpacked_over_what_is_there(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar.gz", (member("d", tarfile.DIRTYPE), b""), (member("d/x"), b"new"))
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x").write_text("old")
    (tmp_path / "d" / "mine").write_text("kept")
    download.unpack_tar(path, tmp_path, 100)
    assert (tmp_path / "d" / "x").read_text() == "new" and (tmp_path / "d" / "mine").read_text() == "kept"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar.gz", "d"]


@pytest.mark.parametrize(
    ("evil", "message"),
    [
        (member("../evil"), "lies outside of its folder"),
        (member("/tmp/evil"), "lies outside of its folder"),
        (member("d/../../evil"), "lies outside of its folder"),
        (member("evil", tarfile.SYMTYPE, "/etc"), "is not a plain file"),
        (member("evil", tarfile.LNKTYPE, "good"), "is not a plain file"),
        (member("evil", tarfile.CHRTYPE), "is not a plain file"),
        (member("evil", tarfile.FIFOTYPE), "is not a plain file"),
    ],
)
def test_an_archive_that_tries_to_get_out_leaves_nothing(evil: tarfile.TarInfo, message: str, tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar.gz", (member("good"), b"x"), (evil, b""))
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(InputError, match=message):
        download.unpack_tar(path, into, 100)
    assert list(into.iterdir()) == [] and sorted(p.name for p in tmp_path.iterdir()) == ["a.tar.gz", "into"]


def test_an_archive_without_bound_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar.gz", (member("a"), b"x" * 60), (member("b"), b"x" * 60))
    into = tmp_path / "into"
    into.mkdir()
    for limits, message in (((100,), "more than 100 bytes"), ((1000, 1), "more than 1 files")):
        with pytest.raises(InputError, match=message):
            download.unpack_tar(path, into, *limits)
    assert list(into.iterdir()) == []


def test_a_damaged_archive_is_one_error(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar.gz", (member("a"), CONTENT))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(InputError, match="can't be unpacked"):
        download.unpack_tar(path, into, 10**9)
    assert list(into.iterdir()) == []


def test_stl10_is_fetched_unpacked_checked_and_then_left_alone(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {f"{stl10_files.FOLDER}/{name}": name.encode() for name in stl10_files.FILES}
    packed = archive(tmp_path / "served", *((member(name), content) for name, content in files.items())).read_bytes()
    monkeypatch.setitem(globals(), "CONTENT", packed)
    monkeypatch.setattr(stl10_files, "URL", url(server))
    monkeypatch.setattr(stl10_files, "ARCHIVE_SIZE", len(packed))
    monkeypatch.setattr(stl10_files, "ARCHIVE_MD5", hashlib.md5(packed).hexdigest())
    expected = {name: (len(name), hashlib.md5(name.encode()).hexdigest()) for name in stl10_files.FILES}
    monkeypatch.setattr(stl10_files, "FILES", expected)
    monkeypatch.setattr(stl10_files, "_UNPACKED", 10_000)
    monkeypatch.setattr(stl10_files, "download", lambda *arguments: download.fetch(*arguments, OPENER))
    root = tmp_path / "data"
    assert main(["data", "download", "stl10", "--root", str(root)]) == 0
    assert sorted(path.name for path in (root / "stl10_binary").iterdir()) == sorted(stl10_files.FILES)
    assert [path.name for path in root.iterdir()] == ["stl10_binary"]
    requests = len(server.asked)
    assert main(["data", "download", "stl10", "--root", str(root)]) == 0
    assert "already" in capsys.readouterr().out and len(server.asked) == requests


def test_what_can_not_be_downloaded_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "download", "digits"]) == 2
    assert (
        "digits is not fetched by this command, which fetches eurosat, mnist, stl10, svhn;" in capsys.readouterr().err
    )
