"""Keys of images: equal for equal images alone, whatever the layout in memory, and kept for large files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from semisup.data import keys
from semisup.data.keys import image_keys


@pytest.mark.parametrize("shape", [(3, 5, 7), (3, 8, 8), (1, 1, 3), (1, 2, 4)])  # with a rest of bytes and without
def test_a_key_is_the_sum_of_words_times_odd_numbers(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, *shape), dtype=np.uint8)
    whole = image_keys(images)
    monkeypatch.setattr(keys, "_BYTES_AT_ONCE", 7 * images[0].size)
    assert np.array_equal(image_keys(images), whole)
    assert np.array_equal(image_keys(images[[4, 9]]), whole[[4, 9]])
    for place in (0, images[0].size - 1):  # one byte differs in one image
        other = images.copy()
        other.reshape(50, -1)[13, place] ^= 128
        assert np.flatnonzero(image_keys(other) != whole).tolist() == [13]
    assert len(np.unique(whole)) == 50


def test_the_order_of_the_axes_changes_nothing() -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 9, 6, 3), dtype=np.uint8)
    expected = image_keys(images)
    assert np.array_equal(image_keys(images.transpose(0, 3, 1, 2)), expected)
    assert np.array_equal(image_keys(images.transpose(0, 3, 2, 1)), expected)


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that counts as a large one."""
    monkeypatch.setattr(keys, "_LARGE", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "data" / "x.bin"
    path.parent.mkdir()
    np.random.default_rng(0).integers(0, 256, (30, 3, 4, 4), dtype=np.uint8).tofile(path)
    return path


def mapped(path: Path, offset: int = 0) -> np.ndarray:
    return np.memmap(path, np.uint8, "r", offset=offset).reshape(-1, 3, 4, 4).transpose(0, 1, 3, 2)


def test_the_keys_of_a_large_file_are_kept_until_it_changes(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = keys._sums(keys._as_stored(np.array(mapped(large))))
    assert np.array_equal(image_keys(mapped(large)), expected)
    kept = large.with_name(".x.bin.keys")
    assert kept.is_file()
    with monkeypatch.context() as patch:
        patch.setattr(keys, "_sums", None)  # nothing is read again
        assert np.array_equal(image_keys(mapped(large)), expected)
    content = bytearray(large.read_bytes())
    content[0] ^= 1
    large.write_bytes(content)
    assert np.flatnonzero(image_keys(mapped(large)) != expected).tolist() == [0]
    for wrong in (b"", kept.read_bytes()[:-1], bytes(len(kept.read_bytes()))):
        kept.write_bytes(wrong)
        assert np.flatnonzero(image_keys(mapped(large)) != expected).tolist() == [0]


def test_the_same_images_in_another_order_of_the_axes_are_read_once(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = image_keys(mapped(large))
    monkeypatch.setattr(keys, "_sums", None)
    assert np.array_equal(image_keys(np.memmap(large, np.uint8, "r").reshape(30, -1)), expected)


def test_another_view_of_the_same_file_has_other_keys(large: Path) -> None:
    expected = keys._sums(keys._as_stored(np.array(mapped(large))))
    assert np.array_equal(image_keys(mapped(large)), expected)
    assert np.array_equal(image_keys(mapped(large)[5:]), expected[5:])
    assert np.array_equal(image_keys(mapped(large)[:-1]), expected[:-1])
    assert np.array_equal(image_keys(mapped(large)[1:]), expected[1:])


def test_where_the_folder_can_not_hold_them_the_users_cache_does(large: Path, tmp_path: Path) -> None:
    large.with_name(".x.bin.keys").mkdir()
    expected = keys._sums(keys._as_stored(np.array(mapped(large))))
    assert np.array_equal(image_keys(mapped(large)), expected)
    assert len(list((tmp_path / "cache" / "semisup").glob("*.keys"))) == 1
    large.unlink()  # what is mapped stays readable
