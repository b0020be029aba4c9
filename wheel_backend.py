"""Builds the wheel, in which `strategies` and `datamodules` are `semisup.strategies` and `semisup.datamodules`.

In a checkout, and in an editable install, the two folders are packages of those short names. In a wheel they would lie
beside every other package that is installed, and a stranger's `strategies` would hide ours or be hidden. So setuptools
builds the wheel as it is, and what is done here is to move them, and to rename them where they are named: in their own
imports and texts such as "strategies.kmeans_figures:PRESENTATION", and in the entry points. Everything else finds them
by their entry points.

There is no `prepare_metadata_for_build_wheel` here: it would describe the wheel as it was before.
"""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import zipfile
from pathlib import Path

from setuptools.build_meta import (
    build_editable,
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
)
from setuptools.build_meta import build_wheel as _build_wheel

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
]
_MOVED = r"(strategies|datamodules)\b"
_IMPORT = re.compile(rf"^(\s*(?:from|import) ){_MOVED}", re.MULTILINE)
_TEXT = re.compile(rf"([\"']){_MOVED}(?=[\w.]*:)")
_ENTRY_POINT = re.compile(rf"^([\w.-]+ = ){_MOVED}", re.MULTILINE)


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):  # type: ignore[no-untyped-def]
    """The wheel, with the two packages moved.

    What setuptools leaves in the checkout is removed: its copy of the modules would be in the next wheel, whatever has
    become of them, and its list of entry points would be read in place of the installed one.
    """
    left = [path for path in map(Path, ("build", "semisup.egg-info")) if not path.exists()]
    name: str = _build_wheel(wheel_directory, config_settings)
    for path in left:
        shutil.rmtree(path, ignore_errors=True)
    move_packages(Path(wheel_directory) / name)
    return name


def move_packages(wheel: Path) -> None:
    """Moves the two packages of a wheel into `semisup`, and writes its record anew."""
    with zipfile.ZipFile(wheel) as built:
        files = [(entry, built.read(entry)) for entry in built.infolist() if not entry.filename.endswith("/RECORD")]
        record = next(name for name in built.namelist() if name.endswith(".dist-info/RECORD"))
    temporary, lines = wheel.with_suffix(".tmp"), []
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as moved:
        for entry, content in files:
            entry.filename, content = _moved(entry.filename, content)
            moved.writestr(entry, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            lines.append(f"{entry.filename},sha256={digest},{len(content)}\n")
        moved.writestr(record, "".join([*lines, f"{record},,\n"]))
    temporary.replace(wheel)


def _moved(path: str, content: bytes) -> tuple[str, bytes]:
    """Where a file of the wheel goes, and what it then holds."""
    if re.match(_MOVED, path):
        if path.endswith(".py"):
            text = _IMPORT.sub(r"\1semisup.\2", content.decode())
            content = _TEXT.sub(r"\1semisup.\2", text).encode()
        return f"semisup/{path}", content
    if path.endswith(".dist-info/entry_points.txt"):
        return path, _ENTRY_POINT.sub(r"\1semisup.\2", content.decode()).encode()
    if path.endswith(".dist-info/top_level.txt"):
        return path, b"semisup\n"
    return path, content
