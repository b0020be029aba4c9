"""Faults of the data: pictures that are others than a run began with, and a cache that is damaged."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from semisup.data import picture

from .outcome import Outcome
from .runs import command, fit, run_under, same_end, stopped


def pictures(folder: Path, side: int = 40, classes: Sequence[str] = "abc") -> Path:
    """A folder of noise: 60 pictures to train on, 15 to validate on, of some classes."""
    noise = np.random.default_rng(0)
    for part, count in (("train", 60), ("val", 15)):
        for number in range(count):
            path = folder / part / classes[number % len(classes)] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise.integers(0, 256, (side, side, 3)).astype(np.uint8)).save(path)
    return folder


def _changed(folder: Path, word: str, change: Callable[[Path], object]) -> Outcome:
    """A run that is stopped in step 4; then pictures are changed, and it is resumed, scored and predicts."""
    root = pictures(folder / "pictures")
    given = ["--data", "folder", "--data.root", str(root), "--data.image_size", "32"]
    stopped(folder / "runs", *given)
    run = run_under(folder)
    change(root)
    ended = command(folder, "fit", "--resume", str(run))
    met = {f"resume: {name}": right for name, right in ended.told(2, "was trained with other data", word).items()}
    for verb in ("validate", "predict"):
        words = ["--on", "val", "--out", str(folder / "x.csv")] if verb == "predict" else []
        said = command(folder, verb, "--ckpt_path", str(run), *words)
        met |= {f"{verb}: {name}": right for name, right in said.told(0, "not what it was trained with").items()}
    return Outcome(f"exit code {ended.code}: {ended.line('was trained with')}", "the run as it was", met)


def edited_picture(folder: Path, whole: Path) -> Outcome:
    """A picture is edited between a stop and the resume."""

    def edit(root: Path) -> None:
        Image.new("RGB", (40, 40), "red").save(root / "train/a/0.png")

    return _changed(folder, "0.png", edit)


def added_pictures(folder: Path, whole: Path) -> Outcome:
    """20 pictures are added between a stop and the resume."""

    def add(root: Path) -> None:
        for number in range(20):
            Image.new("RGB", (40, 40), (number, 0, 9)).save(root / f"train/b/more{number}.png")

    return _changed(folder, "more", add)


def picture_of_another_class(folder: Path, whole: Path) -> Outcome:
    """A picture is moved to another class between a stop and the resume."""
    return _changed(folder, "0.png", lambda root: (root / "train/a/0.png").rename(root / "train/b/0.png"))


def moved_pictures(folder: Path, whole: Path) -> Outcome:
    """All pictures lie elsewhere when a stopped run is resumed, and --data.root names the place."""
    root = pictures(folder / "pictures")
    given = ["--data", "folder", "--data.image_size", "32"]
    undisturbed = fit(folder / "one", *given, "--data.root", str(root))
    stopped(folder / "two", *given, "--data.root", str(root))
    root.rename(folder / "elsewhere")
    ended = command(folder, "fit", "--resume", str(run_under(folder / "two")), "--data.root", str(folder / "elsewhere"))
    met = ended.told(0) | {"undisturbed": undisturbed.code == 0, "same end": same_end(folder / "two", folder / "one")}
    return Outcome(f"exit code {ended.code}", "ends as if nothing had happened" if met["same end"] else "", met)


def damaged_cache(folder: Path, whole: Path) -> Outcome:
    """A byte of the cache of resized pictures is changed between two runs."""
    root = pictures(folder / "pictures", 300)
    given = ["--data", "folder", "--data.root", str(root), "--data.image_size", "32"]
    first = fit(folder / "one", *given)
    (store,) = (Path(line.rpartition(" kept in ")[2]) for line in first.said.splitlines() if " kept in " in line)
    content = bytearray(store.read_bytes())
    content[len(content) // 2] ^= 255
    store.write_bytes(content)
    second = fit(folder / "two", *given)
    met = second.told(0, "were damaged, and are made again") | {"same end": same_end(folder / "two", folder / "one")}
    return Outcome(f"exit codes {first.code} and {second.code}: {second.line('were damaged')}", "the same weights", met)


def very_large_pictures(folder: Path, whole: Path) -> Outcome:
    """Pictures of 36 million half-transparent pixels are read, of which four threads could take 1.7 GB at once."""

    def look(*_: Any) -> None:
        (peak,) = re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())  # since the fork
        (folder / "peak").write_text(peak)

    codes, peaks = [], []
    for name, side in (("small", 40), ("large", 6000)):
        root = folder / name
        for number in range(8):
            path = root / ("val" if number < 2 else "train") / "ab"[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGBA", (side, side), (number, 0, 9, 128)).save(path, compress_level=1)
        given = ["--data", "folder", "--data.root", str(root), "--data.image_size", "32"]
        codes.append(fit(folder / f"{name} runs", *given, act=look, step=0).code)
        peaks.append(int((folder / "peak").read_text()) * 1024)
    more = peaks[1] - peaks[0]
    met = {"both end": codes == [0, 0], "within the bound": more < picture.MEMORY}
    return Outcome(f"{more / 1e6:.0f} MB more than for pictures of 40x40 pixels, of 1074 MB at most", "a run", met)


FAULTS = [edited_picture, added_pictures, picture_of_another_class, moved_pictures, damaged_cache, very_large_pictures]
