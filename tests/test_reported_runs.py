"""Which runs of a report belong together, what it says of mistakes, and that secrets stay out of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from reports import found_tables, make_run, of_escaped, report

from semisup import figures
from semisup.cli.front import main
from semisup.figures import gallery
from semisup.report.content import NONE

# ---- the numbers


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the curves are drawn."""
    monkeypatch.setattr(figures, "of_run", lambda run: {})


def test_a_run_that_is_not_finished_is_in_no_mean(quick: None, tmp_path: Path) -> None:
    run = make_run(tmp_path, "pseudolabel", 4, finished=False)
    report(run)
    assert found_tables(run / "report")["Accuracy of every run in percent"][1][4:] == [NONE] * 4
    text = (run / "report" / "report.md").read_text()
    assert "Not finished, and so in no mean: `pseudolabel/20260104-100000-s4`." in text


# ---- which runs belong together


def test_arms_are_named_by_what_sets_them_apart(quick: None, tmp_path: Path) -> None:
    runs = [make_run(tmp_path, "pseudolabel", seed, pseudolabel__threshold=t) for t in (0.9, 0.95) for seed in (0, 1)]
    longer = make_run(tmp_path, "supervised", 0, trainer__max_epochs=9)
    few = make_run(tmp_path, "supervised", 0, data__labels_per_class=1)
    report(*runs, longer, few, "--may_differ", "trainer.max_epochs", "--out", tmp_path / "out")
    rows = found_tables(tmp_path / "out")["Difference to supervised training, paired by seed"][1:]
    assert [row[0] for row in rows] == ["pseudolabel (threshold 0.9)"] * 2 + ["pseudolabel (threshold 0.95)"] * 2
    against = "supervised (data.labels_per_class 4, trainer.max_epochs 9)"
    assert {row[1] for row in rows} == {against} and {row[5] for row in rows} == {NONE}
    text = (tmp_path / "out" / "report.md").read_text()
    assert f"pseudolabel (threshold 0.9) differs from {of_escaped(against)} also in `trainer.max_epochs`." in text


def test_curves_are_named_by_arm(quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And by seed where the arm has several; long names have the legend's whole width."""
    drawn: list[Figure] = []
    draw = gallery.curves
    monkeypatch.setattr(gallery, "curves", lambda runs: drawn.append(draw(runs)) or drawn[-1])
    runs = [make_run(tmp_path, "pseudolabel", seed, pseudolabel__threshold=0.9) for seed in (0, 1)]
    few = make_run(tmp_path, "supervised", 0, data__augmentation="flip_half", model__backbone="solution")
    report(
        *runs,
        few,
        make_run(tmp_path, "supervised", 1),
        "--may_differ",
        "data.augmentation,model.backbone",
        "--out",
        tmp_path / "out",
    )
    (legend,) = drawn[0].legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "supervised (data.augmentation flip_half, model.backbone solution)",
        "supervised (data.augmentation auto, model.backbone small)",
        "pseudolabel, seed 0",
        "pseudolabel, seed 1",
    ]
    assert legend._ncols == 1


def test_runs_over_data_that_has_moved_are_one_arm(quick: None, tmp_path: Path) -> None:
    """Where its digest is known to be the same; other data in another place, and nobody knows what, stay apart."""
    runs = [
        make_run(tmp_path, "supervised", seed, data__root=root) for seed, root in enumerate(("/a", "/b", "/c", "/d"))
    ]
    for run, digest in zip(runs, ("1 2", "1 2", "1 3", ""), strict=True):
        (run / "environment.txt").write_text((run / "environment.txt").read_text() + f"data: {digest}\n" * bool(digest))
    report(*runs, "--may_differ", "data.root", "--out", tmp_path / "out")
    rows = found_tables(tmp_path / "out")["Accuracy in percent, mean ± standard deviation over seeds"][1:]
    assert [row[:2] for row in rows] == [
        ["supervised (data.root /a)", "0, 1"],
        ["supervised (data.root /c)", "2"],
        ["supervised (data.root /d)", "3"],
    ]


@pytest.mark.parametrize(
    ("strategies", "words"),
    [
        (["supervised"], "All runs are supervised"),
        (["pseudolabel"], "can't be said without a supervised run"),
    ],
)
def test_what_was_added_is_not_made_up(quick: None, strategies: list[str], words: str, tmp_path: Path) -> None:
    runs = [make_run(tmp_path, strategy, 0) for strategy in strategies]
    report(*runs)
    assert words in (runs[0] / "report" / "report.md").read_text()  # a single run's report lies in it


def test_mistakes_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = make_run(tmp_path, "supervised", 0)
    empty = make_run(tmp_path, "supervised", 2)
    (empty / "metrics.csv").unlink()
    bare = make_run(tmp_path, "supervised", 3)
    (bare / "config.yaml").write_text("seed: 3\n")
    (tmp_path / "file").write_text("")
    for argv, words in (
        ([], "the following arguments are required: RUN; `semisup report --help` tells more"),
        ([tmp_path], "is neither a run directory nor a file in one"),
        ([one / "checkpoints"], f"is a part of a run; type {one}"),
        ([empty], f"{empty} can't be reported: there is no metrics.csv, or nothing in it; leave it out, or let it"),
        ([bare], "doesn't say strategy, data.name; give a run of semisup fit"),
        ([one, "--out", tmp_path / "file"], "file is a file; type --out with the name of a folder"),
    ):
        assert main(["report", *map(str, argv)]) == 2
        assert words in capsys.readouterr().err
    assert not (one / "report").exists()


def test_secrets_stay_out(quick: None, tmp_path: Path) -> None:
    run = make_run(tmp_path, "supervised", 0, data__password="hunter2", trainer__plugins=[{"init": {"api_key": "h3"}}])
    report(run)
    for name in ("report.tex", "report.html", "report.md"):
        text = (run / "report" / name).read_text()
        assert (
            "hunter2" not in text
            and "h3'" not in text
            and "api_key" in text.replace("\\", "").replace("allowbreak{}", "")
        )
