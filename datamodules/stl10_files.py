"""STL-10's files: what they must be, where they are looked for, and how they are fetched. Free of torch."""

from __future__ import annotations

from pathlib import Path

from semisup.data.download import download, file_md5, require_space, unpack_tar
from semisup.errors import InputError
from semisup.escape import shell

URL = "https://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz"
ARCHIVE_SIZE, ARCHIVE_MD5 = 2_640_397_119, "91f7769df0f17e558f3565bffb0c7dfb"
FOLDER = "stl10_binary"
FILES = {  # bytes and md5
    "train_X.bin": (138_240_000, "918c2871b30a85fa023e0c44e0bee87f"),
    "train_y.bin": (5_000, "5a34089d4802c674881badbb80307741"),
    "test_X.bin": (221_184_000, "7f263ba9f9e0b06b93213547f721ac82"),
    "test_y.bin": (8_000, "36f9794fa4beb8a2c72628de14fa638e"),
    "unlabeled_X.bin": (2_764_800_000, "5242ba1fed5e4be9e1e742405eb56ca4"),
}
_UNPACKED = 3_200_000_000  # bytes: a little more than all files together


def find_folder(root: Path) -> Path:
    """The folder that holds the files: `root/stl10_binary`, or `root` itself.

    Raises:
        InputError: neither holds `train_X.bin`.
    """
    for folder in (root / FOLDER, root):
        if (folder / "train_X.bin").is_file():
            return folder
    raise InputError(
        f"there is no STL-10 in {root}: neither {FOLDER}/train_X.bin nor train_X.bin; type --data.root DIR for where "
        f"it is, or semisup data download stl10 --root {shell(root)} to fetch it (2.6 GB)"
    )


def fetch(root: Path) -> None:
    """Fetches STL-10 into `root/stl10_binary` (2.6 GB, unpacked 3.1 GB), unless it is there and right.

    Raises:
        InputError: as `download` and `unpack_tar`, or an unpacked file is not what it should be.
    """
    folder = root / FOLDER
    if not _wrong(folder):
        print(f"STL-10 is already in {folder}, and every file is right")
        return
    root.mkdir(parents=True, exist_ok=True)
    archive = root / "stl10_binary.tar.gz"
    if not archive.exists():
        print(f"fetching {ARCHIVE_SIZE / 1e9:.1f} GB from {URL}", flush=True)
        download(URL, archive, ARCHIVE_SIZE, ARCHIVE_MD5)
    print("unpacking 3.1 GB", flush=True)
    require_space(root, _UNPACKED)
    unpack_tar(archive, root, _UNPACKED)
    if wrong := _wrong(folder):
        raise InputError(
            f"{', '.join(wrong)} in {folder} are not STL-10's; remove {shell(archive)} and type the command again"
        )
    archive.unlink()
    print(f"STL-10 is in {folder}; train on it with --data stl10 --data.root {shell(root)}")


def _wrong(folder: Path) -> list[str]:
    """Names of the files that are missing or differ from the published ones."""
    return [
        name
        for name, (size, md5) in FILES.items()
        if not (folder / name).is_file() or (folder / name).stat().st_size != size or file_md5(folder / name) != md5
    ]
