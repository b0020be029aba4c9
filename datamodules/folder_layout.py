"""Which folders of a root hold what."""

from __future__ import annotations

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


@dataclass
class Layout:
    """What lies in a root.

    Attributes:
        parts: the folder of each part that there is.
        unused: names of the other folders, and of pictures beside them.
    """

    parts: dict[str, Path]
    unused: list[str]


def layout(root: Path) -> Layout:
    """Finds the parts of a dataset.

    Raises:
        InputError: two folders are for the same part, or the root can't be listed.
    """
    folders, files = listing(root)
    parts, unused = {}, [f"{path.name}/" for path in folders]
    for part, names in PARTS.items():
        found = [path for path in folders if path.name.casefold() in names]
        require(
            len(found) < 2,
            f"{root} holds {named([f'{path.name}/' for path in found])}, which are names for the same pictures; "
            f"keep one of them, or join them",
        )
        if found:
            parts[part] = found[0]
            unused.remove(f"{found[0].name}/")
    Image.init()  # or fewer endings are known
    pictures = {*Image.EXTENSION, ".heic", ".heif"}
    return Layout(parts, unused + [path.name for path in files if path.suffix.lower() in pictures])
