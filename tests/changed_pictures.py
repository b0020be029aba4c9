"""A folder of pictures to train on, and what may be done to it between two runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDE = 8
FIT = [
    *("--strategy", "pseudolabel", "--pseudolabel.warmup_epochs", "1", "--pseudolabel.every_n_epochs", "9"),
    *(
        "--pseudolabel.threshold",
        "0",
        "--data",
        "folder",
        "--data.image_size",
        str(SIDE),
        "--data.labels_per_class",
        "3",
    ),
    *(
        "--data.batch_size",
        "6",
        "--data.steps_per_epoch",
        "2",
        "--trainer.max_epochs",
        "2",
        "--lr_scheduler",
        "constant",
    ),
    *("--tracking.mode", "disabled", "--trainer.accelerator", "cpu", "--trainer.devices", "1"),
]


def picture(path: Path) -> None:
    """Noise that depends on the path below the root, brighter for dogs."""
    seed = [*"/".join(path.parts[-3:]).encode()]
    values = np.random.default_rng(seed).integers(0, 120, (SIDE, SIDE, 3)) + 100 * ("dog" in path.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path)


def pictures(root: Path) -> None:
    for name in ("cat", "dog"):
        for part, count in (("train", 10), ("val", 3), ("test", 4)):
            for number in range(count):
                picture(root / part / name / f"{name}{number}.png")
    for number in range(12):
        picture(root / "unlabeled" / f"{('cat', 'dog')[number % 2]}-u{number:02}.png")


def rename(one: str, other: str) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        (root / other).parent.mkdir(parents=True, exist_ok=True)
        (root / one).rename(root / other)

    return apply


def edit(root: Path) -> None:
    with Image.open(root / "train/cat/cat3.png") as image:
        changed = image.copy()
    changed.putpixel((0, 0), (changed.getpixel((0, 0))[0] ^ 1, 0, 0))  # type: ignore[index]
    changed.save(root / "train/cat/cat3.png")


def add(root: Path) -> None:
    for number in range(20):
        picture(root / "unlabeled" / f"a-cat{number:02}.png")


def remove(root: Path) -> None:
    for number in range(5):
        (root / "unlabeled" / f"{('cat', 'dog')[number % 2]}-u{number:02}.png").unlink()


def rename_all(root: Path) -> None:
    for path in sorted((root / "unlabeled").iterdir()):
        path.rename(path.with_name(f"z{99 - int(path.stem[-2:])}.png"))


def swap(root: Path) -> None:
    for part in ("train", "val", "test"):
        (root / part / "cat").rename(root / part / "x")
        (root / part / "dog").rename(root / part / "cat")
        (root / part / "x").rename(root / part / "dog")


CHANGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "edited": (edit, r": 1 edited \(train/cat/cat3\.png\); "),
    "moved to another part": (
        rename("train/cat/cat1.png", "val/cat/new.png"),
        r"1 renamed \(train/cat/cat1\.png is now val/cat/new\.png\)",
    ),
    "moved to another class": (
        rename("val/cat/cat1.png", "val/dog/cat1.png"),
        r"1 of another class \(val/dog/cat1\.png: cat, now dog\)",
    ),
    "added": (
        add,
        r": 20 added \(unlabeled/a-cat00\.png, unlabeled/a-cat01\.png, unlabeled/a-cat02\.png and 17 more\); ",
    ),
    "removed": (remove, r": 5 removed \(unlabeled/cat-u00\.png, unlabeled/cat-u02\.png, unlabeled/cat-u04\.png and 2"),
    "renamed": (rename_all, r": 12 renamed \(unlabeled/cat-u00\.png is now unlabeled/z99\.png, .* and 9 more\); "),
    "no val": (
        lambda root: shutil.rmtree(root / "val"),
        r": 6 removed \(val/cat/cat0\.png, .*in another pool \(train/",
    ),
    "no test": (lambda root: shutil.rmtree(root / "test"), r": 8 removed \(test/cat/cat0\.png, "),
    "no unlabeled": (lambda root: shutil.rmtree(root / "unlabeled"), r": 12 removed \(unlabeled/cat-u00\.png, "),
    "swapped": (
        swap,
        r"classes .* have changed places: what it knows as 'cat' is now 'dog', 'dog' is now 'cat'; put it",
    ),
}
