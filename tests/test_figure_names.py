"""Names in figures: the user's, of any script and length, drawn as they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from fontTools.ttLib import TTFont
from fontTools.ttLib.tables._c_m_a_p import CmapSubtable
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text

from semisup.escape import one_line
from semisup.figures import names as module
from semisup.figures.augmentations import augmentations
from semisup.figures.confusion import confusion
from semisup.figures.curves import curves
from semisup.figures.embedding import embedding
from semisup.figures.names import FONTS, labels, shortened, spelled
from semisup.figures.rounds import pseudolabels
from semisup.figures.style import rendered, save
from semisup.runs.rounds import Round
from tests.hostile import CONTROLS, LONG, MARKUP

SHORT = (*MARKUP, *CONTROLS, "_under", "Ωμέγα", "قطة كبيرة", "-1.5")


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a new process, with no other fonts than matplotlib's own."""
    own = Path(matplotlib.get_data_path())
    there = [entry for entry in font_manager.fontManager.ttflist if Path(entry.fname).is_relative_to(own)]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", there)
    monkeypatch.setattr(module, "_said", False)
    monkeypatch.setitem(FONTS, "font.family", ["sans-serif"])
    module._is_drawn.cache_clear()
    module._installed.cache_clear()
    yield
    module._is_drawn.cache_clear()
    module._installed.cache_clear()


def texts(figure: Figure) -> set[str]:
    """What a drawn figure says."""
    rendered(figure)
    return {text.get_text() for text in figure.findobj(Text)}


def figures(given: tuple[str, ...]) -> dict[str, Figure]:
    """Every kind of figure that has names in it, with these."""
    count = min(len(given), 10)
    some = given[:count]
    images = torch.rand(20, 3, 8, 8)
    return {
        "confusion": confusion(torch.eye(len(given), dtype=torch.int64), given),
        "embedding": embedding(images.mul(255).byte(), torch.arange(20) % count, images.flatten(1), some, "features"),
        "pseudolabels": pseudolabels([Round(1, dict.fromkeys(some, 1), 0.5, dict.fromkeys(some, 0.5), [])]),
        "curves": curves({name: [{"step": 0, "train/loss": 1.0}] for name in some}),
        "augmentations": augmentations({name: images for name in some}),
    }


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("part", [slice(0, 10), slice(10, 20)])
def test_names_are_drawn_as_they_are_and_no_formula(part: slice) -> None:
    given = SHORT[part]
    for kind, figure in figures(given).items():
        said = texts(figure)
        for name in given if kind == "confusion" else given[:10]:
            assert any(text.startswith(one_line(name)[:5]) for text in said), (kind, name)
        assert not [text.get_text() for text in figure.findobj(Text) if text.get_parse_math() or text.get_usetex()], (
            kind
        )


def test_a_dollar_is_drawn_as_one() -> None:
    """The same pixels as a text that matplotlib has no way to take for a formula: each dollar by itself."""
    one = torch.eye(2, dtype=torch.int64)
    drawn, math = rendered(confusion(one, ("$a$", "b"))), rendered(confusion(one, ("a", "b")))
    assert drawn.shape == math.shape and not np.array_equal(drawn, math)
    assert "$a$" in texts(confusion(one, ("$a$", "b")))


def test_numbers_at_a_logarithmic_axis_are_no_formulas() -> None:
    figure = curves({"a": [{"step": k, "train/loss": 10.0**-k} for k in range(4)]})
    ticks = {text for text in texts(figure) if text}
    assert "0.001" in ticks and "1" in ticks and not [text for text in ticks if "$" in text]


def test_legends_hold_names_that_begin_with_an_underscore() -> None:
    for kind in ("embedding", "pseudolabels", "curves"):
        figure = figures(("_a", "_nolegend_", "b"))[kind]
        legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
        assert {"_a", "_nolegend_", "b"} <= {text.get_text() for legend in legends for text in legend.get_texts()}


@pytest.mark.filterwarnings("error")
def test_long_names_are_shortened_apart_and_leave_room(tmp_path: Path) -> None:
    for kind, figure in figures((*LONG, "cat")).items():
        rendered(figure)
        assert min(axes.get_position().width for axes in figure.axes if axes.images or axes.lines) > 0.15, kind
    assert (
        shortened(LONG[0], 9) == "xxxx…xxx1"
        and shortened("猫" * 9, 9) == "猫猫…猫猫"
        and shortened("x" * 9, 9) == "x" * 9
    )
    assert labels(["ab" * 99 + "c" + "ab" * 99, "ab" * 99 + "d" + "ab" * 99], 9) == ["abab…abab", "abab…abab (2)"]


def font(path: Path, family: str, letters: str) -> None:
    """An upright font of DejaVu's shapes: its A stands for each of the letters, and it has nothing else."""
    made = TTFont(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf")
    table = CmapSubtable.newSubtable(12)
    table.platformID, table.platEncID, table.format, table.reserved, table.length, table.language = 3, 10, 12, 0, 0, 0
    table.cmap = dict.fromkeys(map(ord, letters), "A")
    made["cmap"].tables = [table]
    for record in made["name"].names:
        if record.nameID in (1, 4, 6, 16):
            record.string = family
    made.save(path)


@pytest.mark.filterwarnings("error")
def test_an_installed_font_draws_what_the_first_one_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    font(tmp_path / "x.ttf", "Cats Sans", "猫犬")
    font_manager.fontManager.addfont(tmp_path / "x.ttf")
    with_font = rendered(confusion(torch.eye(2, dtype=torch.int64), ("猫", "犬")))
    assert FONTS["font.family"] == ["sans-serif", "Cats Sans"] and capsys.readouterr().out == ""
    with monkeypatch.context() as patch:
        patch.setattr("semisup.figures.confusion.labels", lambda given: ["A" for _ in given])
        assert np.array_equal(with_font, rendered(confusion(torch.eye(2, dtype=torch.int64), ("猫", "犬"))))
    save(confusion(torch.eye(2, dtype=torch.int64), ("猫", "犬")), tmp_path, "pages")
    assert b"CatsSans" in (tmp_path / "pages.pdf").read_bytes().replace(b" ", b"")


@pytest.mark.filterwarnings("error")
def test_what_no_font_has_is_spelled_and_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert labels(["猫", "ねこ", "बिल्ली", "한국"]) == ["(U+732B)", "neko", "bailalaii", "hangug"]
    assert labels(["犬"]) == ["(U+72AC)"]
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and "猫 as (U+732B)" in said and "ね as ne" in said
    assert not [c for c in "".join(labels(["猫\u094d", "\U0001fae0"])) if not c.isascii()]
    assert spelled("\U0001f431") == "(cat face)" and spelled("ﬁ") == "fi" and spelled("\u094d") == ""


def test_drawing_leaves_matplotlib_as_it_was(tmp_path: Path) -> None:
    font(tmp_path / "x.ttf", "Cats Sans", "猫")
    font_manager.fontManager.addfont(tmp_path / "x.ttf")
    before = {name: value for name, value in matplotlib.rcParams.items() if name != "backend"}
    rendered(confusion(torch.eye(2, dtype=torch.int64), ("猫", "$x$")))
    assert {name: value for name, value in matplotlib.rcParams.items() if name != "backend"} == before
