"""Fingerprints of images: saved and restored, and what two of them say of what differs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import Blobs

from semisup.cli.config import parse
from semisup.cli.yaml_files import with_places
from semisup.data.changes import Changes
from semisup.data.fingerprint import Fingerprint
from semisup.data.pictures import Pictures
from semisup.errors import InputError


def listing(*images: tuple[str, int, int]) -> Pictures:
    names, labels, keys = zip(*images, strict=True)
    return Pictures(names, np.array(labels), np.array(keys, dtype=np.uint64))


def test_a_fingerprint_is_restored_as_it_was_saved() -> None:
    one = Fingerprint.of(Blobs().pools)
    other = Fingerprint.restored(one.saved(), 3)
    assert other is not None and other == one and other is not one and other.digest == one.digest
    assert list(one.pools) == ["labeled", "unlabeled", "val", "test"] and [*map(len, one.pools.values())] == [
        12,
        90,
        30,
        30,
    ]
    assert one.pools["labeled"].labels.tolist() == Blobs().pools.labeled.labels.tolist()
    assert Fingerprint.of(Blobs(seed=1, labeled_in_unlabeled=False).pools) == one
    odd = Fingerprint({"labeled": listing(("é\udce9\n,", 2, 2**64 - 1), ("", -1, 0))})
    again = Fingerprint.restored(odd.saved(), 3)
    assert (
        again is not None
        and again == odd
        and again.pools["labeled"].names == ("é\udce9\n,", "")
        and int(again.pools["labeled"].keys[0]) == 2**64 - 1
    )
    assert Fingerprint.restored(None, 3) is None
    with pytest.raises(InputError, match="a label is of no class"):
        Fingerprint.restored(odd.saved(), 2)


def test_digests_say_what_differs() -> None:
    one = listing(("a", 0, 1), ("b", 1, 2))
    for what, other in {
        "names": listing(("a", 0, 1), ("c", 1, 2)),
        "labels": listing(("a", 0, 1), ("b", 0, 2)),
        "content": listing(("a", 0, 1), ("b", 1, 3)),
    }.items():
        assert [name for name, digest in one.digests.items() if other.digests[name] != digest] == [what]


def test_images_that_show_the_same_are_found_by_their_names() -> None:
    then = Fingerprint(
        {"unlabeled": listing(("a", -1, 5), ("b", -1, 5), ("c", -1, 6)), "labeled": listing(("d", 0, 7))}
    )
    now = Fingerprint({"unlabeled": listing(("b", -1, 5), ("d", -1, 7), ("x", -1, 5)), "labeled": listing(("c", 0, 8))})
    changes = Changes.between(then, now)
    # b is b, a is now x, d has no label any more, and c was edited and has one.
    assert changes.places().tolist() == [2, 0, 3, 1]
    assert changes.said(("cat",)) == (
        "1 edited (c), 1 renamed (a is now x), 2 in another pool (c: unlabeled, now labeled, d: labeled, now unlabeled)"
    )


def test_another_order_is_another_order() -> None:
    then = Fingerprint({"val": listing(("a", 0, 5), ("b", 1, 6))})
    now = Fingerprint({"val": listing(("b", 1, 6), ("a", 0, 5))})
    assert then != now and Changes.between(then, now).said(("x", "y")) == "the images are in another order"


def test_a_few_corrected_labels_are_no_swapped_class() -> None:
    images = [(f"{label}{number}", label, 10 * label + number) for label in (0, 1) for number in range(5)]
    then = Fingerprint({"val": listing(*images)})
    few = [(name, 1 - label if key in (0, 1, 12) else label, key) for name, label, key in images]
    assert Changes.between(then, Fingerprint({"val": listing(*few)})).swapped() == {}
    most = [(name, 1 if key in (0, 1, 3) else label, key) for name, label, key in images]
    assert Changes.between(then, Fingerprint({"val": listing(*most)})).swapped() == {0: 1}


@pytest.mark.parametrize(
    "typed", ["plain", "with: colon # and 'quotes'", "long " * 40, "uni\u2028code é", "null", "1e3"]
)
def test_a_place_is_absolute_beside_what_was_typed(typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plain = parse("fit", ["--data", "folder", "--data.root", typed]).yaml
    assert with_places(plain) == plain  # which isn't there
    Path(typed).mkdir()
    Path("mine.yaml").write_text(with_places(plain))
    config = parse("fit", ["--config", "mine.yaml"])
    assert config.data.arguments["root"] == str(tmp_path / typed)
    assert with_places(config.yaml) == config.yaml
    assert config.yaml.replace(str(tmp_path), "") != plain or typed == "x"
    there = parse("fit", ["--data", "folder", "--data.root", "/"]).yaml
    assert with_places(there) == there
