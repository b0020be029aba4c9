"""The grid: its commands, and that a stopped one goes on and a failed run stops no other."""

from __future__ import annotations

import re
import shlex
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import forked
import pytest
import yaml
from comparable_runs import CLASSES, config, write_run
from forked import Forked
from helpers import HANG, until

from datamodules.digits import Digits
from semisup.__main__ import main as semisup
from semisup.cli.config import parse
from semisup.cli.front import main
from semisup.compare import grid, processes
from semisup.compare.record import Comparison
from semisup.errors import InputError
from semisup.runs.options import identity
from semisup.runs.run import Run

# ---- what is typed


def test_numbers_and_names() -> None:
    assert grid.numbers("1000, 40,250,40", "--labels") == [40, 250, 1000]
    assert grid.strategies("supervised, kmeans+pseudolabel") == ["supervised", "kmeans+pseudolabel"]
    assert grid.labels_per_class(250, CLASSES, "digits") == 25
    for wrong in ("", "40,x", "0", "-4", "1.5"):
        with pytest.raises(InputError, match="must be whole numbers"):
            grid.numbers(wrong, "--labels")
    with pytest.raises(InputError, match="10 classes of digits; type 40 or 50"):
        grid.labels_per_class(45, CLASSES, "digits")
    with pytest.raises(InputError, match=r"type 10$"):
        grid.labels_per_class(7, CLASSES, "digits")


def test_options_of_a_strategy_go_to_its_arms_alone() -> None:
    typed = ["--kmeans.patches", "9", "--trainer.max_epochs", "3", "--pseudolabel.top_k=7", "--data.name", "digits"]
    asked = ["supervised", "pseudolabel", "kmeans+pseudolabel"]
    shared = ["--trainer.max_epochs", "3", "--data.name", "digits"]
    assert grid.arguments_of("supervised", typed, asked) == shared
    assert grid.arguments_of("kmeans+pseudolabel", typed, asked) == typed
    assert grid.arguments_of("pseudolabel", typed, asked) == [*shared[:2], "--pseudolabel.top_k=7", *shared[2:]]


def test_a_run_that_goes_on_is_trusted_with_the_classes_that_were_typed_alone(tmp_path: Path) -> None:
    def naming(callback: str, **more: Any) -> dict[str, Any]:
        usual = {"strategy": "supervised", "seed": 0, "data": {"name": "digits"}}
        return {**usual, "trainer": {"max_epochs": 1, "callbacks": [{"class_path": callback}]}, **more}

    typed = naming("mine.Callback")
    classes = grid.named_classes(typed)
    assert classes == {"trainer.callbacks": [{"class_path": "mine.Callback"}]}
    job = grid.Job("supervised", 40, 0, [], grid.wanted(typed, 0), classes)
    for number, (found, trusted) in enumerate(
        [
            (typed, True),
            (naming("other.Callback"), False),
            (naming("mine.Callback", **{"trainer.profiler": {"class_path": "other.Profiler"}}), False),
            (naming("mine.Callback", data={"name": "digits", "root": {"class_path": "other.Root"}}), False),
        ]
    ):
        run = tmp_path / str(number)
        (run / "checkpoints").mkdir(parents=True)
        (run / "config.yaml").write_text(yaml.safe_dump(found))
        assert ("--trust" in grid.fit_command(job, tmp_path, run)) == trusted
        assert "--trust" not in grid.fit_command(replace(job, classes={}), tmp_path, run)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--strategies supervised,psuedolabel", "did you mean 'pseudolabel'?"),
        ("--strategies supervised,supervised", "must be distinct names"),
        ("--strategies supervised --seeds 0", "--seeds is 0, but must be at least 1"),
        ("--strategies supervised --jobs 0", "--jobs is 0, but must be at least 1"),
        ("--strategies supervised --labels 45", "--labels 45 can't be divided evenly over the 10 classes of digits"),
        ("--strategies supervised --labels 40,5000", "--labels 5000 are 500 of each class, and digits has 12"),
        ("--strategies supervised --labels 40 --data.labels_per_class 4", "both say how many labels"),
        ("--strategies supervised --seed 3", "--seed is what a comparison decides itself; type --seeds N"),
        ("--strategies supervised --strategy fixmatch", "type --strategies NAME,NAME"),
        ("--strategies supervised --trainer.default_root_dir x", "type --out DIR"),
        ("--strategies supervised,fixmatch --fixmatch.threshhold 1", "did you mean --fixmatch.threshold?"),
        ("--strategies supervised --fixmatch.threshold 1", "is an option of a strategy that is not selected"),
        ("--strategies supervised,fixmatch --fixmatch.threshold 2", "fixmatch.threshold is 2.0, but must be"),
        ("--strategies fixmatch,supervised+pseudolabel", "each own the loss"),
    ],
)
def test_mistakes_are_said_before_anything_is_trained(
    line: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "--data", "digits", *line.split()]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_prints_commands_that_make_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    done = write_run(tmp_path / "out/runs", "supervised", 0, 4)
    begun = write_run(tmp_path / "out/runs", "pseudolabel", 1, 4, options=("--pseudolabel.top_k", "7"), finished=False)
    typed = "--strategies supervised,pseudolabel --seeds 2 --labels 40,100 --oracle --pseudolabel.top_k 7 --out out"
    assert main(["compare", *typed.split(), "--dry_run", "--data", "digits", "--tracking.mode", "disabled"]) == 0
    printed = capsys.readouterr()
    commands = [shlex.split(line) for line in printed.out.splitlines()]
    assert "9 of 10 runs are to be made" in printed.err
    fits = [words[words.index("fit") + 1 :] for words in commands]
    resumed = [words for words in fits if words[0] == "--resume"]
    assert [Path(words[1]).resolve() for words in resumed] == [begun]
    parsed = [yaml.safe_load(parse("fit", words).yaml) for words in fits]
    made = [(one["strategy"], one["seed"], one["data"]["labels_per_class"]) for one in parsed]
    # Seed by seed, labels by labels; the first, which is done, is missing.
    level = [("supervised", 4), ("pseudolabel", 4), ("supervised", 10), ("pseudolabel", 10), ("supervised", None)]
    assert made == [(name, seed, labels) for seed in (0, 1) for name, labels in level][1:]
    assert all(one["pseudolabel"]["top_k"] == 7 for one in parsed if one["strategy"] == "pseudolabel")
    assert all(
        one["trainer"]["default_root_dir"] == "out/runs"
        for one, words in zip(parsed, fits, strict=True)
        if words[0] != "--resume"
    )
    assert done.is_dir() and not (tmp_path / "out" / "logs").exists()


