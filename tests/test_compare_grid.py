"""The grid: its commands, its processes, and that a stopped one goes on and a failed run stops no other."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import forked
import pytest
import yaml
from comparable_runs import CLASSES, config, write_run
from forked import Forked
from helpers import HANG, until
from test_lock import held_by_another

from datamodules.digits import Digits
from semisup.__main__ import main as semisup
from semisup.cli.config import parse
from semisup.cli.front import main
from semisup.compare import grid, processes, train
from semisup.compare.processes import Task, parallel, run_all, share
from semisup.compare.record import Comparison
from semisup.errors import InputError
from semisup.runs.lock import LOCK, Held
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


def test_fewer_runs_than_cores_share_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the runs of the whole grid, however many of them were made before."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(train, "parallel", lambda gpus: 8)
    monkeypatch.setattr(train, "run_all", lambda *arguments: None)
    monkeypatch.setattr(train.torch.cuda, "device_count", lambda: 0)
    jobs = [grid.Job("supervised", None, seed, [], {}) for seed in range(3)]
    for finished in (False, True):
        monkeypatch.setattr(train, "find", lambda job, root, finished=finished: (None, finished and job.seed < 2))
        train.train(jobs, tmp_path, None)
        assert "3 at once, with OMP_NUM_THREADS=2;" in capsys.readouterr().out


def python(code: str, log: Path) -> Task:
    return Task([sys.executable, "-c", code], log)


def test_processes_run_some_at_once(tmp_path: Path) -> None:
    """Two at once, since each waits for the other of its pair; and never three."""
    trace = tmp_path / "trace"
    code = (
        "import sys, time\n"
        "def until(condition):\n    while not condition(): time.sleep(.01)\n"
        "trace = lambda: open(TRACE).read()\n"
        "say = lambda c: open(TRACE, 'a').write(c)\n"
        "say('+'); until(lambda: trace().count('+') >= min(NUMBER // 2 * 2 + 2, 5))\n"
        "print('number', NUMBER); say('-'); sys.exit(NUMBER % 2)"
    )
    code = code.replace("TRACE", repr(str(trace)))
    tasks = [python(code.replace("NUMBER", str(k)), tmp_path / "logs" / f"{k}") for k in range(5)]
    ended = {}
    run_all(5, 2, 0, tasks.__getitem__, lambda index, exit_code, seconds: ended.update({index: exit_code}))
    assert ended == {0: 0, 1: 1, 2: 0, 3: 1, 4: 0}
    assert [task.log.read_text() for task in tasks] == [f"number {k}\n" for k in range(5)]
    depth = [trace.read_text()[: k + 1].count("+") - trace.read_text()[:k].count("-") for k in range(10)]
    assert len(trace.read_text()) == 10 and max(depth) == 2


def test_what_another_process_is_at_is_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_ASK_SECONDS", 0.0)
    asked, ended = [], []

    def begin(index: int) -> Task | None:
        asked.append(index)
        if index == 0 and 1 not in ended:
            raise Held(tmp_path, None)
        return python("", tmp_path / "log") if index == 1 else None

    run_all(3, 1, 0, begin, lambda index, exit_code, seconds: ended.append(index))
    assert asked[:2] == [0, 1] and ended[0] == 1 and sorted(ended) == [0, 1, 2]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_no_process_outlives_an_error(error: type[BaseException], tmp_path: Path) -> None:
    lasting = python("import os, signal; print(os.getpid(), flush=True); signal.pause()", tmp_path / "lasting")
    tasks = [lasting, python("", tmp_path / "brief"), lasting]

    def ended(index: int, exit_code: int, seconds: float | None) -> None:
        until(lasting.log.read_text)
        raise error

    with pytest.raises(error):
        run_all(3, 2, 0, tasks.__getitem__, ended)
    (process,) = lasting.log.read_text().split()
    with pytest.raises(ProcessLookupError):
        os.kill(int(process), 0)


def work(job: grid.Job, out: Path) -> tuple[train._Work, ExitStack]:
    locks = ExitStack()
    return train._Work([job], out, [], 1, locks), locks


def test_a_run_of_the_grid_belongs_to_one_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = identity(yaml.safe_load(config("--strategy", "supervised", "--data.labels_per_class", "4")))
    job = grid.Job("supervised", 40, 0, [], wanted)
    (tmp_path / "locks").mkdir()
    with held_by_another(tmp_path / "locks" / f"{job.slug}.lock") as process:
        for _ in range(2):
            with pytest.raises(Held):
                work(job, tmp_path)[0].begin(0)
        assert f"supervised, 40 labels, seed 0: process {process.pid} on " in capsys.readouterr().out
    ours, locks = work(job, tmp_path)
    assert ours.begin(0) is not None
    with pytest.raises(Held):
        work(job, tmp_path)[0].begin(0)
    locks.close()
    begun = write_run(tmp_path / "runs", "supervised", 0, finished=False)
    with held_by_another(begun / LOCK), pytest.raises(Held):  # a run that was started by hand
        work(job, tmp_path)[0].begin(0)
    ours, locks = work(job, tmp_path)
    with locks:
        task = ours.begin(0)
        assert task is not None and task.command[3:] == ["fit", "--resume", str(begun)]
    write_run(tmp_path / "runs", "supervised", 0)
    assert work(job, tmp_path)[0].begin(0) is None


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
