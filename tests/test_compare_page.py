"""The page of a comparison: that it says what the record says, is safe and whole; and, in a browser, that it works."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from compared import HOSTILE, comparison
from PIL import Image
from read_page import Page, page

from semisup.compare.page import FILE, html
from semisup.compare.page.classes import gains
from semisup.compare.page.series import charts
from semisup.compare.record import BALANCE

# ---- it says what the record says


def test_the_tables_hold_the_records_values() -> None:
    found = comparison()
    made = page(found)
    expected = []
    for arm in found.arms:
        for checkpoint in ("best", "last"):
            cells = [found.cell(arm.name, labels, checkpoint) for labels in (40, 100)]
            assert all(cells)
            expected.append([f"{100 * cell.mean:.2f} ± {100 * cell.sd:.2f}" for cell in cells])
    assert [[text for text, _ in row[2:]] for row in made.tables["table-accuracy"][1:]] == expected
    runs = made.tables["table-runs"][1:]
    assert [float(row[4][1]) for row in runs] == [100 * run.scores["best/test_accuracy"] for run in found.runs]
    assert [row["data-labels"] for row in made.rows["table-runs"][1:]] == [str(run.labels) for run in found.runs]
    gained = [cell for cell in found.cells if cell.difference]
    assert sorted(float(row[4][1]) for row in made.tables["table-differences"][1:]) == sorted(
        100 * cell.difference.mean for cell in gained
    )
    links = [value for tag, name, value in made.attributes if (tag, name) == ("a", "href")]
    assert [unquote(link) for link in links] == [run.path for run in found.runs]
    assert "#" not in "".join(links)  # which would cut the path


def test_scores_of_rare_classes_are_in_a_table_where_there_are_some() -> None:
    found = comparison(arms=("supervised", "fixmatch"), labels=(40,), seeds=2)
    assert "table-imbalance" not in Page(html(found, Path())).tables
    runs = [
        replace(run, balance={"best/test": {name: (k + run.seed) / 10 for k, name in enumerate(BALANCE)}})
        for run in found.runs
    ]
    page = Page(html(replace(found, runs=runs), Path()))
    head, *rows = page.tables["table-imbalance"]
    assert [text for text, _ in head] == [
        *("strategy", "labels", "checkpoint", "balanced accuracy", "geometric mean"),
        *("many shot", "medium shot", "few shot", "seeds"),
    ]
    for row, arm in zip(rows, ("supervised", "fixmatch"), strict=True):
        assert [text for text, _ in row[:3]] == [arm, "40", "best"] and row[8][0] == "2"
        assert [float(value) for _, value in row[3:8]] == pytest.approx([5, 15, 25, 35, 45])


def test_class_differences_are_those_of_a_plain_computation() -> None:
    found = comparison()
    by = {(run.arm, run.labels, run.seed): run.class_accuracy["best/test"] for run in found.runs}
    made = page(found)
    assert len(made.tables["table-classes"]) == 1 + 2 * 2 * 3
    for name, arm, labels, accuracy, reference, difference, seeds in (
        [text for text, _ in row] for row in made.tables["table-classes"][1:]
    ):
        ours = np.array([by[arm, int(labels), seed][name] for seed in range(3)])
        its = np.array([by["supervised", int(labels), seed][name] for seed in range(3)])
        assert [accuracy, reference, difference, seeds] == [
            f"{100 * ours.mean():.1f}",
            f"{100 * its.mean():.1f}",
            f"{100 * (ours - its).mean():+.1f}",
            "3",
        ]


def test_charts_draw_the_records_values() -> None:
    found = comparison(epochs=4)
    drawn = charts(found, gains(found))
    cell = found.cell("fixmatch", 40, "best")
    assert cell and cell.difference
    (gain,) = (
        one
        for one in drawn["gain"]["series"]
        if (one["arm"], one["labels"], one["checkpoint"]) == ("fixmatch", "40", "best")
    )
    d = cell.difference
    assert (gain["y"], gain["low"], gain["high"], gain["dots"]) == ([d.mean], [d.t.low], [d.t.high], [d.values])
    (loss,) = (
        one
        for one in drawn["curves"]["series"]
        if (one["arm"], one["labels"], one["quantity"]) == ("fixmatch", "40", "train/loss")
    )
    each = np.array([run.curves["train/loss"] for run in found.runs if (run.arm, run.labels) == ("fixmatch", 40)])
    assert loss["x"] == [1, 2, 3, 4]
    np.testing.assert_allclose([loss["low"], loss["y"], loss["high"]], [each.min(0), each.mean(0), each.max(0)])
    balance = [one for one in drawn["balance"]["series"] if (one["arm"], one["labels"]) == ("fixmatch", "40")]
    assert sum(balance[0]["y"]) == pytest.approx(1)
    flops = [one for one in drawn["cost"]["series"] if one["quantity"].startswith("floating")]
    assert {one["x"][0] for one in flops if one["arm"] == "supervised"} == {3.0 * 1_000_000 * 9600}


def test_a_long_curve_is_thinned_and_keeps_its_end() -> None:
    found = comparison(epochs=1000, seeds=1)
    (curve, *_) = charts(found, [])["curves"]["series"]
    assert 75 <= len(curve["x"]) <= 150
    assert curve["x"][-1] == 1000
    assert set(np.diff(curve["x"])) == {7}


def test_a_missing_round_and_a_missing_epoch_are_left_out_of_the_mean() -> None:
    found = comparison(seeds=2)
    one, two = (run for run in found.runs if (run.arm, run.labels) == ("fixmatch", 40))
    one.rounds.pop()
    one.curves["val/accuracy"][-1] = None
    drawn = charts(found, [])
    (rounds,) = (
        s
        for s in drawn["rounds"]["series"]
        if (s["arm"], s["labels"], s["quantity"]) == ("fixmatch", "40", "images given a label")
    )
    first = [sum(run.rounds[0].images.values()) for run in (one, two)]
    assert rounds["y"] == [sum(first) / 2, sum(two.rounds[1].images.values())]
    (curve,) = (
        s
        for s in drawn["curves"]["series"]
        if (s["arm"], s["labels"], s["quantity"]) == ("fixmatch", "40", "val/accuracy")
    )
    assert curve["y"][-1] == two.curves["val/accuracy"][-1]


# ---- it is whole, and safe


def test_nothing_is_loaded_and_only_the_pages_own_script_may_run() -> None:
    made = page(comparison())
    for tag, name, value in made.attributes:
        if name in ("src", "srcset", "action", "data", "poster") or (name == "href" and tag != "a"):
            assert value.startswith("data:"), (tag, name, value)
        assert not name.startswith("on"), (tag, name)
    (style,) = made.styles
    assert not re.search(r"url\(|@import", style)
    (policy,) = (value for _, name, value in made.attributes if name == "content" and value.startswith("default-src"))
    for kind, text in (("script", made.scripts[1]), ("style", style)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "innerHTML" not in made.scripts[1]


def test_names_are_text_wherever_they_stand() -> None:
    found = comparison(["supervised", HOSTILE], classes=["cat", HOSTILE, "owl"], notes=[HOSTILE], command=HOSTILE)
    made = page(found)
    assert len(made.scripts) == 2  # the data and the page's own
    data = json.loads(made.scripts[0])
    assert data["arms"] == ["supervised", HOSTILE]
    assert not [value for tag, name, value in made.attributes if tag == "img"]
    assert set(made.column("classes", 0)) == {"cat", HOSTILE, "owl"}
    assert HOSTILE in made.column("accuracy", 0)


def test_the_palette_is_that_of_the_figures() -> None:
    from semisup.figures.style import PALETTE

    assert re.findall(r"--p\d: (#\w{6});", page(comparison()).styles[0]) == list(PALETTE)


def test_pictures_of_the_last_stage_become_part_of_the_page(tmp_path: Path) -> None:
    found = comparison(["supervised", "fixmatch"], [40], 2)
    assert "t-SNE" not in page(found, tmp_path).text
    for run, seed in ((run, run.seed) for run in found.runs if run.arm == "fixmatch" or run.seed == 1):
        folder = tmp_path / "out" / run.path / "figures"
        folder.mkdir(parents=True)
        for stage, colour in ((0, "red"), (2, "red"), (10, "blue" if seed else "red")):
            Image.new("RGB", (1300, 1000), colour).save(folder / f"embedding-{stage}-stage.png")
    (tmp_path / "out").mkdir(exist_ok=True)
    made = page(found, tmp_path / "out")
    pictures = [value for tag, name, value in made.attributes if (tag, name) == ("img", "src")]
    assert len(pictures) == 2  # of seed 1, which both arms have
    for picture in pictures:
        kind, _, encoded = picture.partition(",")
        image = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")
        assert kind == "data:image/webp;base64"
        assert (image.width, image.height) == (900, 692)
        red, _, blue = image.getpixel((450, 300))  # type: ignore[misc]
        assert (red < 10, blue > 240) == (True, True)


def test_it_is_written_beside_the_record_without_torch(tmp_path: Path) -> None:
    comparison().write(tmp_path)
    code = (
        "import sys; from pathlib import Path; from semisup.compare.record import Comparison\n"
        "from semisup.compare.page import write\n"
        "folder = Path(sys.argv[1]); print(write(Comparison.read(folder / 'comparison.json'), folder))\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(tmp_path / FILE), "False"]
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".json"] == [FILE]
