"""The cache of a folder of pictures while it is written: by one that is killed, or by two at the same time."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picture_folders import ROW, all_images, assert_whole, folder, kept, naive, picture

from datamodules import folder_cache, folder_stores
from semisup.data import store as stores

FORKED = multiprocessing.get_context("fork")  # a process that begins where the test is


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
