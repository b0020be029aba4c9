"""Folders of pictures: equal to Pillow picture by picture, whatever lies about in them, and made equal only once."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import classifier, trainer
from PIL import Image, ImageOps
from torch import Tensor

from datamodules import folder_cache
from datamodules.folder import Folder
from semisup.data.pool import Pool
from semisup.errors import InputError
from strategies.pseudolabel import PseudoLabel

SIZE = 16


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


def bomb(path: Path, side: int = 20_000) -> None:
    """Writes a small and correct PNG of more pixels than Pillow agrees to read."""
    chunks = {b"IHDR": struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)}
    chunks |= {b"IDAT": zlib.compress(bytes(side * (1 + side // 8))), b"IEND": b""}
    parts = (struct.pack(">I", len(x)) + k + x + struct.pack(">I", zlib.crc32(k + x)) for k, x in chunks.items())
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def naive(path: Path, size: int = SIZE) -> np.ndarray:
    """(3, size, size) uint8, the slow and obvious way."""
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    width, height = image.size
    scale = size / min(width, height)
    image = image.resize((round(width * scale), round(height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size))).transpose(2, 0, 1)


def images(pool: Pool) -> Tensor:
    return pool.gather(torch.arange(len(pool)))


def assert_equals_pillow(pool: Pool, root: Path) -> None:
    assert pool.names is not None and len(pool) == len(pool.names) > 0
    for image, name in zip(images(pool), pool.names, strict=True):
        assert np.array_equal(image, naive(root / name)), name


def folder(root: Path, **kwargs: object) -> Folder:
    return Folder(str(root), image_size=SIZE, **kwargs)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten pictures of cats and ten of dogs."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    for name in ("cat", "dog"):
        for number in range(10):
            picture(tmp_path / f"data/train/{name}/{name}{number}.png")
    return tmp_path / "data"


def caches(root: Path) -> list[Path]:
    return sorted((root / ".semisup-cache").iterdir())


SHAPES = {
    "wide.jpg": {"width": 90, "height": 31},
    "tall.jpg": {"width": 17, "height": 60},
    "small.png": {"width": 3, "height": 7},
    "exact.png": {"width": SIZE, "height": SIZE},
    "L.png": {"mode": "L"},
    "LA.png": {"mode": "LA"},
    "one.png": {"mode": "1"},
    "P.png": {"mode": "P"},
    "P.gif": {"mode": "P"},
    "RGBA.png": {"mode": "RGBA"},
    "RGBA.webp": {"mode": "RGBA"},
    "CMYK.jpg": {"mode": "CMYK"},
    "CMYK.tif": {"mode": "CMYK"},
    **{f"turned{k}.jpg": {"width": 40, "height": 20, "orientation": k} for k in range(1, 9)},
}


def test_every_kind_of_picture_equals_pillow(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, how in SHAPES.items():
        picture(root / "test" / name, **how)  # type: ignore[arg-type]
    pools = folder(root).pools
    assert pools.test is not None and pools.test.names == sorted(f"test/{name}" for name in SHAPES)
    assert images(pools.test).dtype == torch.uint8 and pools.test.shape == (3, SIZE, SIZE)
    assert_equals_pillow(pools.test, root)
    assert_equals_pillow(pools.labeled, root)
    assert "not readable" not in capsys.readouterr().out


def test_a_picture_of_16_bits_keeps_its_upper_eight(tmp_path: Path) -> None:
    values = np.arange(SIZE * SIZE, dtype=np.uint16).reshape(SIZE, SIZE) * 256 + 7
    Image.fromarray(values).save(tmp_path / "x.png")
    square = folder_cache.square(tmp_path / "x.png", SIZE, 3)
    assert square is not None and np.array_equal(square, np.repeat((values // 256)[..., None], 3, axis=2))


def test_grey_pictures_stay_one_channel_and_colours_become_grey(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for part in ("train/dark", "train/light"):
        (tmp_path / part).mkdir(parents=True)
        for number in range(5):
            Image.fromarray(rng.integers(0, 256, (28, 28), np.uint8)).save(tmp_path / part / f"{number}.png")
    Image.fromarray(rng.integers(0, 256, (28, 28, 3), np.uint8)).save(tmp_path / "train/light/4.png")
    data = Folder(str(tmp_path), image_size=28, channels=1)
    assert data.spec.channels == 1 and data.pools.val is not None
    found = 0
    for pool in (data.pools.labeled, data.pools.val):
        assert pool.shape == (1, 28, 28)
        for index, image in enumerate(images(pool)):
            expected = np.asarray(Image.open(tmp_path / pool.name(index)).convert("L"))
            assert np.array_equal(image[0], expected)
            found += 1
    assert found == 10
    assert Folder(str(tmp_path), image_size=28).pools.labeled.shape == (3, 28, 28)  # and has a cache of its own
    assert len(caches(tmp_path)) == 2


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
    square = folder_cache.square(tmp_path / "x.png", SIZE, 3)
    assert square is not None and square.shape == (SIZE, SIZE, 3) and (square == (0, 0, 255)).all()
    assert asked == [(SIZE, 8 * SIZE) if upright else (8 * SIZE, SIZE)]


def test_what_is_no_picture_is_named_counted_and_left_out(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = root / "train/cat/cut.jpg"
    picture(bad, 200, 200)
    bad.write_bytes(bad.read_bytes()[:2000])
    (root / "train/dog/empty.png").touch()
    (root / "unlabeled").mkdir()
    (root / "unlabeled/notes.txt").write_text("not a picture")
    (root / "unlabeled/gone.jpg").symlink_to(root / "nowhere.jpg")
    os.mkfifo(root / "unlabeled/pipe.jpg")
    bomb(root / "unlabeled/bomb.png")
    picture(root / "unlabeled/good.png")
    (root / "train/cat/.hidden").write_text("ignored")
    (root / "train/.hidden").mkdir()
    for _ in range(2):  # made, and then reused
        pools = folder(root).pools
        listed = "train/cat/cut.jpg, train/dog/empty.png, " + ", ".join(
            f"unlabeled/{name}" for name in ("bomb.png", "gone.jpg", "notes.txt", "pipe.jpg")
        )
        out = capsys.readouterr().out
        assert f"data: 6 of 27 files are not readable pictures and are left out: {listed}\n" in out
        assert pools.without_label is not None and pools.without_label.names == ["unlabeled/good.png"]
        assert len(pools.labeled) == 16
        assert_equals_pillow(pools.labeled, root)
        assert_equals_pillow(pools.without_label, root)
    assert len(caches(root)) == 1


def test_only_ten_unreadable_files_are_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(13):
        (root / f"train/cat/x{number:02}.jpg").touch()
    folder(root).read()
    out = capsys.readouterr().out
    assert "13 of 33 files" in out and "train/cat/x09.jpg and 3 more\n" in out and "x10" not in out


def test_a_name_that_is_not_unicode_is_escaped(root: Path) -> None:
    path = os.fsencode(root / "test") + b"/caf\xe9.png"
    picture(root / "test/x.png")
    os.rename(root / "test/x.png", path)
    pools = folder(root).pools
    assert pools.test is not None and pools.test.names == ["test/caf\\udce9.png"]


def test_unlabeled_pictures_at_any_depth_come_before_the_rest_of_train(root: Path) -> None:
    for name in ("b.png", "a/2.png", "a/deep/er/1.png", "z/0.png"):
        picture(root / "unlabeled" / name)
    data = folder(root, labels_per_class=3)
    pools = data.pools
    assert pools.without_label is not None and pools.without_label.names is not None and pools.val is not None
    loose = [f"unlabeled/{name}" for name in ("b.png", "a/2.png", "a/deep/er/1.png", "z/0.png")]
    assert pools.without_label.names[:4] == loose
    assert all(name.startswith("train/") for name in pools.without_label.names[4:])
    assert (len(pools.labeled), len(pools.without_label), len(pools.val), pools.train_size) == (6, 4 + 10, 4, 16)
    assert pools.labeled.labels.tolist() == [0, 0, 0, 1, 1, 1] and (pools.without_label.labels == -1).all()
    assert pools.truth is None and data.audit is None  # nobody knows the classes of unlabeled/
    everything = [*pools.labeled.names, *pools.without_label.names[4:], *pools.val.names]  # type: ignore[misc]
    assert sorted(everything) == sorted(f"train/{c}/{c}{k}.png" for c in ("cat", "dog") for k in range(10))
    assert_equals_pillow(pools.without_label, root)
    pools = folder(root).pools
    assert pools.without_label is not None and pools.without_label.names == loose and pools.truth is None


def test_the_truth_is_known_where_all_unlabeled_pictures_come_from_train(root: Path) -> None:
    pools = folder(root, labels_per_class=3).pools
    assert pools.without_label is not None and pools.without_label.names is not None and pools.truth is not None
    assert [("cat", "dog")[k] for k in pools.truth] == [name.split("/")[1] for name in pools.without_label.names]
    pools = folder(root).pools
    assert pools.without_label is None and pools.truth is None and len(pools.labeled) == 16


def test_without_val_a_fifth_of_train_validates_whatever_the_seed(root: Path) -> None:
    one, other = (folder(root, labels_per_class=4, seed=seed).pools for seed in (0, 1))
    assert one.val is not None and other.val is not None and one.test is None
    assert one.val.labels.tolist() == [0, 0, 1, 1] and one.val.names == other.val.names
    assert one.labeled.names != other.labeled.names
    assert [name.split("/")[1] for name in one.val.names or []] == ["cat", "cat", "dog", "dog"]


def test_val_and_test_are_used_where_they_are_given(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("val/dog/v.png", "test/dog/t.png", "test/cat/t.png", "test/cat/more/u.png", "test/readme.png"):
        picture(root / name)
    pools = folder(root).pools
    assert pools.val is not None and pools.test is not None
    assert len(pools.labeled) == 20 and (pools.val.names, pools.val.labels.tolist()) == (["val/dog/v.png"], [1])
    assert pools.test.names == ["test/cat/t.png", "test/cat/more/u.png", "test/dog/t.png"]
    assert pools.test.labels.tolist() == [0, 0, 1] and pools.test.name(2) == "test/dog/t.png"
    assert f"data: left out of {root}/test, as in no class's folder: readme.png\n" in capsys.readouterr().out


def test_a_flat_test_folder_has_no_labels(root: Path) -> None:
    for name in ("b.png", "a.png"):
        picture(root / "test" / name)
    pools = folder(root).pools
    assert pools.test is not None and pools.test.names == ["test/a.png", "test/b.png"]
    assert pools.test.labels.tolist() == [-1, -1]


def test_the_cache_is_reused_until_a_file_changes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    square = folder_cache.square

    def watched(path: Path, size: int, channels: int) -> np.ndarray | None:
        read.append(path.name)
        return square(path, size, channels)

    monkeypatch.setattr(folder_cache, "square", watched)
    first = images(folder(root).pools.labeled)
    assert len(read) == 20
    assert torch.equal(images(folder(root, seed=3).pools.labeled), first) and len(read) == 20

    changed = root / "train/cat/cat0.png"
    stat = changed.stat()
    os.utime(changed, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))  # as after an edit that keeps the file's size
    assert torch.equal(images(folder(root).pools.labeled), first) and len(read) == 40

    Image.new("RGB", (20, 20), "white").save(changed)
    os.utime(changed, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))  # another size at the same time
    _ = folder(root).pools
    assert len(read) == 60
    picture(root / "val/cat/v.png")  # another file; and now all of train/ is in the labeled pool
    pools = folder(root).pools
    assert len(read) == 81 and pools.labeled.name(0) == "train/cat/cat0.png"
    assert (images(pools.labeled)[0] == 255).all()
    assert_equals_pillow(pools.labeled, root)

    assert Folder(str(root), image_size=SIZE + 1).pools.labeled.shape == (3, SIZE + 1, SIZE + 1) and len(read) == 102
    changed.unlink()
    assert "train/cat/cat0.png" not in (folder(root).pools.labeled.names or []) and len(read) == 122


def test_a_cache_cut_short_or_left_by_a_killed_process_is_not_taken_for_one(root: Path) -> None:
    first = images(folder(root).pools.labeled)
    (cache,) = caches(root)
    whole = cache.read_bytes()
    assert len(whole) == 20 * (SIZE * SIZE * 3 + 1)
    cache.write_bytes(whole[:-1])
    assert torch.equal(images(folder(root).pools.labeled), first) and cache.read_bytes() == whole

    cache.unlink()
    script = f"""
