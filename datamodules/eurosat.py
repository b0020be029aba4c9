"""EuroSAT (Helber et al. 2019): 27,000 satellite pictures of ten uses of land, all labeled, few of them given.

semisup data download eurosat
semisup fit --data eurosat --data.labels_per_class 4 --strategy fixmatch
"""

from __future__ import annotations

import re
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.folder_cache import load
from semisup.data.datamodule import DataModule
from semisup.data.download import download
from semisup.data.few_labels import few_labels
from semisup.data.picture import How
from semisup.data.pool import Pool
from semisup.data.pools import DataSpec, Pools
from semisup.data.splits import holdout
from semisup.errors import InputError, require
from semisup.escape import shell

_CLASSES = (
    *("AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial"),
    *("Pasture", "PermanentCrop", "Residential", "River", "SeaLake"),
)
_IMAGES, _SIDE = 27_000, 64
_PICTURE = re.compile(r"2750/[A-Za-z]+/[A-Za-z]+_\d+\.jpg")  # its path in the archive
_URL = (  # as torchvision has it; the authors' own server is gone
    "https://huggingface.co/datasets/torchgeo/eurosat/resolve/c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip"
)
_PACKED, _MD5 = 94_280_567, "c8fa014336c82ac7804f0398fcb19387"


class EuroSAT(DataModule):
    """27,000 satellite pictures of 64x64 pixels, ten uses of land; labels_per_class says how many labels are given.

    A fifth is the test set and a fifth validates, stratified and the same for every seed: EuroSAT's authors publish no
    split, and 16,200, 5,400 and 5,400 are the sizes that are common. Of the rest, `labels_per_class` per class are
    labeled, chosen by the seed, and what is left is the unlabeled pool, whose labels are hidden. Without
    `labels_per_class` all are labeled and none unlabeled.
    Source: P. Helber et al., arXiv 1709.00029; the RGB pictures, laid out as torchvision lays them out. They are
    decoded once, into ROOT/.semisup-cache (`semisup data clean` lists it).

    Args:
        root: the folder that holds eurosat/2750/CLASS/*.jpg.
        kwargs: see DataModule.
    """

    spec = DataSpec("eurosat", _CLASSES, channels=3, image_size=_SIDE)

    def __init__(self, root: str = "data", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.root = Path(root).expanduser()

    def read(self) -> Pools:
        """Reads the pictures.

        Raises:
            InputError: pictures are missing, or can't be read.
        """
        folder = self.root / "eurosat" / "2750"
        files = [sorted((folder / name).glob("*.jpg")) for name in _CLASSES]
        names = [path.relative_to(self.root).as_posix() for of_class in files for path in of_class]
        labels = np.repeat(np.arange(len(_CLASSES)), [len(of_class) for of_class in files])
        if len(names) != _IMAGES:
            raise InputError(
                f"EuroSAT has {_IMAGES:,} pictures, found {len(names):,} in {folder}; type semisup data download "
                f"eurosat --root {shell(self.root)} to fetch it (94 MB), or --data.root FOLDER if it is elsewhere"
            )
        loaded = load(self.root, names, ["eurosat"] * len(names), How(_SIDE))
        bad = [name for name, row in zip(names, loaded.rows, strict=True) if row < 0]
        require(not bad, f"{folder} holds pictures that can't be read: {', '.join(bad[:3])}; fetch EuroSAT anew")
        rest, tested = holdout(labels, _IMAGES // 5, "eurosat test")
        kept, held = holdout(labels[rest], _IMAGES // 5, "eurosat val")
        val_pool, test_pool = (
            Pool(loaded.images, labels[files], loaded.rows[files], [names[file] for file in files])
            for files in (rest[held], tested)
        )
        by_row = np.full(len(loaded.images), -1)
        by_row[loaded.rows] = labels
        return few_labels(self, loaded.images, by_row, loaded.rows[rest[kept]], val_pool, test_pool)


def fetch(root: Path) -> None:
    """Fetches EuroSAT into `root/eurosat` (94 MB, and as much unpacked), unless it is there, by torchvision's md5.

    Raises:
        InputError: as `download`.
    """
    folder = root / "eurosat"
    if not (folder / "2750").exists():
        archive = folder / "EuroSAT.zip"
        download(_URL, archive, _PACKED, _MD5)
        with tempfile.TemporaryDirectory(prefix=".unpack-", dir=folder) as aside:
            with zipfile.ZipFile(archive) as packed:
                for name in (name for name in packed.namelist() if _PICTURE.fullmatch(name)):
                    path = Path(aside, name)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(packed.read(name))
            shutil.move(Path(aside, "2750"), folder / "2750")
        archive.unlink()
    print(f"EuroSAT is in {folder}; train on it with --data eurosat --data.root {shell(root)}")
