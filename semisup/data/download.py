"""Fetches and unpacks large archives: resumed where a connection broke, checked before use, never outside its folder.

Standard library and a progress bar only, so that downloading doesn't wait for torch.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import sys
import tarfile
import tempfile
import urllib.request
import zlib
from pathlib import Path
from typing import BinaryIO, cast
from urllib.error import HTTPError

from tqdm import tqdm

from semisup.errors import InputError, require

_BLOCK = 1 << 20  # bytes read at once
_ATTEMPTS = 5  # connections, before the user is asked to try again
_TIMEOUT = 30  # seconds without a byte
_HEADERS = 1 << 20  # bytes of an archive between two files


def download(url: str, path: Path, size: int, md5: str) -> None:
    """Fetches a file; what an earlier attempt left in `path.part` is continued.

    Args:
        url: https only, wherever it leads.
        path: where the file appears once it is complete and right.
        size: expected bytes.
        md5: expected MD5, in hexadecimal.

    Raises:
        InputError: the server can't be reached, the disk is too small, or what arrived is not what was expected.
    """
    require(url.startswith("https://"), f"{url} is not an https address, and nothing else is fetched")
    opener = urllib.request.OpenerDirector()  # knows no http, so that a redirection to it fails
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    fetch(url, path, size, md5, opener)


def fetch(url: str, path: Path, size: int, md5: str, opener: urllib.request.OpenerDirector) -> None:
    """`download` by the protocols that `opener` knows."""
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, _ATTEMPTS + 1):
        have = part.stat().st_size if part.exists() else 0
        if have >= size:
            break
        require_space(path.parent, size - have)
        try:
            _append(url, part, have, size, opener)
        except OSError as error:  # URLError and a broken connection are among them
            if attempt == _ATTEMPTS or isinstance(error, HTTPError):
                have = part.stat().st_size if part.exists() else 0
                raise InputError(
                    f"{url} broke off after {have:,} of {size:,} bytes ({error}); what arrived is kept, type the same "
                    f"command to go on"
                ) from error
    came, checksum = part.stat().st_size, file_md5(part)
    if came < size:
        raise InputError(f"{url} broke off after {came:,} of {size:,} bytes; type the same command to go on")
    if (came, checksum) != (size, md5):
        part.unlink()
        raise InputError(
            f"{url} brought {came:,} bytes with md5 {checksum}, not {size:,} with {md5}; they were removed, type the "
            f"same command to fetch it anew"
        )
    os.replace(part, path)


def _append(url: str, part: Path, have: int, size: int, opener: urllib.request.OpenerDirector) -> None:
    """Reads from byte `have` on into `part`; from the start where the server can't skip."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with opener.open(request, timeout=_TIMEOUT) as response:
        have = have if response.status == 206 else 0
        quiet = not sys.stderr.isatty()
        with (
            part.open("ab" if have else "wb") as file,
            tqdm(total=size, initial=have, unit="B", unit_scale=True, desc=part.stem, disable=quiet) as bar,
        ):
            # One byte more than expected shows that it is not the file that was meant; the checksum will say so.
            while block := response.read(min(_BLOCK, size + 1 - file.tell())):
                file.write(block)
                bar.update(len(block))


def file_md5(path: Path) -> str:
    """MD5 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def require_space(folder: Path, size: int) -> None:
    """Raises InputError where a folder's disk has fewer than `size` bytes left."""
    free = shutil.disk_usage(folder).free
    require(free >= size, f"{folder} has {free:,} bytes of disk left, and {size:,} are needed; give another --root")


def unpack_tar(path: Path, into: Path, most_bytes: int, most_members: int = 1000) -> None:
    """Unpacks a tar archive of plain files and folders; nothing appears in `into` before everything is unpacked.

    Args:
        path: the archive, compressed by gzip or not.
        into: an existing folder; files in it that the archive holds too are replaced.
        most_bytes: an archive that unpacks to more than that is refused.
        most_members: an archive of more files and folders than that is refused.

    Raises:
        InputError: a member is a link or a device, or lies outside of the folder, or the archive is damaged or too big.
    """
    temporary = Path(tempfile.mkdtemp(prefix=".unpack-", dir=into))
    try:
        with _unpacked(path) as content, tarfile.open(fileobj=content, mode="r|") as archive:
            total = 0
            for count, member in enumerate(archive, start=1):
                require(member.size >= 0, f"{path} holds {member.name!r} of {member.size:,} bytes; it is not unpacked")
                total += member.size
                inside = (temporary / member.name).resolve().is_relative_to(temporary.resolve())
                require(inside, f"{path} holds {member.name!r}, which lies outside of its folder; it is not unpacked")
                require(member.isreg() or member.isdir(), f"{path} holds {member.name!r}, which is not a plain file")
                require(count <= most_members, f"{path} holds more than {most_members:,} files; it is not unpacked")
                require(total <= most_bytes, f"{path} unpacks to more than {most_bytes:,} bytes; it is not unpacked")
                content.left += member.size
                archive.extract(member, temporary, filter="data")
                content.left = _HEADERS
            while content.read(_BLOCK):  # to the end, where gzip has its checksum
                pass
        for file in [entry for entry in temporary.rglob("*") if entry.is_file()]:
            target = into / file.relative_to(temporary)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, target)
    except InputError:
        raise
    except (tarfile.TarError, EOFError, OSError, zlib.error, ValueError) as error:
        raise InputError(f"{path} can't be unpacked: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class _Rationed(io.RawIOBase):
    """What is in an archive, as long as no more of it is read than is due: a header alone could fill the memory."""

    def __init__(self, source: BinaryIO) -> None:
        self._source, self.left = source, _HEADERS

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes."""
        block = self._source.read(size)
        self.left -= len(block)
        if self.left < 0:
            raise tarfile.TarError(f"more than {_HEADERS:,} bytes of it are no file's")
        return block

    def close(self) -> None:
        """Closes the archive."""
        self._source.close()
        super().close()


def _unpacked(path: Path) -> _Rationed:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return _Rationed(cast(BinaryIO, gzip.open(path)) if packed else path.open("rb"))
