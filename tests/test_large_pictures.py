"""Pictures of many pixels: how they are made smaller, in bounded memory, and that some are refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picture_folders import SIZE, bomb, folder, images, naive, picture, png
from PIL import Image

from semisup.data.picture import Budget, How, read, reading
from semisup.errors import InputError

# ---- sizes


@pytest.mark.parametrize("upright", [True, False])
def test_a_strip_is_cut_before_it_is_enlarged(upright: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    resize = Image.Image.resize

    def watched(image: Image.Image, to: tuple[int, int], *args: Any) -> Image.Image:
        asked.append(to)
        return resize(image, to, *args)

    monkeypatch.setattr(Image.Image, "resize", watched)
    pixels = np.zeros((4001, 2, 3), dtype=np.uint8)
    pixels[1980:2020] = (0, 0, 255)
    Image.fromarray(pixels if upright else pixels.transpose(1, 0, 2)).save(tmp_path / "x.png")
    with reading(How(SIZE)):
        square = read(tmp_path / "x.png", How(SIZE), {}).pixels
    assert square is not None and square.shape == (SIZE, SIZE, 3) and (square == (0, 0, 255)).all()
    assert asked == [(SIZE, 8 * SIZE) if upright else (8 * SIZE, SIZE)]


def test_a_very_large_jpeg_is_decoded_smaller_and_looks_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resized: list[tuple[int, int]] = []
    resize = Image.Image.resize

    def watched(image: Image.Image, to: tuple[int, int], *args: Any) -> Image.Image:
        resized.append(image.size)
        return resize(image, to, *args)

    picture(tmp_path / "x.jpg", 6000, 4000)
    expected = naive(tmp_path / "x.jpg").transpose(1, 2, 0).astype(int)
    picture(tmp_path / "smaller.jpg", 600, 400)
    monkeypatch.setattr(Image.Image, "resize", watched)
    with reading(How(SIZE)):
        found = read(tmp_path / "x.jpg", How(SIZE), {}).pixels
        read(tmp_path / "smaller.jpg", How(SIZE), {})
    assert resized == [(750, 500), (600, 400)]
    assert found is not None and np.abs(found.astype(int) - expected).max() <= 3


# ---- memory


def test_a_budget_is_never_exceeded_and_the_largest_is_alone() -> None:
    budget, lock, errors = Budget(100), threading.Lock(), []
    held: list[int] = []

    def work(seed: int) -> None:
        for cost in np.random.default_rng(seed).integers(1, 140, 60).tolist():
            with budget.take(cost):
                with lock:
                    held.append(cost)
                    if sum(held) > 100 and len(held) > 1:
                        errors.append(list(held))
                with lock:
                    held.remove(cost)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and held == []
    with pytest.raises(ZeroDivisionError), budget.take(100):
        _ = 1 / 0
    with budget.take(100):  # was given back
        pass


def test_large_pictures_are_read_within_the_bound_of_memory(tmp_path: Path) -> None:
    """Four threads read pictures one at a time, and of each kind one takes no more than it is taken to need.

    The kinds come in the order of that, since what the system tells is the most memory that a process ever took.
    """
    side, kinds = 3000, ("RGBA png 4", "LA png 1", "RGB webp 1", "RGBA jp2 1")
    for number, (mode, suffix, threads) in enumerate(map(str.split, kinds)):
        large = tmp_path / f"{number}0.{suffix}"
        Image.new("RGBA", (side, side), (9, 99, 0, 99)).convert(mode).save(large)
        for copy in range(1, int(threads)):
            shutil.copy(large, tmp_path / f"{number}{copy}.{suffix}")
    script = f"""
from multiprocessing.pool import ThreadPool
from pathlib import Path
from PIL import Image
from semisup.data import picture
from semisup.data.picture import Budget, How, read, reading
def most():
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(status["VmHWM"].split()[0])  # getrusage has the memory of who started this process in it
picture._budget = Budget(1)  # byte: each is read alone
how = How(16)
with reading(how), ThreadPool(4) as pool:
    pool.map(lambda name: 1, range(4))
    before = most()
    for kind in range({len(kinds)}):
        paths = sorted(Path({str(tmp_path)!r}).glob(f"{{kind}}*"))
        with Image.open(paths[0]) as file:
            cost = picture._draft(file, how)
        found = pool.map(lambda path: read(path, how, {{}}).pixels, paths)
        assert all(pixels.shape == (16, 16, 3) for pixels in found)
        print(paths[0].name, cost, most() - before)
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    lines = [line.split() for line in found.stdout.splitlines()]
    kept = 1 << 25  # bytes that the C library may keep of what was freed
    assert len(lines) == len(kinds) and all(side**2 < int(taken) < int(cost) + kept for _, cost, taken in lines), lines


# ---- limits


def test_a_limit_of_pixels_can_be_raised_and_lowered(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bomb(root / "unlabeled/x.png", 1200)  # 1.44 megapixels
    for limit, readable in ((179, True), (1.4, False), (1.5, True), (1.4, False), (179, True)):
        pool = folder(root, max_megapixels=limit).pools.without_label
        assert (pool is not None) == readable, limit
        told = f"of more pixels than the {limit:g} million of --data.max_megapixels, and are left out: unlabeled/x.png"
        assert (told in capsys.readouterr().out) != readable, limit
        if pool is not None:
            assert (images(pool) == 255).all()
    for wrong in (0, -1, float("nan"), float("inf")):
        with pytest.raises(InputError, match=r"data\.max_megapixels is .*, but must be more than 0"):
            folder(root, max_megapixels=wrong)


@pytest.mark.parametrize("chunk", ["zTXt", "iTXt", "iCCP"])
def test_a_limit_of_metadata_can_be_raised(chunk: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = zlib.compress(bytes(3 << 20) if chunk == "iCCP" else b"a" * (3 << 20))
    more = {"zTXt": b"k\0\0", "iTXt": b"k\0\1\0\0\0", "iCCP": b"p\0\0"}[chunk] + packed
    png(root / "unlabeled/x.png", 20, 20, 8, 0, (b"\0" + b"\x80" * 20) * 20, **{chunk: more})
    for limit, readable in ((1, False), (4, True), (1, False), (4, True)):
        pool = folder(root, max_metadata_mb=limit).pools.without_label
        assert (pool is not None) == readable
        told = "are PNGs with more text or profile than the 1 MB of --data.max_metadata_mb, and are left out: unlabeled"
        assert (told in capsys.readouterr().out) != readable
        if pool is not None:
            assert (images(pool) == 128).all()


def test_the_limits_of_others_are_left_as_they_were(root: Path) -> None:
    from PIL import PngImagePlugin

    before = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    _ = folder(root, max_megapixels=1000, max_metadata_mb=50).pools
    assert before == (Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY)
