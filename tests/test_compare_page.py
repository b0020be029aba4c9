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
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from compared import HOSTILE, comparison, with_cells
from PIL import Image

from semisup.compare.page import FILE, html
from semisup.compare.page.answers import answers
from semisup.compare.page.classes import gains
from semisup.compare.page.series import charts
from semisup.compare.record import BALANCE, Comparison, Failure, LeftOut, OptionDifference
from semisup.runs.statistics import Efficiency


class Page(HTMLParser):
    """What a page holds: tables by name as rows of (text, value), scripts, styles, links, sources and all its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[tuple[str, str]]]] = {}
        self.rows: dict[str, list[dict[str, str]]] = {}
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self._table, self._inside, self._cell = "", "", False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attributes}
        self.attributes += [(tag, name, value) for name, value in found.items()]
        if tag == "table":
            self._table = found.get("id", "")
            self.tables[self._table], self.rows[self._table] = [], []
        elif tag == "tr":
            self.tables[self._table].append([])
            self.rows[self._table].append(found)
        elif tag in ("td", "th"):
            self.tables[self._table][-1].append(("", found.get("data-value", "")))
            self._cell = True
        elif tag == "script":
            self.scripts.append("")
            self._inside = tag
        elif tag == "style":
            self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._cell = False
        elif tag in ("script", "style"):
            self._inside = ""

    def handle_data(self, text: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += text
        elif self._inside == "style":
            self.styles.append(text)
        elif self._cell:
            cell, value = self.tables[self._table][-1][-1]
            self.tables[self._table][-1][-1] = (cell + text.strip(), value)
        if not self._inside:
            self.words.append(text)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def column(self, table: str, number: int) -> list[str]:
        return [row[number][0] for row in self.tables[f"table-{table}"][1:]]


def page(found: Comparison, folder: Path = Path("nowhere")) -> Page:
    return Page(html(found, folder))


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


# ---- its sentences


def scored(values: dict[str, list[float]], val: dict[str, float] | None = None) -> Comparison:
    """A comparison with 40 labels, by the test accuracy of each arm's seeds and the validation accuracy of the arm."""
    found = comparison([*values], [40], len(next(iter(values.values()))))
    runs = [
        replace(
            run,
            scores={
                **run.scores,
                "best/test_accuracy": values[run.arm][run.seed],
                "best/val_accuracy": (val or {}).get(run.arm, 0.5),
            },
        )
        for run in found.runs
    ]
    return with_cells(replace(found, runs=runs))


@pytest.mark.parametrize(
    ("scores", "headline", "verdict"),
    [
        ([0.70, 0.79, 0.90], "gains 14.7 points", "+13.2 to +16.1 points, paired over 3 seeds; all of it above zero"),
        ([0.60, 0.60, 0.80], "gains 1.7 points", "zero lies inside, so it may be chance"),
        ([0.45, 0.54, 0.65], "loses 10.3 points", "all of it below zero"),
        ([0.50, 0.62, 0.80], "has no proven gain over supervised yet: 64.0 % instead of 65.0 %", "zero lies inside"),
    ],
)
def test_the_headline_has_the_number_and_says_how_sure_it_is(scores: list[float], headline: str, verdict: str) -> None:
    top = answers(scored({"supervised": [0.55, 0.65, 0.75], "fixmatch": scores}), [])
    assert headline in top.headline
    assert verdict in top.interval


def test_one_seed_has_no_interval_and_the_page_says_so() -> None:
    found = comparison(seeds=1)
    made = page(found)
    assert "There is no interval for this difference" in made.text
    assert "Not yet: no interval" in made.text


def test_the_strategy_of_the_headline_is_chosen_by_validation() -> None:
    values = {"supervised": [0.6, 0.62], "a": [0.7, 0.72], "b": [0.8, 0.82]}
    top = answers(scored(values, {"a": 0.9, "b": 0.8}), [])
    assert top.headline.startswith("With 40 labels, a gains 10.0 points over supervised: 71.0 % instead of 61.0 %")
    assert top.chosen == "Chosen from 2 strategies by validation accuracy, not by test."


def test_the_headline_is_about_the_most_labels_that_there_are() -> None:
    top = answers(comparison(["supervised", "fixmatch"], labels=[20, 40, 100]), [])
    assert top.headline.startswith("With 100 labels, fixmatch ")


@pytest.mark.parametrize(
    ("worth", "said"),
    [
        (Efficiency("=", 57.0, 1.425), "supervised would need about 57 labels for the same accuracy, 1.4 times as"),
        (Efficiency(">", 100.0, 2.5), "would need more than 100 labels for the same accuracy, more than 2.5 times as"),
        (Efficiency("<", 40.0, 1.0), "supervised is as accurate with fewer than 40 labels."),
    ],
)
def test_labels_that_a_gain_is_worth(worth: Efficiency, said: str) -> None:
    found = scored({"supervised": [0.5, 0.6, 0.7], "fixmatch": [0.6, 0.7, 0.8]})
    cells = [replace(cell, efficiency=worth) if cell.difference else cell for cell in found.cells]
    assert said in answers(replace(found, cells=cells), []).answers[0].more[0]


@pytest.mark.parametrize("arms", [["fixmatch", "pseudolabel"], ["supervised"]])
def test_without_an_arm_to_differ_from_nothing_is_said_to_be_bought(arms: list[str]) -> None:
    made = page(comparison(arms, seeds=1, labels=[None]))
    assert "What the unlabeled images bought can't be said" in made.text
    assert "table-differences" not in made.tables
    assert "table-classes" not in made.tables


def test_what_failed_and_what_was_left_out_is_shown() -> None:
    differences = [OptionDifference("trainer.max_epochs", 60, None)]
    found = comparison(
        left_out=[LeftOut("../runs/odd", "not comparable: it had more epochs", differences)],
        failures=[Failure("fixmatch 40 s3", -9, "Killed", "logs/a b.log", "semisup fit --seed 3")],
        notes=["The runs differ in torch."],
    )
    made = page(found)
    for said in ("Exit code -9: Killed", "not comparable: it had more epochs", "The runs differ in torch.", "--seed 3"):
        assert said in made.text
    assert ("a", "href", "logs/a%20b.log") in made.attributes
    option = made.tables["table-left-out-1"][1]
    assert [text for text, _ in option] == ["trainer.max_epochs", "60", "none"]


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
