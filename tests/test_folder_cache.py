"""The cache of a folder of pictures: each file is read once, whatever is killed, damaged, or done at the same time."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from picture_folders import (
    SIZE,
    assert_equals_pillow,
    by_name,
    cats_and_dogs,
    folder,
    images,
    kept,
    naive,
    picture,
    tiff,
)
from PIL import Image

from datamodules import folder_cache, folder_stores
from datamodules.folder import Folder
from semisup.cli.front import main
from semisup.data import store as stores
from semisup.errors import InputError

ROW = SIZE * SIZE * 3
FORKED = multiprocessing.get_context("fork")  # a process that begins where the test is


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten pictures of cats and ten of dogs."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    return cats_and_dogs(tmp_path / "data")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of the files that were read."""
    names: list[str] = []
    original = folder_cache.read

    def watched(path: Path, *arguments: Any) -> Any:
        names.append(path.name)
        return original(path, *arguments)

    monkeypatch.setattr(folder_cache, "read", watched)
    yield names


def all_images(root: Path) -> dict[str, np.ndarray]:
    """Every picture of every pool, by name."""
    pools = folder(root).pools
    there = [pool for pool in (pools.labeled, pools.without_label, pools.val, pools.test) if pool]
    return {name: image for pool in there for name, image in by_name(pool).items()}


def assert_whole(root: Path) -> None:
    pools = folder(root).pools
    for pool in (pools.labeled, pools.without_label, pools.val, pools.test):
        if pool:
            assert_equals_pillow(pool, root)


# ---- what is read, and when


def test_a_file_is_read_again_only_when_it_changes(root: Path, read: list[str]) -> None:
    first = images(folder(root).pools.labeled)
    assert len(read) == 20
    assert torch.equal(images(folder(root, seed=3).pools.labeled), first) and len(read) == 20

    changed = root / "train/cat/cat0.png"
    stat = changed.stat()
    os.utime(changed, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))  # as after an edit that keeps the file's size
    assert torch.equal(images(folder(root).pools.labeled), first) and read[20:] == ["cat0.png"]

    Image.new("RGB", (20, 20), "white").save(changed)
    os.utime(changed, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))  # another size at the same time
    _ = folder(root).pools
    assert read[21:] == ["cat0.png"]
    picture(root / "val/cat/v.png")  # another file; and now all of train/ is in the labeled pool
    pools = folder(root).pools
    assert read[22:] == ["v.png"] and pools.labeled.name(0) == "train/cat/cat0.png"
    assert (images(pools.labeled)[0] == 255).all()
    assert_equals_pillow(pools.labeled, root)
    assert_equals_pillow(pools.val, root)

    assert Folder(str(root), image_size=SIZE + 1).pools.labeled.shape == (3, SIZE + 1, SIZE + 1) and len(read) == 44
    changed.unlink()
    assert "train/cat/cat0.png" not in (folder(root).pools.labeled.names or []) and len(read) == 44
    os.rename(root / "train/cat/cat1.png", root / "train/dog/cat1.png")
    pools = folder(root).pools
    assert read[44:] == ["cat1.png"] and "train/dog/cat1.png" in (pools.labeled.names or [])
    assert_equals_pillow(pools.labeled, root)


def test_ten_more_pictures_are_ten_more_rows(root: Path, read: list[str]) -> None:
    _ = folder(root).pools
    index, rows = kept(root)
    before = index.read_bytes(), rows.read_bytes()
    assert len(before[1]) == 20 * ROW
    for number in range(10):
        picture(root / f"unlabeled/{number}.png")
    assert_whole(root)
    assert read[20:] == [f"{number}.png" for number in range(10)]
    assert kept(root) == [index, rows]
    assert index.read_bytes().startswith(before[0]) and len(rows.read_bytes()) == 30 * ROW
    assert rows.read_bytes().startswith(before[1])