def test_a_run_is_found_again_by_its_options(tmp_path: Path) -> None:
    wanted = identity(yaml.safe_load(config("--strategy", "supervised", "--data.labels_per_class", "4")))
    job = grid.Job("supervised", 40, 0, [], wanted)
    assert grid.find(job, tmp_path / "nothing") == (None, False)
    write_run(tmp_path, "supervised", 1)
    write_run(tmp_path, "supervised", 0, 10)
    write_run(tmp_path, "supervised", 0, options=("--trainer.max_epochs", "60"))
    assert grid.find(job, tmp_path) == (None, False)
    begun = write_run(tmp_path, "supervised", 0, finished=False)
    assert grid.find(job, tmp_path) == (begun, False)
    done = write_run(tmp_path, "supervised", 0, options=("--tracking.project", "another"))
    write_run(tmp_path, "supervised", 0, finished=False)
    assert grid.find(job, tmp_path) == (done, True)
    assert grid.find(replace(job, wanted={**wanted, "seed": 1}), tmp_path)[1]


def test_a_run_over_data_that_was_moved_is_found_again(tmp_path: Path) -> None:
    """Where the same images lie in another place, and nobody looks at them where it is the same place."""

    def lying(place: str) -> tuple[str, ...]:
        return ("--data", "folder", "--data.root", str(tmp_path / place))

    def job(place: str, digest: Any) -> grid.Job:
        tree = yaml.safe_load(config("--strategy", "supervised", "--data.labels_per_class", "4", *lying(place)))
        return grid.Job("supervised", 40, 0, [], identity(tree), digest=digest)

    run = write_run(tmp_path / "runs", options=lying("then"))
    same = Run(run).data_digest
    assert same and grid.find(job("now", lambda: same), tmp_path / "runs") == (run, True)
    assert grid.find(job("now", lambda: "others"), tmp_path / "runs") == (None, False)
    assert grid.find(replace(job("now", lambda: same), wanted={}), tmp_path / "runs") == (None, False)
    assert grid.find(job("then", lambda: pytest.fail("the same place")), tmp_path / "runs") == (run, True)
    resumed = grid.fit_command(job("now", lambda: same), tmp_path / "runs", run)
    assert resumed[1:] == ["--resume", str(run), "--data.root", str(tmp_path / "now")]
    assert grid.fit_command(job("then", lambda: same), tmp_path / "runs", run)[1:] == ["--resume", str(run)]


# ---- all of it


