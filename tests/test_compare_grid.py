"""The grid: its commands, its processes, and that a stopped one goes on and a failed run stops no other."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from comparable_runs import CLASSES, config, write_run

from datamodules.digits import Digits
from semisup.cli.config import parse
from semisup.cli.front import main
from semisup.compare import grid
from semisup.compare.comparable import identity
from semisup.compare.processes import Task, alone, parallel, run_all, share
from semisup.compare.record import Comparison
from semisup.errors import InputError

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
        ("--strategies supervised --labels 40,5000", "data.labels_per_class is 500, but must be from 1 to"),
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


# ---- processes


def test_processes_share_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    assert share(1, 0, 0) == {"OMP_NUM_THREADS": "8"}
    assert share(3, 0, 1) == {"OMP_NUM_THREADS": "2"}
    assert share(9, 0, 0) == {"OMP_NUM_THREADS": "1"}
    assert [share(4, slot, 2)["CUDA_VISIBLE_DEVICES"] for slot in range(4)] == ["0", "1", "0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    assert [share(2, slot, 2) for slot in range(2)] == [{"CUDA_VISIBLE_DEVICES": "3"}, {"CUDA_VISIBLE_DEVICES": "5"}]


@pytest.mark.parametrize(
    ("gpus", "cores", "gigabytes", "expected"),
    [(0, 8, 64, 8), (0, 8, 13, 3), (0, 2, 1, 1), (1, 8, 64, 1), (4, 8, 64, 1)],
)
def test_as_many_runs_at_once_as_cores_and_memory_reach(
    gpus: int, cores: int, gigabytes: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = {"SC_PAGE_SIZE": 4096, "SC_AVPHYS_PAGES": gigabytes * 2**18}
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    monkeypatch.setattr(os, "sysconf", pages.__getitem__)
    assert parallel(gpus) == expected


def python(code: str, log: Path) -> Task:
    return Task([sys.executable, "-c", code], log)


def test_processes_run_some_at_once(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    code = (
        "import sys, time\n"
        f"say = lambda c: open({str(trace)!r}, 'a').write(c)\n"
        "say('+'); time.sleep(0.3); print('number', NUMBER); say('-'); sys.exit(NUMBER % 2)"
    )
    tasks = [python(code.replace("NUMBER", str(k)), tmp_path / "logs" / f"{k}") for k in range(5)]
    ended = {}
    with alone(tmp_path) as lock:
        run_all(tasks, 2, 0, lock, lambda index, exit_code, seconds: ended.update({index: exit_code}))
    assert ended == {0: 0, 1: 1, 2: 0, 3: 1, 4: 0}
    assert [task.log.read_text() for task in tasks] == [f"number {k}\n" for k in range(5)]
    depth = [trace.read_text()[: k + 1].count("+") - trace.read_text()[:k].count("-") for k in range(10)]
    assert len(trace.read_text()) == 10 and max(depth) == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_no_process_outlives_an_error(error: type[BaseException], tmp_path: Path) -> None:
    lasting = python("import os, time; print(os.getpid(), flush=True); time.sleep(600)", tmp_path / "lasting")

    def ended(index: int, exit_code: int, seconds: float) -> None:
        while not lasting.log.read_text():
            time.sleep(0.05)
        raise error

    with alone(tmp_path) as lock, pytest.raises(error):
        run_all([lasting, python("", tmp_path / "brief"), lasting], 2, 0, lock, ended)
    (process,) = lasting.log.read_text().split()
    with pytest.raises(ProcessLookupError):
        os.kill(int(process), 0)


def test_a_folder_is_one_comparisons_until_its_last_process_ends(tmp_path: Path) -> None:
    with alone(tmp_path) as lock:
        outlives = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[lock])
        with pytest.raises(InputError, match="another semisup compare"), alone(tmp_path):
            pass
    with pytest.raises(InputError, match="or a run that it started, is at work"), alone(tmp_path):
        pass
    outlives.communicate(b"\n")
    with alone(tmp_path):
        pass


# ---- all of it


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    """A grid of two runs, of which pseudolabel asks for more images than there are, once it has data."""
    typed = [
        "--strategies",
        "supervised,pseudolabel",
        "--seeds",
        "1",
        "--data",
        "digits",
        "--out",
        "out",
        "--jobs",
        "2",
    ]
    brief = ["--data.steps_per_epoch", "10", "--tracking.mode", "disabled", "--trainer.accelerator", "cpu"]
    brief += ["--trainer.max_epochs", "40", "--pseudolabel.rule", "top_k_overall", "--pseudolabel.top_k", "9999"]

    def heed() -> None:  # what a shell runs in the background ignores Ctrl-C, and so would what it starts
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    command = [sys.executable, "-m", "semisup", "compare", *typed, *brief, *more]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=pipe, text=True, preexec_fn=heed)


@pytest.mark.slow
def test_a_stopped_grid_goes_on_and_a_failed_run_stops_no_other(tmp_path: Path) -> None:
    log = tmp_path / "out" / "logs" / "supervised-40-s0.log"
    stopped = start(tmp_path)
    while not (log.is_file() and re.search(r"^epoch 3 ", log.read_text(), re.M)):
        assert stopped.poll() is None
        time.sleep(0.05)
    stopped.send_signal(signal.SIGINT)
    out, error = stopped.communicate(timeout=900)
    assert stopped.returncode == 130, error
    assert out.startswith("2 runs: 0 finished before, 0 to go on with, 2 to begin\n")
    assert "stopping " in out and " of 2 runs are made; the same command goes on" in out and "Traceback" not in error
    assert "stopped by SIGTERM" in log.read_text()
    (cut,) = (tmp_path / "out/runs/digits/supervised").iterdir()

    going = start(tmp_path)
    out, error = going.communicate(timeout=900)
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
    assert (tmp_path / "out" / whole.path) == cut and len(whole.curves["epoch"]) == 40
    assert whole.images == 40 * 10 * 24  # counted on over the stop

    out, error = start(tmp_path, "--dry_run").communicate(timeout=900)
    assert "1 of 2 runs are to be made" in error and "--strategy pseudolabel" in out and out.count("\n") == 1


def test_the_oracles_data_has_every_label() -> None:
    pools = Digits(labels_per_class=None).pools
    assert len(pools.labeled) == pools.train_size == 1257 and pools.unlabeled is None and pools.truth is None
    assert len(Digits().pools.labeled) == 40
