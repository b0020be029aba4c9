"""Labels in a CSV file: what is written is read as it was, and what is not such a file is refused in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semisup.data.labels_csv import labels_text, read_labels
from semisup.errors import InputError

CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), min_size=1).filter(str.strip)


@given(st.dictionaries(CELL, CELL))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, labels: dict[str, str]) -> None:
    path = tmp_path_factory.getbasetemp() / "labels.csv"
    path.write_text(labels_text(labels), encoding="utf-8", newline="\n")
    assert read_labels(path) == labels


def test_a_spreadsheets_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes('\ufeffclass,path\r\ncat,"a,1.jpg"\r\n\r\n\'=dog,b/2.jpg\r\ncat,"a,1.jpg"\r\n,\r\n'.encode())
    assert read_labels(path) == {"a,1.jpg": "cat", "b/2.jpg": "=dog"}


def test_blanks_before_a_cell_do_not_count_but_within_quotes(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text('path, class\na.jpg, cat\nb.jpg,cat\n" c.jpg", " cat"\n')
    assert read_labels(path) == {"a.jpg": "cat", "b.jpg": "cat", " c.jpg": " cat"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the columns of nothing; expected a CSV file"),
        (b"picture,class,confidence\n", "has the columns picture, class, confidence; expected"),
        (b"path,class\na.jpg\n", "row 2 of .* is a.jpg; expected"),
        (b"path,class\na.jpg,cat\nb.jpg, \n", "row 3 of .* is b.jpg,; expected"),
        (b"path,class\na.jpg,cat\nb.jpg,cat\na.jpg,dog\n", "more than one class for a.jpg; leave one row"),
        (b'path,class\n"a.jpg,cat\n', "is no CSV file"),
        (b"path,class\n\xff,cat\n", "it is not UTF-8"),
    ],
)
def test_what_is_no_such_file_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_labels(path)
    with pytest.raises(InputError, match="can't be read"):
        read_labels(tmp_path / "missing.csv")


@pytest.mark.parametrize(("name", "what"), [("/dev/zero", "a device"), ("pipe", "a pipe"), ("folder", "a folder")])
def test_what_has_no_end_is_not_waited_for(
    name: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    Path("folder").mkdir()
    with pytest.raises(InputError, match=f"is not a regular file but {what}; .* expected a CSV file"):
        read_labels(Path(name))