def test_a_file_that_could_not_be_opened_is_read_once_it_can(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = root / "train/cat/cat3.png"
    access = os.access
    with monkeypatch.context() as patch:  # not even the superuser
        patch.setattr(os, "access", lambda path, mode: Path(path) != closed and access(path, mode))
        assert "train/cat/cat3.png" not in all_images(root)
    assert "train/cat/cat3.png" in all_images(root)

    original = Image.open

    def failing(path: Any, *arguments: Any, **more: Any) -> Any:
        if Path(path).name == "v.png":
            raise OSError(5, "Input/output error")
        return original(path, *arguments, **more)

    picture(root / "val/cat/v.png")
    picture(root / "val/cat/w.png")
    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", failing)
        assert "val/cat/v.png" not in all_images(root)
    assert "val/cat/v.png" in all_images(root)  # the file is the same, and its disk is well again


def test_each_way_of_making_pictures_equal_has_a_store_of_its_own(
    root: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiff(root / "train/cat/deep.tif", np.arange(400, dtype="<f4").reshape(20, 20))
    ways: list[dict[str, Any]] = [{}, {"channels": 1}, {"background": "red"}, {"black": 1.0}, {"white": 9.0}]
    for number, way in enumerate(ways, start=1):
        for _ in range(2):
            _ = folder(root, **way).pools
            assert len({path.stem for path in kept(root)}) == number
    before = len(read)
    for name, way in (("red", {"background": "red"}), ("#ff0000", {"background": "#ff0000"})):  # the same colour
        _ = folder(root, **way).pools
        assert len(read) == before, name
    monkeypatch.setattr(folder_stores, "READER", "another")
    _ = folder(root).pools
    assert len({path.stem for path in kept(root)}) == len(ways) + 1


# ---- damage


@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_a_damaged_block_is_found_when_it_is_read_and_made_again(
    place: str, root: Path, read: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(folder_cache, "_ROWS", 5)
    whole = all_images(root)
    _, rows = kept(root)
    row = {"first": 0, "middle": 12, "last": 19}[place]
    content = bytearray(rows.read_bytes())
    content[row * ROW + 100] ^= 1
    rows.write_bytes(content)

    files = [f"train/{name}/{name}{number}.png" for name in ("cat", "dog") for number in range(10)]
    damaged = files[row]
    del read[:]
    capsys.readouterr()
    pools = folder(root).pools
    assert read == [] and "damaged" not in capsys.readouterr().out  # nobody has read it yet
    names = pools.labeled.names or []
    other = next(number for number, name in enumerate(names) if files.index(name) // 5 != row // 5)
    assert np.array_equal(pools.labeled.gather(torch.tensor([other]))[0], whole[names[other]])
    assert read == []
    everything = {name: image for pool in (pools.labeled, pools.val) for name, image in by_name(pool).items()}
    assert everything.keys() == whole.keys()
    assert all(np.array_equal(everything[name], image) for name, image in whole.items())
    block = sorted(Path(name).name for name in files[row - row % 5 : row - row % 5 + 5])
    out = capsys.readouterr().out
    assert sorted(read) == block and "not readable" not in out and damaged in everything
    assert f"data: 5 pictures in {rows} were damaged, and are made again from their files\n" in out
    again = all_images(root)  # and now for good
    assert all(np.array_equal(again[name], image) for name, image in whole.items())
    assert len(read) == 5 and "damaged" not in capsys.readouterr().out


def test_whatever_is_damaged_good_pictures_are_neither_lost_nor_blamed(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(folder_cache, "_ROWS", 4)
    (root / "train/cat/bad.png").write_bytes(b"not a picture")
    tiff(root / "train/cat/deep.tif", np.linspace(0, 1, 400, dtype="<f4").reshape(20, 20))
    whole = all_images(root)
    rng = np.random.default_rng(0)
    for trial in range(40):
        for path in kept(root):
            content = bytearray(path.read_bytes())
            how = rng.integers(6)
            if how < 3:  # some bytes are others
                for place in rng.integers(len(content), size=rng.integers(1, 20)):
                    content[place] = rng.integers(256)
            elif how == 3:
                del content[rng.integers(len(content)) :]
            elif how == 4:
                start = rng.integers(len(content))
                content[start : start + rng.integers(2000)] = b""
            else:
                content += bytes(rng.integers(0, 256, rng.integers(1, 2000), np.uint8))
            path.write_bytes(content)
        for _ in range(2):
            found = all_images(root)
            assert found.keys() == whole.keys(), trial
            assert all(np.array_equal(found[name], image) for name, image in whole.items()), trial
            out = capsys.readouterr().out
            assert "1 of 22 files are not readable pictures, and are left out: train/cat/bad.png\n" in out, trial
        assert "damaged" not in out and "resized" not in out, trial  # the second time all is well
    (root / ".semisup-cache" / "x").write_text("something else")


def test_a_damaged_picture_whose_file_changed_meanwhile_is_one_error(root: Path) -> None:
    _ = folder(root).pools
    _, rows = kept(root)
    rows.write_bytes(bytes(20 * ROW))
    pools = folder(root).pools
    picture(root / "train/cat/cat0.png", 30, 30)
    with pytest.raises(InputError, match=r"kept of .*cat0\.png is damaged, and the picture itself was changed since"):
        images(pools.labeled)
    assert_whole(root)


def test_views_of_the_pictures_are_checked_as_well(root: Path) -> None:
    whole = all_images(root)
    _, rows = kept(root)
    rows.write_bytes(bytes(20 * ROW))
    found = folder_cache.load(root, sorted(whole), ["train"] * 20, folder(root).how)
    assert np.array_equal(found.images.transpose(0, 2, 3, 1)[found.rows[:1]][0].transpose(2, 0, 1), whole[min(whole)])
    found = folder_cache.load(root, sorted(whole), ["train"] * 20, folder(root).how)
    assert np.array_equal(found.images[int(found.rows[3])], whole[sorted(whole)[3]])
    assert type(found.images[:2]) is np.ndarray


# ---- processes


def killed(step: str, root: Path) -> None:
    """A process that makes the cache, and is killed at a step of it."""

    def die(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    count, append, read = 0, stores.Store.append, folder_cache.read

    def reading(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        return die() if count == 8 else read(*arguments)

    def appending(store: stores.Store, rows: np.ndarray, records: list[Any]) -> Any:
        nonlocal count
        count += 1
        if count < 2:
            return append(store, rows, records)
        with store.rows.open("r+b") as file:
            file.seek(store._end * ROW)
            file.write(rows.tobytes()[: ROW if step == "while rows are written" else None])
        if step == "while a line is written":
            with store.index.open("ab") as file:
                file.write(stores._sealed([store._end, len(rows), "0", records])[:-20])
        return die()

    if step == "while pictures are read":
        folder_cache.read = reading
    elif step == "before anything is written":
        stores.Store.append = die  # type: ignore[method-assign]
    elif step == "after all is written":
        os.fsync = die
    else:
        stores.Store.append = appending  # type: ignore[method-assign]
    _ = folder(root).pools


@pytest.mark.parametrize(
    ("step", "left"),
    [
        ("before anything is written", 20),
        ("while pictures are read", 15),
        ("while rows are written", 15),
        ("before a line is written", 15),
        ("while a line is written", 15),
        ("after all is written", 0),
    ],
)
def test_a_killed_process_costs_no_more_than_the_block_it_was_at(
    step: str, left: int, root: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_cache, "_ROWS", 5)
    monkeypatch.setattr(folder_cache, "_THREADS", 1)
    process = FORKED.Process(target=killed, args=(step, root))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert_whole(root)
    assert len(read) == left
    assert_whole(root)
    assert len(read) == left


def test_two_processes_at_once_read_each_picture_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    barrier, count, results = FORKED.Barrier(2), FORKED.Value("i", 0), FORKED.SimpleQueue()
    patiently, read = folder_cache._patiently, folder_cache.read

    def together(store: stores.Store) -> Any:
        barrier.wait()  # both have seen that there is no cache
        return patiently(store)

    def counted(*arguments: Any) -> Any:
        with count.get_lock():
            count.value += 1
        return read(*arguments)

    monkeypatch.setattr(folder_cache, "_patiently", together)
    monkeypatch.setattr(folder_cache, "read", counted)

    def work() -> None:
        found = all_images(root)
        results.put(hashlib.sha256(b"".join(found[name].tobytes() for name in sorted(found))).hexdigest())

    both = [FORKED.Process(target=work) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    digests = [results.get() for _ in both]
    assert [process.exitcode for process in both] == [0, 0] and count.value == 20
    found = all_images(root)
    assert digests == [hashlib.sha256(b"".join(found[name].tobytes() for name in sorted(found))).hexdigest()] * 2
    _, rows = kept(root)
    assert rows.stat().st_size == 20 * ROW
    assert_whole(root)


def test_who_waits_for_a_process_that_is_killed_goes_on_where_it_was(
    root: Path, monkeypatch: pytest.MonkeyPatch, read: list[str]
) -> None:
    monkeypatch.setattr(folder_cache, "_ROWS", 5)
    at_work, original = FORKED.Event(), folder_cache.read

    def stuck(path: Path, *arguments: Any) -> Any:
        if path.name == "cat7.png":  # in the second block
            at_work.set()
            signal.pause()
        return original(path, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(folder_cache, "read", stuck)
        process = FORKED.Process(target=lambda: folder(root).pools)
        process.start()
    while not at_work.wait(1):
        assert process.is_alive()

    def told(line: str) -> None:
        if "waiting for it" in line:
            os.kill(process.pid or 0, signal.SIGKILL)

    monkeypatch.setattr(folder_cache, "say", told)
    _ = folder(root).pools
    process.join()
    assert process.exitcode == -signal.SIGKILL and len(read) == 15 and "cat4.png" not in read
    assert_whole(root)


def test_two_writers_that_no_lock_keeps_apart_are_found_out(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system whose locks do nothing: both write other pictures to the same rows."""
    how, names = folder(root).how, [f"unlabeled/{number}.png" for number in range(6)]
    _ = folder(root).pools
    one, other = (folder_stores.store(folder_stores.folders(root)[0], root, how) for _ in range(2))
    for name in names:
        picture(root / name)
    with one.writing(), other.writing():
        for store, its in ((one, names[:3]), (other, names[3:])):
            records = [folder_stores.Record(name, folder_cache._state(root / name), (179, 1)).json() for name in its]
            store.append(np.stack([naive(root / name).transpose(1, 2, 0) for name in its]), records)
    _, rows = kept(root)
    assert rows.stat().st_size == 23 * ROW
    assert_whole(root)
    assert_whole(root)


# ---- places


def test_the_cache_is_with_the_user_where_root_can_not_be_written(root: Path) -> None:
    (root / ".semisup-cache").touch()  # so that not even the superuser can make that folder
    first = images(folder(root).pools.labeled)
    (cache,) = (root.parent / "xdg/semisup").glob("*/*.rows")
    stamp = cache.stat()
    assert torch.equal(images(folder(root).pools.labeled), first)
    assert (cache.stat().st_mtime_ns, cache.stat().st_size) == (stamp.st_mtime_ns, stamp.st_size)
    shutil.rmtree(root.parent / "xdg")
    (root.parent / "xdg").touch()
    with pytest.raises(InputError, match=r"\.semisup-cache nor .*xdg/semisup/.* can be written.*XDG_CACHE_HOME=FOLDER"):
        folder(root).read()


def test_a_store_that_can_not_be_written_serves_what_it_has(
    root: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "unlabeled").mkdir()
    (root / "unlabeled/gone.png").symlink_to("nowhere")
    whole = all_images(root)
    del read[:]

    def locked(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(stores.Store, "lock", locked)
    assert all_images(root).keys() == whole.keys() and read == []  # a broken link is no reason to write
    _, rows = kept(root)
    rows.write_bytes(bytes(20 * ROW))
    found = all_images(root)  # and what is damaged is mended in memory
    assert all(np.array_equal(found[name], image) for name, image in whole.items())
    assert rows.read_bytes() == bytes(20 * ROW)


def test_a_read_only_root_is_enough(root: Path) -> None:
    root.chmod(0o555)
    try:
        if os.access(root, os.W_OK):
            pytest.skip("this user may write everywhere")
        assert len(folder(root).pools.labeled) == 16
    finally:
        root.chmod(0o755)
    assert not (root / ".semisup-cache").exists() and len(list((root.parent / "xdg/semisup").glob("*/*.rows"))) == 1


@pytest.mark.parametrize("where", ["append", "fsync"])
def test_a_full_disk_is_one_error_and_leaves_nothing_behind(
    where: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync", full) if where == "fsync" else (stores.Store, "append", full)))
        with pytest.raises(InputError, match=r"can't write 0 MB .*No space left on device.*--data.image_size"):
            folder(root).read()
        assert list((root / ".semisup-cache").iterdir()) == []
    _ = folder(root).pools
    before = [path.read_bytes() for path in kept(root)]
    picture(root / "unlabeled/x.png")
    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync", full) if where == "fsync" else (stores.Store, "append", full)))
        with pytest.raises(InputError, match=r"No space left on device"):
            folder(root).read()
    assert all(path.read_bytes().startswith(was) for path, was in zip(kept(root), before, strict=True))
    assert_whole(root)


# ---- old ones


def old_files(root: Path) -> list[Path]:
    """What earlier versions left beside the pictures."""
    names = ("0123456789abcdef0123456789abcdef.pixels", "fedcba9876543210fedcba9876543210.pixels.aa.part")
    paths = [root / ".semisup-cache" / name for name in names]
    paths[0].parent.mkdir(exist_ok=True)
    for path in paths:
        path.write_bytes(bytes(20 * (ROW + 1)))
    return paths


def cleaned(root: Path, *options: str) -> int:
    return main(["data", "clean", "--root", str(root), *options])


def test_old_caches_are_told_and_never_read(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = old_files(root)
    assert_whole(root)
    out = capsys.readouterr().out
    assert f"type semisup data clean --root {root} to remove" in out and all(path.exists() for path in old)
    assert_whole(root)
    assert "data clean" not in capsys.readouterr().out


def test_data_clean_lists_all_and_removes_what_is_old(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = old_files(root)
    mine = root / ".semisup-cache/mine.txt"
    mine.write_text("of the user")
    with monkeypatch.context() as patch:
        patch.setattr(folder_stores, "READER", "1, Pillow 3")
        _ = folder(root).pools
    other = [path for path in kept(root) if path not in (*old, mine)]
    _ = folder(root).pools
    current = [path for path in kept(root) if path not in (*old, *other, mine)]
    assert len(other) == len(current) == 2
    capsys.readouterr()

    assert cleaned(root, "--list") == 0
    listed = capsys.readouterr().out
    assert "an earlier version: kept" in listed and "left by a process that was killed: kept" in listed
    assert "another version, 1, Pillow 3: kept" in listed
    assert f"pictures of {root} at 16x16x3; may be used again: kept" in listed
    assert all(path.exists() for path in (*old, *other, *current))

    assert cleaned(root) == 0
    assert "freed; type --all to remove those that may be used again as well" in capsys.readouterr().out
    assert kept(root) == sorted([*current, mine])
    assert_whole(root)

    assert cleaned(root, "--all") == 0 and kept(root) == [mine]
    assert_whole(root)
    mine.unlink()
    assert cleaned(root, "--all") == 0 and not (root / ".semisup-cache").exists()
    capsys.readouterr()
    assert cleaned(root) == 0 and capsys.readouterr().out.startswith(
        f"there are no caches in {root}, nor in the user's"
    )


def test_data_clean_finds_caches_in_the_users_folder(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / ".semisup-cache").touch()
    assert_whole(root)
    (store,) = (root.parent / "xdg/semisup").iterdir()
    other = root.parent / "xdg/semisup/dictionary-0123.pt"
    other.touch()
    assert (
        cleaned(root.parent) == 0
        and f"pictures of {root} at 16x16x3; may be used again: kept" in capsys.readouterr().out
    )
    shutil.rmtree(root)
    assert cleaned(root.parent) == 0 and f"{root} is gone: removed" in capsys.readouterr().out
    assert not store.exists() and other.exists()


def test_data_clean_leaves_a_cache_that_is_being_written(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _ = folder(root).pools
    (lock,) = (root / ".semisup-cache").glob("*.lock")
    with FileLock(lock):
        assert cleaned(root, "--all") == 0 and "kept, as another process writes it" in capsys.readouterr().out
    assert len(kept(root)) == 2
    assert cleaned(root, "--all") == 0 and not (root / ".semisup-cache").exists()


def test_a_run_goes_on_while_its_cache_is_removed(root: Path) -> None:
    whole = all_images(root)
    pools = folder(root).pools
    assert cleaned(root, "--all") == 0
    assert all(np.array_equal(image, whole[name]) for name, image in by_name(pools.labeled).items())


def test_data_clean_is_light_and_takes_its_own_options_only(root: Path) -> None:
    _ = folder(root).pools
    script = (
        "import sys; from semisup.cli.front import main; code = main(sys.argv[1:]); print('torch' in sys.modules, code)"
    )
    command = [sys.executable, "-c", script, "data", "clean", "--root", str(root)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "False 0" and found.stderr == ""


def test_mistakes_at_data_are_one_line(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for argv, told in (
        (["data", "clean", str(root)], f"semisup data clean takes a folder as --root {root}"),
        (["data", "download"], "type which dataset to download: eurosat, mnist, stl10, svhn"),
        (["data", "download", "mnist", "--all"], "--all and --list are options of `semisup data clean`"),
    ):
        assert main(argv) == 2
        assert capsys.readouterr().err == f"semisup: error: {told}\n"
