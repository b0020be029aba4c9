"""The processes of a grid: how many run at once and share the machine, and that none outlives an error."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml
from comparable_runs import config, write_run
from helpers import until
from test_lock import held_by_another

from semisup.compare import grid, processes, train
from semisup.compare.processes import Task, parallel, run_all, share
from semisup.runs.lock import LOCK, Held
from semisup.runs.options import identity


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
