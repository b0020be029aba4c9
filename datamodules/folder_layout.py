"""Which folders of a root hold what."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from semisup.data.files import listing, named
from semisup.errors import require

PARTS = {
    "train": ("train", "training"),
    "unlabeled": ("unlabeled", "unlabelled"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}  # what a folder of the root may be called, in letters of any case
_CALLED = {name for names in PARTS.values() for name in names}


@dataclass
class Layout:
    """What lies in a root.

    Attributes:
        parts: the folder of each part that there is.
        unused: names of the other folders, of pictures beside them, of links that lead nowhere, and of files that are
            called as a part.
    """

    parts: dict[str, Path]
    unused: list[str]


def layout(root: Path, labels_elsewhere: bool = False) -> Layout:
    """Finds the parts of a dataset.

    Where no folder is called as train/ is, the root itself is it: if the labels are in a file, or if it holds two
    folders or more that can be classes.

    Args:
        root: the folder.
        labels_elsewhere: whether the labels are in a file, and no folder has to be a class.

    Raises:
        InputError: two folders are for the same part, a part is a link that leads nowhere, or the root can't be listed.
    """
    folders, files = listing(root)
    for path in files:  # a disk that isn't mounted must not pass for data that isn't there
        require(
            path.exists() or path.name.casefold() not in _CALLED,
            f"{path} is a link that leads nowhere, to {os.path.realpath(path)}; bring that back, or remove the link",
        )
    parts, unused = {}, [f"{path.name}/" for path in folders]
    for part, names in PARTS.items():
        matching = [path for path in folders if path.name.casefold() in names]
        require(
            len(matching) < 2,
            f"{root} holds {named([f'{path.name}/' for path in matching])}, which are names for the same pictures; "
            f"keep one of them, or join them",
        )
        if matching:
            parts[part] = matching[0]
            unused.remove(f"{matching[0].name}/")
    if "train" not in parts:
        others = [folder for folder in folders if folder not in parts.values()]
        nested = any(inner.name.casefold() in PARTS["train"] for other in others for inner in listing(other)[0])
        if labels_elsewhere or (len(others) > 1 and not nested):
            parts["train"] = root
            unused = []
    if labels_elsewhere and parts.get("train") == root:
        return Layout(parts, [])
    Image.init()  # or fewer endings are known
    pictures = {*Image.EXTENSION, ".heic", ".heif"}
    return Layout(parts, unused + [entry(path) for path in files if _is_missed(path, pictures)])


def entry(path: Path) -> str:
    """The name of a file in a listing, and whether it is a link that leads nowhere."""
    return path.name if path.exists() else f"{path.name} (a link that leads nowhere)"


def _is_missed(path: Path, endings: set[str]) -> bool:
    """Whether somebody may have thought that a file of the root would be used."""
    return path.suffix.lower() in endings or path.name.casefold() in _CALLED or not path.exists()