import os, signal
from datamodules import folder_cache
from datamodules.folder import Folder
square, count = folder_cache.square, []
def killed(path, size, channels):
    count.append(path)
    if len(count) == 15:
        os.kill(os.getpid(), signal.SIGKILL)
    return square(path, size, channels)
folder_cache.square = killed
Folder({str(root)!r}, image_size={SIZE}).read()
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == -9
    left = caches(root)
    assert cache not in left and [path.suffix for path in left] == [".part"]
    assert torch.equal(images(folder(root).pools.labeled), first) and cache.read_bytes() == whole


def test_two_processes_at_once_end_with_the_same_cache(root: Path) -> None:
    script = f"""
import sys
import numpy as np
from datamodules import folder_cache
from datamodules.folder import Folder
make = folder_cache._make
def together(*arguments):
    print("ready", flush=True)
    sys.stdin.readline()
    return make(*arguments)
folder_cache._make = together
pool = Folder({str(root)!r}, image_size={SIZE}).read().labeled
import torch, zlib
print("crc", zlib.crc32(pool.gather(torch.arange(len(pool))).numpy().tobytes()))
"""
    command = [sys.executable, "-c", script]
    both = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    outs = [process.communicate("go\n", timeout=120)[0].splitlines()[-1] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert outs == [f"crc {zlib.crc32(images(folder(root).pools.labeled).numpy().tobytes())}"] * 2
    (cache,) = caches(root)
    assert cache.suffix == ".pixels"


def test_the_cache_is_with_the_user_where_root_can_not_be_written(root: Path) -> None:
    (root / ".semisup-cache").touch()  # so that not even the superuser can make that folder
    first = images(folder(root).pools.labeled)
    (cache,) = (root.parent / "xdg/semisup").glob("*/*")
    stamp = cache.stat()
    assert torch.equal(images(folder(root).pools.labeled), first) and cache.stat() == stamp
    shutil.rmtree(root.parent / "xdg")
    (root.parent / "xdg").touch()
    with pytest.raises(InputError, match=r"\.semisup-cache nor .*xdg/semisup/.* can be written.*XDG_CACHE_HOME=FOLDER"):
        folder(root).read()


def test_a_read_only_root_is_enough(root: Path) -> None:
    root.chmod(0o555)
    try:
        if os.access(root, os.W_OK):
            pytest.skip("this user may write everywhere")
        assert len(folder(root).pools.labeled) == 16
    finally:
        root.chmod(0o755)
    assert not (root / ".semisup-cache").exists() and len(list((root.parent / "xdg/semisup").glob("*/*"))) == 1


def test_a_full_disk_is_one_error_and_leaves_nothing_behind(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"can't write 0 MB .*No space left on device.*--data.image_size"):
        folder(root).read()
    assert caches(root) == []


def test_each_mistake_is_one_error(root: Path) -> None:
    def mistake(path: Path = root, **kwargs: object) -> str:
        with pytest.raises(InputError) as caught:
            _ = folder(path, **kwargs).spec, folder(path, **kwargs).read()
        assert "\n" not in str(caught.value)
        return str(caught.value)

    missing = root.parent / "nothing"
    assert f"there is no folder {missing}; expected {missing}/train/CLASS/*.jpg" in mistake(missing)
    for name in ("flat/test/x.png", "flat/y.png"):
        picture(root / name)
    assert "flat holds test/, y.png, but no train/, whose folders are the classes" in mistake(root / "flat")
    picture(root / "one/train/cat/x.png")
    assert "one/train holds fewer than two folders (cat); expected" in mistake(root / "one")
    assert "data.labels_per_class is 9, but must be from 1 to 8" in mistake(labels_per_class=9)

    (root / "train/yak").mkdir()
    assert f"there is no readable picture in {root}/train/yak; add some" in mistake()
    (root / "train/yak/x.jpg").write_bytes(b"no picture")
    assert f"there is no readable picture in {root}/train/yak; add some" in mistake()
    shutil.rmtree(root / "train/yak")
    for part in ("val", "test"):
        picture(root / part / "dogs/x.png")
        assert f"{root}/{part}/dogs is no class of {root}/train" in mistake()
        assert mistake().endswith(f"add pictures of it to {root}/train/dogs; did you mean 'dog'?")
        shutil.rmtree(root / part)
    for name in ("train/cat", "train/dog"):
        shutil.rmtree(root / name)
        (root / name).mkdir()
    assert f"there is no readable picture in {root}/train/cat" in mistake()
    with pytest.raises(InputError, match=r"data\.image_size is 7, but must be at least 8"):
        Folder(str(root), image_size=7)


@pytest.fixture(scope="module")
def real(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty photographs of three classes, and fifteen more without labels."""
    root = tmp_path_factory.mktemp("real")
    with zipfile.ZipFile(photographs) as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg")]
        for kind in sorted({name.split("/")[0] for name in names})[:3]:
            for number, name in enumerate(sorted(n for n in names if n.startswith(f"{kind}/"))[:25]):
                target = root / (f"train/{kind}" if number < 20 else "unlabeled") / f"{kind}-{Path(name).name}"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(name))
    return root


def test_photographs_equal_pillow(real: Path) -> None:
    pools = folder(real, labels_per_class=5).pools
    assert pools.without_label is not None and pools.val is not None
    assert (len(pools.labeled), len(pools.without_label), len(pools.val)) == (15, 15 + 33, 12)
    for pool in (pools.labeled, pools.without_label, pools.val):
        assert_equals_pillow(pool, real)


def test_a_short_fit_on_photographs(real: Path) -> None:
    data = folder(real, labels_per_class=5, batch_size=6, steps_per_epoch=3)
    strategy = PseudoLabel(threshold=0.0, warmup_epochs=1)
    module, fit = classifier(data, strategy), trainer(1)
    fit.fit(module, data)
    assert fit.global_step == 3 and len(strategy.rows_) == 48
    assert module.spec.class_names == tuple(sorted(path.name for path in (real / "train").iterdir()))
    assert module.scores["val"].confusion.sum() == 12