def start(folder: Path, *arguments: str) -> Forked:
    """A grid in a process of its own, whose runs wait in their 16th step for the file `go`.

    It gives the runs that it stops all the time that they take.
    """
    typed = ["--data", "digits", "--out", "out", "--tracking.mode", "disabled", "--trainer.accelerator", "cpu"]
    typed += ["--data.steps_per_epoch", "10", "--trainer.max_epochs", "4", "--trainer.callbacks", "helpers.WaitAt"]
    typed += ["--trainer.callbacks.step", "15", "--trainer.callbacks.folder", str(folder)]

    def run() -> int:
        processes.GRACE_SECONDS = HANG
        processes._start = forked.task  # type: ignore[assignment]
        return semisup()

    return Forked(run, ["semisup", "compare", *typed, *arguments], folder)


@pytest.mark.slow
def test_a_stopped_grid_goes_on_and_a_failed_run_stops_no_other(tmp_path: Path) -> None:
    # Two runs, of which pseudolabel asks for more images than there are, once it has data.
    grid = ["--strategies", "supervised,pseudolabel", "--seeds", "1", "--jobs", "2"]
    grid += ["--pseudolabel.rule", "top_k_overall", "--pseudolabel.top_k", "9999"]
    log = tmp_path / "out" / "logs" / "supervised-40-s0.log"
    with start(tmp_path, *grid) as stopped:
        until((tmp_path / "waits").exists, lambda: stopped.poll() is None)
        stopped.send_signal(signal.SIGINT)
        until(lambda: "SIGTERM: finishing the step" in log.read_text(), lambda: stopped.poll() is None)
        (tmp_path / "go").touch()
        out, error = stopped.communicate()
    assert stopped.returncode == 130, error
    assert out.startswith("2 runs: 0 finished before, 0 to go on with, 2 to begin\n")
    assert "stopping " in out and " of 2 runs are made; the same command goes on" in out and "Traceback" not in error
    assert "stopped by SIGTERM" in log.read_text()
    (cut,) = (tmp_path / "out/runs/digits/supervised").iterdir()

    with start(tmp_path, *grid) as going:
        out, error = going.communicate()
    assert going.returncode == 1, error
    assert re.match(r"2 runs: 0 finished before, [12] to go on with, ", out)
    assert re.search(r"^\[[12]/2\] supervised, 40 labels, seed 0: best [\d.]+ %, last [\d.]+ % on test; ", out, re.M)
    assert re.search(r"^\[[12]/2\] pseudolabel, 40 labels, seed 0: FAILED, semisup: error: ", out, re.M)
    failed = re.search(r"^FAILED pseudolabel, 40 labels, seed 0 \(exit code 2\): (.*)", error, re.M)
    assert failed and "the unlabeled pool has 1,217 images" in failed[1]
    assert list((tmp_path / "out/runs/digits/supervised").iterdir()) == [cut]  # it went on, and no other began

    comparison = Comparison.read(tmp_path / "out" / "comparison.json")
    (whole,), (failure,) = comparison.runs, comparison.failures
    assert failure.exit_code == 2 and failure.last_line in (tmp_path / "out" / failure.log).read_text()
    assert comparison.network is not None and comparison.network.backbone == "small"
    assert (tmp_path / "out" / whole.path) == cut and len(whole.curves["epoch"]) == 4
    assert whole.images == 4 * 10 * 24  # counted on over the stop

    with start(tmp_path, *grid, "--dry_run") as dry:
        out, error = dry.communicate()
    assert "1 of 2 runs are to be made" in error and "--strategy pseudolabel" in out and out.count("\n") == 1


@pytest.mark.slow
def test_two_comparisons_share_a_grid(tmp_path: Path) -> None:
    """Each makes one run of two, while the other one is held up in its own."""
    grid = ["--strategies", "supervised", "--seeds", "2", "--jobs", "1"]
    with start(tmp_path, *grid) as first:
        until((tmp_path / "waits").exists, lambda: first.poll() is None)
        (tmp_path / "waits").unlink()
        with start(tmp_path, *grid) as second:
            until((tmp_path / "waits").exists, lambda: second.poll() is None)
            (tmp_path / "go").touch()
            outputs = [process.communicate() for process in (first, second)]
            assert [process.returncode for process in (first, second)] == [0, 0], outputs
    assert len(list((tmp_path / "out/runs/digits/supervised").iterdir())) == 2
    assert re.search(r"^supervised, 40 labels, seed 0: process \d+ on \S+, since .*, is at it", outputs[1][0], re.M)
    assert len(Comparison.read(tmp_path / "out" / "comparison.json").runs) == 2


def test_the_oracles_data_has_every_label() -> None:
    pools = Digits(labels_per_class=None).pools
    assert len(pools.labeled) == pools.train_size == 1257 and pools.unlabeled is None and pools.hidden_labels is None
    assert len(Digits().pools.labeled) == 40
