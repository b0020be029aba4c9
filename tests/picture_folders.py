"""Folders of small pictures, files that Pillow can't write itself, and the slow and obvious way to read them."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from datamodules.folder import Folder
from semisup.data.pool import Pool

SIZE = 16
SQUARE = (SIZE, SIZE)
ROW = SIZE * SIZE * 3  # bytes of a picture in a cache


def picture(path: Path, width: int = 24, height: int = 20, mode: str = "RGB", orientation: int = 0) -> Path:
    """Writes a picture of smooth noise that depends on its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(zlib.crc32(path.name.encode()))
    noise = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    noise.resize((width, height), Image.Resampling.BICUBIC).convert(mode).save(path, exif=exif)
    return path


def cats_and_dogs(root: Path, count: int = 10) -> Path:
    """Pictures of cats and as many of dogs, to train on."""
    for name in ("cat", "dog"):
        for number in range(count):
            picture(root / f"train/{name}/{name}{number}.png")
    return root


def png(path: Path, width: int, height: int, depth: int, colour: int, content: bytes, **chunks: bytes) -> Path:
    """Writes a PNG as it is told to.

    Args:
        path: where.
        width: in pixels.
        height: in pixels.
        depth: bits of each value.
        colour: 0 for grey, 2 for RGB, 4 for grey and alpha, 6 for RGBA.
        content: rows from top to bottom, each behind a byte 0.
        chunks: others, such as tRNS.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = {"IHDR": struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0), **chunks}
    parts |= {"IDAT": zlib.compress(content), "IEND": b""}
    written = (
        struct.pack(">I", len(x)) + k.encode() + x + struct.pack(">I", zlib.crc32(k.encode() + x))
        for k, x in parts.items()
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(written))
    return path


def png16(path: Path, values: np.ndarray, **chunks: bytes) -> Path:
    """Writes (H, W) or (H, W, 2 to 4) uint16 as a PNG."""
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[np.atleast_3d(values).shape[2]]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(path, values.shape[1], values.shape[0], 16, colour, rows, **chunks)


def bomb(path: Path, side: int = 20_000) -> Path:
    """Writes a small and correct PNG of many white pixels, by default of more than are agreed to be read."""
    return png(path, side, side, 1, 0, (b"\0" + b"\xff" * -(-side // 8)) * side)


def tiff(path: Path, values: np.ndarray, packed: bool = False, white_first: bool = False) -> Path:
    """Writes (H, W) or (H, W, 3) of any type of number as a TIFF in the order of its bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    order = "<" if values.dtype.newbyteorder("=") == values.dtype or values.dtype.byteorder == "<" else ">"
    height, width, bands = np.atleast_3d(values).shape
    content = zlib.compress(values.tobytes()) if packed else values.tobytes()
    tags = {
        256: width,
        257: height,
        258: values.dtype.itemsize * 8,
        259: 8 if packed else 1,
        262: 2 if bands == 3 else int(not white_first),
        273: 0,
        277: bands,
        278: height,
        279: len(content),
        339: {"u": 1, "i": 2, "f": 3}[values.dtype.kind],
    }
    start = 8 + 2 + 12 * len(tags) + 4
    tags[273] = start + 16
    entries = b""
    for tag, value in tags.items():
        if tag in (258, 339) and bands == 3:  # three shorts, behind the directory
            entries += struct.pack(f"{order}HHII", tag, 3, 3, start + 8 * (tag == 339))
        else:
            entries += struct.pack(f"{order}HHII", tag, 4, 1, value)
    more = b"".join(struct.pack(f"{order}4H", *[tags[tag]] * 4) for tag in (258, 339))
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(tags))
    path.write_bytes(head + entries + bytes(4) + more + content)
    return path


def naive(path: Path, size: int = SIZE) -> np.ndarray:
    """(3, size, size) uint8, the slow and obvious way."""
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    width, height = image.size
    scale = size / min(width, height)
    image = image.resize((round(width * scale), round(height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size))).transpose(2, 0, 1)


def images(pool: Pool | None) -> Tensor:
    """All of a pool."""
    assert pool is not None
    return pool.gather(torch.arange(len(pool)))


def by_name(pool: Pool | None) -> dict[str, np.ndarray]:
    """The images of a pool, (C, H, W) each, by the names of their files."""
    assert pool is not None and pool.names is not None
    return dict(zip(pool.names, images(pool).numpy(), strict=True))


def assert_equals_pillow(pool: Pool | None, root: Path) -> None:
    """Every picture is what the slow and obvious way gives."""
    assert by_name(pool)
    for name, image in by_name(pool).items():
        assert np.array_equal(image, naive(root / name)), name


def folder(root: Path, **kwargs: object) -> Folder:
    """The datamodule, at a small size."""
    return Folder(str(root), image_size=SIZE, **kwargs)  # type: ignore[arg-type]


def kept(root: Path) -> list[Path]:
    """What the cache beside the pictures holds, but for its locks."""
    return sorted(path for path in (root / ".semisup-cache").iterdir() if path.suffix != ".lock")


def all_images(root: Path) -> dict[str, np.ndarray]:
    """Every picture of every pool, by name."""
    pools = folder(root).pools
    there = [pool for pool in (pools.labeled, pools.without_label, pools.val, pools.test) if pool]
    return {name: image for pool in there for name, image in by_name(pool).items()}


def assert_whole(root: Path) -> None:
    """Every picture of every pool is what the slow and obvious way gives."""
    pools = folder(root).pools
    for pool in (pools.labeled, pools.without_label, pools.val, pools.test):
        if pool:
            assert_equals_pillow(pool, root)
