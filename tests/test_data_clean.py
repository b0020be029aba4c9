"""`semisup data clean`: which caches of pictures it lists, and which it removes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from picture_folders import ROW, all_images, assert_whole, by_name, folder, kept

from datamodules import folder_stores
from semisup.cli.front import main


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
